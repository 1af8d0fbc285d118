//! What becomes of a function's events.

use std::sync::Arc;

use fractus_lambda::control::{Constraint, FunctionRef, Qualifier, ServiceError};
use fractus_lambda::limits::{EVENT_AGE_MAX_S, EVENT_AGE_MIN_S, EVENT_RETRIES_MAX, PAGE_MAX};
use fractus_lambda::model::{EventConfig, object};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::{
    Target, arn, attach_error, check_range, done, list as told_list, or_latest, page, read, told,
};
use super::mappings::queue_of;
use super::{Answer, Api, Call};
use crate::clock::now_ms;

/// The bodies of `PutFunctionEventInvokeConfig` and `UpdateFunctionEventInvokeConfig`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Change {
    maximum_retry_attempts: Option<i64>,
    maximum_event_age_in_seconds: Option<i64>,
    #[serde(deserialize_with = "object")]
    destination_config: Option<Destinations>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Destinations {
    #[serde(deserialize_with = "object")]
    on_success: Option<Destination>,
    #[serde(deserialize_with = "object")]
    on_failure: Option<Destination>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Destination {
    destination: Option<String>,
}

impl Change {
    /// Whether anything is asked for.
    fn is_empty(&self) -> bool {
        self.maximum_retry_attempts.is_none()
            && self.maximum_event_age_in_seconds.is_none()
            && self.destination_config.is_none()
    }

    /// Whether records of the function's events can go where it is asked for.
    fn check_destinations(&self, api: &Api, own: &Target) -> Result<(), ServiceError> {
        let destinations = self.destination_config.iter();
        let both = destinations.flat_map(|both| [&both.on_success, &both.on_failure]);
        let arns = both.filter_map(|one| one.as_ref()?.destination.as_deref());
        arns.filter(|arn| !arn.is_empty())
            .try_for_each(|arn| check_destination(api, arn, own))
    }

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
        config.modified_ms = now_ms();
        Ok(())
    }
}

/// Whether events' records can go there: to another function or a queue of the node's.
fn check_destination(api: &Api, arn: &str, own: &Target) -> Result<(), ServiceError> {
    if !arn.starts_with("arn:") {
        let pattern = Constraint::Pattern("$|kafka://([^.]([a-zA-Z0-9\\-_.]{0,248}))|arn:(.*)");
        return Err(ServiceError::constraint("destination", arn, pattern));
    }
    if queue_of(arn).is_some() {
        return Ok(());
    }
    if let Ok(reference) = FunctionRef::parse(arn) {
        let named = reference.name.clone();
        if named == own.name().as_str() {
            return Err(ServiceError::invalid_parameter(format!(
                "The destination ARN {arn} is the function's own"
            )));
        }
        let found = reference
            .check_region(arn, &api.region)
            .and_then(|()| api.find(reference));
        return found.map(|_| ()).map_err(|_why| {
            ServiceError::invalid_parameter(format!("The destination ARN {arn} does not exist"))
        });
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
    told.insert(
        "LastModified".to_owned(),
        (config.modified_ms / 1000).into(),
    );
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
    arn(
        api,
        target.name().as_str(),
        Qualifier::parse(key).ok().as_ref(),
    )
}

fn missing(arn: &str) -> ServiceError {
    ServiceError::not_found(format!(
        "The function {arn} doesn't have an EventInvokeConfig"
    ))
}

pub(super) async fn put(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    change(api, call, |_| Some(EventConfig::default())).await
}

pub(super) async fn update(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    change(api, call, |before| before).await
}

async fn change(
    api: &Arc<Api>,
    call: &Call<'_>,
    base: fn(Option<EventConfig>) -> Option<EventConfig>,
) -> Answer {
    let request: Change = read(call)?;
    let target = api.target(call)?;
    target.version(api)?;
    if request.is_empty() {
        return Err(ServiceError::invalid_parameter(
            "You must specify at least one of error handling or destination setting.",
        ));
    }
    request.check_destinations(api, &target)?;
    let key = or_latest(target.label());
    let arn = qualified_arn(api, &target, &key);
    let own = arn.clone();
    let made = api
        .control
        .attach(target.name().clone(), move |_, attachments| {
            let qualified = attachments.qualified.entry(key).or_default();
            let mut config = base(qualified.events.take()).ok_or_else(|| missing(&own))?;
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
    let configs =
        qualified.filter_map(|(key, one)| Some((key.clone(), (key, one.events.as_ref()?))));
    let (found, next) = page(call, configs, PAGE_MAX)?;
    let described = found
        .into_iter()
        .map(|(key, config)| describe(&qualified_arn(api, &target, key), config));
    told_list(
        call,
        "FunctionEventInvokeConfigs",
        (described.collect(), next),
    )
}

pub(super) async fn delete(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let target = api.target(call)?;
    let key = or_latest(target.label());
    let arn = qualified_arn(api, &target, &key);
    let own = arn.clone();
    let removed = api
        .control
        .attach(target.name().clone(), move |_, attachments| {
            let qualified = attachments.qualified.get_mut(&key);
            let gone = qualified.and_then(|qualified| qualified.events.take());
            gone.map(|_| ()).ok_or_else(|| missing(&own))
        });
    removed.await.map_err(|error| attach_error(error, &arn))?;
    done(call)
}
