//! The shapes of `OpenLambda` (<https://github.com/open-lambda/open-lambda>): its configuration of
//! a function, `ol.yaml`, and the texts that its worker answers with.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_saphyr::{alias_limits, budget, options};
use thiserror::Error;

use crate::limits::{OL_CONFIG_ALIASES_MAX, OL_CONFIG_DEPTH_MAX, OL_CONFIG_MAX};

/// Where a function's configuration lies in its archive.
pub const CONFIG_FILE: &str = "ol.yaml";
/// The method of a trigger that takes all methods.
pub const ANY_METHOD: &str = "*";

/// Answer to `GET /status`, 200.
pub const READY: &str = "ready\n";
/// Answer to a call that no queue has room for, 429.
pub const QUEUE_FULL: &str = "lambda function queue is full\n";
/// Answer to `/run/` without a name, 500.
pub const NO_NAME: &str = "expected invocation format: /run/<lambda-name>";
/// Answer to `GET /registry/NAME`, 501.
pub const NOT_IMPLEMENTED: &str = "not implemented\n";
/// Answer of the registry to any other method, 405.
pub const REGISTRY_METHOD: &str = "method not allowed\n";

/// `ol.yaml`: how a function is called, its environment, and whether its sandboxes are used again.
///
/// Serializes to the JSON that `GET /registry/NAME/config` answers with.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[serde(rename_all(deserialize = "kebab-case", serialize = "PascalCase"))]
pub struct OlConfig {
    /// What calls the function.
    #[serde(deserialize_with = "or_default")]
    pub triggers: OlTriggers,
    /// Environment variables. A value without a text is empty.
    #[serde(deserialize_with = "texts")]
    pub environment: BTreeMap<String, String>,
    /// Whether a sandbox takes more than one call.
    pub reuse_sandbox: bool,
}

/// What calls a function.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[serde(rename_all(serialize = "PascalCase"))]
pub struct OlTriggers {
    /// HTTP requests; all of them if it is not there, and none if it is empty.
    #[serde(rename(serialize = "HTTP"))]
    #[serde(serialize_with = "null_if_empty", deserialize_with = "or_default")]
    pub http: Vec<OlHttp>,
    /// Times.
    #[serde(serialize_with = "null_if_empty", deserialize_with = "or_default")]
    pub cron: Vec<OlCron>,
    /// Messages of Kafka: kept so that whoever deploys the function can say that nothing reads
    /// them.
    #[serde(serialize_with = "null_if_empty", deserialize_with = "or_default")]
    pub kafka: Vec<OlKafka>,
}

/// Requests with one method.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[serde(rename_all(serialize = "PascalCase"))]
pub struct OlHttp {
    /// The method as it is sent, in upper case, or [`ANY_METHOD`].
    pub method: String,
}

/// Times at which a function is called with `{}`.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[serde(rename_all(serialize = "PascalCase"))]
pub struct OlCron {
    /// A schedule in the form of `cron`, of which nothing is known yet but that it is not empty.
    pub schedule: String,
}

/// Messages of Kafka's topics.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OlKafka {
    /// Brokers, as `HOST:PORT`.
    #[serde(default)]
    pub bootstrap_servers: Vec<String>,
    /// Topics.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Where to begin: `earliest` or `latest`.
    #[serde(default)]
    pub auto_offset_reset: String,
}

