//! `fractus.toml`: what a user writes about a function, and what it means once checked.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::{
    ACCESS_MAX, BODY_MAX_MB, CONCURRENCY_DEFAULT, CONCURRENCY_MAX, ENV_MAX, HANDLER_MAX,
    IDLE_DEFAULT_S, IDLE_MAX_S, MANIFEST_MAX, MEMORY_DEFAULT_MB, MEMORY_MAX_MB, METHODS_MAX,
    QUEUE_BATCH_MAX, QUEUE_WINDOW_MAX_S, REQUEST_DEFAULT_MB, RESPONSE_DEFAULT_MB, ROUTE_PATH_MAX,
    ROUTES_MAX, TIMEOUT_DEFAULT_MS, TIMEOUT_MAX_MS, TMP_DEFAULT_MB, TMP_MAX_MB, TRIGGERS_MAX,
    WASM_MEMORY_MAX_MB,
};
use crate::{Cron, FunctionName, NameError, RuntimeKind};

/// A function's manifest, checked. Also the form in which a version's settings travel and are
/// stored as JSON, so fields are only ever added, with defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The function's name.
    pub name: FunctionName,
    /// Command that makes the artifact, run in the manifest's folder. None: nothing to build, or a
    /// Cargo project's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// The artifact, relative to the manifest's folder. None: what the build makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// What runs it. None: told from the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeKind>,
    /// What is called, as `module.function`; the module may lie in folders, as in
    /// `src/app.handler`. None: found by the names that are usual. Not for WebAssembly, which
    /// exports its handler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// The form in which an HTTP request reaches a handler that takes events. None:
    /// [`Payload::Raw`] for an `f(event)`, else [`Payload::Http`]. Not for WebAssembly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
    /// How many instances are kept, and how long.
    #[serde(default)]
    pub instances: Instances,
    /// What a call may use.
    #[serde(default)]
    pub limits: Limits,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What the function may reach.
    #[serde(default)]
    pub access: Access,
    /// Where it is reached besides `/run/NAME/` and `NAME.localhost`.
    #[serde(default)]
    pub routes: Vec<RouteSpec>,
    /// The HTTP methods that it takes, in upper case; others are answered with 405. None for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// What calls it besides requests.
    #[serde(default, skip_serializing_if = "Triggers::is_empty")]
    pub triggers: Triggers,
}

/// What calls a function besides requests: each is an event that is kept until it was handled.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Triggers {
    /// Times of the day.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cron: Vec<CronTrigger>,
    /// Objects that are stored or deleted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub object: Vec<ObjectTrigger>,
    /// Messages of queues.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queue: Vec<QueueTrigger>,
}

/// Calls a function at the times of a [`Cron`](crate::Cron) expression.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CronTrigger {
    /// Five fields: minute, hour, day of the month, month, day of the week.
    pub schedule: String,
    /// The time zone that they are in, by its IANA name.
    #[serde(default = "utc")]
    pub timezone: String,
    /// The event, JSON. None: AWS's scheduled event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// Calls a function for changes of a bucket's objects.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectTrigger {
    /// The bucket.
    pub bucket: String,
    /// What keys begin with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// What keys end with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub suffix: String,
    /// Which changes.
    #[serde(default = "created")]
    pub on: Vec<ObjectChange>,
}

fn created() -> Vec<ObjectChange> {
    vec![ObjectChange::Created]
}

/// A change of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectChange {
    /// It was stored, be it new or in the place of an older one.
    Created,
    /// It was deleted.
    Removed,
}

/// Calls a function with the messages of a queue.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueTrigger {
    /// The queue.
    pub queue: String,
    /// Messages in one call, at most.
    #[serde(default = "ten")]
    pub batch: u32,
    /// How long messages are gathered for one call, in seconds.
    #[serde(default)]
    pub window_s: u32,
    /// The function names those messages of a call that failed, as `batchItemFailures`.
    #[serde(default)]
    pub report_failures: bool,
}

fn ten() -> u32 {
    10
}

impl Triggers {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.cron.is_empty() && self.object.is_empty() && self.queue.is_empty()
    }
}

