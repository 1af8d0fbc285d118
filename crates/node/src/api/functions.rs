//! Functions: made, told, changed, removed.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fractus_func::{FunctionName, Manifest, RuntimeKind};
use fractus_lambda::control::{Constraint, FunctionRef, Qualifier, ServiceError};
use fractus_lambda::limits::{MEMORY_MIN_MB, PAGE_ASKED_MAX, STREAM_MAX_MB, TIMEOUT_DEFAULT_S};
use fractus_lambda::model::{
    Code, CodeSource, ConfigChange, CreateFunction, LayerUse, Settings, Tags, UpdateCode, View,
    check_architectures, check_package_type, check_tags, configuration, runtime_kind,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::answer::{
    Target, arn, check_revision, deploy_error, done, internal, list as told_list, page, read, told,
};
use super::{Answer, Api, Call, layers};
use crate::artifacts::{ArtifactError, Digest};
use crate::control::{Deploy, DeployError, Deployment, Expected};
use crate::functions::{Entry, Function};
use crate::limits::API_CHANGE_TRIES;

/// Tells a version of a function from what it was before: a UUID made of what it is.
pub(super) fn revision_id(function: &Function) -> String {
    let deployed = function.deployed();
    let mut hash = Sha256::new();
    hash.update(function.name().as_str());
    hash.update(function.number().to_be_bytes());
    hash.update(deployed.created_ms.to_be_bytes());
    hash.update(deployed.artifact.0);
    uuid(hash.finalize().into())
}

/// A UUID (RFC 9562, version 4 by its look) of a digest.
pub(super) fn uuid(digest: [u8; 32]) -> String {
    let bits = digest.first_chunk().copied().unwrap_or_default();
    fractus_func::RequestId::from_random(u128::from_be_bytes(bits)).to_string()
}

/// The digest and size of a version's code, without its layers.
pub(super) fn code_of(function: &Function) -> (Digest, u64) {
    let deployed = function.deployed();
    let code = deployed
        .settings
        .as_ref()
        .and_then(|settings| settings.code.as_ref());
    let code = code.and_then(|code| Some((code.digest.parse().ok()?, code.size)));
    code.unwrap_or((deployed.artifact, deployed.size))
}

/// A version's configuration; `qualifier` is what its ARN ends with.
pub(super) fn describe(api: &Api, function: &Function, qualifier: Option<&Qualifier>) -> Value {
    let deployed = function.deployed();
    let none = Settings::default();
    let (digest, size) = code_of(function);
    configuration(&View {
        manifest: &deployed.manifest,
        settings: deployed.settings.as_ref().unwrap_or(&none),
        kind: deployed.kind.unwrap_or(RuntimeKind::Provided),
        version: &function.identity().version,
        arn: &arn(api, function.name().as_str(), qualifier),
        code_sha256: &digest.0,
        code_size: size,
        modified_ms: deployed.created_ms,
        revision_id: &revision_id(function),
    })
}

/// The same with the version's own number in its ARN.
pub(super) fn describe_version(api: &Api, function: &Function) -> Value {
    let qualifier = match function.version().published {
        Some(number) => Qualifier::Version(number),
        None => Qualifier::Latest,
    };
    describe(api, function, Some(&qualifier))
}

fn describe_target(api: &Api, target: &Target) -> Result<Value, ServiceError> {
    let version = target.version(api)?;
    Ok(describe(api, version, target.qualifier.as_ref()))
}

pub(super) fn get(api: &Api, call: &Call<'_>) -> Answer {
    let target = api.target(call)?;
    let version = target.version(api)?;
    let (digest, _) = code_of(version);
    let host = call.head.headers.get(http::header::HOST);
    let host = host
        .and_then(|host| host.to_str().ok())
        .unwrap_or("localhost");
    let mut document = json!({
        "Configuration": describe_target(api, &target)?,
        "Code": {
            "RepositoryType": "S3",
            "Location": api.code_location(host, digest),
        },
    });
    let attachments = &target.entry.attachments;
    if !attachments.tags.is_empty() {
        document["Tags"] = json!(attachments.tags);
    }
    if let Some(reserved) = attachments.reserved {
        document["Concurrency"] = json!({"ReservedConcurrentExecutions": reserved});
    }
    told(call, &document)
}

pub(super) fn get_configuration(api: &Api, call: &Call<'_>) -> Answer {
    let target = api.target(call)?;
    told(call, &describe_target(api, &target)?)
}

pub(super) fn list(api: &Api, call: &Call<'_>) -> Answer {
    let all_versions = match call.query.get("FunctionVersion").map(String::as_str) {
        None => false,
        Some("ALL") => true,
        Some(other) => {
            let all = Constraint::Enum(&["ALL"]);
            return Err(ServiceError::constraint("functionVersion", other, all));
        }
    };
    let snapshot = api.control.functions().snapshot();
    let entries = snapshot.iter().flat_map(|(name, entry)| {
        // No name has a space, and each byte of one comes after it.
        let latest = std::iter::once((format!("{name} "), (&entry.latest, !all_versions)));
        let published = entry.published.iter().filter(move |_| all_versions);
        let published = published.map(move |(number, function)| {
            (
                format!("{name} {}", super::answer::sortable(*number)),
                (function, false),
            )
        });
        latest.chain(published)
    });
    let (found, next) = page(call, entries, PAGE_ASKED_MAX)?;
    let described = found.into_iter().map(|(function, is_plain)| {
        if is_plain {
            describe(api, function, None)
        } else {
            describe_version(api, function)
        }
    });
    told_list(call, "Functions", (described.collect(), next))
}

pub(super) async fn delete(api: &Api, call: &Call<'_>) -> Answer {
    let target = api.target(call)?;
    let arn = target.arn(api);
    match &target.qualifier {
        None => {
            let removed = api.control.remove(target.name().clone()).await;
            if !removed.map_err(|error| deploy_error(&error, &arn))? {
                return Err(super::answer::no_such_function(&arn));
            }
            done(call)
        }
        Some(Qualifier::Version(number)) => {
            super::versions::delete(api, &target, *number).await?;
            done(call)
        }
        Some(Qualifier::Latest) => Err(ServiceError::invalid_parameter(
            "$LATEST version cannot be deleted without deleting the function.",
        )),
        Some(Qualifier::Alias(_)) => Err(ServiceError::invalid_parameter(
            "An alias cannot be deleted as a function: use DeleteAlias",
        )),
    }
}

pub(super) async fn create(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let request: CreateFunction = read(call)?;
    let missing = |member| ServiceError::constraint(member, "", Constraint::NotNull);
    let name = request
        .function_name
        .as_deref()
        .ok_or_else(|| missing("functionName"))?;
    let reference = api.parse(name)?;
    reference.check_new(name)?;
    let FunctionRef { name, .. } = reference.unqualified()?;
    let arn = arn(api, &name, None);
    let name: FunctionName = name
        .parse()
        .map_err(|_why| ServiceError::validation("functionName"))?;
    if let Some(kind) = &request.package_type {
        check_package_type(kind)?;
    }
    refuse_images(&request)?;
    if request.config.role.is_none() {
        return Err(missing("role"));
    }
    let source = request.code.as_ref().ok_or_else(|| missing("code"))?;
    let mandatory = |what| {
        let message = format!("{what} is mandatory for functions created with deployment packages");
        ServiceError::invalid_parameter(message)
    };
    let runtime = request
        .config
        .runtime
        .as_deref()
        .ok_or_else(|| mandatory("Runtime"))?;
    // A component exports its handler.
    if request.config.handler.is_none() && runtime_kind(runtime) != Some(RuntimeKind::Wasm) {
        return Err(mandatory("Handler"));
    }
    let tags = request.tags.unwrap_or_default();
    check_tags(&tags)?;
    let mut manifest = Manifest::named(name.clone());
    manifest.limits.timeout_s = f64::from(TIMEOUT_DEFAULT_S);
    manifest.limits.memory_mb = MEMORY_MIN_MB;
    // What is streamed; who answers at once may say less, which is for invocations to see to.
    manifest.limits.response_mb = STREAM_MAX_MB;
    let mut settings = Settings::default();
    if let Some(architectures) = &request.architectures {
        check_architectures(architectures)?;
        settings.architectures.clone_from(architectures);
    }
    request.config.apply(&mut manifest, &mut settings)?;
    if api.control.functions().get(name.as_str()).is_some() {
        return Err(deploy_error(&DeployError::Exists, &arn));
    }
    let code = fetch_code(api, source).await?.ok_or_else(|| {
        ServiceError::invalid_parameter("Please provide a source for function code.")
    })?;
    let code = keep(api, code).await?;
    let uses = layers::resolve(api, request.config.layers.as_deref().unwrap_or_default()).await?;
    let artifact = layers::stack(api, &code, (&mut settings, None), uses).await?;
    let deploy = Deploy {
        manifest,
        artifact,
        settings: Some(settings),
        expected: Expected::Nothing,
        tags,
        publish: request.publish.unwrap_or(false),
    };
    let made = api.control.deploy(deploy).await;
    let made = made.map_err(|error| deploy_error(&error, &arn))?;
    told(call, &describe_deployment(api, &made))
}

fn refuse_images(request: &CreateFunction) -> Result<(), ServiceError> {
    if request
        .package_type
        .as_deref()
        .is_some_and(|kind| kind != "Zip")
    {
        let message = "PackageType: container images are not supported here; deploy a zip archive";
        return Err(ServiceError::invalid_parameter(message));
    }
    if request
        .code_signing_config_arn
        .as_ref()
        .is_some_and(|arn| !arn.is_empty())
    {
        let message = "CodeSigningConfigArn: code signing is not supported here";
        return Err(ServiceError::invalid_parameter(message));
    }
    Ok(())
}

fn describe_deployment(api: &Api, made: &Deployment) -> Value {
    match &made.published {
        Some(version) => describe_version(api, version),
        None => describe(api, &made.entry.latest, None),
    }
}

/// The code that a request brings or names; None if it does neither.
async fn fetch_code(api: &Api, source: &CodeSource) -> Result<Option<Bytes>, ServiceError> {
    if let Some(bytes) = source.inline()? {
        if bytes.is_empty() {
            return Err(ServiceError::invalid_parameter(
                "Uploaded file must be a non-empty zip",
            ));
        }
        return Ok(Some(bytes));
    }
    match source.object()? {
        Some((bucket, key)) => layers::stored_object(api, bucket, key).await.map(Some),
        None => Ok(None),
    }
}

/// Keeps an archive as an artifact.
pub(super) async fn keep(api: &Api, bytes: Bytes) -> Result<Code, ServiceError> {
    let kept = api.control.artifacts().keep(&bytes).await;
    let digest = kept.map_err(|error| match error {
        ArtifactError::TooLarge => ServiceError::request_too_large(error.to_string()),
        error => internal(&error),
    })?;
    Ok(Code {
        digest: digest.to_string(),
        size: bytes.len() as u64,
    })
}

pub(super) async fn update_code(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let request: UpdateCode = read(call)?;
    let target = api.whole(call)?;
    if let Some(architectures) = &request.architectures {
        check_architectures(architectures)?;
    }
    check_revision(
        request.revision_id.as_deref(),
        &revision_id(&target.entry.latest),
    )?;
    let code = fetch_code(api, &request.code).await?.ok_or_else(|| {
        ServiceError::invalid_parameter("Please provide a source for function code.")
    })?;
    if request.dry_run == Some(true) {
        let mut told_as = describe(api, &target.entry.latest, None);
        told_as["CodeSha256"] = STANDARD.encode(Sha256::digest(&code)).into();
        told_as["CodeSize"] = code.len().into();
        try_code(api, &target, code).await?;
        return told(call, &told_as);
    }
    let code = keep(api, code).await?;
    let change = |_: &mut Manifest, settings: &mut Settings| {
        if let Some(architectures) = &request.architectures {
            settings.architectures.clone_from(architectures);
        }
        Ok(())
    };
    let made = Change {
        code: Some(&code),
        layers: None,
        revision_id: request.revision_id.as_deref(),
        publish: request.publish.unwrap_or(false),
    };
    let made = made.make(api, target, &change).await?;
    told(call, &describe_deployment(api, &made))
}

/// Whether code could be that of a function. Nothing is left of it.
async fn try_code(api: &Arc<Api>, target: &Target, code: Bytes) -> Result<(), ServiceError> {
    let code = keep(api, code).await?;
    let latest = target.entry.latest.deployed();
    let mut settings = latest.settings.clone().unwrap_or_default();
    let layers = settings.layers.clone();
    let artifact = layers::stack(api, &code, (&mut settings, Some(latest.artifact)), layers).await;
    let tried = match &artifact {
        Ok(artifact) => {
            let tried = api.control.compile(&latest.manifest, *artifact).await;
            let tried = tried.map_err(DeployError::from);
            tried
                .map_err(|error| deploy_error(&error, &target.arn(api)))
                .map(|_| ())
        }
        Err(error) => Err(error.clone()),
    };
    let own = code.digest.parse().ok();
    for digest in own.into_iter().chain(artifact.ok()) {
        api.control.forget_unused(digest).await;
    }
    tried
}

pub(super) async fn update_configuration(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let request: ConfigChange = read(call)?;
    let target = api.whole(call)?;
    let layers = match &request.layers {
        Some(arns) => Some(layers::resolve(api, arns).await?),
        None => None,
    };
    let change =
        |manifest: &mut Manifest, settings: &mut Settings| request.apply(manifest, settings);
    let made = Change {
        code: None,
        layers: layers.as_deref(),
        revision_id: request.revision_id.as_deref(),
        publish: false,
    };
    let made = made.make(api, target, &change).await?;
    told(call, &describe_deployment(api, &made))
}

/// A change of a function's newest revision.
struct Change<'a> {
    /// New code.
    code: Option<&'a Code>,
    /// New layers.
    layers: Option<&'a [LayerUse]>,
    revision_id: Option<&'a str>,
    publish: bool,
}

