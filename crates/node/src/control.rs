//! Changes of what the node serves. They come one after another; each is durable before it takes
//! effect and before it is acknowledged, and goes to its end even if whoever asked goes away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use fractus_blob::{
    BucketName, BucketSettings, Committed, ObjectKey, ObjectWriter, Precondition, Store, WriteError,
};
use fractus_edge::Edge;
use fractus_func::{Description, FunctionName, Manifest, ManifestError, RouteTableError};
use fractus_stdx::ErrorChain;
use thiserror::Error;
use tokio::sync::{Mutex, MutexGuard};

use crate::artifacts::{ArtifactError, Artifacts, Compiled, Digest};
use crate::clock::now_ms;
use crate::functions::{Desk, Function, Functions};
use crate::limits::FUNCTIONS_MAX;
use crate::origin::object_path;
use crate::registry::{Ledger, NewVersion, Registry, RegistryError};
use crate::routes::{self, Fixed};

/// What a change needs.
#[derive(Debug)]
pub(crate) struct Control {
    functions: Arc<Functions>,
    registry: Registry,
    store: Store,
    edge: Edge,
    /// Where the edge listens.
    address: SocketAddr,
    fixed: Fixed,
    /// Held by the change that is being made.
    changing: Mutex<()>,
}

/// A version that was deployed.
#[derive(Debug)]
pub(crate) struct Deployment {
    pub(crate) function: Arc<Function>,
    pub(crate) compiled: Compiled,
    pub(crate) description: Description,
}

/// A version that is not deployed; nothing has changed.
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
    /// It could not be written down.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Control {
    /// Puts together what changes need. `address` is where the edge listens.
    pub(crate) fn new(
        functions: Arc<Functions>,
        registry: Registry,
        store: Store,
        edge: Edge,
        address: SocketAddr,
        fixed: Fixed,
    ) -> Self {
        Self {
            functions,
            registry,
            store,
            edge,
            address,
            fixed,
            changing: Mutex::default(),
        }
    }

    /// The deployed functions.
    pub(crate) fn functions(&self) -> &Functions {
        &self.functions
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
        let mut current = BTreeMap::new();
        for registered in self.registry.run(Registry::functions).await? {
            let name = registered.current.manifest.name.clone();
            match self.artifacts().compile(registered.current.artifact).await {
                Ok(Compiled { compile_ms: 0, .. }) => {}
                Ok(done) => tracing::info!(function = %name, ms = done.compile_ms, "compiled anew"),
                Err(error) => {
                    tracing::error!(function = %name, error = %ErrorChain(&error), "compile");
                }
            }
            let limit = registered.current.manifest.limits.concurrency;
            let desk = Arc::new(Desk::new(limit, registered.ledger));
            let function = self
                .functions
                .version(registered.version, registered.current, desk);
            current.insert(name, function);
        }
        let artifacts = Arc::clone(self.artifacts());
        // It only fails when the node stops.
        drop(tokio::task::spawn_blocking(move || artifacts.retain_in_runtimes(&used)).await);
        self.serve(current)?;
        Ok(())
    }

    /// Makes `current` what is called, here and at the edge.
    fn serve(&self, current: BTreeMap<FunctionName, Arc<Function>>) -> Result<(), RouteTableError> {
        let table = routes::table(&self.fixed, &self.functions, &current)?;
        self.functions.replace(current);
        self.edge.set_routes(table);
        self.functions.load_provisioned();
        Ok(())
    }

    /// Compiles an artifact if need be, and checks that it suits the manifest. One that cannot be
    /// used and that no version has is removed.
    async fn compile(
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

    /// Deploys a version: compiles the artifact if need be, writes the version down and serves it.
    /// Calls in flight end on the version that they began on.
    pub(crate) async fn deploy(
        self: &Arc<Self>,
        manifest: Manifest,
        artifact: Digest,
    ) -> Result<Deployment, DeployError> {
        manifest.check().map_err(DeployError::Manifest)?;
        if let Some(route) = routes::reserved(&manifest) {
            let host = route.host.as_deref().unwrap_or("");
            return Err(DeployError::Reserved(format!("{host}{}", route.path)));
        }
        let (compiled, description) = self.compile(&manifest, artifact).await?;
        let new = NewVersion {
            manifest,
            artifact,
            size: compiled.size,
            created_ms: now_ms(),
        };
        let control = Arc::clone(self);
        let function = to_the_end(async move {
            let turn = control.changing.lock().await;
            control.commit(new, &turn).await
        });
        Ok(Deployment {
            function: function.await?,
            compiled,
            description,
        })
    }

    async fn commit(
        &self,
        new: NewVersion,
        _turn: &MutexGuard<'_, ()>,
    ) -> Result<Arc<Function>, DeployError> {
        let name = new.manifest.name.clone();
        // It may have been removed with another function while this one waited for its turn.
        let artifacts = self.artifacts();
        let is_there = artifacts.size(new.artifact).is_some()
            && artifacts.compiled_size(new.artifact).is_some();
        if !is_there {
            let artifact = new.artifact.to_string();
            return Err(ArtifactError::Missing { artifact }.into());
        }
        let mut current = BTreeMap::clone(&self.functions.snapshot());
        let before = current.get(&name);
        if before.is_none() && current.len() >= FUNCTIONS_MAX {
            return Err(DeployError::TooMany);
        }
        let desk = before.map_or_else(
            || {
                Arc::new(Desk::new(
                    new.manifest.limits.concurrency,
                    Ledger::default(),
                ))
            },
            |function| Arc::clone(function.desk()),
        );
        // With any number: only to see whether its routes are free.
        let trial = self.functions.version(0, new.clone(), Arc::clone(&desk));
        current.insert(name.clone(), trial);
        routes::table(&self.fixed, &self.functions, &current)?;

        let (row, of) = (new.clone(), name.clone());
        let written = self.registry.run(move |registry| {
            let held = registry.artifacts(Some(&of))?;
            Ok((registry.deploy(&row)?, held))
        });
        let (number, held) = written.await?;
        let function = self.functions.version(number, new, desk);
        current.insert(name, Arc::clone(&function));
        self.serve(current)?;
        self.forget(held).await;
        Ok(function)
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
            let mut current = BTreeMap::clone(&control.functions.snapshot());
            current.remove(&name);
            control.serve(current)?;
            control.forget(held).await;
            let logs = control.functions.services().logs.clone();
            // It only fails when the node stops, and then the next start is none the worse.
            drop(tokio::task::spawn_blocking(move || logs.remove(&name)).await);
            Ok(removed)
        })
        .await
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
            for function in ledgers.keys().filter_map(|name| current.get(name)) {
                function.desk().mark_changed();
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
        self.change_object(object_path(bucket, key), deleted).await
    }

    /// Completes an object, and makes the edge forget its copy of the one before.
    pub(crate) async fn put_object(
        self: &Arc<Self>,
        bucket: &BucketName,
        key: &ObjectKey,
        writer: ObjectWriter,
    ) -> Result<Committed, WriteError> {
        let written = async move { writer.finish_async().await.await };
        self.change_object(object_path(bucket, key), written).await
    }

    /// Changes the object at `path` of the edge, which then forgets its copy.
    async fn change_object(
        self: &Arc<Self>,
        path: String,
        change: impl Future<Output = Result<Committed, WriteError>> + Send + 'static,
    ) -> Result<Committed, WriteError> {
        let control = Arc::clone(self);
        to_the_end(async move {
            let done = change.await?;
            control.edge.invalidate(&path);
            Ok(done)
        })
        .await
    }
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