impl ObjectTrigger {
    /// Whether a change of this object calls.
    pub fn matches(&self, bucket: &str, key: &str, change: ObjectChange) -> bool {
        self.bucket == bucket
            && self.on.contains(&change)
            && key.starts_with(&self.prefix)
            && key.ends_with(&self.suffix)
    }
}

/// The form in which an HTTP request reaches a handler that takes events, and its answer leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// The event is the whole request and the answer a whole response, as in payload format 2.0 of
    /// AWS Lambda's function URLs.
    Http,
    /// The event is the request's body, which is JSON, and the answer's body is what the handler
    /// returned, as JSON.
    Raw,
}

/// How many instances of a function are kept, and how long.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Instances {
    /// Instances that are ready before they are called; at most `limits.concurrency`.
    pub provisioned: u32,
    /// How long an idle instance is kept, in seconds; 0 for a fresh one for every call.
    pub idle_s: u32,
}

impl Default for Instances {
    fn default() -> Self {
        Self {
            provisioned: 0,
            idle_s: IDLE_DEFAULT_S,
        }
    }
}

/// What one call of a function may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory of an instance, in MiB.
    pub memory_mb: u32,
    /// Size of an instance's `/tmp`, in MiB; WebAssembly has none.
    pub tmp_mb: u32,
    /// Wall time, in seconds; fractions allowed.
    pub timeout_s: f64,
    /// CPU time, in seconds; defaults to the wall time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_s: Option<f64>,
    /// Request body, in MiB.
    pub request_mb: u32,
    /// Response body, in MiB.
    pub response_mb: u32,
    /// Instances at once.
    pub concurrency: u32,
}

impl Default for Limits {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand milliseconds")]
    fn default() -> Self {
        Self {
            memory_mb: MEMORY_DEFAULT_MB,
            tmp_mb: TMP_DEFAULT_MB,
            timeout_s: TIMEOUT_DEFAULT_MS as f64 / 1000.0,
            cpu_s: None,
            request_mb: REQUEST_DEFAULT_MB,
            response_mb: RESPONSE_DEFAULT_MB,
            concurrency: CONCURRENCY_DEFAULT,
        }
    }
}

impl Limits {
    /// Memory in bytes.
    pub fn memory_bytes(&self) -> usize {
        (self.memory_mb as usize) << 20
    }

    /// Size of `/tmp` in bytes.
    pub fn tmp_bytes(&self) -> u64 {
        u64::from(self.tmp_mb) << 20
    }

    /// Wall time in microseconds.
    pub fn timeout_us(&self) -> u64 {
        micros(self.timeout_s)
    }

    /// CPU time in microseconds.
    pub fn cpu_us(&self) -> u64 {
        micros(self.cpu_s.unwrap_or(self.timeout_s))
    }

    /// Request body in bytes.
    pub fn request_bytes(&self) -> u64 {
        u64::from(self.request_mb) << 20
    }

    /// Response body in bytes.
    pub fn response_bytes(&self) -> u64 {
        u64::from(self.response_mb) << 20
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be at most a week; `as` saturates"
)]
fn micros(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}

/// What a function may reach. Nothing unless it is named.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// Buckets that it may read, as `http://store.internal/BUCKET/KEY`.
    pub buckets: Vec<String>,
    /// Buckets that it may read and write, with `PUT` and `DELETE` at the same place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<String>,
    /// Hosts that outgoing HTTP may go to: `api.example.com`, `*.example.com`, `*`, each with or
    /// without `:port`. Never an address of a private range.
    pub hosts: Vec<String>,
    /// Hosts on loopback or in private ranges, each named exactly: `10.0.0.5:8080`,
    /// `localhost:3000`,
    /// `db.lab`.
    pub private_hosts: Vec<String>,
}

/// A way in to a function, bucket or upstream.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// Host that it holds for, lower case, without port; None for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Path; a prefix when it ends with `/`, else exact.
    pub path: String,
}

