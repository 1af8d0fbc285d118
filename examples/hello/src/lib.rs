//! The smallest function: every request is answered with one line of text.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

const BODY: &[u8] = b"Hello from Fractus\n";

struct Hello;

wasip2::http::proxy::export!(Hello);

impl Guest for Hello {
    fn handle(_request: IncomingRequest, outparam: ResponseOutparam) {
        let headers = [
            ("content-type".to_owned(), b"text/plain".to_vec()),
            ("content-length".to_owned(), BODY.len().to_string().into()),
        ];
        let headers = Fields::from_list(&headers).expect("the two headers are well-formed");
        let response = OutgoingResponse::new(headers);

        // Written and finished before the response is handed over: the host finds all of it there
        // and answers with a single write.
        let body = response.body().expect("the body is taken once");
        let stream = body.write().expect("the stream is taken once");
        stream.check_write().expect("the body is open");
        stream.write(BODY).expect("the host takes a line at once");
        drop(stream);
        OutgoingBody::finish(body, None).expect("the length is as announced");
        ResponseOutparam::set(outparam, Ok(response));
    }
}
