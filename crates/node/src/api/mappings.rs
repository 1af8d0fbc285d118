//! Event source mappings: which queue's messages call which function.

use std::sync::Arc;

use fractus_lambda::control::{Constraint, Qualifier, ServiceError, mapping_arn};
use fractus_lambda::limits::PAGE_ASKED_MAX;
use fractus_lambda::model::{Tags, check_tags, object};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::{arn, check_range, internal, list as told_list, page, read, told};
use super::{Answer, Api, Call, request_id};
use crate::clock::now_ms;
use crate::events::Mapping;
use crate::limits::{ACCOUNT, MAPPING_CONCURRENCY};
use crate::registry::DocumentKind;

/// The bodies of `CreateEventSourceMapping` and `UpdateEventSourceMapping`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Change {
    event_source_arn: Option<String>,
    function_name: Option<String>,
    enabled: Option<bool>,
    batch_size: Option<i64>,
    maximum_batching_window_in_seconds: Option<i64>,
    function_response_types: Option<Vec<String>>,
    #[serde(deserialize_with = "object")]
    scaling_config: Option<Scaling>,
    filter_criteria: Option<Value>,
    tags: Option<Tags>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Scaling {
    maximum_concurrency: Option<i64>,
}

/// A mapping as it is stored.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Stored {
    pub(crate) uuid: String,
    pub(crate) queue: String,
    pub(crate) function: String,
    #[serde(default)]
    pub(crate) qualifier: Option<String>,
    pub(crate) enabled: bool,
    pub(crate) batch: u32,
    pub(crate) window_s: u32,
    pub(crate) report_failures: bool,
    #[serde(default)]
    pub(crate) concurrency: Option<u32>,
    pub(crate) modified_ms: u64,
    #[serde(default)]
    pub(crate) tags: Tags,
}

impl Stored {
    /// As the event engine has it; None if the function's name is none.
    pub(crate) fn mapping(&self) -> Option<Mapping> {
        Some(Mapping {
            uuid: self.uuid.clone(),
            queue: self.queue.clone(),
            function: self.function.parse().ok()?,
            qualifier: self.qualifier.clone(),
            batch_size: self.batch,
            window_ms: u64::from(self.window_s) * 1000,
            enabled: self.enabled,
            report_batch_item_failures: self.report_failures,
            max_concurrency: self.concurrency.unwrap_or(MAPPING_CONCURRENCY),
        })
    }

    fn describe(&self, api: &Api, state: &str) -> Value {
        let qualifier = self
            .qualifier
            .as_deref()
            .and_then(|text| Qualifier::parse(text).ok());
        let kinds: &[&str] = if self.report_failures {
            &["ReportBatchItemFailures"]
        } else {
            &[]
        };
        let mut told = json!({
            "UUID": self.uuid,
            "EventSourceMappingArn": mapping_arn(&api.region, ACCOUNT, &self.uuid),
            "EventSourceArn": queue_arn(api, &self.queue),
            "FunctionArn": arn(api, &self.function, qualifier.as_ref()),
            "BatchSize": self.batch,
            "MaximumBatchingWindowInSeconds": self.window_s,
            "FunctionResponseTypes": kinds,
            "State": state,
            "StateTransitionReason": "USER_INITIATED",
            "LastModified": self.modified_ms / 1000,
        });
        if let Some(concurrency) = self.concurrency {
            told["ScalingConfig"] = json!({"MaximumConcurrency": concurrency});
        }
        told
    }

    fn state(&self) -> &'static str {
        if self.enabled { "Enabled" } else { "Disabled" }
    }
}

fn queue_arn(api: &Api, queue: &str) -> String {
    format!("arn:aws:sqs:{}:{ACCOUNT}:{queue}", api.region)
}

