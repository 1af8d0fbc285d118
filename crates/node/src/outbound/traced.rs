//! Outgoing HTTP of calls that are traced.

use std::sync::Arc;

use fractus_func::trace::SpanKind;
use fractus_func::{Body, BoxFuture, OutboundError, Tunnel};
use http::uri::Authority;
use http::{Method, Request, Response};

use super::policy::Target;
use super::{Lane, Outbound, store};
use crate::origin::split_object_path;
use crate::traces::{Part, Recorder};

impl Outbound {
    /// As [`Outbound::send`], for a call that is traced. Whoever is asked is told of the trace.
    pub(crate) fn send_traced(
        &self,
        lane: &Lane,
        mut request: Request<Body>,
        recorder: &Arc<Recorder>,
    ) -> BoxFuture<'static, Result<Response<Body>, OutboundError>> {
        let part = begin(recorder, &mut request);
        let sending = self.send(lane, part.sends(request));
        Box::pin(async move { part.answered(sending.await) })
    }

    /// As [`Outbound::tunnel`], for a call that is traced. What goes through it is not counted.
    pub(crate) fn tunnel_traced(
        &self,
        lane: &Lane,
        authority: &str,
        recorder: &Arc<Recorder>,
    ) -> BoxFuture<'static, Result<Tunnel, OutboundError>> {
        let host = Target::of_tunnel(authority);
        let host = host.map_or_else(|_| authority.to_owned(), |target| target.to_string());
        let method = Method::CONNECT.to_string();
        let kind = SpanKind::Outgoing { method, host };
        let part = recorder.begin(kind, ("network.transport", "tcp"));
        let connecting = self.tunnel(lane, authority);
        Box::pin(async move {
            let Tunnel { socket, place } = connecting.await.inspect_err(|e| part.failed(e))?;
            let place = Box::new((place, part));
            Ok(Tunnel { socket, place })
        })
    }
}

/// Begins the span of a request.
fn begin(recorder: &Arc<Recorder>, request: &mut Request<Body>) -> Part {
    let (method, url) = (request.method().to_string(), request.uri());
    match Target::of(url) {
        Ok(target) if store::is_store(&target) => {
            let (bucket, key) = split_object_path(url.path()).unwrap_or_default();
            let bucket = bucket.to_owned();
            recorder.begin(SpanKind::Store { method, bucket }, ("aws.s3.key", key))
        }
        target => {
            let written = || url.authority().map_or("", Authority::as_str).to_owned();
            let host = target.map_or_else(|_| written(), |target| target.to_string());
            // Not the query: there may be secrets in it.
            let path = ("url.path", url.path());
            let part = recorder.begin(SpanKind::Outgoing { method, host }, path);
            part.tell(request.headers_mut());
            part
        }
    }
}
