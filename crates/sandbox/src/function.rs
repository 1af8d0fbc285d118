//! A loaded function: how instances of it are made, and those that wait for the next call.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use fractus_func::{
    Body, BoxFuture, Call, CallError, Host, Identity, Limits, LogStream, Manifest, Outcome,
    Program, RuntimeKind,
};
use fractus_lambda::{ApiLimits, ErrorShape, runtime_api};
use fractus_stdx::ErrorChain;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use crate::call;
use crate::cgroup::Bounds;
use crate::code::{Lease, OPT};
use crate::egress::{self, Egress};
use crate::fleet::Fleet;
use crate::frame::{Begin, Ready, from, put, to};
use crate::instance::{
    Alive, Api, Broken, Channel, Frames, Instance, Output, Parts, Prints, Reserved, Wire,
};
use crate::keeper::{SpawnError, step_failed, system};
use crate::limits::{
    CPU_SHARES_PER_GIB, FRAME_EXTRA, HOT_FOR, INIT_MAX, MEMORY_GUESS, MEMORY_LEAST,
    PROVISION_RETRY, SHARES_LEAST, SPARE_AFTER,
};
use crate::machine::{Machine, guest_env};
use crate::plan::Plan;
use crate::process::Process;
use crate::profile::{self, RUNTIME, RUNTIME_API_PORT, TASK, level_folder};
use crate::sys::{nonblocking, send_fds};
use crate::zygote::{Fork, Package, send_packages};

/// A function, loaded.
pub(crate) struct Function {
    pub(crate) machine: Arc<Machine>,
    pub(crate) fleet: Arc<Fleet>,
    /// Tells it from all others.
    pub(crate) number: u64,
    pub(crate) kind: RuntimeKind,
    pub(crate) manifest: Manifest,
    pub(crate) identity: Identity,
    lease: Lease,
    packages: Vec<Package>,
    /// Variables that lead to the files of its layers.
    layers: Vec<(String, String)>,
    /// Makes a process this function's; None if its environment is too large for a plan.
    plan: Option<Vec<u8>>,
    /// What memory an instance needs, as measured so far, in bytes.
    needs: AtomicUsize,
    /// Whether a zygote for its packages was asked for.
    grown: AtomicBool,
    /// Instances that there are, working or waiting.
    alive: Arc<AtomicUsize>,
    /// Until when one more instance than is needed stands ready.
    hot_until: Mutex<Instant>,
    has_spare_coming: AtomicBool,
    /// Provisioned instances are not started before.
    provision_after: Mutex<Instant>,
    /// What the last start printed before anyone called, for the next caller's log.
    printed: Mutex<Vec<(LogStream, Bytes)>>,
}

/// Takes what a guest prints.
pub(crate) type Log<'a> = &'a (dyn Fn(LogStream, &[u8]) + Send + Sync);

/// An instance that did not become ready.
#[derive(Debug)]
pub(crate) enum NotReady {
    /// The machine could not make it.
    Machine(SpawnError),
    /// The guest says why.
    Guest(ErrorShape),
    /// The guest ended or broke its protocol.
    Broken(Broken, Box<Instance>),
    /// It took too long.
    Late,
}

