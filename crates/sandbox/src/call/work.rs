//! One call of an instance: the request in the form that its handler takes, and the beginning of
//! its answer.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use fractus_func::{Body, CallError, EventCall, Outcome, Payload, RequestId, SpeaksHttp};
use fractus_lambda::{
    Answer, ErrorShape, Invocation, UrlContext, event_request, raw_event, stream_response,
    url_event,
};
use http::Response;
use http::request::Parts;
use serde_json::value::RawValue;

use crate::call::exchange::{Collected, frames, over_api};
use crate::call::failure::{broken, shaped};
use crate::call::head::{header_list, http_head, malformed_head, stream_head, whole};
use crate::call::upload::{Upload, unread};
use crate::call::visit::{Visit, now_ms};
use crate::frame::{AnswerHead, Frame, HandlerKind, HttpHead, Invoke, StreamHead, from, invoke};
use crate::function::Function;
use crate::instance::{Channel, Instance};

/// What a guest answered.
pub(super) enum Reply {
    Whole(Response<Bytes>),
    Stream(Response<()>, Rest),
}

/// The part of an answer that has not come yet, and that which has.
pub(super) enum Rest {
    Frames(Vec<Bytes>),
    Body(Body),
}

/// The whole body of a request whose beginning is `first`.
async fn whole_body(
    visit: &mut Visit,
    mut upload: Upload,
    first: Bytes,
) -> Result<Bytes, CallError> {
    let mut body = first;
    if upload.has_more() {
        let rest = upload.collect(usize::MAX).await.map_err(|e| unread(&e))?;
        body = [body, rest].concat().into();
    }
    visit.request_bytes = upload.read;
    Ok(body)
}

/// One call of an instance.
pub(super) struct Work<'a> {
    pub(super) function: &'a Arc<Function>,
    pub(super) head: &'a Parts,
    pub(super) event: Option<&'a EventCall>,
    pub(super) deadline: Instant,
    pub(super) deadline_ms: u64,
}

