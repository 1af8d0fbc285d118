//! Requests that make and change functions, checked against AWS Lambda's limits and brought into
//! a manifest and [`Settings`].

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fractus_func::{Manifest, RuntimeKind};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::object::object;
use super::settings::Settings;
use crate::control::{Constraint, ServiceError};
use crate::limits::{
    DESCRIPTION_MAX, ENV_MAX, HANDLER_MAX, LAYERS_MAX, MEMORY_MAX_MB, MEMORY_MIN_MB, TAG_NAME_MAX,
    TAG_VALUE_MAX, TAGS_MAX, TIMEOUT_MAX_S, TMP_MAX_MB, TMP_MIN_MB, ZIP_MAX,
};

/// Tags of a function.
pub type Tags = BTreeMap<String, String>;

/// The body of `CreateFunction`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateFunction {
    /// A name or an ARN.
    #[serde(default)]
    pub function_name: Option<String>,
    /// The code.
    #[serde(default, deserialize_with = "object")]
    pub code: Option<CodeSource>,
    /// Whether to publish a version of it at once.
    #[serde(default)]
    pub publish: Option<bool>,
    /// Its tags.
    #[serde(default)]
    pub tags: Option<Tags>,
    /// `Zip`, or `Image`, which is refused.
    #[serde(default)]
    pub package_type: Option<String>,
    /// `x86_64` or `arm64`.
    #[serde(default)]
    pub architectures: Option<Vec<String>>,
    /// Refused if given.
    #[serde(default)]
    pub code_signing_config_arn: Option<String>,
    /// The rest.
    #[serde(flatten)]
    pub config: ConfigChange,
}

/// Where code comes from.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CodeSource {
    /// A zip archive (or a component) in base64.
    pub zip_file: Option<String>,
    /// A bucket of the node.
    pub s3_bucket: Option<String>,
    /// The object in it.
    pub s3_key: Option<String>,
    /// Refused if given.
    pub s3_object_version: Option<String>,
    /// Refused if given.
    pub image_uri: Option<String>,
}

impl std::fmt::Debug for CodeSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let zip = self.zip_file.as_ref().map(String::len);
        f.debug_struct("CodeSource")
            .field("zip_file", &zip)
            .field("s3_bucket", &self.s3_bucket)
            .field("s3_key", &self.s3_key)
            .finish_non_exhaustive()
    }
}

/// The body of `UpdateFunctionCode`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateCode {
    /// The code.
    #[serde(flatten)]
    pub code: CodeSource,
    /// `x86_64` or `arm64`.
    #[serde(default)]
    pub architectures: Option<Vec<String>>,
    /// Whether to publish a version of it at once.
    #[serde(default)]
    pub publish: Option<bool>,
    /// Only check.
    #[serde(default)]
    pub dry_run: Option<bool>,
    /// Only if the function still has this revision.
    #[serde(default)]
    pub revision_id: Option<String>,
}

/// The body of `UpdateFunctionConfiguration`, and that part of `CreateFunction`. What is None
/// stays as it is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConfigChange {
    /// The ARN of a role.
    pub role: Option<String>,
    /// What is called.
    pub handler: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// In seconds.
    pub timeout: Option<i64>,
    /// In MiB.
    pub memory_size: Option<i64>,
    /// Such as `python3.12`.
    pub runtime: Option<String>,
    /// `{"Variables": {…}}`.
    #[serde(deserialize_with = "object")]
    pub environment: Option<Environment>,
    /// `{"TargetArn": …}`; an empty one takes it away.
    #[serde(deserialize_with = "object")]
    pub dead_letter_config: Option<DeadLetterConfig>,
    /// `{"Mode": "Active" | "PassThrough"}`.
    #[serde(deserialize_with = "object")]
    pub tracing_config: Option<TracingConfig>,
    /// ARNs of layers with their versions.
    pub layers: Option<Vec<String>>,
    /// `{"Size": MiB}` of `/tmp`.
    #[serde(deserialize_with = "object")]
    pub ephemeral_storage: Option<EphemeralStorage>,
    /// `{"ApplyOn": "PublishedVersions" | "None"}`.
    #[serde(deserialize_with = "object")]
    pub snap_start: Option<SnapStart>,
    /// `{"LogFormat": "Text" | "JSON", …}`.
    pub logging_config: Option<Map<String, Value>>,
    /// Refused unless empty.
    pub vpc_config: Option<Value>,
    /// Refused unless empty.
    #[serde(rename = "KMSKeyArn")]
    pub kms_key_arn: Option<String>,
    /// Refused unless empty.
    pub file_system_configs: Option<Vec<Value>>,
    /// Refused unless empty.
    pub image_config: Option<Value>,
    /// Only if the function still has this revision.
    pub revision_id: Option<String>,
}