/// How a revision's manifest and settings change.
type Changes<'a> =
    &'a (dyn Fn(&mut Manifest, &mut Settings) -> Result<(), ServiceError> + Send + Sync);

impl Change<'_> {
    /// Makes it; again, from what is there then, when another one came in between.
    async fn make(
        &self,
        api: &Api,
        target: Target,
        change: Changes<'_>,
    ) -> Result<Deployment, ServiceError> {
        let arn = target.arn(api);
        let mut entry = target.entry;
        for _ in 0..API_CHANGE_TRIES {
            let latest = &entry.latest;
            check_revision(self.revision_id, &revision_id(latest))?;
            let deployed = latest.deployed();
            let mut manifest = deployed.manifest.clone();
            let mut settings = deployed.settings.clone().unwrap_or_default();
            change(&mut manifest, &mut settings)?;
            let code = self.code.cloned().unwrap_or_else(|| {
                let (digest, size) = code_of(latest);
                Code {
                    digest: digest.to_string(),
                    size,
                }
            });
            let layers = self
                .layers
                .map_or_else(|| settings.layers.clone(), <[LayerUse]>::to_vec);
            let before = Some(deployed.artifact);
            let artifact = layers::stack(api, &code, (&mut settings, before), layers).await?;
            let deploy = Deploy {
                manifest,
                artifact,
                settings: Some(settings),
                expected: Expected::Revision(latest.number()),
                tags: Tags::new(),
                publish: self.publish,
            };
            match api.control.deploy(deploy).await {
                Err(DeployError::Changed) => entry = again(api, &entry)?,
                made => return made.map_err(|error| deploy_error(&error, &arn)),
            }
        }
        Err(deploy_error(&DeployError::Changed, &arn))
    }
}

/// A function as it is now.
fn again(api: &Api, entry: &Entry) -> Result<Arc<Entry>, ServiceError> {
    let name = entry.latest.name().as_str();
    let found = api.control.functions().get(name);
    found.ok_or_else(|| super::answer::no_such_function(&arn(api, name, None)))
}
