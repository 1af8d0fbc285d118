//! A server elsewhere, as the configuration names it.

use std::error::Error;
use std::future::ready;

use fractus_edge::Origin;
use fractus_func::{Body, BoxFuture, OutboundError, RequestId};
use fractus_stdx::ErrorChain;
use http::uri::{InvalidUri, PathAndQuery};
use http::{Request, Response, StatusCode, Uri};

use super::problem;
use crate::outbound::Outbound;

/// Passes requests on to a URL, whose path takes the place of the route's, and streams both ways.
/// It sends the URL's host as Host; what the client asked for stands in X-Forwarded-Host.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamOrigin {
    outbound: Outbound,
    /// The route's path: a prefix if it ends with `/`, else exact.
    route: Box<str>,
    url: Uri,
    generation: u64,
}

impl UpstreamOrigin {
    /// An origin for the route with path `route`. `url` is absolute, `http` or `https`; private
    /// addresses are fine, for the operator wrote it.
    pub(crate) fn new(outbound: Outbound, route: &str, url: Uri, generation: u64) -> Self {
        Self {
            outbound,
            route: route.into(),
            url,
            generation,
        }
    }

    /// The upstream's URL for a request's: `/api/users?x` on route `/api/` to `http://h/v1` is
    /// `http://h/v1/users?x`.
    fn target(&self, asked: &Uri) -> Result<Uri, InvalidUri> {
        let path = asked.path();
        let base = self.url.path();
        let mapped = match path.strip_prefix(&*self.route) {
            Some(rest) if self.route.ends_with('/') => {
                format!("{}/{rest}", base.strip_suffix('/').unwrap_or(base))
            }
            _ => base.to_owned(),
        };
        let query = asked
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        let mut parts = self.url.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(mapped + &query)?);
        Ok(Uri::from_parts(parts).expect("a URL with another path is one"))
    }
}

impl Origin for UpstreamOrigin {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn fetch(
        &self,
        mut request: Request<Body>,
        id: RequestId,
    ) -> BoxFuture<'static, Response<Body>> {
        if has_dot_segment(request.uri().path()) {
            let text = "a path with `.` or `..` in it would lead out of the route";
            let refusal = problem(StatusCode::BAD_REQUEST, "dot-segment", text);
            return Box::pin(ready(refusal));
        }
        let Ok(url) = self.target(request.uri()) else {
            let text = "the path is too long for the upstream";
            return Box::pin(ready(problem(
                StatusCode::URI_TOO_LONG,
                "path-too-long",
                text,
            )));
        };
        *request.uri_mut() = url;
        let answer = self.outbound.forward(request);
        let url = self.url.clone();
        Box::pin(async move {
            answer.await.unwrap_or_else(|error| {
                tracing::debug!(%id, upstream = %url, error = %ErrorChain(&error), "ask an upstream");
                failure(&error, id)
            })
        })
    }
}

/// Whether some server would read `.` or `..` in the path, decoded or not, and climb. Servers that
/// take `\` for `/`, or cut `;` and what follows off a segment, are thought of.
fn has_dot_segment(path: &str) -> bool {
    if !path.contains(['.', '%']) {
        return false;
    }
    let decoded = path
        .to_ascii_lowercase()
        .replace("%2e", ".")
        .replace("%2f", "/")
        .replace("%5c", "\\");
    decoded
        .split(['/', '\\'])
        .any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

/// What a client may know: what failed and what the system said, but not where the upstream is.
fn failure(error: &OutboundError, id: RequestId) -> Response<Body> {
    let (status, code, why) = match error {
        OutboundError::Timeout(_) => {
            let why = "it did not answer in time".to_owned();
            (StatusCode::GATEWAY_TIMEOUT, "upstream-timeout", why)
        }
        OutboundError::NoSuchHost(_) => (
            StatusCode::BAD_GATEWAY,
            "upstream-unreachable",
            "its name has no address".to_owned(),
        ),
        OutboundError::Denied { .. } => {
            let why = "its URL leads nowhere that a name may lead".to_owned();
            (StatusCode::BAD_GATEWAY, "upstream-unreachable", why)
        }
        OutboundError::Failed { source, .. } => (
            StatusCode::BAD_GATEWAY,
            "upstream-failed",
            root_cause(&**source).to_string(),
        ),
    };
    problem(
        status,
        code,
        &format!("the upstream of this route failed: {why} (request {id})"),
    )
}

/// The last cause in a chain: what the system said.
fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root
}

#[cfg(test)]
mod tests;