/// Environment variables.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Environment {
    /// By name.
    pub variables: BTreeMap<String, String>,
}

/// Where events go that failed at last.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeadLetterConfig {
    /// The ARN of a queue.
    pub target_arn: Option<String>,
}

/// Whether calls are traced.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TracingConfig {
    /// `Active` or `PassThrough`.
    pub mode: Option<String>,
}

/// The size of `/tmp`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EphemeralStorage {
    /// In MiB.
    pub size: i64,
}

/// Whether snapshots are wanted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SnapStart {
    /// `PublishedVersions` or `None`.
    pub apply_on: Option<String>,
}

/// What runs functions of a runtime that AWS Lambda names; None where nothing here does.
pub fn runtime_kind(runtime: &str) -> Option<RuntimeKind> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match runtime {
        "provided" | "provided.al2" | "provided.al2023" => Some(RuntimeKind::Provided),
        "wasm" => Some(RuntimeKind::Wasm),
        _ => {
            if runtime.strip_prefix("python3.").is_some_and(digits) {
                return Some(RuntimeKind::Python3);
            }
            let node = runtime.strip_prefix("nodejs")?.strip_suffix(".x")?;
            digits(node).then_some(RuntimeKind::NodeJs)
        }
    }
}

impl CodeSource {
    /// The archive that lies in the request, if it does.
    pub fn inline(&self) -> Result<Option<Bytes>, ServiceError> {
        if self.image_uri.is_some() {
            let message = "Container images are not supported here: deploy a zip archive";
            return Err(ServiceError::invalid_parameter(message));
        }
        if self.s3_object_version.is_some() {
            let message = "S3ObjectVersion: the node's buckets keep no versions";
            return Err(ServiceError::invalid_parameter(message));
        }
        let Some(text) = &self.zip_file else {
            return Ok(None);
        };
        if self.s3_bucket.is_some() || self.s3_key.is_some() {
            let message = "Please do not provide other FunctionCode parameters when providing a \
                           ZipFile.";
            return Err(ServiceError::invalid_parameter(message));
        }
        let bytes = STANDARD
            .decode(text)
            .map_err(|_invalid| ServiceError::serialization("ZipFile is not base64"))?;
        if bytes.len() > ZIP_MAX {
            return Err(ServiceError::request_too_large(format!(
                "Request must be smaller than {ZIP_MAX} bytes for the CreateFunction operation"
            )));
        }
        Ok(Some(bytes.into()))
    }

    /// The object that it names, if it does.
    pub fn object(&self) -> Result<Option<(&str, &str)>, ServiceError> {
        match (&self.s3_bucket, &self.s3_key) {
            (Some(bucket), Some(key)) => Ok(Some((bucket, key))),
            (None, None) => Ok(None),
            _ => Err(ServiceError::invalid_parameter(
                "Please provide both S3Bucket and S3Key.",
            )),
        }
    }
}

/// Checks architectures against this machine's.
pub fn check_architectures(given: &[String]) -> Result<(), ServiceError> {
    let own = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        other => other,
    };
    match given {
        [one] if one == own => Ok(()),
        [one] if one == "x86_64" || one == "arm64" => Err(ServiceError::invalid_parameter(
            format!("Architectures: this node is {own} and cannot run {one}"),
        )),
        _ => Err(ServiceError::constraint(
            "architectures",
            &format!("[{}]", given.join(", ")),
            Constraint::Enum(&["x86_64", "arm64"]),
        )),
    }
}

