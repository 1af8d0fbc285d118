//! What is attached to a function and its qualifiers, and changes without a new version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::policy::Policy;

/// All that is attached to one function.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Attachments {
    /// Aliases by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, Alias>,
    /// The most calls at once, if it was set; 0 stops the function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved: Option<u32>,
    /// Tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// What hangs on a qualifier: `$LATEST`, an alias, or a version's number.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub qualified: BTreeMap<String, Qualified>,
}

/// What hangs on one qualifier.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Qualified {
    /// Its URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// Who may call it.
    #[serde(skip_serializing_if = "Policy::is_empty")]
    pub policy: Policy,
    /// What becomes of its events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<EventConfig>,
    /// Instances that are ready before they are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<Provisioned>,
}

/// A name for a version, or for two of them with weights.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Alias {
    /// `$LATEST` or a version's number.
    pub version: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Another version and the part of the calls that it gets, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional: Option<(String, f64)>,
    /// Changes with each change of the alias.
    pub revision: u64,
}

impl Alias {
    /// The version for a call; `chance` is random, from 0 inclusive to 1 exclusive.
    pub fn choose(&self, chance: f64) -> &str {
        match &self.additional {
            Some((version, weight)) if chance < *weight => version,
            _ => &self.version,
        }
    }
}

/// The URL of a function or of one of its aliases.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Url {
    /// The first part of its host, 32 characters.
    pub id: String,
    /// Who may call it.
    pub auth: UrlAuth,
    /// How the answer leaves.
    #[serde(default)]
    pub mode: UrlMode,
    /// What browsers are allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// When it was made, in UNIX milliseconds.
    pub created_ms: u64,
    /// When it was changed, in UNIX milliseconds.
    pub modified_ms: u64,
}

/// Who may call a URL.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum UrlAuth {
    /// Whom the function's policy lets.
    #[serde(rename = "NONE")]
    None,
    /// Who signs requests with the node's keys.
    #[serde(rename = "AWS_IAM")]
    AwsIam,
}

/// How the answer of a URL leaves.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum UrlMode {
    /// When it is whole.
    #[default]
    #[serde(rename = "BUFFERED")]
    Buffered,
    /// As it comes.
    #[serde(rename = "RESPONSE_STREAM")]
    Stream,
}

/// What browsers are told of a URL (the Fetch standard's CORS protocol).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase", deny_unknown_fields)]
pub struct Cors {
    /// Whether credentials may be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_credentials: Option<bool>,
    /// Request headers that may be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_headers: Option<Vec<String>>,
    /// Methods that may be used, or `*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_methods: Option<Vec<String>>,
    /// Origins that may ask, or `*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_origins: Option<Vec<String>>,
    /// Response headers that may be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose_headers: Option<Vec<String>>,
    /// How long a browser may remember this, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u32>,
}

/// What becomes of a function's events.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct EventConfig {
    /// How often an event is tried again that failed; 2 if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// How long an event may wait, in seconds; 6 hours if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<u32>,
    /// Where a record of success goes: an ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_success: Option<String>,
    /// Where a record of failure goes: an ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<String>,
    /// When it was changed, in UNIX milliseconds.
    pub modified_ms: u64,
}

/// Instances that are ready before they are called.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Provisioned {
    /// How many.
    pub instances: u32,
    /// When it was changed, in UNIX milliseconds.
    pub modified_ms: u64,
}
