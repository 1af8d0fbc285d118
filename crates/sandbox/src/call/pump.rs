//! The rest of an answer that streams.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use fractus_func::{Body, BodyError, CallError, LogStream, Outcome};
use fractus_lambda::ErrorShape;
use http::Response;
use http_body_util::BodyExt as _;

use crate::call::failure::{broken, gone, shaped};
use crate::call::visit::Visit;
use crate::call::work::Rest;
use crate::call::{finish_output, settle};
use crate::frame::{Frame, from};
use crate::function::Function;
use crate::instance::{Broken, Channel, Instance, Prints, Wire};
use crate::limits::STREAM_CHUNKS;
use crate::stream::{Chunks, chunks};

/// Hands an answer on that is not complete yet, in the background; its instance is kept at the end.
pub(super) fn stream(
    function: Arc<Function>,
    instance: Instance,
    visit: Visit,
    (response, rest): (Response<()>, Rest),
    deadline: Instant,
) -> Response<Body> {
    let (sender, body) = chunks(STREAM_CHUNKS);
    let limit = function.manifest.limits.response_bytes();
    let handle = function.machine.handle.clone();
    let pump = Pump {
        function,
        instance,
        visit,
        sender,
        left: limit,
        limit,
    };
    handle.spawn(pump.run(rest, deadline));
    response.map(|()| body)
}

/// What a streamed answer needs until it is complete.
pub(super) struct Pump {
    function: Arc<Function>,
    instance: Instance,
    visit: Visit,
    sender: Chunks,
    left: u64,
    limit: u64,
}

/// Why a streamed answer ended early.
pub(super) enum Cut {
    Client,
    Guest(CallError),
}

impl Pump {
    async fn run(mut self, rest: Rest, deadline: Instant) {
        let late = tokio::time::sleep_until(deadline.into());
        let done = tokio::select! {
            done = self.forward(rest) => done,
            () = late => {
                let timeout_us = self.function.manifest.limits.timeout_us();
                let shape = ErrorShape::timed_out(self.visit.id, timeout_us / 1000);
                Err(Cut::Guest(shaped(Outcome::Timeout, shape)))
            }
        };
        let Self {
            function,
            mut instance,
            mut visit,
            sender,
            ..
        } = self;
        visit.measured(&instance);
        match done {
            Ok(()) => {
                settle(&function, instance, &visit);
                visit.end(Outcome::Ok);
            }
            Err(Cut::Client) => {}
            Err(Cut::Guest(error)) => {
                finish_output(&mut visit, &mut instance);
                let outcome = error.outcome;
                visit.fail(error);
                // The guest ends now, however long its client takes to hear of it.
                drop((instance, visit));
                sender.fail(BodyError::Guest(outcome)).await;
            }
        }
    }

    async fn forward(&mut self, rest: Rest) -> Result<(), Cut> {
        match rest {
            Rest::Frames(early) => {
                for chunk in early {
                    self.send(chunk).await?;
                }
                self.frames().await
            }
            Rest::Body(body) => self.body(body).await,
        }
    }

    async fn send(&mut self, chunk: Bytes) -> Result<(), Cut> {
        let length = chunk.len() as u64;
        if length > self.left {
            let shape = ErrorShape::response_too_large(self.limit);
            return Err(Cut::Guest(shaped(Outcome::ResponseTooLarge, shape)));
        }
        self.left -= length;
        self.visit.response_bytes += length;
        let sent = self.sender.send(chunk).await;
        sent.map_err(|_gone| Cut::Client)
    }

    async fn frames(&mut self) -> Result<(), Cut> {
        loop {
            let frame = match self.next_frame().await {
                Ok(frame) => frame,
                Err(why) => {
                    let id = self.visit.id;
                    let error = broken(&why, &self.instance, id, Outcome::Exited).await;
                    return Err(Cut::Guest(error));
                }
            };
            match frame.kind {
                from::DATA => self.send(frame.payload).await?,
                from::END => return Ok(()),
                from::ERROR => {
                    let shape = ErrorShape::from_json(&frame.payload);
                    return Err(Cut::Guest(shaped(Outcome::GuestError, shape)));
                }
                _ => {
                    let error = broken(
                        &Broken::Protocol,
                        &self.instance,
                        self.visit.id,
                        Outcome::Exited,
                    );
                    return Err(Cut::Guest(error.await));
                }
            }
        }
    }

    async fn next_frame(&mut self) -> Result<Frame, Broken> {
        let Instance {
            channel, output, ..
        } = &mut self.instance;
        let Channel::Frames(socket) = channel else {
            return Err(Broken::Protocol);
        };
        let visit = &self.visit;
        let log = |stream: LogStream, bytes: &[u8]| visit.log(stream, bytes);
        let mut wire = Wire::open(socket, output, &log).map_err(Broken::Socket)?;
        // Whoever reads the answer may go away while nothing comes.
        let frame = tokio::select! {
            frame = wire.next() => frame?,
            () = self.sender.closed() => Frame { kind: from::DATA, payload: Bytes::new() },
        };
        wire.drain();
        Ok(frame)
    }

    async fn body(&mut self, mut body: Body) -> Result<(), Cut> {
        loop {
            let next = {
                let visit = &self.visit;
                let log = |stream: LogStream, bytes: &[u8]| visit.log(stream, bytes);
                let prints = Prints::watch(&self.instance.output, &log);
                let mut prints = prints.or(Err(Cut::Client))?;
                let next = tokio::select! {
                    next = body.frame() => next,
                    () = gone(&self.instance.process) => {
                        Some(Err(BodyError::Guest(Outcome::Exited)))
                    }
                    () = self.sender.closed() => return Err(Cut::Client),
                    () = prints.follow() => None,
                };
                prints.drain();
                next
            };
            match next {
                None => break,
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.send(data).await?;
                    }
                }
                Some(Err(BodyError::Guest(Outcome::Exited))) => {
                    let error = broken(
                        &Broken::Gone,
                        &self.instance,
                        self.visit.id,
                        Outcome::Exited,
                    );
                    return Err(Cut::Guest(error.await));
                }
                Some(Err(_)) => return Err(Cut::Guest(self.api_error().await)),
            }
        }
        match &mut self.instance.channel {
            Channel::Api(api) => {
                let ended = api.driver.ended().await;
                ended.map_err(|shape| Cut::Guest(shaped(Outcome::GuestError, shape)))
            }
            Channel::Frames(_) => Ok(()),
        }
    }

    async fn api_error(&mut self) -> CallError {
        let shape = match &mut self.instance.channel {
            Channel::Api(api) => api.driver.ended().await.err(),
            Channel::Frames(_) => None,
        };
        shaped(
            Outcome::GuestError,
            shape.unwrap_or_else(ErrorShape::truncated),
        )
    }
}