/// A manifest that cannot be used; the message says which line or field and what to do.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// Too long to be one.
    #[error("the manifest is larger than {MANIFEST_MAX} bytes")]
    TooLarge,
    /// Not TOML, or a key that is unknown or of the wrong type.
    #[error("the manifest cannot be read")]
    Syntax(#[source] Box<toml::de::Error>),
    /// The name is not one.
    #[error("the manifest's name")]
    Name(#[source] NameError),
    /// A value outside of its range.
    #[error("{field} must be {range}, not {value}")]
    Range {
        /// Where it stands.
        field: &'static str,
        /// What is allowed.
        range: String,
        /// What was written.
        value: String,
    },
    /// An environment variable that cannot be one, or too many of them.
    #[error("env: {0}")]
    Env(String),
    /// A handler that cannot be one.
    #[error("handler: `{handler}` {why}")]
    Handler {
        /// What was written.
        handler: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Something that the function's runtime does not have.
    #[error("{field} is not for {runtime} functions: {why}")]
    Unfit {
        /// Where it stands.
        field: &'static str,
        /// What runs the function.
        runtime: RuntimeKind,
        /// Why it makes no sense there.
        why: &'static str,
    },
    /// An access right that cannot be one.
    #[error("access.{field}: `{entry}` {why}")]
    Access {
        /// Which list.
        field: &'static str,
        /// The entry.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A method that cannot be one.
    #[error("methods: `{0}` is no HTTP method in upper case")]
    Method(String),
    /// A trigger that cannot be one.
    #[error("triggers.{field}: `{entry}`: {why}")]
    Trigger {
        /// Which list.
        field: &'static str,
        /// The schedule, bucket or queue.
        entry: String,
        /// What is wrong with it.
        why: String,
    },
    /// A route that cannot be one.
    #[error("route `{route}` {why}")]
    Route {
        /// Its path, or host.
        route: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Manifest {
    /// The manifest of a bare artifact: a name and defaults.
    pub fn named(name: FunctionName) -> Self {
        Self {
            name,
            build: None,
            artifact: None,
            runtime: None,
            handler: None,
            payload: None,
            instances: Instances::default(),
            limits: Limits::default(),
            env: BTreeMap::new(),
            access: Access::default(),
            routes: Vec::new(),
            methods: Vec::new(),
            triggers: Triggers::default(),
        }
    }

    /// Reads and checks `fractus.toml`.
    pub fn from_toml(text: &str) -> Result<Self, ManifestError> {
        if text.len() > MANIFEST_MAX {
            return Err(ManifestError::TooLarge);
        }
        let manifest: Self =
            toml::from_str(text).map_err(|error| ManifestError::Syntax(Box::new(error)))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks every field; whoever takes a manifest from outside calls it before using one.
    pub fn check(&self) -> Result<(), ManifestError> {
        self.limits.check()?;
        self.instances.check(self.limits.concurrency)?;
        self.handler.as_deref().map_or(Ok(()), check_handler)?;
        self.runtime.map_or(Ok(()), |kind| self.check_for(kind))?;
        check_env(&self.env)?;
        self.access.check()?;
        if self.routes.len() > ROUTES_MAX {
            return Err(out_of_range("routes", 0, ROUTES_MAX, self.routes.len()));
        }
        check_methods(&self.methods)?;
        self.triggers.check()?;
        self.routes.iter().try_for_each(RouteSpec::check)
    }

    /// Checks what hangs on the runtime; to be called when the artifact has told it.
    pub fn check_for(&self, runtime: RuntimeKind) -> Result<(), ManifestError> {
        let unfit = |field, why| {
            Err(ManifestError::Unfit {
                field,
                runtime,
                why,
            })
        };
        match runtime {
            RuntimeKind::Python3 | RuntimeKind::NodeJs | RuntimeKind::Provided => {
                if self.limits.cpu_s.is_some() {
                    let why = "its processor time is a share by its memory; limit timeout_s";
                    return unfit("limits.cpu_s", why);
                }
                if self.instances.provisioned > 0 && self.instances.idle_s == 0 {
                    let why = "with idle_s = 0 no instance waits for a call";
                    return unfit("instances.provisioned", why);
                }
                Ok(())
            }
            RuntimeKind::Wasm => {
                let memory = self.limits.memory_mb;
                check_range("limits.memory_mb", (1, WASM_MEMORY_MAX_MB), memory)?;
                if self.handler.is_some() {
                    return unfit("handler", "a component exports its handler");
                }
                if self.payload.is_some() {
                    return unfit("payload", "a component gets the request itself");
                }
                if self.instances.provisioned > 0 {
                    let why = "every call has an instance of its own, made in microseconds";
                    return unfit("instances.provisioned", why);
                }
                Ok(())
            }
        }
    }
}

fn out_of_range<T: ToString + Copy>(
    field: &'static str,
    min: T,
    max: T,
    value: T,
) -> ManifestError {
    let range = format!("{} to {}", min.to_string(), max.to_string());
    ManifestError::Range {
        field,
        range,
        value: value.to_string(),
    }
}

fn check_range<T: PartialOrd + ToString + Copy>(
    field: &'static str,
    (min, max): (T, T),
    value: T,
) -> Result<(), ManifestError> {
    if value >= min && value <= max {
        Ok(())
    } else {
        Err(out_of_range(field, min, max, value))
    }
}

impl Limits {
    #[expect(clippy::cast_precision_loss, reason = "a week")]
    fn check(&self) -> Result<(), ManifestError> {
        let seconds = (0.001, TIMEOUT_MAX_MS as f64 / 1000.0);
        check_range("limits.memory_mb", (1, MEMORY_MAX_MB), self.memory_mb)?;
        check_range("limits.tmp_mb", (0, TMP_MAX_MB), self.tmp_mb)?;
        check_range("limits.timeout_s", seconds, self.timeout_s)?;
        check_range("limits.cpu_s", seconds, self.cpu_s.unwrap_or(seconds.1))?;
        check_range("limits.request_mb", (0, BODY_MAX_MB), self.request_mb)?;
        check_range("limits.response_mb", (0, BODY_MAX_MB), self.response_mb)?;
        check_range("limits.concurrency", (1, CONCURRENCY_MAX), self.concurrency)
    }
}

impl Instances {
    fn check(self, concurrency: u32) -> Result<(), ManifestError> {
        let most = (0, concurrency);
        check_range("instances.provisioned", most, self.provisioned)?;
        check_range("instances.idle_s", (0, IDLE_MAX_S), self.idle_s)
    }
}

fn check_handler(handler: &str) -> Result<(), ManifestError> {
    let why = match () {
        () if handler.is_empty() => "is empty: write `module.function`",
        () if handler.len() > HANDLER_MAX => "is longer than 256 bytes",
        () if handler.contains(|c: char| c.is_control()) => "holds a control character",
        () if handler.contains("..") || handler.starts_with('/') => {
            "leaves the function's own folder: write `module.function`"
        }
        () => return Ok(()),
    };
    let shown = handler
        .chars()
        .take(HANDLER_MAX)
        .flat_map(char::escape_default);
    Err(ManifestError::Handler {
        handler: shown.collect(),
        why,
    })
}

fn check_env(env: &BTreeMap<String, String>) -> Result<(), ManifestError> {
    let size: usize = env
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if size > ENV_MAX {
        return Err(ManifestError::Env(format!(
            "{size} bytes, more than the {ENV_MAX} allowed"
        )));
    }
    let bad = env.iter().find(|(name, value)| {
        name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
    });
    match bad {
        Some((name, _)) => Err(ManifestError::Env(format!(
            "`{}`: a name is not empty and holds no `=`, and neither name nor value holds NUL",
            name.escape_default()
        ))),
        None => Ok(()),
    }
}

fn check_methods(methods: &[String]) -> Result<(), ManifestError> {
    if methods.len() > METHODS_MAX {
        return Err(out_of_range("methods", 0, METHODS_MAX, methods.len()));
    }
    let plain = |method: &&String| {
        let upper = |b: u8| b.is_ascii_uppercase() || b == b'-';
        method.is_empty() || method.len() > 32 || !method.bytes().all(upper)
    };
    match methods.iter().find(plain) {
        Some(method) => Err(ManifestError::Method(method.escape_default().to_string())),
        None => Ok(()),
    }
}

impl Triggers {
    fn check(&self) -> Result<(), ManifestError> {
        let wrong = |field: &'static str, entry: &str, why: String| ManifestError::Trigger {
            field,
            entry: entry
                .chars()
                .take(128)
                .flat_map(char::escape_default)
                .collect(),
            why,
        };
        let all = self.cron.len() + self.object.len() + self.queue.len();
        if all > TRIGGERS_MAX {
            return Err(out_of_range("the number of triggers", 0, TRIGGERS_MAX, all));
        }
        for CronTrigger {
            schedule,
            timezone,
            payload,
        } in &self.cron
        {
            if let Err(error) = Cron::parse(schedule, timezone) {
                return Err(wrong("cron", schedule, error.to_string()));
            }
            let is_json = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
            if payload.as_deref().is_some_and(|text| !is_json(text)) {
                return Err(wrong(
                    "cron",
                    schedule,
                    "has a payload that is not JSON".to_owned(),
                ));
            }
        }
        for trigger in &self.object {
            if trigger.bucket.is_empty() || trigger.on.is_empty() {
                let why = "names no bucket, or no change in `on`".to_owned();
                return Err(wrong("object", &trigger.bucket, why));
            }
        }
        for QueueTrigger {
            queue,
            batch,
            window_s,
            report_failures: _,
        } in &self.queue
        {
            check_range("triggers.queue.batch", (1, QUEUE_BATCH_MAX), *batch)?;
            check_range(
                "triggers.queue.window_s",
                (0, QUEUE_WINDOW_MAX_S),
                *window_s,
            )?;
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if queue.is_empty() || queue.len() > 80 || !queue.bytes().all(plain) {
                let why = "is no queue: a name is 1 to 80 of A-Z, a-z, 0-9, - and _".to_owned();
                return Err(wrong("queue", queue, why));
            }
        }
        Ok(())
    }
}

impl Access {
    fn check(&self) -> Result<(), ManifestError> {
        let lists = [
            ("buckets", &self.buckets),
            ("writes", &self.writes),
            ("hosts", &self.hosts),
            ("private_hosts", &self.private_hosts),
        ];
        for (field, list) in lists {
            if list.len() > ACCESS_MAX {
                return Err(out_of_range(
                    "the entries of each list of access",
                    0,
                    ACCESS_MAX,
                    list.len(),
                ));
            }
            for entry in list {
                let why = match field {
                    "buckets" | "writes" if entry.is_empty() || entry.contains('/') => {
                        "is not a bucket's name"
                    }
                    "hosts" if !is_host_pattern(entry) => {
                        "is not a host: write `api.example.com`, `*.example.com` or `*`, without a \
                         scheme or path"
                    }
                    "private_hosts" if entry.contains('*') || !is_host_pattern(entry) => {
                        "must name one host exactly, such as `10.0.0.5:8080`"
                    }
                    _ => continue,
                };
                return Err(ManifestError::Access {
                    field,
                    entry: entry.clone(),
                    why,
                });
            }
        }
        Ok(())
    }
}

/// A host name or address, with an optional port; `*` stands for all or, in front, for any label.
fn is_host_pattern(entry: &str) -> bool {
    let host = entry.strip_prefix("*.").unwrap_or(entry);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    let all = host == "*"
        || host
            .strip_prefix("*:")
            .is_some_and(|port| port.parse::<u16>().is_ok());
    all || (!host.is_empty() && host.bytes().all(plain))
}

impl RouteSpec {
    /// Checks the form of host and path.
    pub fn check(&self) -> Result<(), ManifestError> {
        let wrong = |route: &str, why| {
            Err(ManifestError::Route {
                route: route.to_owned(),
                why,
            })
        };
        if let Some(host) = &self.host {
            let label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
            if host.is_empty() || host.len() > 253 || !host.bytes().all(label) {
                return wrong(
                    host,
                    "has a host that is not lower case a-z, 0-9, - and . (no port)",
                );
            }
        }
        if !self.path.starts_with('/') {
            return wrong(&self.path, "must start with /");
        }
        if self.path.len() > ROUTE_PATH_MAX || self.path.contains(['?', '#', '*']) {
            return wrong(
                &self.path,
                "is a plain path of at most 1024 bytes, without ?, # or *",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
