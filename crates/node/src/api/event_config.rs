//! What becomes of a function's events.

use std::sync::Arc;

use fractus_lambda::control::{Constraint, Qualifier, ServiceError};
use fractus_lambda::limits::{EVENT_AGE_MAX_S, EVENT_AGE_MIN_S, EVENT_RETRIES_MAX};
use fractus_lambda::model::EventConfig;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::{Target, arn, attach_error, done, list as told_list, or_latest, page, read, told};
use super::{Answer, Api, Call};
use crate::clock::now_ms;

/// The bodies of `PutFunctionEventInvokeConfig` and `UpdateFunctionEventInvokeConfig`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Change {
    maximum_retry_attempts: Option<i64>,
    maximum_event_age_in_seconds: Option<i64>,
    destination_config: Option<Destinations>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Destinations {
    on_success: Option<Destination>,
    on_failure: Option<Destination>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Destination {
    destination: Option<String>,
}

fn check_range(member: &str, value: i64, (min, max): (u32, u32)) -> Result<u32, ServiceError> {
    let constraint = if value < i64::from(min) {
        Constraint::ValueMin(min.into())
    } else {
        Constraint::ValueMax(max.into())
    };
    let fits = u32::try_from(value).ok().filter(|value| (min..=max).contains(value));
    fits.ok_or_else(|| ServiceError::constraint(member, &value.to_string(), constraint))
}

impl Change {
    fn apply(&self, config: &mut EventConfig) -> Result<(), ServiceError> {
        if let Some(retries) = self.maximum_retry_attempts {
            let range = (0, EVENT_RETRIES_MAX);
            config.retries = Some(check_range("maximumRetryAttempts", retries, range)?);
        }
        if let Some(age) = self.maximum_event_age_in_seconds {
            let range = (EVENT_AGE_MIN_S, EVENT_AGE_MAX_S);
            config.max_age_s = Some(check_range("maximumEventAgeInSeconds", age, range)?);
        }
        if let Some(destinations) = &self.destination_config {
            let told = |destination: &Option<Destination>| {
                let arn = destination.as_ref()?.destination.clone()?;
                Some(arn).filter(|arn| !arn.is_empty())
            };
            if destinations.on_success.is_some() {
                config.on_success = told(&destinations.on_success);
            }
            if destinations.on_failure.is_some() {
                config.on_failure = told(&destinations.on_failure);
            }
        }
        for arn in [&config.on_success, &config.on_failure].into_iter().flatten() {
            check_destination(arn)?;
        }
        config.modified_ms = now_ms();
        Ok(())
    }
}

/// Whether events' records can go there: to a function or a queue of the node's.
pub(super) fn check_destination(arn: &str) -> Result<(), ServiceError> {
    if arn.starts_with("arn:aws:lambda:") || arn.starts_with("arn:aws:sqs:") {
        return Ok(());
    }
    Err(ServiceError::invalid_parameter(format!(
        "The destination ARN {arn} is invalid: this node delivers to functions \
         (arn:aws:lambda:…:function:NAME) and queues (arn:aws:sqs:REGION:ACCOUNT:NAME)"
    )))
}

fn describe(arn: &str, config: &EventConfig) -> Value {
    let destination = |arn: &Option<String>| match arn {
        Some(arn) => json!({"Destination": arn}),
        None => json!({}),
    };
    let mut told = Map::new();
    told.insert("FunctionArn".to_owned(), arn.into());
    // A timestamp: seconds.
    told.insert("LastModified".to_owned(), (config.modified_ms / 1000).into());
    if let Some(retries) = config.retries {
        told.insert("MaximumRetryAttempts".to_owned(), retries.into());
    }
    if let Some(age) = config.max_age_s {
        told.insert("MaximumEventAgeInSeconds".to_owned(), age.into());
    }
    let destinations = json!({
        "OnSuccess": destination(&config.on_success),
        "OnFailure": destination(&config.on_failure),
    });
    told.insert("DestinationConfig".to_owned(), destinations);
    told.into()
}

/// The ARN with a qualifier, as this API tells it.
fn qualified_arn(api: &Api, target: &Target, key: &str) -> String {
    arn(api, target.name().as_str(), Qualifier::parse(key).ok().as_ref())
}

fn missing(arn: &str) -> ServiceError {
    ServiceError::not_found(format!("The function {arn} doesn't have an EventInvokeConfig"))
}

pub(super) async fn put(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    change(api, call, |_| EventConfig::default()).await
}

pub(super) async fn update(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    change(api, call, |before| before.unwrap_or_default()).await
}

async fn change(
    api: &Arc<Api>,
    call: &Call<'_>,
    base: fn(Option<EventConfig>) -> EventConfig,
) -> Answer {
    let request: Change = read(call)?;
    let target = api.target(call)?;
    target.version(api)?;
    let key = or_latest(target.label());
    let arn = qualified_arn(api, &target, &key);
    let made = api.control.attach(target.name().clone(), move |_, attachments| {
        let qualified = attachments.qualified.entry(key).or_default();
        let mut config = base(qualified.events.take());
        request.apply(&mut config)?;
        qualified.events = Some(config.clone());
        Ok(config)
    });
    let (_, config) = made.await.map_err(|error| attach_error(error, &arn))?;
    told(call, &describe(&arn, &config))
}

pub(super) fn get(api: &Api, call: &Call<'_>) -> Answer {
    let target = api.target(call)?;
    let key = or_latest(target.label());
    let arn = qualified_arn(api, &target, &key);
    let qualified = target.entry.attachments.qualified.get(&key);
    let config = qualified.and_then(|qualified| qualified.events.as_ref());
    told(call, &describe(&arn, config.ok_or_else(|| missing(&arn))?))
}

pub(super) fn list(api: &Api, call: &Call<'_>) -> Answer {
    let target = api.whole(call)?;
    let qualified = target.entry.attachments.qualified.iter();
    let configs = qualified.filter_map(|(key, one)| {
        Some((key.clone(), (key, one.events.as_ref()?)))
    });
    let (found, next) = page(call, configs)?;
    let described = found
        .into_iter()
        .map(|(key, config)| describe(&qualified_arn(api, &target, key), config));
    told_list(call, "FunctionEventInvokeConfigs", (described.collect(), next))
}

pub(super) async fn delete(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let target = api.target(call)?;
    let key = or_latest(target.label());
    let arn = qualified_arn(api, &target, &key);
    let own = arn.clone();
    let removed = api.control.attach(target.name().clone(), move |_, attachments| {
        let qualified = attachments.qualified.get_mut(&key);
        let gone = qualified.and_then(|qualified| qualified.events.take());
        gone.map(|_| ()).ok_or_else(|| missing(&own))
    });
    removed.await.map_err(|error| attach_error(error, &arn))?;
    done(call)
}
