//! Changes of what the node serves. They come one after another; each is durable before it takes
//! effect and before it is acknowledged, and goes to its end even if whoever asked goes away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use fractus_blob::{
    BucketName, BucketSettings, Committed, ObjectKey, ObjectWriter, Precondition, Store, WriteError,
};
use fractus_edge::Edge;
use fractus_func::{
    Description, FunctionName, Manifest, ManifestError, ObjectChange, ObjectTrigger,
    RouteTableError,
};
use fractus_lambda::ObjectEvent;
use fractus_lambda::limits::PUBLISHED_MAX;
use fractus_lambda::model::{Attachments, Settings, Tags};
use fractus_stdx::ErrorChain;
use thiserror::Error;
use tokio::sync::{Mutex, MutexGuard};

use crate::api::mappings::Stored;
use crate::api::request_id;
use crate::artifacts::{ArtifactError, Artifacts, Compiled, Digest};
use crate::clock::now_ms;
use crate::events::{
    Event, Events, Mapping, QueueSpec, ScheduleError, ScheduleSpec, Source,
    WriteError as EventsWriteError,
};
use crate::functions::{Current, Desk, Entry, Function, Functions, Version};
use crate::limits::{FUNCTIONS_MAX, VERSIONS_KEPT};
use crate::origin::object_path;
use crate::registry::{DocumentKind, Ledger, Registered, Registry, RegistryError, Revision};
use crate::routes::{self, Fixed};

/// What a change needs.
#[derive(Debug)]
pub(crate) struct Control {
    functions: Arc<Functions>,
    registry: Registry,
    store: Store,
    events: Events,
    edge: Edge,
    /// Where the edge listens.
    address: SocketAddr,
    fixed: Fixed,
    /// Held by the change that is being made.
    changing: Mutex<()>,
    /// Functions that changes of objects call, by bucket.
    watched: std::sync::Mutex<Arc<Watched>>,
}

/// Functions that changes of objects call, by bucket.
type Watched = BTreeMap<String, Vec<(FunctionName, ObjectTrigger)>>;

fn watched(current: &Current) -> Watched {
    let mut watched = Watched::new();
    for (name, entry) in current {
        for trigger in &entry.latest.manifest().triggers.object {
            let list = watched.entry(trigger.bucket.clone()).or_default();
            list.push((name.clone(), trigger.clone()));
        }
    }
    watched
}

/// When a function is called, by the names of the schedules.
fn schedules(entry: &Entry) -> Vec<ScheduleSpec> {
    let triggers = &entry.latest.manifest().triggers;
    let specs = triggers
        .cron
        .iter()
        .enumerate()
        .map(|(at, cron)| ScheduleSpec {
            name: format!("cron-{at}"),
            expression: cron.schedule.clone(),
            timezone: cron.timezone.clone(),
            qualifier: None,
            payload: cron.payload.clone().map(Into::into),
        });
    let mut specs: Vec<_> = specs.collect();
    specs.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    specs
}

/// A revision that is to be deployed.
#[derive(Debug)]
pub(crate) struct Deploy {
    pub(crate) manifest: Manifest,
    pub(crate) artifact: Digest,
    /// What AWS Lambda's API says of it, if it came that way.
    pub(crate) settings: Option<Settings>,
    pub(crate) expected: Expected,
    /// Tags of a new function.
    pub(crate) tags: Tags,
    /// Whether a version of it is published at once.
    pub(crate) publish: bool,
}

/// What must be there for a revision to be deployed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Expected {
    /// Whatever.
    Anything,
    /// No function of this name.
    Nothing,
    /// The function with this revision as its newest.
    Revision(u64),
}

/// A revision that was deployed.
#[derive(Debug)]
pub(crate) struct Deployment {
    pub(crate) entry: Arc<Entry>,
    /// The version that was published with it.
    pub(crate) published: Option<Arc<Function>>,
    pub(crate) compiled: Compiled,
    pub(crate) description: Description,
}

