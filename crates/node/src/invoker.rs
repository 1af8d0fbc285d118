//! What the node does with events: it calls functions, and hands what becomes of them on.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use fractus_func::trace::{TraceContext, Trigger};
use fractus_func::{BoxFuture, FunctionName, Outcome};
use fractus_lambda::control::{FunctionRef, Qualifier, function_arn};
use fractus_lambda::model::{EventConfig, LATEST};
use fractus_stdx::ErrorChain;
use http::HeaderValue;
use serde_json::json;
use serde_json::value::to_raw_value;

use crate::admin::md5_of;
use crate::api::mappings::queue_of;
use crate::api::request_id;
use crate::clock::now_ms;
use crate::control::Control;
use crate::events::{
    AddError, DeliverError, Destination, Event, Invoker, Letter, NewMessage, Policy, QueueError,
    Source, Verdict,
};
use crate::functions::Functions;
use crate::invocation::{Invocation, Returned};
use crate::limits::ACCOUNT;
use crate::origin::chance;
use crate::traces::Recorder;

/// Calls functions for the event engine.
#[derive(Debug)]
pub(crate) struct FunctionInvoker {
    functions: Arc<Functions>,
    /// It owns the engine, which owns this.
    control: Weak<Control>,
}

impl FunctionInvoker {
    pub(crate) fn new(control: &Arc<Control>) -> Self {
        Self {
            functions: Arc::clone(control.functions()),
            control: Arc::downgrade(control),
        }
    }
}

impl Invoker for FunctionInvoker {
    fn invoke(&self, event: Event, _attempt: u32) -> BoxFuture<'static, Verdict> {
        let functions = Arc::clone(&self.functions);
        Box::pin(async move { invoke(&functions, event).await })
    }

    fn policy(&self, function: &FunctionName, qualifier: Option<&str>) -> Option<Policy> {
        let entry = self.functions.get(function.as_str())?;
        let version = entry.resolve(qualifier, 1.0)?;
        let on = |key: &str| entry.attachments.qualified.get(key)?.events.clone();
        let config: EventConfig = on(qualifier.unwrap_or(LATEST)).unwrap_or_default();
        let settings = version.deployed().settings.as_ref();
        let default = Policy::default();
        Some(Policy {
            max_retries: config.retries.unwrap_or(default.max_retries),
            max_age_ms: config
                .max_age_s
                .map_or(default.max_age_ms, |seconds| u64::from(seconds) * 1000),
            is_stopped: entry.attachments.reserved == Some(0),
            on_success: config.on_success.map(Destination),
            on_failure: config.on_failure.map(Destination),
            dead_letter: settings
                .and_then(|settings| settings.dead_letter.clone())
                .map(Destination),
        })
    }

    fn deliver(
        &self,
        destination: &Destination,
        letter: Letter,
    ) -> BoxFuture<'static, Result<(), DeliverError>> {
        let control = Weak::clone(&self.control);
        let arn = destination.0.clone();
        Box::pin(async move {
            let control = control.upgrade().ok_or_else(stopping)?;
            deliver(&control, &arn, letter).await
        })
    }
}

async fn send(control: &Control, queue: &str, letter: Letter) -> Result<(), DeliverError> {
    let attributes: serde_json::Map<_, _> = letter
        .attributes
        .into_iter()
        .map(|(name, value)| {
            let value = json!({"stringValue": value, "dataType": "String"});
            (name, value)
        })
        .collect();
    let body = String::from_utf8_lossy(&letter.body).into_owned();
    let message = NewMessage {
        md5: md5_of(&body),
        body,
        attributes: to_raw_value(&attributes).ok(),
        delay_ms: 0,
    };
    let sent = control.events().queue_send(queue, message).await;
    sent.map(|_id| ()).map_err(|error| match error {
        QueueError::NotFound { .. } | QueueError::Name => DeliverError::Gone,
        error => DeliverError::Failed {
            reason: ErrorChain(&error).to_string(),
        },
    })
}

fn stopping() -> DeliverError {
    DeliverError::Failed {
        reason: "the node stops".to_owned(),
    }
}

async fn invoke(functions: &Functions, event: Event) -> Verdict {
    let found = functions.get(event.function.as_str());
    let qualifier = event.qualifier.as_deref();
    let function = found.and_then(|entry| entry.resolve(qualifier, chance()).cloned());
    let Some(function) = function else {
        return Verdict::Gone;
    };
    let executed_version = function.identity().version.to_string();
    let region = &functions.services().region;
    let named = qualifier.and_then(|text| Qualifier::parse(text).ok());
    let arn = function_arn(region, ACCOUNT, event.function.as_str(), named.as_ref());
    let trigger = match event.source {
        Source::Invoke => Trigger::Invoke,
        Source::Schedule => Trigger::Cron,
        Source::Object => Trigger::Object,
        Source::Queue => Trigger::Queue,
    };
    let context = TraceContext::from_fields(None, None, event.trace.as_deref());
    let invocation = Invocation {
        recorder: Recorder::of_call(&function, event.id, trigger, context, None),
        function,
        id: event.id,
        arn: arn.into(),
        event: event.payload,
        client_context: event.client_context,
        trace: event
            .trace
            .and_then(|trace| HeaderValue::from_str(&trace).ok()),
        tail: None,
    };
    match invocation.run(functions).await {
        Returned::Value(payload) => Verdict::Done {
            status: 200,
            payload,
            executed_version,
        },
        Returned::Failed(payload) => Verdict::Failed {
            payload,
            executed_version,
        },
        Returned::Refused(error) => match error.outcome {
            // It will be no better the next time.
            Outcome::BadRequest | Outcome::RequestTooLarge => Verdict::Failed {
                payload: serde_json::json!({
                    "errorType": "InvalidRequestContentException",
                    "errorMessage": error.message,
                })
                .to_string()
                .into(),
                executed_version,
            },
            _ => Verdict::Throttled,
        },
    }
}

/// Hands a letter to a queue, or to a function as an event of its own.
async fn deliver(control: &Control, arn: &str, letter: Letter) -> Result<(), DeliverError> {
    if let Some(queue) = queue_of(arn) {
        return send(control, queue, letter).await;
    }
    let services = control.functions().services();
    let reference = FunctionRef::parse(arn).or(Err(DeliverError::Gone))?;
    let is_here = reference.region.as_deref() == Some(&*services.region)
        && reference.account.as_deref() == Some(ACCOUNT);
    let entry = control.functions().get(&reference.name);
    let entry = entry.filter(|_| is_here).ok_or(DeliverError::Gone)?;
    let qualifier = reference.qualifier.map(|qualifier| qualifier.to_string());
    if entry.resolve(qualifier.as_deref(), 1.0).is_none() {
        return Err(DeliverError::Gone);
    }
    let name = entry.latest.name().clone();
    let body: Bytes = letter.body;
    let mut event = Event::new(request_id(), name, body, Source::Invoke, now_ms());
    event.qualifier = qualifier;
    let added = control.events().add(event).await;
    added.map_err(|error: AddError| DeliverError::Failed {
        reason: error.to_string(),
    })
}