/// Checks tags, those that there are and those that come together.
pub fn check_tags(tags: &Tags) -> Result<(), ServiceError> {
    if tags.len() > TAGS_MAX {
        return Err(ServiceError::invalid_parameter(format!(
            "Number of tags exceeds resource tag limit: {} are more than {TAGS_MAX}",
            tags.len()
        )));
    }
    for (name, value) in tags {
        let wrong = if name.is_empty() || name.chars().count() > TAG_NAME_MAX {
            "has a key that is empty or too long"
        } else if value.chars().count() > TAG_VALUE_MAX {
            "has a value that is too long"
        } else if name.starts_with("aws:") {
            "has a key with the reserved prefix aws:"
        } else {
            continue;
        };
        let shown: String = name.chars().take(TAG_NAME_MAX).collect();
        return Err(ServiceError::invalid_parameter(format!(
            "Tag {shown} {wrong}"
        )));
    }
    Ok(())
}

/// Checks a description.
pub fn check_description(text: &str) -> Result<(), ServiceError> {
    check_length("description", text, DESCRIPTION_MAX)
}

fn check_length(member: &str, text: &str, max: usize) -> Result<(), ServiceError> {
    if text.chars().count() <= max {
        return Ok(());
    }
    Err(ServiceError::constraint(
        member,
        text,
        Constraint::LengthMax(max),
    ))
}

fn check_range(member: &str, value: i64, (min, max): (u32, u32)) -> Result<u32, ServiceError> {
    let (min, max) = (i64::from(min), i64::from(max));
    let constraint = if value < min {
        Constraint::ValueMin(min)
    } else if value > max {
        Constraint::ValueMax(max)
    } else {
        return Ok(u32::try_from(value).expect("it is between two numbers of that type"));
    };
    Err(ServiceError::constraint(
        member,
        &value.to_string(),
        constraint,
    ))
}

impl ConfigChange {
    /// Makes the change to a version's manifest and settings. Layers are for the caller to find:
    /// here it is only checked how many there are.
    pub fn apply(
        &self,
        manifest: &mut Manifest,
        settings: &mut Settings,
    ) -> Result<(), ServiceError> {
        self.refuse_what_is_not_there()?;
        if let Some(role) = &self.role {
            check_role(role)?;
            settings.role.clone_from(role);
        }
        if let Some(description) = &self.description {
            check_description(description)?;
            settings.description.clone_from(description);
        }
        self.apply_code(manifest, settings)?;
        self.apply_limits(manifest)?;
        if let Some(environment) = &self.environment {
            check_environment(&environment.variables)?;
            manifest.env.clone_from(&environment.variables);
        }
        if let Some(dead) = &self.dead_letter_config {
            let target = dead.target_arn.as_ref().filter(|arn| !arn.is_empty());
            settings.dead_letter = target.cloned();
        }
        if let Some(mode) = self.tracing_config.as_ref().and_then(|t| t.mode.as_deref()) {
            check_enum("tracingConfig.mode", mode, &["PassThrough", "Active"])?;
            settings.traced = mode == "Active";
        }
        if let Some(logging) = &self.logging_config {
            check_logging(logging)?;
            settings.logging = Some(logging.clone().into());
        }
        if let Some(logging) = &settings.logging {
            manifest_logging(manifest, logging);
        }
        if let Some(apply_on) = self.snap_start.as_ref().and_then(|s| s.apply_on.as_ref()) {
            check_enum(
                "snapStart.applyOn",
                apply_on,
                &["PublishedVersions", "None"],
            )?;
            settings.snap_start = Some(apply_on.clone());
        }
        let layers = self.layers.as_ref().map_or(0, Vec::len);
        if layers > LAYERS_MAX {
            return Err(ServiceError::invalid_parameter(format!(
                "Cannot reference more than {LAYERS_MAX} layers."
            )));
        }
        Ok(())
    }

