//! What a version's configuration has besides its manifest.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What AWS Lambda's configuration of a function has and a manifest has not.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Settings {
    /// For people, at most 256 characters.
    pub description: String,
    /// The ARN of a role, as it was given: nothing hangs on it here.
    pub role: String,
    /// The runtime as it was named, such as `python3.12`.
    pub runtime: Option<String>,
    /// `x86_64` or `arm64`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// The layers below the code, lowest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerUse>,
    /// The code without its layers; None where the artifact is just that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// Where events go that failed at last: the ARN of a queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
    /// Whether calls are traced though their callers did not ask.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub traced: bool,
    /// The logging configuration, as it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging: Option<Value>,
    /// Whether a snapshot was asked for: `PublishedVersions` or `None`. Kept, not heeded: zygotes
    /// make starts as quick.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snap_start: Option<String>,
}

/// A version of a layer that a function stands on.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LayerUse {
    /// Its ARN, with the version.
    pub arn: String,
    /// The size of its archive in bytes.
    pub size: u64,
}

/// An archive of code.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Code {
    /// Its SHA-256, hexadecimal.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
}
