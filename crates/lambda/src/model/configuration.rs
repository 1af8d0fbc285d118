//! A function's configuration as clients are told it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fractus_func::{Manifest, RuntimeKind};
use serde_json::{Value, json};

use super::settings::Settings;
use super::time::iso_time;

/// A version of a function, to be told.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// Its settings.
    pub settings: &'a Settings,
    /// What runs it.
    pub kind: RuntimeKind,
    /// `$LATEST`, or its number.
    pub version: &'a str,
    /// Its ARN, as it was asked for.
    pub arn: &'a str,
    /// The SHA-256 of its code.
    pub code_sha256: &'a [u8],
    /// The size of its code in bytes.
    pub code_size: u64,
    /// When it was made, in UNIX milliseconds.
    pub modified_ms: u64,
    /// Tells it from what it was before.
    pub revision_id: &'a str,
}

/// The `FunctionConfiguration` of a version. Everything is ready as soon as it can be seen:
/// `State` and `LastUpdateStatus` never wait.
pub fn configuration(view: &View<'_>) -> Value {
    let View {
        manifest,
        settings,
        kind,
        version,
        arn,
        code_sha256,
        code_size,
        modified_ms,
        revision_id,
    } = *view;
    let limits = &manifest.limits;
    let own = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "x86_64"
    };
    let architecture = settings.architectures.first().map_or(own, String::as_str);
    let mut told = json!({
        "FunctionName": manifest.name,
        "FunctionArn": arn,
        "Runtime": settings.runtime.as_deref().unwrap_or_else(|| runtime_name(kind)),
        "Role": settings.role,
        "Handler": manifest.handler.as_deref().unwrap_or_else(|| default_handler(kind)),
        "CodeSize": code_size,
        "Description": settings.description,
        "Timeout": whole_seconds(limits.timeout_s),
        "MemorySize": limits.memory_mb,
        "LastModified": iso_time(modified_ms),
        "CodeSha256": STANDARD.encode(code_sha256),
        "Version": version,
        "TracingConfig": {"Mode": if settings.traced { "Active" } else { "PassThrough" }},
        "RevisionId": revision_id,
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "PackageType": "Zip",
        "Architectures": [architecture],
        "EphemeralStorage": {"Size": limits.tmp_mb},
        "SnapStart": {
            "ApplyOn": settings.snap_start.as_deref().unwrap_or("None"),
            "OptimizationStatus": "Off",
        },
        "LoggingConfig": logging(manifest, settings),
    });
    let variables = manifest.env.iter().filter(|(name, _)| !is_ours(name));
    let variables: serde_json::Map<_, _> = variables
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    if !variables.is_empty() {
        told["Environment"] = json!({"Variables": variables});
    }
    if let Some(target) = &settings.dead_letter {
        told["DeadLetterConfig"] = json!({"TargetArn": target});
    }
    if !settings.layers.is_empty() {
        let layers = settings.layers.iter();
        let layers = layers.map(|layer| json!({"Arn": layer.arn, "CodeSize": layer.size}));
        told["Layers"] = layers.collect();
    }
    told
}

/// Variables that stand for the logging configuration.
fn is_ours(name: &str) -> bool {
    matches!(name, "AWS_LAMBDA_LOG_FORMAT" | "AWS_LAMBDA_LOG_LEVEL")
}

fn logging(manifest: &Manifest, settings: &Settings) -> Value {
    let mut told = json!({
        "LogFormat": "Text",
        "LogGroup": format!("/aws/lambda/{}", manifest.name),
    });
    if let Some(Value::Object(given)) = &settings.logging {
        for (member, value) in given {
            told[member] = value.clone();
        }
    }
    told
}

/// What a runtime is called when nobody named it.
fn runtime_name(kind: RuntimeKind) -> &'static str {
    match kind {
        RuntimeKind::Python3 => "python3.12",
        RuntimeKind::NodeJs => "nodejs22.x",
        RuntimeKind::Provided => "provided.al2023",
        RuntimeKind::Wasm => "wasm",
    }
}

fn default_handler(kind: RuntimeKind) -> &'static str {
    match kind {
        RuntimeKind::Python3 => "lambda_function.lambda_handler",
        RuntimeKind::NodeJs => "index.handler",
        RuntimeKind::Provided => "bootstrap",
        RuntimeKind::Wasm => "wasi:http/incoming-handler",
    }
}

/// Seconds, rounded up: the API knows no parts of them.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a manifest's times are from a millisecond to a week"
)]
fn whole_seconds(seconds: f64) -> u64 {
    seconds.ceil() as u64
}