/// A revision that is not deployed; nothing has changed.
#[derive(Debug, Error)]
pub enum DeployError {
    /// The manifest breaks a rule.
    #[error("the manifest cannot be used")]
    Manifest(#[source] ManifestError),
    /// The artifact is not there or cannot become a function.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// A route that no manifest may have.
    #[error("the route {0} belongs to the node or to another function's name")]
    Reserved(String),
    /// A route of another function or of an upstream.
    #[error(transparent)]
    Taken(#[from] RouteTableError),
    /// [`FUNCTIONS_MAX`] are deployed.
    #[error("there are {FUNCTIONS_MAX} functions already")]
    TooMany,
    /// As many versions are published as may be.
    #[error("there are {PUBLISHED_MAX} published versions already")]
    TooManyVersions,
    /// The function is there, and must not be.
    #[error("the function exists already")]
    Exists,
    /// The function is not there, and must be.
    #[error("the function does not exist")]
    Missing,
    /// It is not what it was any more: look again.
    #[error("the function was changed in the meantime")]
    Changed,
    /// It could not be written down.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Its triggers could not be written down.
    #[error("the function's schedules cannot be set")]
    Schedule(#[source] ScheduleError),
    /// Its events could not be.
    #[error("the function's events cannot be changed")]
    Events(#[from] EventsWriteError),
}

/// Something attached to a function that is not changed.
#[derive(Debug, Error)]
pub(crate) enum AttachError<E> {
    /// There is no such function.
    #[error("the function does not exist")]
    Missing,
    /// It may not be.
    #[error("the change is refused")]
    Refused(E),
    /// It could not be written down or served.
    #[error(transparent)]
    Failed(#[from] DeployError),
}

impl Control {
    /// Puts together what changes need. `address` is where the edge listens.
    pub(crate) fn new(
        functions: Arc<Functions>,
        (registry, store, events): (Registry, Store, Events),
        (edge, address): (Edge, SocketAddr),
        fixed: Fixed,
    ) -> Self {
        Self {
            functions,
            registry,
            store,
            events,
            edge,
            address,
            fixed,
            changing: Mutex::default(),
            watched: std::sync::Mutex::default(),
        }
    }

    /// The deployed functions.
    pub(crate) fn functions(&self) -> &Arc<Functions> {
        &self.functions
    }

    /// What is done later.
    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// What is written down.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The object store, to read.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The edge, to ask for its figures.
    pub(crate) fn edge(&self) -> &Edge {
        &self.edge
    }

    /// The artifacts.
    pub(crate) fn artifacts(&self) -> &Arc<Artifacts> {
        &self.functions.services().artifacts
    }

    /// Where a function is reached.
    pub(crate) fn urls(&self, manifest: &Manifest) -> Vec<String> {
        routes::urls(manifest, self.address)
    }

    /// Serves what the registry holds. What is compiled by another runtime, or not at all, is
    /// compiled first; what cannot be compiled any more is reported and fails when it is called.
    pub(crate) async fn restore(&self) -> Result<(), DeployError> {
        let _turn = self.changing.lock().await;
        let used = self
            .registry
            .run(|registry| registry.artifacts(None))
            .await?;
        self.artifacts().retain(&used)?;
        let mut current = Current::new();
        let mut seen = BTreeSet::new();
        for registered in self.registry.run(Registry::functions).await? {
            let entry = self.restored(registered, &mut seen).await;
            current.insert(entry.latest.name().clone(), Arc::new(entry));
        }
        let artifacts = Arc::clone(self.artifacts());
        // It only fails when the node stops.
        drop(tokio::task::spawn_blocking(move || artifacts.retain_in_runtimes(&used)).await);
        self.serve(current)?;
        self.reschedule().await;
        Ok(self.map_queues().await?)
    }

    /// Has the schedules be what the manifests say: a crash may have come between the two.
    async fn reschedule(&self) {
        let mut kept: BTreeMap<FunctionName, Vec<ScheduleSpec>> = BTreeMap::new();
        for schedule in self.events.schedules(None) {
            kept.entry(schedule.function)
                .or_default()
                .push(schedule.spec);
        }
        for (name, entry) in self.functions.snapshot().iter() {
            let specs = schedules(entry);
            if kept.remove(name).unwrap_or_default() == specs {
                continue;
            }
            if let Err(error) = self.events.set_schedules(name, specs).await {
                let error = ErrorChain(&error);
                tracing::error!(function = %name, %error, "schedules are not as they should be");
            }
        }
        for name in kept.into_keys() {
            if let Err(error) = self.events.remove_function(&name).await {
                let error = ErrorChain(&error);
                tracing::error!(function = %name, %error, "schedules of a function that is gone");
            }
        }
    }

    /// A function as it is to be served. `seen` are the artifacts that were looked at.
    async fn restored(&self, registered: Registered, seen: &mut BTreeSet<Digest>) -> Entry {
        let Registered {
            number,
            mut current,
            mut published,
            last_published,
            attachments,
            ledger,
        } = registered;
        let all = published.values_mut().map(|(_, revision)| revision);
        for revision in all.chain([&mut current]) {
            if seen.insert(revision.artifact) {
                self.compile_again(revision).await;
            }
            if revision.kind.is_none() {
                let (artifact, manifest) = (revision.artifact, &revision.manifest);
                let description = self.artifacts().describe(artifact, manifest);
                revision.kind = description.ok().map(|description| description.runtime);
            }
        }
        let desk = Arc::new(Desk::new(current.manifest.limits.concurrency, ledger));
        let version = |number, revision, published| {
            let version = Version {
                published,
                ..Version::latest(number)
            };
            self.functions.version(version, revision, Arc::clone(&desk))
        };
        let published = published
            .into_iter()
            .map(|(published, (number, revision))| {
                (published, version(number, revision, Some(published)))
            });
        let entry = Entry {
            published: published.collect(),
            latest: version(number, current, None),
            last_published,
            attachments: Arc::new(attachments),
            generation: self.functions.generation(),
        };
        self.provision(entry)
    }

    async fn compile_again(&self, revision: &Revision) {
        let function = &revision.manifest.name;
        match self.artifacts().compile(revision.artifact).await {
            Ok(Compiled { compile_ms: 0, .. }) => {}
            Ok(done) => tracing::info!(%function, ms = done.compile_ms, "compiled anew"),
            Err(error) => tracing::error!(%function, error = %ErrorChain(&error), "compile"),
        }
    }

    /// The entry with as many instances provisioned of each version as its attachments say.
    fn provision(&self, mut entry: Entry) -> Entry {
        let with = |function: &Arc<Function>| {
            let provisioned = entry.provisioned(&function.identity().version);
            let version = Version {
                provisioned,
                ..function.version()
            };
            if version == function.version() {
                return Arc::clone(function);
            }
            let deployed = function.deployed().clone();
            let desk = Arc::clone(function.desk());
            self.functions.version(version, deployed, desk)
        };
        let latest = with(&entry.latest);
        let published = entry.published.iter();
        let published = published.map(|(number, function)| (*number, with(function)));
        entry.published = published.collect();
        entry.latest = latest;
        entry
    }

    /// Makes `current` what is called, here and at the edge.
    fn serve(&self, current: Current) -> Result<(), RouteTableError> {
        let table = routes::table(&self.fixed, &self.functions, &current)?;
        let watched = Arc::new(watched(&current));
        *self.watched.lock().unwrap_or_else(PoisonError::into_inner) = watched;
        self.functions.replace(current);
        self.edge.set_routes(table);
        self.functions.load_provisioned();
        Ok(())
    }

    /// Compiles an artifact if need be, and checks that it suits the manifest. One that cannot be
    /// used and that no version has is removed.
    pub(crate) async fn compile(
        &self,
        manifest: &Manifest,
        artifact: Digest,
    ) -> Result<(Compiled, Description), ArtifactError> {
        let (artifacts, manifest) = (Arc::clone(self.artifacts()), manifest.clone());
        let made = async {
            let compiled = artifacts.compile(artifact).await?;
            let artifacts = Arc::clone(&artifacts);
            let work = move || artifacts.describe(artifact, &manifest);
            let described = tokio::task::spawn_blocking(work).await;
            Ok((compiled, described.unwrap_or(Err(ArtifactError::Gone))?))
        };
        let made = made.await;
        if let Err(ArtifactError::Invalid(_)) = made {
            self.forget(BTreeSet::from([artifact])).await;
        }
        made
    }

    /// Deploys a revision: compiles the artifact if need be, writes the revision down and serves
    /// it. Calls in flight end on the revision that they began on.
    pub(crate) async fn deploy(
        self: &Arc<Self>,
        deploy: Deploy,
    ) -> Result<Deployment, DeployError> {
        let manifest = &deploy.manifest;
        manifest.check().map_err(DeployError::Manifest)?;
        if let Some(route) = routes::reserved(manifest) {
            let host = route.host.as_deref().unwrap_or("");
            return Err(DeployError::Reserved(format!("{host}{}", route.path)));
        }
        let (compiled, description) = self.compile(manifest, deploy.artifact).await?;
        let new = Revision {
            manifest: manifest.clone(),
            artifact: deploy.artifact,
            size: compiled.size,
            kind: Some(description.runtime),
            settings: deploy.settings.clone(),
            created_ms: now_ms(),
        };
        let control = Arc::clone(self);
        let made = to_the_end(async move {
            let turn = control.changing.lock().await;
            control.commit(new, deploy, &turn).await
        });
        let (entry, published) = made.await?;
        Ok(Deployment {
            entry,
            published,
            compiled,
            description,
        })
    }

    /// Whether a revision may come after what is there.
    fn check_expected(
        &self,
        deploy: &Deploy,
        before: Option<&Arc<Entry>>,
    ) -> Result<(), DeployError> {
        match (deploy.expected, before) {
            (Expected::Nothing, Some(_)) => Err(DeployError::Exists),
            (Expected::Revision(_), None) => Err(DeployError::Missing),
            (Expected::Revision(number), Some(entry)) if entry.latest.number() != number => {
                Err(DeployError::Changed)
            }
            (_, None) if self.functions.snapshot().len() >= FUNCTIONS_MAX => {
                Err(DeployError::TooMany)
            }
            (_, Some(entry)) if deploy.publish && entry.published.len() >= PUBLISHED_MAX => {
                Err(DeployError::TooManyVersions)
            }
            _ => Ok(()),
        }
    }

    async fn commit(
        &self,
        new: Revision,
        deploy: Deploy,
        _turn: &MutexGuard<'_, ()>,
    ) -> Result<(Arc<Entry>, Option<Arc<Function>>), DeployError> {
        let name = new.manifest.name.clone();
        // It may have been removed with another function while this one waited for its turn.
        let artifacts = self.artifacts();
        let is_there = artifacts.size(new.artifact).is_some()
            && artifacts.compiled_size(new.artifact).is_some();
        if !is_there {
            let artifact = new.artifact.to_string();
            return Err(ArtifactError::Missing { artifact }.into());
        }
        let mut current = Current::clone(&self.functions.snapshot());
        let before = current.get(&name).cloned();
        self.check_expected(&deploy, before.as_ref())?;
        let limit = new.manifest.limits.concurrency;
        let desk = before.as_ref().map_or_else(
            || Arc::new(Desk::new(limit, Ledger::default())),
            |entry| Arc::clone(entry.latest.desk()),
        );
        let attachments = before.as_ref().map_or_else(
            || {
                Arc::new(Attachments {
                    tags: deploy.tags,
                    ..Attachments::default()
                })
            },
            |entry| Arc::clone(&entry.attachments),
        );
        // With any number: only to see whether its routes are free.
        let latest = |number| {
            let version = Version::latest(number);
            self.functions
                .version(version, new.clone(), Arc::clone(&desk))
        };
        let mut entry = Entry {
            latest: latest(0),
            published: before
                .as_ref()
                .map_or_else(BTreeMap::new, |b| b.published.clone()),
            last_published: before.as_ref().map_or(0, |b| b.last_published),
            attachments: Arc::clone(&attachments),
            generation: self.functions.generation(),
        };
        // Routes that every function has are free for whoever has the name.
        if !new.manifest.routes.is_empty() {
            current.insert(name.clone(), Arc::new(entry.clone()));
            routes::table(&self.fixed, &self.functions, &current)?;
        }

        let (row, of, publish) = (new.clone(), name.clone(), deploy.publish);
        let written = self.registry.run(move |registry| {
            let held = registry.artifacts(Some(&of))?;
            let published = publish.then_some(&row);
            Ok((registry.deploy(&row, Some(&attachments), published)?, held))
        });
        let (numbers, held) = written.await?;
        entry.latest = latest(numbers.revision);
        if let Some((number, revision)) = numbers.published {
            self.add_version(&mut entry, (number, revision), new);
        }
        let entry = self.enter(current, entry)?;
        self.forget(held).await;
        let had_triggers = |before: &Arc<Entry>| !before.latest.manifest().triggers.is_empty();
        if before.as_ref().is_some_and(had_triggers) || !entry.latest.manifest().triggers.is_empty()
        {
            self.schedule(&entry).await?;
        }
        let published = numbers
            .published
            .map(|(number, _)| &entry.published[&number]);
        let published = published.cloned();
        Ok((entry, published))
    }

    /// Has a function called at the times that its manifest says.
    async fn schedule(&self, entry: &Entry) -> Result<(), DeployError> {
        let set = self
            .events
            .set_schedules(entry.latest.name(), schedules(entry));
        set.await.map_err(DeployError::Schedule)?;
        Ok(self.map_queues().await?)
    }

    fn add_version(&self, entry: &mut Entry, (number, revision): (u64, u64), row: Revision) {
        let version = Version {
            published: Some(number),
            ..Version::latest(revision)
        };
        let desk = Arc::clone(entry.latest.desk());
        let function = self.functions.version(version, row, desk);
        entry.published.insert(number, function);
        entry.last_published = number;
    }

    /// Serves an entry in the place of the one before.
    fn enter(&self, mut current: Current, entry: Entry) -> Result<Arc<Entry>, DeployError> {
        let entry = Arc::new(self.provision(entry));
        let published = entry.published.values().map(|function| function.number());
        // As many of the others as the registry keeps.
        let newest = entry.latest.number();
        let others = newest.saturating_sub(VERSIONS_KEPT - 1)..=newest;
        entry
            .latest
            .desk()
            .retain(&others.chain(published).collect());
        current.insert(entry.latest.name().clone(), Arc::clone(&entry));
        self.serve(current)?;
        Ok(entry)
    }

    /// Publishes the newest revision of a function, `check` allowing: it may also name a version
    /// that is the same already, which then is the answer.
    pub(crate) async fn publish<E: Send + 'static>(
        self: &Arc<Self>,
        name: FunctionName,
        description: Option<String>,
        check: impl FnOnce(&Entry) -> Result<(), E> + Send + 'static,
    ) -> Result<(Arc<Entry>, Arc<Function>), AttachError<E>> {
        let control = Arc::clone(self);
        to_the_end(async move {
            let _turn = control.changing.lock().await;
            let current = Current::clone(&control.functions.snapshot());
            let Some(entry) = current.get(&name) else {
                return Err(AttachError::Missing);
            };
            check(entry).map_err(AttachError::Refused)?;
            let same = |function: &&Arc<Function>| {
                let (one, latest) = (function.deployed(), entry.latest.deployed());
                // Its description may be the publisher's, and was changed only by a deployment.
                let is_newer = entry.latest.number() > function.number();
                is_same_code(one, latest) && (!is_newer || said(one) == said(latest))
            };
            let last = entry.published.get(&entry.last_published);
            if let Some(last) = last.filter(same) {
                return Ok((Arc::clone(entry), Arc::clone(last)));
            }
            if entry.published.len() >= PUBLISHED_MAX {
                return Err(DeployError::TooManyVersions.into());
            }
            let mut row = entry.latest.deployed().clone();
            row.created_ms = now_ms();
            if let Some(description) = description {
                row.settings.get_or_insert_default().description = description;
            }
            let written = row.clone();
            let numbers = control
                .registry
                .run(move |registry| registry.publish(&written));
            let numbers = numbers.await.map_err(DeployError::from)?;
            let mut entry = control.renewed(entry);
            control.add_version(&mut entry, numbers, row);
            let entry = control.enter(current, entry)?;
            let function = Arc::clone(&entry.published[&numbers.0]);
            Ok((entry, function))
        })
        .await
    }

    /// A copy to be changed, which the edge tells from what it was.
    fn renewed(&self, entry: &Arc<Entry>) -> Entry {
        Entry {
            generation: self.functions.generation(),
            ..Entry::clone(entry)
        }
    }

    /// Changes what is attached to a function.
    pub(crate) async fn attach<T: Send + 'static, E: Send + 'static>(
        self: &Arc<Self>,
        name: FunctionName,
        change: impl FnOnce(&Entry, &mut Attachments) -> Result<T, E> + Send + 'static,
    ) -> Result<(Arc<Entry>, T), AttachError<E>> {
        let control = Arc::clone(self);
        to_the_end(async move {
            let _turn = control.changing.lock().await;
            let current = Current::clone(&control.functions.snapshot());
            let Some(entry) = current.get(&name) else {
                return Err(AttachError::Missing);
            };
            let mut attachments = Attachments::clone(&entry.attachments);
            let told = change(entry, &mut attachments).map_err(AttachError::Refused)?;
            if attachments == *entry.attachments {
                return Ok((Arc::clone(entry), told));
            }
            let mut entry = control.renewed(entry);
            entry.attachments = Arc::new(attachments);
            let written = Arc::clone(&entry.attachments);
            let work = control
                .registry
                .run(move |registry| registry.attach(&name, &written));
            work.await.map_err(DeployError::from)?;
            Ok((control.enter(current, entry)?, told))
        })
        .await
    }

    /// Removes a published version and what hangs on it; `check` may refuse.
    pub(crate) async fn unpublish<E: Send + 'static>(
        self: &Arc<Self>,
        name: FunctionName,
        number: u64,
        check: impl FnOnce(&Entry) -> Result<(), E> + Send + 'static,
    ) -> Result<(), AttachError<E>> {
        let control = Arc::clone(self);
        to_the_end(async move {
            let _turn = control.changing.lock().await;
            let current = Current::clone(&control.functions.snapshot());
            let Some(entry) = current.get(&name) else {
                return Err(AttachError::Missing);
            };
            check(entry).map_err(AttachError::Refused)?;
            let of = name.clone();
            let written = control.registry.run(move |registry| {
                let held = registry.artifacts(Some(&of))?;
                registry.unpublish(&of, number)?;
                Ok(held)
            });
            let held = written.await.map_err(DeployError::from)?;
            let mut entry = control.renewed(entry);
            entry.published.remove(&number);
            control.enter(current, entry)?;
            control.forget(held).await;
            Ok(())
        })
        .await
    }

    /// Removes a function, its versions and its log; false when there was none.
    pub(crate) async fn remove(self: &Arc<Self>, name: FunctionName) -> Result<bool, DeployError> {
        let control = Arc::clone(self);
        to_the_end(async move {
            let _turn = control.changing.lock().await;
            let of = name.clone();
            let written = control.registry.run(move |registry| {
                let held = registry.artifacts(Some(&of))?;
                Ok((registry.remove(&of)?, held))
            });
            let (removed, held) = written.await?;
            let mut current = Current::clone(&control.functions.snapshot());
            current.remove(&name);
            control.serve(current)?;
            control.forget(held).await;
            control.events.remove_function(&name).await?;
            control.map_queues().await?;
            let logs = control.functions.services().logs.clone();
            // It only fails when the node stops, and then the next start is none the worse.
            drop(tokio::task::spawn_blocking(move || logs.remove(&name)).await);
            Ok(removed)
        })
        .await
    }

    /// Has queues' messages call the functions that their manifests or event source mappings say.
    /// Queues that a manifest names are made if they are not there.
    pub(crate) async fn map_queues(&self) -> Result<(), RegistryError> {
        let stored = self.mappings().await?;
        let mut mappings: Vec<_> = stored.iter().filter_map(Stored::mapping).collect();
        for (name, entry) in self.functions.snapshot().iter() {
            let triggers = &entry.latest.manifest().triggers.queue;
            mappings.extend(triggers.iter().enumerate().map(|(at, trigger)| Mapping {
                uuid: format!("{name}/queue-{at}"),
                queue: trigger.queue.clone(),
                function: name.clone(),
                qualifier: None,
                batch_size: trigger.batch,
                window_ms: u64::from(trigger.window_s) * 1000,
                enabled: true,
                report_batch_item_failures: trigger.report_failures,
                max_concurrency: entry.concurrency(),
            }));
            for trigger in triggers {
                self.have_queue(&trigger.queue).await;
            }
        }
        self.events.set_mappings(mappings);
        Ok(())
    }

    async fn have_queue(&self, name: &str) {
        if !self.events.queues(Some(name)).await.is_empty() {
            return;
        }
        if let Err(error) = self.events.put_queue(name, QueueSpec::default()).await {
            tracing::error!(queue = name, error = %ErrorChain(&error), "no queue");
        }
    }

    /// All event source mappings.
    pub(crate) async fn mappings(&self) -> Result<Vec<Stored>, RegistryError> {
        let documents = self
            .registry
            .run(|registry| registry.documents(DocumentKind::Mapping));
        let documents = documents.await?;
        let read = |(_, text): (String, String)| serde_json::from_str(&text).ok();
        Ok(documents.into_iter().filter_map(read).collect())
    }

    /// Deletes an artifact if nothing uses it any more.
    pub(crate) async fn forget_unused(self: &Arc<Self>, artifact: Digest) {
        let control = Arc::clone(self);
        to_the_end(async move {
            let _turn = control.changing.lock().await;
            control.forget(BTreeSet::from([artifact])).await;
        })
        .await;
    }

    /// Deletes those artifacts that no version uses any more.
    async fn forget(&self, held: BTreeSet<Digest>) {
        let artifacts = Arc::clone(self.artifacts());
        let work = self.registry.run(move |registry| {
            for artifact in held {
                if registry.has_artifact(artifact)? {
                    continue;
                }
                if let Err(error) = artifacts.remove(artifact) {
                    tracing::warn!(error = %ErrorChain(&error), "an artifact stays behind");
                }
            }
            Ok(())
        });
        if let Err(error) = work.await {
            tracing::warn!(error = %ErrorChain(&error), "unused artifacts stay until the next start");
        }
    }

    /// Writes down the counters that changed.
    pub(crate) fn save_counters(&self) {
        let ledgers = self.functions.changed_ledgers();
        if ledgers.is_empty() {
            return;
        }
        if let Err(error) = self.registry.save(&ledgers) {
            tracing::warn!(error = %ErrorChain(&error), "counters are not written down yet");
            let current = self.functions.snapshot();
            for entry in ledgers.keys().filter_map(|name| current.get(name)) {
                entry.latest.desk().mark_changed();
            }
        }
    }

    /// Creates a bucket or changes it; true when it is new.
    pub(crate) async fn put_bucket(
        self: &Arc<Self>,
        bucket: BucketName,
        settings: BucketSettings,
    ) -> Result<bool, WriteError> {
        let control = Arc::clone(self);
        to_the_end(async move {
            let _turn = control.changing.lock().await;
            if control.store.bucket(&bucket).is_none() {
                control.store.create_bucket(&bucket, settings).await?;
                return Ok(true);
            }
            control.store.set_bucket(&bucket, settings).await?;
            // Answers of a bucket that is no longer public must not be given from the cache.
            control.edge.purge();
            Ok(false)
        })
        .await
    }

    /// Deletes an empty bucket.
    pub(crate) async fn delete_bucket(
        self: &Arc<Self>,
        bucket: BucketName,
    ) -> Result<Committed, WriteError> {
        let control = Arc::clone(self);
        to_the_end(async move {
            let _turn = control.changing.lock().await;
            control.store.delete_bucket(&bucket).await
        })
        .await
    }

    /// Deletes an object, and the edge's copy of it.
    pub(crate) async fn delete_object(
        self: &Arc<Self>,
        bucket: &BucketName,
        key: &ObjectKey,
        precondition: Precondition,
    ) -> Result<Committed, WriteError> {
        let deleted = self.store.delete(bucket, key, precondition);
        let change = (ObjectChange::Removed, 0);
        self.change_object((bucket, key), change, deleted).await
    }

    /// Completes an object of `size` bytes, and makes the edge forget its copy of the one before.
    pub(crate) async fn put_object(
        self: &Arc<Self>,
        bucket: &BucketName,
        key: &ObjectKey,
        (writer, size): (ObjectWriter, u64),
    ) -> Result<Committed, WriteError> {
        let written = async move { writer.finish_async().await.await };
        let change = (ObjectChange::Created, size);
        self.change_object((bucket, key), change, written).await
    }

    /// Changes an object; the edge forgets its copy, and functions that wait for such changes have
    /// an event before this is acknowledged.
    async fn change_object(
        self: &Arc<Self>,
        (bucket, key): (&BucketName, &ObjectKey),
        change: (ObjectChange, u64),
        work: impl Future<Output = Result<Committed, WriteError>> + Send + 'static,
    ) -> Result<Committed, WriteError> {
        let control = Arc::clone(self);
        let (bucket, key) = (bucket.clone(), key.clone());
        to_the_end(async move {
            let done = work.await?;
            control.edge.invalidate(&object_path(&bucket, &key));
            control.tell_of(&bucket, &key, change, &done).await;
            Ok(done)
        })
        .await
    }

    /// Keeps an event for each function that a change of an object calls.
    async fn tell_of(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        (change, size): (ObjectChange, u64),
        done: &Committed,
    ) {
        let (name, text) = (bucket.as_str(), key.as_str());
        let called = self
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let watching = called.get(name).map(Vec::as_slice).unwrap_or_default();
        for (function, trigger) in watching {
            if !trigger.matches(name, text, change) {
                continue;
            }
            let id = request_id();
            let tag = done.etag.map(|tag| tag.to_string());
            let told = ObjectEvent {
                bucket: name,
                key: text,
                change,
                size,
                etag: tag.as_deref().map_or("", |tag| tag.trim_matches('"')),
                version: done.version,
                at_ms: done.modified_ms,
                region: &self.functions.services().region,
                request_id: id,
            };
            let payload = told.to_json().into();
            let event = Event::new(id, function.clone(), payload, Source::Object, now_ms());
            if let Err(error) = self.events.add(event).await {
                let error = ErrorChain(&error).to_string();
                tracing::error!(%function, bucket = name, key = text, error, "an event is lost");
            }
        }
    }
}

/// What people say of a revision.
fn said(revision: &Revision) -> &str {
    revision
        .settings
        .as_ref()
        .map_or("", |settings| &settings.description)
}

/// Whether two revisions are the same but for what people say of them.
fn is_same_code(one: &Revision, other: &Revision) -> bool {
    let settings = |revision: &Revision| {
        let mut settings = revision.settings.clone().unwrap_or_default();
        settings.description.clear();
        settings
    };
    one.artifact == other.artifact
        && one.manifest == other.manifest
        && settings(one) == settings(other)
}

/// Runs a change to its end, also when whoever awaits it goes away.
async fn to_the_end<T: Send + 'static>(change: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(change).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime stops: nobody is there to be answered.
            Err(_) => std::future::pending().await,
        },
    }
}