    fn apply_code(
        &self,
        manifest: &mut Manifest,
        settings: &mut Settings,
    ) -> Result<(), ServiceError> {
        if let Some(runtime) = &self.runtime {
            let Some(kind) = runtime_kind(runtime) else {
                return Err(ServiceError::invalid_parameter(format!(
                    "Value {runtime} at 'runtime' failed to satisfy constraint: Member must be a \
                     runtime of this node: python3.x, nodejsN.x, provided, provided.al2, \
                     provided.al2023 or wasm"
                )));
            };
            manifest.runtime = Some(kind);
            settings.runtime = Some(runtime.clone());
        }
        if let Some(handler) = &self.handler {
            check_length("handler", handler, HANDLER_MAX)?;
            if handler.is_empty() || handler.contains(char::is_whitespace) {
                let pattern = Constraint::Pattern("[^\\s]+");
                return Err(ServiceError::constraint("handler", handler, pattern));
            }
            manifest.handler = Some(handler.clone());
        }
        if manifest.runtime == Some(RuntimeKind::Wasm) {
            // A component exports its handler.
            manifest.handler = None;
        }
        Ok(())
    }

    fn apply_limits(&self, manifest: &mut Manifest) -> Result<(), ServiceError> {
        let limits = &mut manifest.limits;
        if let Some(timeout) = self.timeout {
            let seconds = check_range("timeout", timeout, (1, TIMEOUT_MAX_S))?;
            limits.timeout_s = f64::from(seconds);
        }
        if let Some(memory) = self.memory_size {
            limits.memory_mb = check_range("memorySize", memory, (MEMORY_MIN_MB, MEMORY_MAX_MB))?;
        }
        if let Some(storage) = self.ephemeral_storage {
            let range = (TMP_MIN_MB, TMP_MAX_MB);
            limits.tmp_mb = check_range("ephemeralStorage.size", storage.size, range)?;
        }
        Ok(())
    }

    fn refuse_what_is_not_there(&self) -> Result<(), ServiceError> {
        let is_set = |value: &Option<Value>| match value {
            None | Some(Value::Null) => false,
            // Clients send `{"SubnetIds": [], "SecurityGroupIds": []}` to say that there is none.
            Some(Value::Object(map)) => map.values().any(|value| match value {
                Value::Array(list) => !list.is_empty(),
                Value::Null | Value::Bool(false) => false,
                Value::String(text) => !text.is_empty(),
                _ => true,
            }),
            Some(_) => true,
        };
        let wrong = if is_set(&self.vpc_config) {
            "VpcConfig: this node has no VPCs"
        } else if is_set(&self.image_config) {
            "ImageConfig: container images are not supported here"
        } else if self.kms_key_arn.as_ref().is_some_and(|arn| !arn.is_empty()) {
            "KMSKeyArn: this node has no KMS"
        } else if self
            .file_system_configs
            .as_ref()
            .is_some_and(|list| !list.is_empty())
        {
            "FileSystemConfigs: this node has no EFS"
        } else {
            return Ok(());
        };
        Err(ServiceError::invalid_parameter(wrong))
    }
}

fn check_enum(member: &str, value: &str, all: &[&str]) -> Result<(), ServiceError> {
    if all.contains(&value) {
        return Ok(());
    }
    Err(ServiceError::constraint(
        member,
        value,
        Constraint::Enum(all),
    ))
}

fn check_logging(logging: &Map<String, Value>) -> Result<(), ServiceError> {
    let levels = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    let known: [(&str, &str, &[&str]); 3] = [
        ("LogFormat", "loggingConfig.logFormat", &["JSON", "Text"]),
        (
            "ApplicationLogLevel",
            "loggingConfig.applicationLogLevel",
            &levels,
        ),
        (
            "SystemLogLevel",
            "loggingConfig.systemLogLevel",
            &["DEBUG", "INFO", "WARN"],
        ),
    ];
    for (name, member, all) in known {
        match logging.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(value)) => check_enum(member, value, all)?,
            Some(_) => {
                return Err(ServiceError::serialization(format!("{name} is no text")));
            }
        }
    }
    Ok(())
}

