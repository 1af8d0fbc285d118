//! Layers: archives that functions stand on. What a function stands on is put together when it is
//! deployed, in one archive, so that nothing is left to do when it is called: a layer's files lie
//! in it below [`OPT`], which sandboxes show as `/opt`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use fractus_blob::{BucketName, ObjectKey};
use fractus_lambda::control::{Constraint, LayerRef, ServiceError, layer_arn, layer_version_arn};
use fractus_lambda::limits::{
    LAYER_RUNTIMES_MAX, LAYERS_MAX, LICENSE_MAX, PAGE_MAX, UNZIPPED_MAX, ZIP_MAX,
};
use fractus_lambda::model::{
    Code, CodeSource, LayerUse, Policy, Settings, check_description, is_runtime, iso_time, object,
};
use fractus_sandbox::OPT;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zip::{ZipArchive, ZipWriter};

use super::answer::{done, internal, list as told_list, page, read, sortable, told};
use super::functions::keep;
use super::{Answer, Api, Call};
use crate::artifacts::Digest;
use crate::clock::now_ms;
use crate::limits::ACCOUNT;
use crate::registry::DocumentKind;

pub(super) mod policy;

/// A version of a layer, as it is stored.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Layer {
    name: String,
    version: u64,
    #[serde(default)]
    description: String,
    created_ms: u64,
    code: Code,
    #[serde(default)]
    runtimes: Vec<String>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    license: Option<String>,
    /// Who else may use it.
    #[serde(default)]
    policy: Policy,
}

/// The body of `PublishLayerVersion`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Publish {
    description: Option<String>,
    #[serde(deserialize_with = "object")]
    content: Option<CodeSource>,
    compatible_runtimes: Option<Vec<String>>,
    compatible_architectures: Option<Vec<String>>,
    license_info: Option<String>,
}

fn version_key(name: &str, version: u64) -> String {
    format!("{name}:{}", sortable(version))
}

impl Layer {
    fn arn(&self, api: &Api) -> String {
        layer_version_arn(&api.region, ACCOUNT, &self.name, self.version)
    }

    fn describe(&self, api: &Api) -> Value {
        let mut told = json!({
            "LayerVersionArn": self.arn(api),
            "Version": self.version,
            "Description": self.description,
            "CreatedDate": iso_time(self.created_ms),
            "CompatibleRuntimes": self.runtimes,
            "CompatibleArchitectures": self.architectures,
        });
        if let Some(license) = &self.license {
            told["LicenseInfo"] = license.as_str().into();
        }
        told
    }

    fn describe_whole(&self, api: &Api, host: &str) -> Value {
        let mut told = self.describe(api);
        told["LayerArn"] = layer_arn(&api.region, ACCOUNT, &self.name).into();
        let digest: Option<Digest> = self.code.digest.parse().ok();
        let digest = digest.unwrap_or(Digest([0; 32]));
        told["Content"] = json!({
            "CodeSha256": STANDARD.encode(digest.0),
            "CodeSize": self.code.size,
            "Location": api.code_location(host, digest),
        });
        told
    }
}

/// All versions of all layers, by name and number.
async fn all(api: &Api) -> Result<BTreeMap<String, Layer>, ServiceError> {
    let registry = api.control.registry();
    let documents = registry
        .run(|registry| registry.documents(DocumentKind::Layer))
        .await;
    let documents = documents.map_err(|error| internal(&error))?;
    let layers = documents.into_iter().filter(|(key, _)| !key.ends_with(':'));
    let layers = layers.filter_map(|(key, text)| Some((key, serde_json::from_str(&text).ok()?)));
    Ok(layers.collect())
}

fn missing(arn: &str) -> ServiceError {
    ServiceError::not_found(format!("Layer version {arn} does not exist."))
}