/// An `ol.yaml` that cannot be used.
#[derive(Debug, Error)]
pub enum OlConfigError {
    /// It is over its bound.
    #[error("{CONFIG_FILE} has more than {OL_CONFIG_MAX} bytes")]
    TooLarge,
    /// It is no YAML, has a key that is not known, or a value of another kind.
    #[error("{CONFIG_FILE} is not understood")]
    Yaml(#[source] Box<serde_saphyr::Error>),
    /// A value is missing or cannot be.
    #[error("{CONFIG_FILE}: {key} {problem}")]
    Value {
        /// The value's place, such as `triggers.http`.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl Default for OlConfig {
    fn default() -> Self {
        Self {
            triggers: OlTriggers::default(),
            environment: BTreeMap::new(),
            reuse_sandbox: true,
        }
    }
}

impl Default for OlTriggers {
    fn default() -> Self {
        let any = OlHttp {
            method: ANY_METHOD.to_owned(),
        };
        Self {
            http: vec![any],
            cron: Vec::new(),
            kafka: Vec::new(),
        }
    }
}

impl OlConfig {
    /// Reads an `ol.yaml` of at most [`OL_CONFIG_MAX`] bytes. One without content is the default.
    pub fn parse(text: &str) -> Result<Self, OlConfigError> {
        if text.len() > OL_CONFIG_MAX {
            return Err(OlConfigError::TooLarge);
        }
        let options = options! {
            budget: budget! {
                max_depth: OL_CONFIG_DEPTH_MAX,
                flow_nesting_limit: OL_CONFIG_DEPTH_MAX,
                max_aliases: OL_CONFIG_ALIASES_MAX,
            },
            alias_limits: alias_limits! {
                // What aliases stand for is no more than what could have been written.
                max_total_replayed_events: OL_CONFIG_MAX,
            },
            // Told in one line.
            with_snippet: false,
        };
        let config: Option<Self> = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| OlConfigError::Yaml(Box::new(error)))?;
        let config = config.unwrap_or_default();
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), OlConfigError> {
        let wrong = |key, problem: &str| OlConfigError::Value {
            key,
            problem: problem.to_owned(),
        };
        let OlTriggers { http, cron, kafka } = &self.triggers;
        if http.iter().any(|trigger| trigger.method.is_empty()) {
            return Err(wrong("triggers.http", "has an empty method"));
        }
        if cron.iter().any(|trigger| trigger.schedule.is_empty()) {
            return Err(wrong("triggers.cron", "has an empty schedule"));
        }
        if kafka.iter().any(|trigger| trigger.topics.is_empty()) {
            return Err(wrong("triggers.kafka", "has no topics"));
        }
        if kafka
            .iter()
            .any(|trigger| trigger.bootstrap_servers.is_empty())
        {
            return Err(wrong("triggers.kafka", "has no bootstrap_servers"));
        }
        let is_name = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
        match self
            .environment
            .iter()
            .find(|(name, value)| !is_name(name) || value.contains('\0'))
        {
            None => Ok(()),
            Some((name, _)) => Err(wrong("environment", &format!("cannot have `{name}`"))),
        }
    }

    /// The methods that it takes, as they are written; [`ANY_METHOD`] may be among them.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        self.triggers
            .http
            .iter()
            .map(|trigger| trigger.method.as_str())
    }
}

/// Answer to a request whose method the function does not take, 405.
pub fn method_not_allowed<'a>(sent: &str, allowed: impl IntoIterator<Item = &'a str>) -> String {
    let allowed = allowed.into_iter().collect::<Vec<_>>().join(" ");
    format!("HTTP method not allowed. Sent: {sent}, Allowed: [{allowed}]\n")
}

/// Answer to a function's upload, 201.
pub fn uploaded(name: &str) -> String {
    format!("Lambda {name} uploaded successfully")
}

/// Answer to an upload that cannot be used; `OpenLambda`'s with 500, whoever is to blame.
pub fn not_uploaded(problem: &str) -> String {
    format!("Failed to add lambda: {problem}\n")
}

/// Answer to a function's removal, 200.
pub fn deleted(name: &str) -> String {
    format!("Lambda {name} deleted successfully")
}

/// Answer to the removal of a function that is not there; `OpenLambda`'s with 500.
pub fn not_found(name: &str) -> String {
    format!("lambda {name} not found\n")
}

/// Answer to a name that no function can have, 400.
pub fn bad_name(name: &str) -> String {
    format!("invalid function name {name:?}; must match ^[A-Za-z0-9\\.\\-\\_]+$\n")
}

/// A value that may be null, as each of Go's may.
fn or_default<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// A map in which null is a text too: the empty one.
fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let map: BTreeMap<String, Option<String>> = or_default(from)?;
    let texts = map.into_iter();
    Ok(texts
        .map(|(name, text)| (name, text.unwrap_or_default()))
        .collect())
}

fn null_if_empty<T: Serialize, S: Serializer>(list: &Vec<T>, to: S) -> Result<S::Ok, S::Error> {
    (!list.is_empty()).then_some(list).serialize(to)
}

#[cfg(test)]
mod tests;