/// Checks what kind of package a function comes in.
pub fn check_package_type(kind: &str) -> Result<(), ServiceError> {
    check_enum("packageType", kind, &["Zip", "Image"])
}

/// Whether a layer may be for a runtime of this name: one of AWS Lambda's, be it here or not.
pub fn is_runtime(name: &str) -> bool {
    runtime_kind(name).is_some() || RUNTIMES_ELSEWHERE.contains(&name)
}

/// Runtimes of AWS Lambda that no node has, but layers may be for.
const RUNTIMES_ELSEWHERE: [&str; 26] = [
    "dotnet10",
    "dotnet6",
    "dotnet8",
    "dotnetcore1.0",
    "dotnetcore2.0",
    "dotnetcore2.1",
    "dotnetcore3.1",
    "go1.x",
    "java11",
    "java17",
    "java21",
    "java25",
    "java8",
    "java8.al2",
    "nodejs",
    "nodejs4.3",
    "nodejs4.3-edge",
    "nodejs6.10",
    "nodejs8.10",
    "python2.7",
    "ruby2.5",
    "ruby2.7",
    "ruby3.2",
    "ruby3.3",
    "ruby3.4",
    "ruby3.5",
];

fn check_role(role: &str) -> Result<(), ServiceError> {
    const PATTERN: &str = "arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+";
    let rest = role
        .strip_prefix("arn:")
        .and_then(|rest| rest.split_once(":iam::"));
    let account = rest.and_then(|(_, rest)| rest.split_once(":role"));
    let is_one = account.is_some_and(|(account, name)| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-/".contains(&b);
        account.len() == 12
            && account.bytes().all(|b| b.is_ascii_digit())
            && !name.is_empty()
            && name.bytes().all(plain)
    });
    if is_one {
        return Ok(());
    }
    Err(ServiceError::constraint(
        "role",
        role,
        Constraint::Pattern(PATTERN),
    ))
}

fn check_environment(variables: &BTreeMap<String, String>) -> Result<(), ServiceError> {
    // AWS counts the variables as JSON.
    let size = serde_json::to_vec(variables).expect("texts are JSON").len();
    if size > ENV_MAX {
        return Err(ServiceError::invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment \
             variables you have provided exceeded the {ENV_MAX} byte limit. String measured: {size}"
        )));
    }
    let taken: Vec<_> = variables
        .keys()
        .map(String::as_str)
        .filter(|name| RESERVED.contains(name))
        .collect();
    if !taken.is_empty() {
        return Err(ServiceError::invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment \
             variables you have provided contains reserved keys that are currently not supported \
             for modification. Reserved keys used in this request: {}",
            taken.join(", ")
        )));
    }
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
            && name.len() >= 2
            && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    match variables.keys().find(|name| !is_name(name)) {
        None => Ok(()),
        Some(name) => Err(ServiceError::constraint(
            "environment.variables",
            name,
            Constraint::Pattern("[a-zA-Z]([a-zA-Z0-9_])+"),
        )),
    }
}

/// Variables that only the node sets: AWS Lambda's, and those that stand for a logging
/// configuration. Others whose names begin with `AWS_LAMBDA_`, such as `AWS_LAMBDA_EXEC_WRAPPER`,
/// are users' to set.
const RESERVED: [&str; 23] = [
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_FORMAT",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_LEVEL",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_METADATA_API",
    "AWS_LAMBDA_METADATA_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
];

/// Guests learn the format and level of their logs from the environment.
fn manifest_logging(manifest: &mut Manifest, logging: &Value) {
    let known = [
        ("LogFormat", "AWS_LAMBDA_LOG_FORMAT"),
        ("ApplicationLogLevel", "AWS_LAMBDA_LOG_LEVEL"),
    ];
    for (member, variable) in known {
        match logging[member].as_str() {
            Some(value) => drop(manifest.env.insert(variable.to_owned(), value.to_owned())),
            None => drop(manifest.env.remove(variable)),
        }
    }
}