impl Work<'_> {
    pub(super) async fn exchange(
        &mut self,
        instance: &mut Instance,
        visit: &mut Visit,
        upload: Upload,
        first: Bytes,
    ) -> Result<Reply, CallError> {
        match (&instance.channel, instance.handler) {
            (Channel::Frames(_), HandlerKind::Wsgi | HandlerKind::Asgi) => match self.event {
                None => self.web(instance, visit, upload, first).await,
                Some(_) => self.web_event(instance, visit, upload, first).await,
            },
            _ => self.event(instance, visit, upload, first).await,
        }
    }

    fn payload(&self, handler: HandlerKind) -> Payload {
        let default = match handler {
            HandlerKind::Event => Payload::Raw,
            _ => Payload::Http,
        };
        let payload = self.function.manifest.payload.unwrap_or(default);
        self.event.map_or(payload, |_| Payload::Raw)
    }

    /// The ARN by which the function was called.
    fn arn(&self) -> &Arc<str> {
        self.event
            .map_or(&self.function.identity.arn, |event| &event.arn)
    }

    /// The caller's client context, for a frame.
    fn client_context(&self) -> Option<&RawValue> {
        serde_json::from_str(self.event?.client_context.as_deref()?).ok()
    }

    /// Calls a handler that takes an event.
    async fn event(
        &mut self,
        instance: &mut Instance,
        visit: &mut Visit,
        upload: Upload,
        first: Bytes,
    ) -> Result<Reply, CallError> {
        let body = whole_body(visit, upload, first).await?;
        let payload = self.payload(instance.handler);
        let event = match payload {
            Payload::Raw => raw_event(body).map_err(|e| shaped(Outcome::BadRequest, e))?,
            Payload::Http => self.url_event(&body, visit.id),
        };
        if let Channel::Api(_) = &instance.channel {
            return self.invoke(instance, visit, event, payload).await;
        }
        let mut frame = BytesMut::with_capacity(512 + event.len());
        let call = Invoke {
            id: visit.id.to_string(),
            deadline_ms: self.deadline_ms,
            arn: self.arn(),
            trace: self.trace(),
            client_context: self.client_context(),
            more: false,
            http: None,
        };
        invoke(&mut frame, &call, event.len());
        frame.extend_from_slice(&event);
        let answered = frames(instance, visit, &frame, None).await;
        let (first, rest) = match answered {
            Ok(answered) => answered,
            Err(why) => return Err(broken(&why, instance, visit.id, Outcome::Exited).await),
        };
        self.read_answer(first, rest, payload)
    }

    fn read_answer(
        &self,
        first: Frame,
        rest: Collected,
        payload: Payload,
    ) -> Result<Reply, CallError> {
        match first.kind {
            from::ANSWER => {
                self.check_size(first.payload.len())?;
                whole(first.payload, payload).map(Reply::Whole)
            }
            from::ERROR => Err(shaped(
                Outcome::GuestError,
                ErrorShape::from_json(&first.payload),
            )),
            from::STREAM => {
                let head: Option<StreamHead> = serde_json::from_slice(&first.payload).ok();
                let head = head.and_then(|head| stream_head(&head));
                let head = head.ok_or_else(malformed_head)?;
                self.assemble(head, rest)
            }
            from::HTTP_HEAD => {
                let head: Option<AnswerHead> = serde_json::from_slice(&first.payload).ok();
                let head = head.and_then(|head| http_head(&head));
                let head = head.ok_or_else(malformed_head)?;
                self.assemble(head, rest)
            }
            _ => {
                let message = format!("the runtime sent a frame of kind {}", first.kind);
                let shape = ErrorShape::new("Runtime.InvalidFrame", message);
                Err(shaped(Outcome::Exited, shape))
            }
        }
    }

    fn check_size(&self, length: usize) -> Result<(), CallError> {
        let limit = self.function.manifest.limits.response_bytes();
        if length as u64 <= limit {
            return Ok(());
        }
        let shape = ErrorShape::response_too_large(limit);
        Err(shaped(Outcome::ResponseTooLarge, shape))
    }

    fn assemble(&self, head: Response<()>, rest: Collected) -> Result<Reply, CallError> {
        match rest {
            Collected::Whole(body) => {
                self.check_size(body.len())?;
                Ok(Reply::Whole(head.map(|()| body)))
            }
            Collected::Failed(error) => {
                Err(shaped(Outcome::GuestError, ErrorShape::from_json(&error)))
            }
            Collected::Partly(chunks) => Ok(Reply::Stream(head, Rest::Frames(chunks))),
        }
    }

    /// Calls the guest over the Runtime API.
    async fn invoke(
        &mut self,
        instance: &mut Instance,
        visit: &mut Visit,
        event: Bytes,
        payload: Payload,
    ) -> Result<Reply, CallError> {
        let invocation = Invocation {
            id: visit.id,
            deadline_ms: self.deadline_ms,
            arn: Arc::clone(self.arn()),
            trace_id: self.trace().map(str::to_owned),
            client_context: self.event.and_then(|event| event.client_context.clone()),
            event,
        };
        let called = over_api(instance, visit, invocation).await;
        match called {
            Ok(Ok(Answer::Whole(json))) => {
                self.check_size(json.len())?;
                whole(json, payload).map(Reply::Whole)
            }
            Ok(Ok(Answer::Stream { content_type, body })) => {
                let response = stream_response(content_type.as_deref(), body);
                let response = response.await.map_err(|e| shaped(Outcome::GuestError, e))?;
                let (parts, body) = response.into_parts();
                Ok(Reply::Stream(
                    Response::from_parts(parts, ()),
                    Rest::Body(body),
                ))
            }
            Ok(Err(shape)) => Err(shaped(Outcome::GuestError, shape)),
            Err(why) => Err(broken(&why, instance, visit.id, Outcome::Exited).await),
        }
    }

    /// Calls a web application with an event: with the request that it describes.
    async fn web_event(
        &mut self,
        instance: &mut Instance,
        visit: &mut Visit,
        upload: Upload,
        first: Bytes,
    ) -> Result<Reply, CallError> {
        let event = whole_body(visit, upload, first).await?;
        let request = event_request(&event, self.function.manifest.name.as_str());
        let request = request.map_err(|e| shaped(Outcome::BadRequest, e))?;
        let (mut head, body) = request.into_parts();
        for name in ["x-amzn-trace-id", "traceparent"] {
            if let Some(value) = self.head.headers.get(name) {
                head.headers.insert(name, value.clone());
            }
        }
        let mut work = Work {
            head: &head,
            ..*self
        };
        let mut reply = work.web(instance, visit, Upload::none(), body).await?;
        match &mut reply {
            Reply::Whole(response) => drop(response.extensions_mut().insert(SpeaksHttp)),
            Reply::Stream(head, _) => drop(head.extensions_mut().insert(SpeaksHttp)),
        }
        Ok(reply)
    }

    /// Calls a web application.
    async fn web(
        &mut self,
        instance: &mut Instance,
        visit: &mut Visit,
        upload: Upload,
        first: Bytes,
    ) -> Result<Reply, CallError> {
        let (root_path, _) = self.split_path();
        let host = self.host();
        let head = HttpHead {
            method: self.head.method.as_str(),
            path: self.head.uri.path(),
            query: self.head.uri.query().unwrap_or(""),
            headers: header_list(self.head),
            scheme: self.head.uri.scheme_str().unwrap_or("http"),
            host,
            client: self.client(),
            root_path,
        };
        let call = Invoke {
            id: visit.id.to_string(),
            deadline_ms: self.deadline_ms,
            arn: self.arn(),
            trace: self.trace(),
            client_context: self.client_context(),
            more: upload.has_more(),
            http: Some(head),
        };
        let mut frame = BytesMut::with_capacity(1024 + first.len());
        invoke(&mut frame, &call, first.len());
        frame.extend_from_slice(&first);
        let answered = frames(instance, visit, &frame, Some(upload)).await;
        let (first, rest) = match answered {
            Ok(answered) => answered,
            Err(why) => return Err(broken(&why, instance, visit.id, Outcome::Exited).await),
        };
        self.read_answer(first, rest, Payload::Http)
    }

    fn url_event(&self, body: &[u8], id: RequestId) -> Bytes {
        let (_, path) = self.split_path();
        let name = self.function.manifest.name.as_str();
        let host = self.host();
        let domain = host.rsplit_once(':').map_or(host, |(domain, _port)| domain);
        // What stands for the function in its URL.
        let url_id = domain.split_once(".lambda-url.").map(|(id, _)| id);
        let context = UrlContext {
            request_id: id,
            signed_by: self.head.extensions.get(),
            api_id: url_id.unwrap_or(name),
            domain,
            source_ip: self.client(),
            now_ms: now_ms(),
        };
        let mut head = self.head.clone();
        let query = head.uri.query().map(|query| format!("?{query}"));
        let target = format!("{path}{}", query.unwrap_or_default());
        if let Ok(uri) = target.parse() {
            head.uri = uri;
        }
        url_event(&head, body, &context)
    }

    /// The path up to the function, and the path that is the function's.
    fn split_path(&self) -> (&str, &str) {
        let path = self.head.uri.path();
        let name = self.function.manifest.name.as_str();
        let own = path
            .strip_prefix("/run/")
            .and_then(|rest| rest.strip_prefix(name))
            .filter(|rest| rest.is_empty() || rest.starts_with('/'));
        match own {
            Some("") => (path, "/"),
            Some(rest) => (&path[..path.len() - rest.len()], rest),
            None => ("", path),
        }
    }

    fn host(&self) -> &str {
        let header = self.head.headers.get(http::header::HOST);
        let header = header.and_then(|host| host.to_str().ok());
        header
            .or_else(|| self.head.uri.authority().map(http::uri::Authority::as_str))
            .unwrap_or("localhost")
    }

    fn client(&self) -> &str {
        let forwarded = self.head.headers.get("x-forwarded-for");
        let first = forwarded.and_then(|list| list.to_str().ok()?.split(',').next());
        first.map_or("127.0.0.1", str::trim)
    }

    fn trace(&self) -> Option<&str> {
        self.head.headers.get("x-amzn-trace-id")?.to_str().ok()
    }
}