/// The queue of the node's that an ARN names.
pub(crate) fn queue_of(arn: &str) -> Option<&str> {
    let rest = arn.strip_prefix("arn:aws:sqs:")?;
    let (_region, rest) = rest.split_once(':')?;
    let (account, queue) = rest.split_once(':')?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let is_queue = (1..=80).contains(&queue.len()) && queue.bytes().all(plain);
    (account == ACCOUNT && is_queue).then_some(queue)
}

impl Change {
    fn apply(&self, api: &Api, stored: &mut Stored) -> Result<(), ServiceError> {
        if let Some(name) = &self.function_name {
            let target = api.find(api.parse(name)?).and_then(|target| {
                target.version(api)?;
                Ok(target)
            });
            let target = target.map_err(|error| match error.status {
                404 => ServiceError::invalid_parameter("Function does not exist"),
                _ => error,
            })?;
            stored.function = target.name().to_string();
            stored.qualifier = target.label();
        }
        if self.filter_criteria.as_ref().is_some_and(|filter| {
            filter["Filters"]
                .as_array()
                .is_some_and(|filters| !filters.is_empty())
        }) {
            let message = "FilterCriteria is not supported here: filter in the function";
            return Err(ServiceError::invalid_parameter(message));
        }
        if let Some(size) = self.batch_size {
            let range = (1, fractus_func::limits::QUEUE_BATCH_MAX);
            stored.batch = check_range("batchSize", size, range)?;
        }
        if let Some(window) = self.maximum_batching_window_in_seconds {
            let range = (0, fractus_func::limits::QUEUE_WINDOW_MAX_S);
            stored.window_s = check_range("maximumBatchingWindowInSeconds", window, range)?;
        }
        if stored.batch > 10 && stored.window_s == 0 {
            return Err(ServiceError::invalid_parameter(
                "Maximum batch window in seconds must be greater than 0 if maximum batch size is \
                 greater than 10",
            ));
        }
        if let Some(kinds) = &self.function_response_types {
            const REPORT: &str = "ReportBatchItemFailures";
            if let Some(other) = kinds.iter().find(|kind| *kind != REPORT) {
                let all = Constraint::Enum(&[REPORT]);
                return Err(ServiceError::constraint(
                    "functionResponseTypes",
                    other,
                    all,
                ));
            }
            stored.report_failures = !kinds.is_empty();
        }
        if let Some(scaling) = &self.scaling_config {
            let member = "scalingConfig.maximumConcurrency";
            let most = scaling.maximum_concurrency;
            stored.concurrency = most
                .map(|most| check_range(member, most, (2, 1000)))
                .transpose()?;
        }
        stored.enabled = self.enabled.unwrap_or(stored.enabled);
        stored.modified_ms = now_ms();
        Ok(())
    }
}

async fn all(api: &Api) -> Result<Vec<Stored>, ServiceError> {
    api.control
        .mappings()
        .await
        .map_err(|error| internal(&error))
}

async fn found(api: &Api, call: &Call<'_>) -> Result<Stored, ServiceError> {
    let uuid = call.route.parameter("UUID");
    by_uuid(api, uuid).await
}

/// The mapping of this id.
async fn by_uuid(api: &Api, uuid: &str) -> Result<Stored, ServiceError> {
    let found = all(api)
        .await?
        .into_iter()
        .find(|stored| stored.uuid == uuid);
    found.ok_or_else(|| {
        ServiceError::not_found(format!("The resource you requested does not exist: {uuid}"))
    })
}

/// The tags of the mapping of this id.
pub(super) async fn tags(api: &Api, uuid: &str) -> Result<Tags, ServiceError> {
    Ok(by_uuid(api, uuid).await?.tags)
}

/// Changes them.
pub(super) async fn change_tags(
    api: &Api,
    uuid: &str,
    change: impl FnOnce(&mut Tags) -> Result<(), ServiceError>,
) -> Result<(), ServiceError> {
    let mut stored = by_uuid(api, uuid).await?;
    change(&mut stored.tags)?;
    store(api, &stored).await
}