async fn find(api: &Api, reference: &LayerRef) -> Result<Layer, ServiceError> {
    let version = reference.version.unwrap_or(0);
    let name = &reference.name;
    let is_elsewhere = reference
        .region
        .as_deref()
        .is_some_and(|region| *region != *api.region)
        || reference
            .account
            .as_deref()
            .is_some_and(|account| account != ACCOUNT);
    let found = if is_elsewhere {
        None
    } else {
        all(api).await?.remove(&version_key(name, version))
    };
    found.ok_or_else(|| missing(&layer_version_arn(&api.region, ACCOUNT, name, version)))
}

/// Reads the ARN of a version of a layer.
fn version_ref(member: &str, arn: &str) -> Result<LayerRef, ServiceError> {
    let reference = LayerRef::parse(arn)?;
    if reference.region.is_some() && reference.version.is_some() {
        return Ok(reference);
    }
    let pattern = "arn:[a-zA-Z0-9-]+:lambda:[a-zA-Z0-9-]+:\\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+";
    Err(ServiceError::constraint(
        member,
        arn,
        Constraint::Pattern(pattern),
    ))
}

/// The layers of these ARNs.
pub(super) async fn resolve(api: &Api, arns: &[String]) -> Result<Vec<LayerUse>, ServiceError> {
    if arns.len() > LAYERS_MAX {
        let message = format!("Cannot reference more than {LAYERS_MAX} layers.");
        return Err(ServiceError::invalid_parameter(message));
    }
    let (mut uses, mut names) = (Vec::new(), BTreeSet::new());
    for arn in arns {
        let reference = version_ref("layers", arn)?;
        let layer = find(api, &reference)
            .await
            .map_err(|error| ServiceError::invalid_parameter(error.message))?;
        if !names.insert(layer.name.clone()) {
            return Err(ServiceError::invalid_parameter(format!(
                "Two different versions of the same layer are not allowed to be referenced in the \
                 same function: {}",
                layer_arn(&api.region, ACCOUNT, &layer.name)
            )));
        }
        uses.push(LayerUse {
            arn: layer.arn(api),
            size: layer.code.size,
        });
    }
    Ok(uses)
}

/// Puts code and layers together, and says so in the settings. Answers the artifact to deploy.
/// `before` is the artifact that has the layers of the settings as they are: where those stay, it
/// is where they are taken from, since layers may have been deleted.
pub(super) async fn stack(
    api: &Api,
    code: &Code,
    (settings, before): (&mut Settings, Option<Digest>),
    uses: Vec<LayerUse>,
) -> Result<Digest, ServiceError> {
    let own: Digest = code
        .digest
        .parse()
        .map_err(|_why| ServiceError::service("a digest"))?;
    let before = before.filter(|_| settings.layers == uses);
    settings.layers = uses;
    settings.code = None;
    let mut parts = vec![(own, Part::Code)];
    if let (Some(before), false) = (before, settings.layers.is_empty()) {
        parts.push((before, Part::Stacked));
    } else {
        for layer in &settings.layers {
            let found = find(api, &LayerRef::parse(&layer.arn)?).await;
            let found = found.map_err(|error| ServiceError::invalid_parameter(error.message))?;
            let digest = found.code.digest.parse();
            parts.push((
                digest.map_err(|_why| ServiceError::service("a digest"))?,
                Part::Layer,
            ));
        }
    }
    let artifacts = Arc::clone(api.control.artifacts());
    let work = move || {
        let mut archives = Vec::new();
        let is_alone = parts.len() == 1;
        for (digest, part) in parts {
            let bytes = artifacts.read(digest).map_err(|error| internal(&error))?;
            if is_alone && !bytes.starts_with(b"PK") {
                // A component, or what is no archive: whoever compiles it says so.
                return Ok(None);
            }
            archives.push((bytes, part));
        }
        combine(&archives).map_err(|error| ServiceError::invalid_parameter(error.0))
    };
    let combined = tokio::task::spawn_blocking(work).await;
    let combined = match combined.unwrap_or_else(|_| Err(ServiceError::service("the node stops"))) {
        Ok(Some(combined)) => combined,
        Ok(None) => return Ok(own),
        Err(error) => {
            // It was kept to be deployed.
            api.control.forget_unused(own).await;
            return Err(error);
        }
    };
    settings.code = Some(code.clone());
    let kept = keep(api, combined.into()).await?;
    kept.digest
        .parse()
        .map_err(|_why| ServiceError::service("a digest"))
}

