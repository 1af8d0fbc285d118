//! What operations have in common: the function that is meant, JSON in and out, pages of lists.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fractus_func::FunctionName;
use fractus_lambda::control::{Constraint, FunctionRef, Qualifier, ServiceError, function_arn};
use fractus_lambda::limits::PAGE_MAX;
use fractus_lambda::model::{LATEST, Object};
use fractus_stdx::ErrorChain;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Answer, Api, Call};
use crate::control::{AttachError, DeployError};
use crate::functions::{Entry, Function};
use crate::limits::ACCOUNT;

/// A function that a request is about.
pub(super) struct Target {
    pub(super) entry: Arc<Entry>,
    /// As it was named, in the path or the query.
    pub(super) qualifier: Option<Qualifier>,
}

impl Target {
    pub(super) fn name(&self) -> &FunctionName {
        self.entry.latest.name()
    }

    /// The qualifier as text.
    pub(super) fn label(&self) -> Option<String> {
        self.qualifier.as_ref().map(ToString::to_string)
    }

    /// The ARN as it was asked for.
    pub(super) fn arn(&self, api: &Api) -> String {
        arn(api, self.name().as_str(), self.qualifier.as_ref())
    }

    /// The version that the qualifier stands for; of an alias with weights the first.
    pub(super) fn version(&self, api: &Api) -> Result<&Arc<Function>, ServiceError> {
        // A weight is never above 1.
        let found = self.entry.resolve(self.label().as_deref(), 1.0);
        found.ok_or_else(|| no_such_function(&self.arn(api)))
    }
}

/// The ARN of a function, or of a version or alias of it.
pub(super) fn arn(api: &Api, name: &str, qualifier: Option<&Qualifier>) -> String {
    function_arn(&api.region, ACCOUNT, name, qualifier)
}

pub(super) fn no_such_function(arn: &str) -> ServiceError {
    ServiceError::not_found(format!("Function not found: {arn}"))
}

impl Api {
    /// The name that a request gives a function, with its qualifier in either place.
    pub(super) fn reference(&self, call: &Call<'_>) -> Result<FunctionRef, ServiceError> {
        let reference = self.parse(call.route.parameter("FunctionName"))?;
        reference.with_qualifier(call.query.get("Qualifier").map(String::as_str))
    }

    /// Reads a name or an ARN; one of another account or region names nothing here.
    pub(super) fn parse(&self, text: &str) -> Result<FunctionRef, ServiceError> {
        let reference = FunctionRef::parse(text)?;
        reference.check_region(text, &self.region)?;
        if reference
            .account
            .as_deref()
            .is_some_and(|account| account != ACCOUNT)
        {
            return Err(ServiceError::access_denied(format!(
                "User: arn:aws:iam::{ACCOUNT}:root is not authorized to perform this action on \
                 resource: {text}"
            )));
        }
        Ok(reference)
    }

    /// The function that a request is about.
    pub(super) fn target(&self, call: &Call<'_>) -> Result<Target, ServiceError> {
        self.find(self.reference(call)?)
    }

    /// The same for operations on a function as a whole.
    pub(super) fn whole(&self, call: &Call<'_>) -> Result<Target, ServiceError> {
        self.find(self.reference(call)?.unqualified()?)
    }

    /// The function of this name.
    pub(super) fn find(&self, reference: FunctionRef) -> Result<Target, ServiceError> {
        let FunctionRef {
            name, qualifier, ..
        } = reference;
        let found = self.control.functions().get(&name);
        let entry = found.ok_or_else(|| no_such_function(&arn(self, &name, qualifier.as_ref())))?;
        Ok(Target { entry, qualifier })
    }
}

/// Reads a request's JSON.
pub(super) fn read<T: DeserializeOwned>(call: &Call<'_>) -> Result<T, ServiceError> {
    let body = if call.body.trim_ascii().is_empty() {
        b"{}"
    } else {
        &call.body[..]
    };
    let read = serde_json::from_slice(body).map(|Object(read)| read);
    read.map_err(|error| match error.classify() {
        serde_json::error::Category::Data => ServiceError::serialization(error.to_string()),
        _ => ServiceError::invalid_content(format!(
            "Could not parse request body into json: {error}"
        )),
    })
}