async fn store(api: &Api, stored: &Stored) -> Result<(), ServiceError> {
    let text = serde_json::to_string(stored).expect("texts and numbers are JSON");
    let key = stored.uuid.clone();
    let registry = api.control.registry();
    let written = registry
        .run(move |registry| registry.put_document(DocumentKind::Mapping, &key, None, &text));
    written.await.map_err(|error| internal(&error))?;
    api.control
        .map_queues()
        .await
        .map_err(|error| internal(&error))
}

pub(super) async fn create(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let request: Change = read(call)?;
    let arn = request.event_source_arn.as_deref().unwrap_or("");
    if !arn.is_empty() && !arn.starts_with("arn:") {
        let pattern = Constraint::Pattern("arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\\-])+:(.*)");
        return Err(ServiceError::constraint("eventSourceArn", arn, pattern));
    }
    let queue = queue_of(arn).ok_or_else(|| {
        ServiceError::invalid_parameter(format!(
            "Unrecognized event source: {arn}. This node's event sources are its queues: \
             arn:aws:sqs:{}:{ACCOUNT}:NAME",
            api.region
        ))
    })?;
    if request.function_name.is_none() {
        return Err(ServiceError::constraint(
            "functionName",
            "",
            Constraint::NotNull,
        ));
    }
    let mut stored = Stored {
        uuid: request_id().to_string(),
        queue: queue.to_owned(),
        function: String::new(),
        qualifier: None,
        enabled: true,
        batch: 10,
        window_s: 0,
        report_failures: false,
        concurrency: None,
        modified_ms: 0,
        tags: request.tags.clone().unwrap_or_default(),
    };
    check_tags(&stored.tags)?;
    request.apply(api, &mut stored)?;
    let same = |one: &Stored| {
        (&one.queue, &one.function, &one.qualifier)
            == (&stored.queue, &stored.function, &stored.qualifier)
    };
    if let Some(one) = all(api).await?.iter().find(|one| same(one)) {
        return Err(ServiceError::conflict(format!(
            "The event source arn (\" {arn} \") and function (\" {} \") provided mapping already \
             exists. Please update or delete the existing mapping with UUID {}",
            stored.function, one.uuid
        )));
    }
    store(api, &stored).await?;
    told(call, &stored.describe(api, "Creating"))
}

pub(super) async fn get(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let stored = found(api, call).await?;
    told(call, &stored.describe(api, stored.state()))
}

pub(super) async fn list(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let function = match call.query.get("FunctionName") {
        Some(name) => Some(api.parse(name)?.name),
        None => None,
    };
    let source = call.query.get("EventSourceArn");
    let wanted = |stored: &Stored| {
        function
            .as_ref()
            .is_none_or(|name| stored.function == *name)
            && source.is_none_or(|arn| queue_arn(api, &stored.queue) == *arn)
    };
    let stored = all(api).await?.into_iter().filter(|stored| wanted(stored));
    let stored = stored.map(|stored| (stored.uuid.clone(), stored));
    let (found, next) = page(call, stored, PAGE_ASKED_MAX)?;
    let described = found
        .iter()
        .map(|stored| stored.describe(api, stored.state()));
    told_list(call, "EventSourceMappings", (described.collect(), next))
}

pub(super) async fn update(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let request: Change = read(call)?;
    let mut stored = found(api, call).await?;
    request.apply(api, &mut stored)?;
    store(api, &stored).await?;
    told(call, &stored.describe(api, "Updating"))
}

pub(super) async fn delete(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let stored = found(api, call).await?;
    let uuid = stored.uuid.clone();
    let registry = api.control.registry();
    let deleted =
        registry.run(move |registry| registry.delete_document(DocumentKind::Mapping, &uuid));
    deleted.await.map_err(|error| internal(&error))?;
    api.control
        .map_queues()
        .await
        .map_err(|error| internal(&error))?;
    told(call, &stored.describe(api, "Deleting"))
}