/// What an archive is to a function.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Part {
    Code,
    Layer,
    /// Code and layers, of which only the layers are wanted.
    Stacked,
}

/// Why archives do not go together.
struct Unfit(String);

impl From<zip::result::ZipError> for Unfit {
    fn from(error: zip::result::ZipError) -> Self {
        Self(format!("Could not unzip uploaded file: {error}"))
    }
}

/// One archive of code and, below [`OPT`], the layers over each other; nothing is packed anew.
/// None if there is nothing but code.
fn combine(archives: &[(Vec<u8>, Part)]) -> Result<Option<Vec<u8>>, Unfit> {
    let mut parts = Vec::new();
    for (bytes, part) in archives {
        parts.push((ZipArchive::new(Cursor::new(bytes.as_slice()))?, *part));
    }
    // By the name in the new archive: the archive and entry that it is from, the last one winning.
    let mut entries: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut size = 0_u64;
    for (at, (archive, part)) in parts.iter_mut().enumerate() {
        for index in 0..archive.len() {
            let entry = archive.by_index_raw(index)?;
            let name = entry.name().map_err(Unfit::from)?.into_owned();
            let is_opt = name
                .trim_start_matches("./")
                .starts_with(&format!("{OPT}/"));
            let name = match part {
                Part::Code if is_opt => {
                    return Err(Unfit(format!("{OPT} in an archive is kept for layers")));
                }
                Part::Stacked if !is_opt => continue,
                Part::Code | Part::Stacked => name,
                Part::Layer => format!("{OPT}/{}", name.trim_start_matches("./")),
            };
            size = size.saturating_add(entry.size());
            if !entry.is_dir() {
                entries.insert(name, (at, index));
            }
        }
    }
    if size > UNZIPPED_MAX {
        return Err(Unfit(format!(
            "Unzipped size must be smaller than {UNZIPPED_MAX} bytes"
        )));
    }
    if parts.len() == 1 {
        return Ok(None);
    }
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, (at, index)) in entries {
        let entry = parts[at].0.by_index_raw(index)?;
        writer.raw_copy_file_rename(entry, name)?;
    }
    Ok(Some(writer.finish()?.into_inner()))
}

/// The bytes of an object of the node's store.
pub(super) async fn stored_object(
    api: &Api,
    bucket: &str,
    key: &str,
) -> Result<Bytes, ServiceError> {
    let gone = |why: &str| {
        ServiceError::invalid_parameter(format!(
            "Error occurred while GetObject. S3 Error Code: {why}. S3 Error Message: the object \
             {key} of bucket {bucket} cannot be read"
        ))
    };
    let name: BucketName = bucket.parse().map_err(|_why| gone("InvalidBucketName"))?;
    let object_key: ObjectKey = key.parse().map_err(|_why| gone("NoSuchKey"))?;
    let store = api.control.store().clone();
    let work = move || {
        let found = store
            .get(&name, &object_key)
            .map_err(|_why| "NoSuchBucket")?;
        let object = found.ok_or("NoSuchKey")?;
        let size = object.info().size;
        if size > ZIP_MAX as u64 {
            return Err("EntityTooLarge");
        }
        let mut reader = object.read(0..size);
        let mut bytes = BytesMut::new();
        while let Some(block) = reader.next_block().map_err(|_why| "InternalError")? {
            bytes.extend_from_slice(&block);
        }
        Ok(bytes.freeze())
    };
    let read = tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err("ServiceUnavailable"));
    read.map_err(gone)
}

fn host(call: &Call<'_>) -> String {
    let host = call.head.headers.get(http::header::HOST);
    host.and_then(|host| host.to_str().ok())
        .unwrap_or("localhost")
        .to_owned()
}