/// An answer with a document, with the status that the model gives the operation.
#[expect(clippy::unnecessary_wraps, reason = "operations end with it")]
pub(super) fn told(call: &Call<'_>, document: &Value) -> Answer {
    let mut response = Response::new(Body::from(document.to_string()));
    *response.status_mut() = success(call);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

/// An answer without one.
#[expect(clippy::unnecessary_wraps, reason = "operations end with it")]
pub(super) fn done(call: &Call<'_>) -> Answer {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = success(call);
    Ok(response)
}

fn success(call: &Call<'_>) -> StatusCode {
    StatusCode::from_u16(call.route.operation.success_status()).unwrap_or(StatusCode::OK)
}

/// A page of a list whose entries are sorted by their keys: what comes after the marker, and the
/// marker of the next page. A client may ask for `most` entries.
pub(super) fn page<T>(
    call: &Call<'_>,
    entries: impl IntoIterator<Item = (String, T)>,
    most: usize,
) -> Result<(Vec<T>, Option<String>), ServiceError> {
    let most = page_size(call, most)?.min(PAGE_MAX);
    let after = call.query.get("Marker").filter(|marker| !marker.is_empty());
    let after = after.map(|marker| read_marker(marker)).transpose()?;
    let mut rest = entries
        .into_iter()
        .skip_while(|(key, _)| after.as_ref().is_some_and(|after| key <= after))
        .peekable();
    let mut found = Vec::new();
    let mut last = None;
    while found.len() < most
        && let Some((key, entry)) = rest.next()
    {
        found.push(entry);
        last = Some(key);
    }
    let last = last.filter(|_| rest.peek().is_some());
    Ok((found, last.map(|key| URL_SAFE_NO_PAD.encode(key))))
}

fn page_size(call: &Call<'_>, most: usize) -> Result<usize, ServiceError> {
    let Some(text) = call.query.get("MaxItems") else {
        return Ok(PAGE_MAX);
    };
    let wrong = match text.parse::<i64>() {
        Ok(number) if number < 1 => Constraint::ValueMin(1),
        Ok(number) => match usize::try_from(number) {
            Ok(number) if number <= most => return Ok(number),
            _ => Constraint::ValueMax(i64::try_from(most).unwrap_or(i64::MAX)),
        },
        Err(_) => Constraint::Pattern("[0-9]+"),
    };
    Err(ServiceError::constraint("maxItems", text, wrong))
}

/// The key in a marker, which nobody but this node makes.
fn read_marker(marker: &str) -> Result<String, ServiceError> {
    let key = URL_SAFE_NO_PAD.decode(marker).ok();
    let key = key.and_then(|key| String::from_utf8(key).ok());
    key.ok_or_else(|| ServiceError::invalid_parameter("Marker: it is none of this list"))
}

/// A list's answer: its entries below `name`, and where the next page begins.
pub(super) fn list(
    call: &Call<'_>,
    name: &str,
    (entries, next): (Vec<Value>, Option<String>),
) -> Answer {
    let mut document = serde_json::Map::new();
    document.insert(name.to_owned(), entries.into());
    if let Some(next) = next {
        document.insert("NextMarker".to_owned(), next.into());
    }
    told(call, &document.into())
}

/// A number as a key that sorts as the number does.
pub(super) fn sortable(number: u64) -> String {
    format!("{number:020}")
}

/// Whether the caller knows the thing as it is.
pub(super) fn check_revision(given: Option<&str>, is: &str) -> Result<(), ServiceError> {
    match given {
        Some(given) if given != is => Err(ServiceError::precondition_failed(
            "The Revision Id provided does not match the latest Revision Id. Call the \
             GetFunction/GetAlias API to retrieve the latest Revision Id",
        )),
        _ => Ok(()),
    }
}

/// The version's label for what `$LATEST` or no qualifier stands for.
pub(super) fn or_latest(label: Option<String>) -> String {
    label.unwrap_or_else(|| LATEST.to_owned())
}

/// A deploy that failed, to a client.
pub(super) fn deploy_error(error: &DeployError, arn: &str) -> ServiceError {
    let message = || ErrorChain(error).to_string();
    match error {
        DeployError::Exists => ServiceError::conflict(format!("Function already exist: {arn}")),
        DeployError::Missing => no_such_function(arn),
        DeployError::Changed => ServiceError::conflict(format!(
            "The operation cannot be performed at this time. An update is in progress for \
             resource: {arn}"
        )),
        DeployError::TooMany | DeployError::TooManyVersions => {
            ServiceError::code_storage(message())
        }
        DeployError::Artifact(crate::artifacts::ArtifactError::Invalid(_))
        | DeployError::Manifest(_)
        | DeployError::Reserved(_)
        | DeployError::Taken(_) => ServiceError::invalid_parameter(message()),
        DeployError::Artifact(crate::artifacts::ArtifactError::TooLarge) => {
            ServiceError::request_too_large(message())
        }
        DeployError::Artifact(_)
        | DeployError::Registry(_)
        | DeployError::Schedule(_)
        | DeployError::Events(_) => internal(error),
    }
}

/// A change of what is attached that failed, to a client.
pub(super) fn attach_error(error: AttachError<ServiceError>, arn: &str) -> ServiceError {
    match error {
        AttachError::Missing => no_such_function(arn),
        AttachError::Refused(refused) => refused,
        AttachError::Failed(error) => deploy_error(&error, arn),
    }
}

/// The node's own fault; the log has more.
pub(super) fn internal(error: &(dyn std::error::Error + 'static)) -> ServiceError {
    let message = ErrorChain(error).to_string();
    tracing::error!(error = %message, "api request");
    ServiceError::service(message)
}

/// Whether a number is from `min` to `max`.
pub(super) fn check_range(
    member: &str,
    value: i64,
    (min, max): (u32, u32),
) -> Result<u32, ServiceError> {
    let fits = u32::try_from(value)
        .ok()
        .filter(|value| (min..=max).contains(value));
    let constraint = if value < i64::from(min) {
        Constraint::ValueMin(min.into())
    } else {
        Constraint::ValueMax(max.into())
    };
    fits.ok_or_else(|| ServiceError::constraint(member, &value.to_string(), constraint))
}
