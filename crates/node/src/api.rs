//! The api listener: AWS's protocols, for clients that are pointed here by `AWS_ENDPOINT_URL`. A
//! request is AWS Lambda's by its path, STS's if it posts a form to `/`, and S3's otherwise. All
//! must be signed with the node's keys (AWS Signature Version 4).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fractus_func::RequestId;
use fractus_lambda::control::{ERROR_TYPE_HEADER, Operation, RouteError, ServiceError, route};
use fractus_lambda::sigv4::{
    ContentHash, Credentials, Scope, SigError, Signature, SigningKeys, body_sha256,
};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::Semaphore;

use crate::clock::now_ms;
use crate::control::Control;
use crate::limits::{API_BODIES_MAX, API_BODY_MAX, API_CODE_BODY_MAX, API_STALL_MS};

mod account;
mod aliases;
mod answer;
mod code;
mod concurrency;
mod event_config;
mod functions;
mod invoke;
mod layers;
pub(crate) mod mappings;
mod policy;
mod sts;
mod tags;
mod urls;
mod versions;

/// What the AWS protocols speak for.
#[derive(Debug)]
pub(crate) struct Api {
    control: Arc<Control>,
    keys: Arc<SigningKeys>,
    /// What URLs of code are signed with.
    own: Credentials,
    region: Arc<str>,
    /// Where the edge listens: part of functions' URLs.
    edge: SocketAddr,
    /// Bytes of bodies that may be read at once.
    bodies: Semaphore,
}

/// A request that is signed and read.
struct Call<'a> {
    id: RequestId,
    head: &'a Parts,
    /// Gives the parameters of the path.
    route: fractus_lambda::control::Route<'a>,
    query: BTreeMap<String, String>,
    body: Bytes,
}

/// What an operation answers.
type Answer = Result<Response, ServiceError>;

/// What requests of AWS Lambda's API are signed for.
const LAMBDA: &str = "lambda";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

impl Api {
    pub(crate) fn new(control: Arc<Control>, own: Credentials, edge: SocketAddr) -> Self {
        let services = control.functions().services();
        Self {
            keys: Arc::clone(&services.keys),
            region: Arc::clone(&services.region),
            control,
            own,
            edge,
            bodies: Semaphore::new(API_BODIES_MAX),
        }
    }
}

/// Answers every request as the client of some protocol understands it.
pub(crate) fn router(api: Api) -> Router {
    Router::new().fallback(answer).with_state(Arc::new(api))
}

/// A new id for a request.
pub(crate) fn request_id() -> RequestId {
    let mut bits = [0; 16];
    // Without randomness ids are not unique, and nothing hangs on that but the log.
    getrandom::fill(&mut bits).ok();
    RequestId::from_random(u128::from_be_bytes(bits))
}

