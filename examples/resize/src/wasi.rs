//! The host's side: the request comes in, the source is fetched, the reply goes out.

use std::io::Write as _;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingRequest, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    OutgoingResponse, ResponseOutparam, Scheme,
};
use wasip2::io::streams::StreamError;

use crate::accept::Accept;
use crate::picture::{MAX_SOURCE, transform};
use crate::reply::{Refusal, Reply, Validators};
use crate::request::{Params, key};

/// Where the host answers from the object store: `http://store.internal/BUCKET/KEY`.
const STORE: &str = "store.internal";

/// Most bytes asked of the store's stream at once.
const CHUNK: u64 = 256 * 1024;

struct Resize;

wasip2::http::proxy::export!(Resize);

impl Guest for Resize {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let reply = respond(&request).unwrap_or_else(Reply::from);
        let with_body = !matches!(request.method(), Method::Head) && reply.status != 304;
        send(&reply, with_body, out);
    }
}

fn respond(request: &IncomingRequest) -> Result<Reply, Refusal> {
    if !matches!(request.method(), Method::Get | Method::Head) {
        return Err(Refusal::new(405, "pictures are asked for with GET or HEAD"));
    }
    let target = request.path_with_query().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let key = key(path)?;
    let params = Params::parse(query)?;
    let headers = request.headers();
    let accept = Accept::parse(header(&headers, "accept").as_deref());

    let source = fetch(key)?;
    let from_store = source.headers();
    let validators = Validators::derive(
        header(&from_store, "etag").as_deref(),
        header(&from_store, "last-modified"),
        &params,
        accept,
    );
    // The body of the source has not been read, nor sent: this is as cheap as asking with HEAD.
    if validators.held(header(&headers, "if-none-match").as_deref()) {
        return Ok(validators.not_modified());
    }
    let source = read(&source)?;
    Ok(validators.picture(transform(&source, &params, accept)?))
}

/// Asks the store for the source; its head only, the body waits to be read.
fn fetch(key: &str) -> Result<IncomingResponse, Refusal> {
    let bucket = std::env::var("BUCKET").unwrap_or_else(|_| "photos".to_owned());
    let away =
        |error: ErrorCode| Refusal::new(502, format!("the store does not answer: {error:?}"));
    let invalid = |()| Refusal::new(400, "the key cannot be part of a URL");

    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).map_err(invalid)?;
    request.set_authority(Some(STORE)).map_err(invalid)?;
    request
        .set_path_with_query(Some(&format!("/{bucket}/{key}")))
        .map_err(invalid)?;
    let future = outgoing_handler::handle(request, None).map_err(away)?;
    future.subscribe().block();
    let answer = future
        .get()
        .expect("the future is ready")
        .expect("the future is read once");
    let response = answer.map_err(away)?;
    match response.status() {
        200 => Ok(response),
        400 => Err(Refusal::new(400, format!("{key} cannot be a key"))),
        404 => Err(Refusal::new(
            404,
            format!("there is no {key} in the bucket {bucket}"),
        )),
        403 => Err(Refusal::new(
            403,
            format!("the bucket {bucket} is not granted in fractus.toml"),
        )),
        status => Err(Refusal::new(502, format!("the store answers {status}"))),
    }
}

fn read(response: &IncomingResponse) -> Result<Vec<u8>, Refusal> {
    let large = || Refusal::new(413, format!("the object has more than {MAX_SOURCE} bytes"));
    let announced = header(&response.headers(), "content-length");
    let announced = announced
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    if announced > MAX_SOURCE {
        return Err(large());
    }
    let body = response.consume().expect("the body is taken once");
    let stream = body.stream().expect("the stream is taken once");
    let mut source = Vec::with_capacity(announced);
    loop {
        match stream.blocking_read(CHUNK) {
            Ok(chunk) if source.len() + chunk.len() > MAX_SOURCE => return Err(large()),
            Ok(chunk) => source.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(source),
            Err(StreamError::LastOperationFailed(error)) => {
                let text = format!("the store broke off: {}", error.to_debug_string());
                return Err(Refusal::new(502, text));
            }
        }
    }
}

fn header(fields: &Fields, name: &str) -> Option<String> {
    let values = fields.get(name);
    let values: Result<Vec<String>, _> = values.into_iter().map(String::from_utf8).collect();
    values
        .ok()
        .filter(|values| !values.is_empty())
        .map(|values| values.join(", "))
}

fn send(reply: &Reply, with_body: bool, out: ResponseOutparam) {
    let fields = Fields::new();
    for (name, value) in &reply.headers {
        fields
            .append(name, value.as_bytes())
            .expect("our headers are well-formed");
    }
    let response = OutgoingResponse::new(fields);
    response
        .set_status_code(reply.status)
        .expect("our statuses are real");
    if !with_body {
        ResponseOutparam::set(out, Ok(response));
        return;
    }
    let body = response.body().expect("the body is taken once");
    let mut stream = body.write().expect("the stream is taken once");
    ResponseOutparam::set(out, Ok(response));
    // A client that goes away while it is answered is no fault of ours.
    if stream.write_all(&reply.body).is_ok() {
        drop(stream);
        drop(OutgoingBody::finish(body, None));
    }
}