impl From<SpawnError> for NotReady {
    fn from(error: SpawnError) -> Self {
        Self::Machine(error)
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function")
            .field("name", &self.manifest.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Function {
    pub(crate) fn new(
        fleet: &Arc<Fleet>,
        kind: RuntimeKind,
        manifest: &Manifest,
        identity: &Identity,
        (lease, packages, layers): (Lease, Vec<Package>, Vec<(String, String)>),
    ) -> Self {
        let mut function = Self {
            machine: Arc::clone(fleet.machine()),
            number: fleet.number(),
            fleet: Arc::clone(fleet),
            kind,
            identity: identity.clone(),
            lease,
            packages,
            layers,
            needs: AtomicUsize::new(MEMORY_GUESS.min(manifest.limits.memory_bytes())),
            grown: AtomicBool::new(false),
            alive: Arc::default(),
            hot_until: Mutex::new(Instant::now()),
            has_spare_coming: AtomicBool::new(false),
            provision_after: Mutex::new(Instant::now()),
            printed: Mutex::default(),
            plan: None,
            manifest: manifest.clone(),
        };
        function.plan = function.second_phase().encode();
        function
    }

    /// The plan that makes a process this function's, the same for all.
    fn second_phase(&self) -> Plan {
        let limits = &self.manifest.limits;
        let memory = limits.memory_bytes() as u64;
        let with = self.machine.confinement(limits.tmp_bytes(), memory);
        match self.kind {
            RuntimeKind::Python3 => profile::confine(&with),
            RuntimeKind::NodeJs => profile::admit(&with, &self.begin(None, &self.packages, 0)),
            RuntimeKind::Provided | RuntimeKind::Wasm => profile::start(&with, &self.program()),
        }
    }

    /// Bytes that an instance is expected to need.
    pub(crate) fn needs(&self) -> usize {
        self.needs.load(Ordering::Relaxed)
    }

    /// Takes a measurement of what an instance needed, in bytes; answers what is expected now.
    pub(crate) fn learn(&self, peak: u64) -> usize {
        let peak = usize::try_from(peak)
            .unwrap_or(usize::MAX)
            .max(MEMORY_LEAST);
        let before = self.needs.load(Ordering::Relaxed);
        let guessed = before == MEMORY_GUESS.min(self.manifest.limits.memory_bytes());
        let needs = if guessed || peak > before {
            let most = self.manifest.limits.memory_bytes();
            peak.saturating_add(peak / 4).min(most)
        } else {
            before
        };
        self.needs.store(needs, Ordering::Relaxed);
        needs
    }

    fn bounds(&self) -> Bounds {
        let memory = self.manifest.limits.memory_bytes() as u64;
        Bounds {
            memory,
            shares: ((memory * CPU_SHARES_PER_GIB) >> 30).max(SHARES_LEAST),
        }
    }

    /// Makes an instance that is ready for a call, and tells when its sandbox was there. `log` gets
    /// what it prints on the way; `host` is that of the call that it is made for, if there is one.
    pub(crate) async fn start(
        self: &Arc<Self>,
        reserved: Reserved,
        log: Log<'_>,
        host: Option<&Arc<dyn Host>>,
    ) -> Result<(Instance, Instant), NotReady> {
        let nursery = self.nursery().await?;
        let fork = self.take(&nursery).await?;
        let mut instance = self.specialise(fork, nursery.zygote(), reserved)?;
        if let Some(host) = host {
            instance.enter(host);
        }
        let began = Instant::now();
        let ready = tokio::time::timeout(INIT_MAX, self.ready(&mut instance, log)).await;
        match ready {
            Ok(Ok(())) => {
                self.grow(&instance);
                Ok((instance, began))
            }
            Ok(Err(Start::Guest(shape))) => Err(NotReady::Guest(shape)),
            Ok(Err(Start::Broken(broken))) => Err(NotReady::Broken(broken, Box::new(instance))),
            Err(_elapsed) => Err(NotReady::Late),
        }
    }

    /// A spare, or a process that is made for this call.
    async fn take(&self, nursery: &Arc<crate::machine::Nursery>) -> Result<Fork, SpawnError> {
        if let Some(spare) = self.machine.take_spare(nursery) {
            return Ok(spare);
        }
        let _turn = nursery.turn().await?;
        let (machine, from) = (Arc::clone(&self.machine), Arc::clone(nursery));
        let handle = &self.machine.handle;
        let work = handle.spawn_blocking(move || machine.take(&from));
        work.await.unwrap_or(Err(SpawnError::Gone("the node")))
    }

    async fn nursery(self: &Arc<Self>) -> Result<Arc<crate::machine::Nursery>, SpawnError> {
        if let Some(nursery) = self.machine.nursery_if_ready(self.kind, &self.packages) {
            return Ok(nursery);
        }
        // The first Python function of all: its interpreter starts.
        let own = Arc::clone(self);
        let work = self
            .machine
            .handle
            .spawn_blocking(move || own.machine.nursery(own.kind, &own.packages));
        work.await.unwrap_or(Err(SpawnError::Gone("the node")))
    }

    /// Makes a process this function's.
    fn specialise(
        &self,
        fork: Fork,
        zygote: Option<&Arc<crate::zygote::Zygote>>,
        reserved: Reserved,
    ) -> Result<Instance, SpawnError> {
        let Fork {
            mut process,
            socket,
            frames,
            stdout,
            stderr,
        } = fork;
        if let Some(group) = &mut process.group {
            group
                .bound(self.bounds())
                .map_err(system("bound a sandbox"))?;
        }
        let plan = self.plan.as_ref().ok_or(SpawnError::TooLarge)?;
        let level = zygote.map_or(0, |zygote| zygote.next_level());
        let has = zygote.map(|zygote| zygote.has()).unwrap_or_default();
        let own: Vec<_> = self
            .packages
            .iter()
            .filter(|package| !has.contains(package.name.as_str()))
            .cloned()
            .collect();
        send_packages(&self.machine.opener, socket.as_fd(), &own, level, false)?;
        let code = self.machine.opener.open(&self.lease.code)?;
        let listener = match self.kind {
            RuntimeKind::Provided => Some(take_listener(&process, profile::LISTENER_FD)?),
            _ => None,
        };
        let egress = self.egress(&process)?;
        let to_program = frames.as_ref().map(OwnedFd::as_fd);
        let fds: Vec<_> = [code.as_fd()].into_iter().chain(to_program).collect();
        send_fds(socket.as_fd(), plan, &fds).map_err(system("send a plan"))?;
        let channel = if let Some(listener) = listener {
            self.serve(listener)?
        } else {
            if frames.is_none() {
                let begin = self.begin(zygote, &own, level);
                send_fds(socket.as_fd(), &begin, &[]).map_err(system("begin a function"))?;
            }
            let socket = frames.unwrap_or(socket);
            nonblocking(&socket).map_err(system("use a sandbox's socket"))?;
            Channel::Frames(Frames {
                socket,
                buffer: BytesMut::new(),
                frame_max: frame_max(&self.manifest.limits),
            })
        };
        for pipe in [&stdout, &stderr] {
            nonblocking(pipe).map_err(system("use a sandbox's pipes"))?;
        }
        Ok(Instance::new(Parts {
            process,
            channel,
            output: Output { stdout, stderr },
            egress,
            zygote: zygote.cloned(),
            reserved,
            alive: Alive::count(&self.alive),
        }))
    }

    /// The frame that tells one of our bootstraps what it is to be.
    fn begin(
        &self,
        zygote: Option<&Arc<crate::zygote::Zygote>>,
        own: &[Package],
        level: u8,
    ) -> BytesMut {
        let env = self.env();
        let inherited: BTreeMap<&str, String> = zygote
            .map(|zygote| zygote.places().collect())
            .unwrap_or_default();
        let folder = level_folder(level);
        let place = |package: &Package| {
            let name = package.name.as_str();
            let has = inherited.get(name).cloned();
            has.unwrap_or_else(|| format!("{folder}/{name}"))
        };
        debug_assert!(own.iter().all(|p| !inherited.contains_key(p.name.as_str())));
        let paths: Vec<_> = self.packages.iter().map(place).collect();
        let name = self.manifest.name.as_str();
        let begin = Begin {
            handler: self.manifest.handler.as_deref(),
            root: TASK,
            env: env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
            paths: &paths,
            name,
            version: &self.identity.version,
            memory_mb: self.manifest.limits.memory_mb,
            log_group: &format!("/aws/lambda/{name}"),
            log_stream: &self.log_stream(),
            kind: None,
        };
        let json = serde_json::to_vec(&begin).expect("texts and numbers are JSON");
        let mut frame = BytesMut::new();
        put(&mut frame, to::BEGIN, &json);
        frame
    }

    /// The environment of its guests: what every guest has, what the manifest says, and over both
    /// what AWS Lambda reserves.
    fn env(&self) -> Vec<(String, String)> {
        let name = self.manifest.name.as_str();
        let handler = self.manifest.handler.as_deref().unwrap_or("");
        let memory = self.manifest.limits.memory_mb.to_string();
        let execution = match self.kind {
            RuntimeKind::Python3 => "AWS_Lambda_python3",
            RuntimeKind::NodeJs => "AWS_Lambda_nodejs",
            RuntimeKind::Provided | RuntimeKind::Wasm => "AWS_Lambda_provided",
        };
        let group = format!("/aws/lambda/{name}");
        let stream = self.log_stream();
        let reserved = [
            ("AWS_LAMBDA_FUNCTION_NAME", name),
            ("AWS_LAMBDA_FUNCTION_VERSION", &self.identity.version),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &memory),
            ("AWS_LAMBDA_LOG_GROUP_NAME", &group),
            ("AWS_LAMBDA_LOG_STREAM_NAME", &stream),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_EXECUTION_ENV", execution),
            ("LAMBDA_TASK_ROOT", TASK),
            ("LAMBDA_RUNTIME_DIR", RUNTIME),
            ("_HANDLER", handler),
        ];
        let defaults = [
            ("AWS_REGION", &*self.identity.region),
            ("AWS_DEFAULT_REGION", &self.identity.region),
            ("LD_LIBRARY_PATH", "/var/task:/var/task/lib:/opt/lib"),
        ];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut env: BTreeMap<String, String> = guest_env().into_iter().collect();
        env.extend(defaults.map(owned));
        env.extend(self.layers.iter().cloned());
        let proxy = egress::env(&self.manifest.access, self.kind);
        env.extend(
            proxy
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        env.extend(self.manifest.env.clone());
        env.extend(reserved.map(owned));
        if self.kind == RuntimeKind::Provided {
            let api = format!("127.0.0.1:{RUNTIME_API_PORT}");
            env.insert("AWS_LAMBDA_RUNTIME_API".to_owned(), api);
        }
        env.into_iter().collect()
    }

    fn log_stream(&self) -> String {
        format!("[{}]{}", self.identity.version, self.number)
    }

    fn program(&self) -> profile::Program {
        profile::Program {
            path: format!("{TASK}/bootstrap").into(),
            arguments: vec![format!("{TASK}/bootstrap")],
            env: self.env(),
        }
    }

    /// The way out of a sandbox, if there is one for this function.
    fn egress(&self, process: &Process) -> Result<Option<Egress>, SpawnError> {
        if !egress::is_open(&self.manifest.access) {
            return Ok(None);
        }
        let listener = take_listener(process, profile::EGRESS_FD)?;
        let serving = Egress::serve(listener, &self.machine.handle);
        serving
            .map(Some)
            .map_err(system("serve the way out of a sandbox"))
    }

    /// Serves the Runtime API on a sandbox's own listener.
    fn serve(&self, listener: OwnedFd) -> Result<Channel, SpawnError> {
        let serves = system("serve the Runtime API");
        let limits = &self.manifest.limits;
        let (api, driver) = runtime_api(ApiLimits {
            response_max: usize::try_from(limits.response_bytes()).unwrap_or(usize::MAX),
            stream_max: limits.response_bytes(),
        });
        // Where the first call is made the next one may be made, too: then no other thread wakes.
        let handle = Handle::try_current().unwrap_or_else(|_| self.machine.handle.clone());
        let _context = handle.enter();
        let listener = TcpListener::from_std(listener.into()).map_err(serves)?;
        let accepting = handle.spawn(async move {
            // It ends with the sandbox's network.
            while let Ok((stream, _peer)) = listener.accept().await {
                let api = api.clone();
                tokio::spawn(async move { api.serve_tcp(stream).await });
            }
        });
        Ok(Channel::Api(Api {
            driver,
            accepting: accepting.abort_handle(),
        }))
    }

    /// Waits until the guest can be called.
    async fn ready(&self, instance: &mut Instance, log: Log<'_>) -> Result<(), Start> {
        let Instance {
            process,
            channel,
            output,
            ..
        } = instance;
        match channel {
            Channel::Frames(frames) => {
                let mut wire = Wire::open(frames, output, log).map_err(Broken::Socket)?;
                let frame = wire.next().await;
                wire.drain();
                let frame = frame?;
                match frame.kind {
                    from::READY => {
                        let ready: Ready = serde_json::from_slice(&frame.payload)
                            .or(Err(Start::Broken(Broken::Protocol)))?;
                        instance.handler = ready.kind;
                        instance.modules = ready.modules;
                        Ok(())
                    }
                    from::INIT_FAILED => Err(Start::Guest(ErrorShape::from_json(&frame.payload))),
                    from::BROKEN => Err(Broken::Build(step_failed(&frame.payload)).into()),
                    _ => Err(Start::Broken(Broken::Protocol)),
                }
            }
            Channel::Api(api) => {
                let mut prints = Prints::watch(output, log).map_err(Broken::Socket)?;
                let ready = tokio::select! {
                    ready = api.driver.ready() => ready.map_err(Start::Guest),
                    () = call::gone(process) => Err(Start::Broken(Broken::Gone)),
                    () = prints.follow() => Ok(()),
                };
                prints.drain();
                ready
            }
        }
    }

    /// Has a zygote made for the packages that this function's code turned out to import.
    fn grow(&self, instance: &Instance) {
        if self.packages.is_empty() || self.grown.swap(true, Ordering::Relaxed) {
            return;
        }
        grow(&self.machine, &self.packages, &instance.modules);
    }

    /// Waits for a call.
    pub(crate) fn keep(self: &Arc<Self>, mut instance: Instance) {
        instance.leave();
        if self.manifest.instances.idle_s == 0 {
            return;
        }
        instance.idle_since = Instant::now();
        self.fleet.keep(self, instance);
    }

    /// How long an instance waits before it goes.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.manifest.instances.idle_s.into())
    }

    /// Starts the provisioned instances that are missing, in the background.
    pub(crate) fn provision(self: &Arc<Self>) {
        let wanted = self.manifest.instances.provisioned as usize;
        let missing = wanted.saturating_sub(self.alive.load(Ordering::Relaxed));
        let mut after = self
            .provision_after
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if missing == 0 || Instant::now() < *after {
            return;
        }
        *after = Instant::now() + PROVISION_RETRY;
        drop(after);
        let function = Arc::clone(self);
        self.machine.handle.spawn(async move {
            let ones = (0..missing).map(|_| {
                let function = Arc::clone(&function);
                tokio::spawn(async move { function.provision_one().await })
            });
            let ones: Vec<_> = ones.collect();
            let mut failed = false;
            for one in ones {
                if let Ok(Err(error)) = one.await {
                    failed = true;
                    tracing::warn!(function = %function.manifest.name, error, "provision");
                }
            }
            if !failed {
                let mut after = function.provision_after.lock();
                *after.as_deref_mut().expect("nobody panics with it") = Instant::now();
            }
        });
    }

    /// A call found no instance that waits. If there are others at work, the function is hot for a
    /// while: one more than is needed shall stand ready.
    pub(crate) fn note_demand(self: &Arc<Self>, host: &Arc<dyn Host>) {
        if self.alive.load(Ordering::Relaxed) > 0 {
            let until = Instant::now() + HOT_FOR;
            *self
                .hot_until
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = until;
            self.have_spare(host);
        }
    }

    /// Has an instance made that stands ready, if the function is hot and may have one more. It
    /// reaches out as the call of `host` while it starts.
    pub(crate) fn have_spare(self: &Arc<Self>, host: &Arc<dyn Host>) {
        let hot_until = *self
            .hot_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let alive = self.alive.load(Ordering::Relaxed);
        let is_full = alive >= self.manifest.limits.concurrency as usize;
        let is_reused = self.manifest.instances.idle_s > 0;
        if Instant::now() > hot_until || is_full || !is_reused {
            return;
        }
        if self.has_spare_coming.swap(true, Ordering::AcqRel) {
            return;
        }
        let (function, host) = (Arc::clone(self), Arc::clone(host));
        self.machine.handle.spawn(async move {
            // First those that are called.
            tokio::time::sleep(SPARE_AFTER).await;
            if let Some(reserved) = function.fleet.admit_spare(function.needs())
                && let Err(error) = function.start_unasked(reserved, Some(&host)).await
            {
                tracing::debug!(function = %function.manifest.name, error, "no spare instance");
            }
            function.has_spare_coming.store(false, Ordering::Release);
        });
    }

    async fn provision_one(self: &Arc<Self>) -> Result<(), String> {
        let reserved = self.fleet.admit(self.needs()).await;
        let reserved = reserved.ok_or("no memory for a provisioned instance")?;
        self.start_unasked(reserved, None).await
    }

    /// Starts an instance that nobody has called yet.
    async fn start_unasked(
        self: &Arc<Self>,
        reserved: Reserved,
        host: Option<&Arc<dyn Host>>,
    ) -> Result<(), String> {
        let log = |stream: LogStream, bytes: &[u8]| {
            let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
            if printed.len() < 64 {
                printed.push((stream, Bytes::copy_from_slice(bytes)));
            }
        };
        match self.start(reserved, &log, host).await {
            Ok((instance, _began)) => {
                self.keep(instance);
                Ok(())
            }
            Err(NotReady::Machine(error)) => Err(ErrorChain(&error).to_string()),
            Err(NotReady::Guest(shape)) => {
                Err(format!("{}: {}", shape.error_type, shape.error_message))
            }
            Err(NotReady::Broken(error, _)) => Err(ErrorChain(&error).to_string()),
            Err(NotReady::Late) => Err("not ready in time".to_owned()),
        }
    }

    /// What provisioned instances printed before they were called.
    pub(crate) fn take_printed(&self) -> Vec<(LogStream, Bytes)> {
        std::mem::take(&mut *self.printed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Variables that lead runtimes to the files of layers, if there are any: as AWS Lambda's.
pub(crate) fn layer_env(lease: &Lease, python: Option<&str>) -> Vec<(String, String)> {
    if !lease.code.join(OPT).is_dir() {
        return Vec::new();
    }
    let version = python.unwrap_or("3");
    let python = format!("/opt/python:/opt/python/lib/python{version}/site-packages");
    vec![
        ("PYTHONPATH".to_owned(), python),
        (
            "NODE_PATH".to_owned(),
            "/opt/nodejs/node_modules".to_owned(),
        ),
    ]
}

/// Takes a socket that a sandbox listens on out of it.
fn take_listener(process: &Process, number: i32) -> Result<OwnedFd, SpawnError> {
    crate::sys::pidfd_getfd(process.pidfd.as_fd(), number)
        .map_err(system("take a sandbox's listener"))
}

/// The largest payload of a frame of its guests'.
fn frame_max(limits: &Limits) -> usize {
    let answer = usize::try_from(limits.response_bytes()).unwrap_or(usize::MAX);
    answer.saturating_add(FRAME_EXTRA)
}

/// Has what functions of a kind with these packages are made from made ready, in the background;
/// `modules` are those that their code seems to import.
pub(crate) fn warm_up(
    machine: &Arc<Machine>,
    kind: RuntimeKind,
    packages: Vec<Package>,
    modules: Vec<String>,
) {
    let own = Arc::clone(machine);
    machine.handle.spawn_blocking(move || {
        match own.nursery(kind, &packages) {
            Ok(nursery) => own.fill_soon(&nursery),
            Err(error) => tracing::warn!(error = %ErrorChain(&error), "no zygote"),
        }
        grow(&own, &packages, &modules);
    });
}

/// Has a zygote made that has `packages` and imports `modules` of theirs, in the background.
pub(crate) fn grow(machine: &Arc<Machine>, packages: &[Package], modules: &[String]) {
    let mut packages = packages.to_vec();
    for package in &mut packages {
        package.modules.retain(|module| modules.contains(module));
    }
    if packages.iter().all(|package| package.modules.is_empty()) {
        return;
    }
    packages.sort();
    let (machine, own) = (Arc::clone(machine), machine.handle.clone());
    own.spawn_blocking(move || machine.grow(&packages));
}

/// Why a guest did not become ready.
enum Start {
    Guest(ErrorShape),
    Broken(Broken),
}

impl From<Broken> for Start {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.fleet.forget(self.number);
    }
}

/// What the node calls: a handle of the function.
#[derive(Debug)]
pub(crate) struct Loaded(pub(crate) Arc<Function>);

impl Program for Loaded {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<http::Response<Body>, CallError>> {
        Box::pin(call::answer(Arc::clone(&self.0), call))
    }
}

impl NotReady {
    /// What the caller is told of it.
    pub(crate) fn into_error(self, id: fractus_func::RequestId) -> CallError {
        match self {
            Self::Machine(error) => {
                tracing::error!(error = %ErrorChain(&error), "no sandbox");
                let message = "no sandbox could be made; the node's log says why";
                CallError::new(Outcome::StartFailed, message)
            }
            Self::Guest(shape) => call::shaped(Outcome::InitFailed, shape),
            Self::Broken(broken, _) => {
                CallError::new(Outcome::InitFailed, ErrorChain(&broken).to_string())
            }
            Self::Late => {
                let wait_ms = u64::try_from(INIT_MAX.as_millis()).unwrap_or(u64::MAX);
                call::shaped(Outcome::InitFailed, ErrorShape::timed_out(id, wait_ms))
            }
        }
    }
}