async fn answer(State(api): State<Arc<Api>>, request: Request) -> Response {
    let id = request_id();
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let mut response = match route(&head.method, path, head.uri.query().unwrap_or("")) {
        Ok(route) => {
            let answered = lambda(&api, id, &head, route, body).await;
            answered.unwrap_or_else(|error| refused(&error))
        }
        Err(_) if code::is_path(path) => code::answer(&api, &head).await,
        Err(_) if path == "/" && head.method == Method::POST => {
            sts::answer(&api, id, &head, body).await
        }
        Err(error) if is_versioned(path) || is_lambda(&head) => {
            refused(&unknown(&api, &head, error, body).await)
        }
        Err(_) => s3_is_not_there(&head.uri),
    };
    let id = HeaderValue::from_str(&id.to_string()).expect("an id is ASCII");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Whether a path begins with a date, as all of AWS Lambda's do and no bucket's name does.
fn is_versioned(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or("");
    let shape = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    first.len() == 10 && first.bytes().enumerate().all(shape)
}

/// Whether a request is signed for AWS Lambda, rightly or not.
fn is_lambda(head: &Parts) -> bool {
    let signature = Signature::parse(head, now_ms() / 1000);
    signature.is_ok_and(|signature| signature.is_some_and(|one| one.service() == LAMBDA))
}

/// Why a request is refused that no operation is for. Who may not ask learns nothing of that.
async fn unknown(api: &Api, head: &Parts, error: RouteError, body: Body) -> ServiceError {
    match signed_body(api, head, body, (LAMBDA, API_BODY_MAX)).await {
        Err(refused) => refused,
        Ok(_) => match error {
            RouteError::NoSuchPath => ServiceError::unknown_operation(error.to_string()),
            RouteError::WrongMethod => ServiceError::method_not_allowed(error.to_string()),
        },
    }
}

/// Answers a request of AWS Lambda's API.
async fn lambda(
    api: &Arc<Api>,
    id: RequestId,
    head: &Parts,
    route: fractus_lambda::control::Route<'_>,
    body: Body,
) -> Answer {
    let most = match route.operation {
        Operation::CreateFunction
        | Operation::UpdateFunctionCode
        | Operation::PublishLayerVersion => API_CODE_BODY_MAX,
        Operation::Invoke | Operation::InvokeAsync | Operation::InvokeWithResponseStream => {
            fractus_lambda::limits::PAYLOAD_MAX
        }
        _ => API_BODY_MAX,
    };
    let body = signed_body(api, head, body, (LAMBDA, most))
        .await
        .map_err(|error| {
            if error.status == 413 && most == API_CODE_BODY_MAX {
                return ServiceError::request_entity_too_large(format!(
                    "Request must be smaller than {most} bytes for the {} operation",
                    route.operation.name()
                ));
            }
            error
        })?;
    let query = axum::extract::Query::<BTreeMap<String, String>>::try_from_uri(&head.uri);
    let query = query.map_err(|error| ServiceError::validation(error.to_string()))?;
    let call = Call {
        id,
        head,
        route,
        query: query.0,
        body,
    };
    dispatch(api, call).await
}

/// Reads a body of at most `most` bytes, and checks that the node's keys signed the request for the
/// service. What can be refused without the body is refused before it is read.
async fn signed_body(
    api: &Api,
    head: &Parts,
    body: Body,
    (service, most): (&str, usize),
) -> Result<Bytes, ServiceError> {
    let signature = Signature::parse(head, now_ms() / 1000)?;
    let signature = signature.ok_or(SigError::Missing)?;
    let scope = Scope {
        region: &api.region,
        services: &[service],
    };
    if !signature.needs_body() {
        signature.check(None, &api.keys, &scope)?;
    }
    let announced = head.headers.get(CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > most) {
        return Err(too_large(most));
    }
    // A body of unknown length may be as long as the longest.
    let share = u32::try_from(announced.unwrap_or(most)).unwrap_or(u32::MAX);
    let Ok(_room) = api.bodies.try_acquire_many(share) else {
        let message = "the node reads as many bodies as it may; try again";
        return Err(ServiceError::too_many_requests(
            "CallerRateLimitExceeded",
            message,
        ));
    };
    let reading = Limited::new(body, most).collect();
    let stall = std::time::Duration::from_millis(API_STALL_MS);
    let body = match tokio::time::timeout(stall, reading).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large(most)),
        Ok(Err(_)) => {
            let message = "the request's body broke off";
            return Err(ServiceError::new(400, "IncompleteBody", message));
        }
        Err(_late) => {
            let message = "the request's body did not come in time";
            return Err(ServiceError::new(408, "RequestTimeoutException", message));
        }
    };
    let signed = signature.check(Some(&body_sha256(&body)), &api.keys, &scope)?;
    match signed.content_sha256 {
        ContentHash::Hex(_) | ContentHash::Absent(_) => Ok(body),
        // Only S3 has bodies that nobody signed.
        ContentHash::Unsigned | ContentHash::Streaming(_) => Err(SigError::Mismatch.into()),
    }
}

fn too_large(most: usize) -> ServiceError {
    ServiceError::request_too_large(format!("Request must be smaller than {most} bytes"))
}