pub(super) async fn publish(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let request: Publish = read(call)?;
    let LayerRef { name, .. } = LayerRef::parse(call.route.parameter("LayerName"))?;
    let description = request.description.unwrap_or_default();
    check_description(&description)?;
    let runtimes = request.compatible_runtimes.unwrap_or_default();
    let architectures = request.compatible_architectures.unwrap_or_default();
    check_compatible(&runtimes, &architectures)?;
    if let Some(license) = request.license_info.as_ref()
        && license.chars().count() > LICENSE_MAX
    {
        let most = Constraint::LengthMax(LICENSE_MAX);
        return Err(ServiceError::constraint("licenseInfo", license, most));
    }
    let content = request.content.unwrap_or_default();
    let bytes = match content.inline()? {
        Some(bytes) => bytes,
        None => match content.object()? {
            Some((bucket, key)) => stored_object(api, bucket, key).await?,
            None => return Err(ServiceError::invalid_parameter("Please provide content.")),
        },
    };
    check_layer(&bytes)?;
    let code = keep(api, bytes).await?;
    let artifact = code.digest.parse().ok();
    let layer = Layer {
        name,
        version: 0,
        description,
        created_ms: now_ms(),
        code,
        runtimes,
        architectures,
        license: request.license_info,
        policy: Policy::default(),
    };
    let registry = api.control.registry();
    let written = registry.run(move |registry| {
        let counter = format!("{}:", layer.name);
        let version = registry.count_document(DocumentKind::Layer, &counter)?;
        let layer = Layer { version, ..layer };
        let text = serde_json::to_string(&layer).expect("texts and numbers are JSON");
        let key = version_key(&layer.name, version);
        registry.put_document(DocumentKind::Layer, &key, artifact, &text)?;
        Ok(layer)
    });
    let layer = written.await.map_err(|error| internal(&error))?;
    told(call, &layer.describe_whole(api, &host(call)))
}

/// What a layer says that it is for.
fn check_compatible(runtimes: &[String], architectures: &[String]) -> Result<(), ServiceError> {
    let wrong =
        |member, value: &str, constraint| Err(ServiceError::constraint(member, value, constraint));
    let member = "compatibleRuntimes";
    if runtimes.len() > LAYER_RUNTIMES_MAX {
        let most = Constraint::LengthMax(LAYER_RUNTIMES_MAX);
        return wrong(member, &format!("[{}]", runtimes.join(", ")), most);
    }
    if let Some(other) = runtimes.iter().find(|name| !is_runtime(name)) {
        return wrong(
            member,
            other,
            Constraint::Enum(&["nodejsN.x", "python3.N", "…"]),
        );
    }
    let (member, all) = ("compatibleArchitectures", ["x86_64", "arm64"]);
    if architectures.len() > all.len() {
        let most = Constraint::LengthMax(all.len());
        return wrong(member, &format!("[{}]", architectures.join(", ")), most);
    }
    match architectures
        .iter()
        .find(|name| !all.contains(&name.as_str()))
    {
        Some(other) => wrong(member, other, Constraint::Enum(&all)),
        None => Ok(()),
    }
}

/// Whether an archive can be a layer.
fn check_layer(bytes: &[u8]) -> Result<(), ServiceError> {
    let wrong = |why: String| {
        let message = format!("Could not unzip uploaded file. Please check your file: {why}");
        ServiceError::invalid_parameter(message)
    };
    let mut archive =
        ZipArchive::new(Cursor::new(bytes)).map_err(|error| wrong(error.to_string()))?;
    let mut size = 0_u64;
    for index in 0..archive.len() {
        let entry = archive
            .by_index_raw(index)
            .map_err(|error| wrong(error.to_string()))?;
        size = size.saturating_add(entry.size());
        if entry.enclosed_name().is_none() {
            let name = entry.name().unwrap_or_default();
            return Err(wrong(format!(
                "`{}` leaves the archive",
                name.escape_default()
            )));
        }
    }
    if size > UNZIPPED_MAX {
        return Err(ServiceError::invalid_parameter(format!(
            "Unzipped size must be smaller than {UNZIPPED_MAX} bytes"
        )));
    }
    Ok(())
}

