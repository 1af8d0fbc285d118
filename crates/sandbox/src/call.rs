//! The life of a call: an instance, the request in the form that its handler takes, the answer,
//! and the report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fractus_func::{Body, Call, CallError, LogStream, Outcome};
use fractus_lambda::ErrorShape;
use http::Response;
use http_body_util::{BodyExt as _, Full};

use crate::call::pump::stream;
use crate::call::upload::{Upload, unread};
use crate::call::visit::{Visit, now_ms};
use crate::call::work::{Reply, Work};
use crate::function::{Function, NotReady};
use crate::instance::{Instance, Prints};
use crate::limits::{ACQUIRE_MAX, REQUEST_AHEAD};

mod exchange;
mod failure;
mod head;
mod pump;
mod upload;
mod visit;
mod work;

pub(crate) use self::failure::{broken, gone, shaped};

/// Answers a call: see the module's text.
pub(crate) async fn answer(
    function: Arc<Function>,
    call: Call,
) -> Result<Response<Body>, CallError> {
    let Call {
        id,
        request,
        event,
        host,
        queue_us,
        load_us,
    } = call;
    let mut visit = Visit::new(id, host, queue_us, load_us);
    let (head, body) = request.into_parts();
    let mut upload = Upload::new(body, function.manifest.limits.request_bytes());
    let first = match upload.collect(REQUEST_AHEAD).await {
        Ok(first) => first,
        Err(error) => return Err(visit.fail(unread(&error))),
    };
    let mut instance = match acquire_in_time(&function, &mut visit).await {
        Ok(instance) => instance,
        Err(error) => return Err(visit.fail(error)),
    };
    instance.enter(&visit.host);
    visit.measure(&mut instance);
    let timeout = Duration::from_micros(function.manifest.limits.timeout_us());
    let own = Arc::clone(&function);
    let mut work = Work {
        function: &own,
        head: &head,
        event: event.as_ref(),
        deadline: Instant::now() + timeout,
        deadline_ms: now_ms()
            .saturating_add(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
    };
    let late = tokio::time::sleep_until(work.deadline.into());
    let reply = tokio::select! {
        reply = work.exchange(&mut instance, &mut visit, upload, first) => reply,
        () = late => {
            let limit_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            Err(shaped(Outcome::Timeout, ErrorShape::timed_out(id, limit_ms)))
        }
    };
    visit.measured(&instance);
    match reply {
        Ok(Reply::Whole(response)) => {
            visit.status = Some(response.status().as_u16());
            visit.response_bytes = response.body().len() as u64;
            settle(&function, instance, &visit);
            visit.end(Outcome::Ok);
            Ok(response.map(full))
        }
        Ok(Reply::Stream(response, rest)) => {
            visit.status = Some(response.status().as_u16());
            Ok(stream(
                function,
                instance,
                visit,
                (response, rest),
                work.deadline,
            ))
        }
        Err(error) => {
            if lives_on(&error) && !instance.is_exiting {
                settle(&function, instance, &visit);
            } else {
                finish_output(&mut visit, &mut instance);
            }
            Err(visit.fail(error))
        }
    }
}

/// Whether the guest is as good as before: it failed a call in its own words, or never saw it.
fn lives_on(error: &CallError) -> bool {
    match error.outcome {
        // It was told nothing yet.
        Outcome::BadRequest | Outcome::RequestTooLarge | Outcome::Cancelled => true,
        Outcome::GuestError | Outcome::ResponseTooLarge => error.kind.is_some(),
        _ => false,
    }
}

/// The last that a guest printed, which is about to end.
fn finish_output(visit: &mut Visit, instance: &mut Instance) {
    let log = |stream: LogStream, bytes: &[u8]| visit.log(stream, bytes);
    if let Ok(mut prints) = Prints::watch(&instance.output, &log) {
        prints.drain();
    }
}

/// Keeps an instance after its call, and what was learned of it.
fn settle(function: &Arc<Function>, mut instance: Instance, visit: &Visit) {
    if visit.peak_memory > 0 {
        let needs = function.learn(visit.peak_memory);
        instance.reserved.set(needs);
    }
    function.keep(instance);
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// [`acquire`], or an error where that takes too long.
async fn acquire_in_time(
    function: &Arc<Function>,
    visit: &mut Visit,
) -> Result<Instance, CallError> {
    let acquired = tokio::time::timeout(ACQUIRE_MAX, acquire(function, visit)).await;
    acquired.unwrap_or_else(|_late| {
        let message = "no instance was ready in time; try again";
        Err(CallError::new(Outcome::NodeBusy, message))
    })
}

/// An instance that waits, or a new one.
async fn acquire(function: &Arc<Function>, visit: &mut Visit) -> Result<Instance, CallError> {
    if let Some((instance, is_last)) = function.fleet.take(function.number) {
        if is_last {
            function.have_spare(&visit.host);
        }
        for (stream, bytes) in function.take_printed() {
            visit.log(stream, &bytes);
        }
        visit.started = Some(Instant::now());
        return Ok(instance);
    }
    let reserved = function.fleet.admit(function.needs()).await;
    let Some(reserved) = reserved else {
        let message = "the node has no memory for another instance now; try again";
        return Err(CallError::new(Outcome::Throttled, message));
    };
    visit.is_cold = true;
    function.note_demand(&visit.host);
    let log = |stream: LogStream, bytes: &[u8]| visit.log(stream, bytes);
    let made = function.start(reserved, &log, Some(&visit.host)).await;
    match made {
        Ok((instance, at)) => {
            visit.started = Some(at);
            Ok(instance)
        }
        Err(NotReady::Broken(why, mut instance)) => {
            finish_output(visit, &mut instance);
            Err(broken(&why, &instance, visit.id, Outcome::InitFailed).await)
        }
        Err(error) => Err(error.into_error(visit.id)),
    }
}