async fn dispatch(api: &Arc<Api>, call: Call<'_>) -> Answer {
    use Operation as Op;
    match call.route.operation {
        Op::CreateFunction => functions::create(api, &call).await,
        Op::GetFunction => functions::get(api, &call),
        Op::GetFunctionConfiguration => functions::get_configuration(api, &call),
        Op::ListFunctions => functions::list(api, &call),
        Op::UpdateFunctionCode => functions::update_code(api, &call).await,
        Op::UpdateFunctionConfiguration => functions::update_configuration(api, &call).await,
        Op::DeleteFunction => functions::delete(api, &call).await,
        Op::Invoke => invoke::invoke(api, call).await,
        Op::InvokeAsync => invoke::invoke_async(api, call).await,
        Op::InvokeWithResponseStream => invoke::invoke_with_response_stream(api, call).await,
        Op::PublishVersion => versions::publish(api, &call).await,
        Op::ListVersionsByFunction => versions::list(api, &call),
        Op::CreateAlias => aliases::create(api, &call).await,
        Op::GetAlias => aliases::get(api, &call),
        Op::ListAliases => aliases::list(api, &call),
        Op::UpdateAlias => aliases::update(api, &call).await,
        Op::DeleteAlias => aliases::delete(api, &call).await,
        Op::PutFunctionConcurrency => concurrency::put(api, &call).await,
        Op::GetFunctionConcurrency => concurrency::get(api, &call),
        Op::DeleteFunctionConcurrency => concurrency::delete(api, &call).await,
        Op::PutProvisionedConcurrencyConfig => concurrency::provision(api, &call).await,
        Op::GetProvisionedConcurrencyConfig => concurrency::provisioned(api, &call),
        Op::ListProvisionedConcurrencyConfigs => concurrency::list_provisioned(api, &call),
        Op::DeleteProvisionedConcurrencyConfig => concurrency::release(api, &call).await,
        Op::CreateFunctionUrlConfig => urls::create(api, &call).await,
        Op::GetFunctionUrlConfig => urls::get(api, &call),
        Op::ListFunctionUrlConfigs => urls::list(api, &call),
        Op::UpdateFunctionUrlConfig => urls::update(api, &call).await,
        Op::DeleteFunctionUrlConfig => urls::delete(api, &call).await,
        Op::AddPermission => policy::add(api, &call).await,
        Op::GetPolicy => policy::get(api, &call),
        Op::RemovePermission => policy::remove(api, &call).await,
        Op::PutFunctionEventInvokeConfig => event_config::put(api, &call).await,
        Op::UpdateFunctionEventInvokeConfig => event_config::update(api, &call).await,
        Op::GetFunctionEventInvokeConfig => event_config::get(api, &call),
        Op::ListFunctionEventInvokeConfigs => event_config::list(api, &call),
        Op::DeleteFunctionEventInvokeConfig => event_config::delete(api, &call).await,
        Op::TagResource => tags::tag(api, &call).await,
        Op::UntagResource => tags::untag(api, &call).await,
        Op::ListTags => tags::list(api, &call).await,
        _ => dispatch_rest(api, call).await,
    }
}

/// What is not about one function, and what is there only to be asked.
async fn dispatch_rest(api: &Arc<Api>, call: Call<'_>) -> Answer {
    use Operation as Op;
    match call.route.operation {
        Op::PublishLayerVersion => layers::publish(api, &call).await,
        Op::GetLayerVersion => layers::get(api, &call).await,
        Op::GetLayerVersionByArn => layers::get_by_arn(api, &call).await,
        Op::ListLayers => layers::list(api, &call).await,
        Op::ListLayerVersions => layers::list_versions(api, &call).await,
        Op::DeleteLayerVersion => layers::delete(api, &call).await,
        Op::GetLayerVersionPolicy => layers::policy::get(api, &call).await,
        Op::AddLayerVersionPermission => layers::policy::add(api, &call).await,
        Op::RemoveLayerVersionPermission => layers::policy::remove(api, &call).await,
        Op::CreateEventSourceMapping => mappings::create(api, &call).await,
        Op::GetEventSourceMapping => mappings::get(api, &call).await,
        Op::ListEventSourceMappings => mappings::list(api, &call).await,
        Op::UpdateEventSourceMapping => mappings::update(api, &call).await,
        Op::DeleteEventSourceMapping => mappings::delete(api, &call).await,
        Op::GetAccountSettings => Ok(account::settings(api)),
        Op::GetFunctionCodeSigningConfig => account::code_signing(api, &call),
        Op::GetRuntimeManagementConfig => account::runtime_management(api, &call),
        Op::GetFunctionRecursionConfig => account::recursion(api, &call),
        Op::PutFunctionRecursionConfig => account::put_recursion(api, &call),
        operation => Err(ServiceError::not_implemented(operation)),
    }
}

/// An error as the API's clients understand it.
fn refused(error: &ServiceError) -> Response {
    let mut response = Response::new(Body::from(error.to_body()));
    *response.status_mut() =
        StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ERROR_TYPE_HEADER, HeaderValue::from_static(error.kind));
    if let Some(seconds) = error.retry_after_s {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn s3_is_not_there(uri: &Uri) -> Response {
    let resource: String = uri.path().chars().take(1024).flat_map(escape).collect();
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NotImplemented</Code><Message>This \
         listener speaks AWS Lambda and will speak S3. Fractus {} does not yet: use the admin API \
         or the command line for buckets.</Message><Resource>{resource}</Resource></Error>\n",
        env!("CARGO_PKG_VERSION")
    );
    let kind = [(CONTENT_TYPE, "application/xml")];
    (StatusCode::NOT_IMPLEMENTED, kind, text).into_response()
}

/// A character as text of XML.
fn escape(character: char) -> Vec<char> {
    match character {
        '&' => "&amp;".chars().collect(),
        '<' => "&lt;".chars().collect(),
        '>' => "&gt;".chars().collect(),
        other => vec![other],
    }
}