/// The layer that the path names.
fn reference(call: &Call<'_>) -> Result<LayerRef, ServiceError> {
    let mut reference = LayerRef::parse(call.route.parameter("LayerName"))?;
    let text = call.route.parameter("VersionNumber");
    let version = text.parse::<i64>().map_err(|_why| {
        ServiceError::validation(format!("Layer version '{text}' is not a number"))
    })?;
    reference.version = u64::try_from(version).ok().filter(|version| *version > 0);
    if reference.version.is_none() {
        let message = "Layer Version Cannot be less than 1.";
        return Err(ServiceError::invalid_parameter(message));
    }
    Ok(reference)
}

pub(super) async fn get(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let layer = find(api, &reference(call)?).await?;
    told(call, &layer.describe_whole(api, &host(call)))
}

pub(super) async fn get_by_arn(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let arn = call.query.get("Arn").map_or("", String::as_str);
    let layer = find(api, &version_ref("arn", arn)?).await?;
    told(call, &layer.describe_whole(api, &host(call)))
}

/// Whether a layer is for the runtime and architecture that a list is asked for.
fn is_wanted(call: &Call<'_>, layer: &Layer) -> bool {
    let has = |parameter: &str, list: &[String]| {
        call.query
            .get(parameter)
            .is_none_or(|wanted| list.contains(wanted))
    };
    has("CompatibleRuntime", &layer.runtimes) && has("CompatibleArchitecture", &layer.architectures)
}

/// Whether lists are asked for what there can be.
fn check_wanted(call: &Call<'_>) -> Result<(), ServiceError> {
    let one = |name: &str| {
        call.query
            .get(name)
            .cloned()
            .into_iter()
            .collect::<Vec<_>>()
    };
    check_compatible(&one("CompatibleRuntime"), &one("CompatibleArchitecture"))
}

pub(super) async fn list(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    check_wanted(call)?;
    let mut newest = BTreeMap::new();
    for layer in all(api)
        .await?
        .into_values()
        .filter(|layer| is_wanted(call, layer))
    {
        newest.insert(layer.name.clone(), layer);
    }
    let (found, next) = page(call, newest, PAGE_MAX)?;
    let described = found.into_iter().map(|layer| {
        json!({
            "LayerName": layer.name,
            "LayerArn": layer_arn(&api.region, ACCOUNT, &layer.name),
            "LatestMatchingVersion": layer.describe(api),
        })
    });
    told_list(call, "Layers", (described.collect(), next))
}

pub(super) async fn list_versions(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let LayerRef { name, .. } = LayerRef::parse(call.route.parameter("LayerName"))?;
    check_wanted(call)?;
    let versions = all(api).await?.into_values();
    let versions = versions.filter(|layer| layer.name == name && is_wanted(call, layer));
    // The newest first.
    let versions = versions.map(|layer| (sortable(u64::MAX - layer.version), layer));
    let (found, next) = page(call, versions.collect::<BTreeMap<_, _>>(), PAGE_MAX)?;
    let described = found.iter().map(|layer| layer.describe(api));
    told_list(call, "LayerVersions", (described.collect(), next))
}

pub(super) async fn delete(api: &Arc<Api>, call: &Call<'_>) -> Answer {
    let reference = reference(call)?;
    let key = version_key(&reference.name, reference.version.unwrap_or(0));
    let artifact = find(api, &reference).await.ok();
    let registry = api.control.registry();
    let deleted = registry.run(move |registry| registry.delete_document(DocumentKind::Layer, &key));
    deleted.await.map_err(|error| internal(&error))?;
    if let Some(digest) = artifact.and_then(|layer| layer.code.digest.parse().ok()) {
        api.control.forget_unused(digest).await;
    }
    done(call)
}
