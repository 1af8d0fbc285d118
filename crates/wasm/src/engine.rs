//! The engine, its epoch clock and the threads for long computations.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};

use fractus_func::{
    CompileError, Description, Identity, LoadError, Manifest, Program, Runtime, RuntimeKind,
};
use thiserror::Error;
use tokio::runtime::{Builder, Handle};
use wasmtime::component::Linker;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

use crate::artifact;
use crate::limits::{
    CALL_STACK, CORE_INSTANCES_PER_INSTANCE, IDLE_TICKS, INSTANCES, MEMORIES_PER_INSTANCE,
    MEMORY_KEEP_RESIDENT, TABLE_ELEMENTS, TABLE_KEEP_RESIDENT, TABLES_PER_INSTANCE, TICK,
    WASM_STACK,
};
use crate::program::WasmProgram;
use crate::state::GuestState;

/// What the operator may choose of this runtime.
#[derive(Clone, Debug)]
pub struct WasmConfig {
    /// Threads for calls that compute for long; at least 1.
    pub threads: usize,
}

/// The runtime for WebAssembly components. Dropping it stops its threads; calls that run there end
/// as cancelled.
pub struct WasmRuntime {
    engine: Engine,
    linker: Linker<GuestState>,
    fingerprint: String,
    shared: Arc<Shared>,
    guest_threads: Option<tokio::runtime::Runtime>,
    clock_thread: Option<JoinHandle<()>>,
}

/// What calls need of the runtime while they run.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Where calls go that compute for long.
    pub(crate) guest_threads: Handle,
    running: AtomicUsize,
    clock: Clock,
}

#[derive(Debug)]
struct Clock {
    stopped: AtomicBool,
    parked: AtomicBool,
    thread: std::sync::OnceLock<Thread>,
}

/// Counts a running call, so that the epoch clock ticks as long as there is one.
#[derive(Debug)]
pub(crate) struct Running(Arc<Shared>);

impl Shared {
    /// Marks a call as running.
    pub(crate) fn enter(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::SeqCst);
        if self.clock.parked.load(Ordering::SeqCst) {
            self.clock.unpark();
        }
        Running(Arc::clone(self))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Clock {
    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// A runtime that cannot start on this machine.
#[derive(Debug, Error)]
pub enum StartError {
    /// The engine refused its configuration or could not reserve address space.
    #[error("WebAssembly engine: {0}")]
    Engine(String),
    /// A thread could not be started.
    #[error("start the guest threads")]
    Threads(#[source] std::io::Error),
}

impl WasmRuntime {
    /// Starts the runtime. Reserves address space for its pools, but hardly any memory.
    pub fn new(config: &WasmConfig) -> Result<Self, StartError> {
        let engine = pooled_engine()?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)
            .and_then(|()| wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker))
            .map_err(|error| StartError::Engine(format!("{error:#}")))?;
        let guest_threads = Builder::new_multi_thread()
            .worker_threads(config.threads.max(1))
            .thread_name("guest")
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        let shared = Arc::new(Shared {
            guest_threads: guest_threads.handle().clone(),
            running: AtomicUsize::new(0),
            clock: Clock {
                stopped: AtomicBool::new(false),
                parked: AtomicBool::new(false),
                thread: std::sync::OnceLock::new(),
            },
        });
        let clock_thread = start_clock(engine.clone(), Arc::clone(&shared))?;
        Ok(Self {
            fingerprint: fingerprint(&engine),
            engine,
            linker,
            shared,
            guest_threads: Some(guest_threads),
            clock_thread: Some(clock_thread),
        })
    }
}

impl Runtime for WasmRuntime {
    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn compile(&self, artifact: &[u8]) -> Result<Vec<u8>, CompileError> {
        artifact::compile(&self.engine, &self.linker, artifact)
    }

    fn describe(&self, _compiled: &Path, manifest: &Manifest) -> Result<Description, CompileError> {
        let runtime = RuntimeKind::Wasm;
        if let Some(wanted) = manifest.runtime.filter(|wanted| *wanted != runtime) {
            let found = "a WebAssembly component".to_owned();
            return Err(CompileError::OtherRuntime { wanted, found });
        }
        manifest.check_for(runtime).map_err(CompileError::Unfit)?;
        Ok(Description {
            runtime,
            packages: 0,
        })
    }

    fn load(
        &self,
        compiled: &Path,
        _manifest: &Manifest,
        _identity: &Identity,
    ) -> Result<Arc<dyn Program>, LoadError> {
        let program = WasmProgram::load(&self.engine, &self.linker, &self.shared, compiled);
        match program {
            Ok(program) => Ok(Arc::new(program)),
            Err(error) => Err(LoadError {
                path: compiled.display().to_string(),
                reason: format!("{error:#}"),
            }),
        }
    }
}

impl fmt::Debug for WasmRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmRuntime")
            .field("fingerprint", &self.fingerprint)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

impl Drop for WasmRuntime {
    fn drop(&mut self) {
        self.shared.clock.stopped.store(true, Ordering::SeqCst);
        self.shared.clock.unpark();
        if let Some(thread) = self.clock_thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the epoch clock had panicked");
        }
        if let Some(threads) = self.guest_threads.take() {
            threads.shutdown_background();
        }
    }
}

fn pooled_engine() -> Result<Engine, StartError> {
    let mut refused = None;
    for instances in INSTANCES {
        match Engine::new(&engine_config(instances)) {
            Ok(engine) => return Ok(engine),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(instances, error, "no address space for so many instances");
                refused = Some(error);
            }
        }
    }
    Err(StartError::Engine(refused.unwrap_or_default()))
}

fn engine_config(instances: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances * CORE_INSTANCES_PER_INSTANCE)
        .total_memories(instances * MEMORIES_PER_INSTANCE)
        .total_tables(instances * TABLES_PER_INSTANCE)
        .total_stacks(instances)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(4 << 30)
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT)
        .table_keep_resident(TABLE_KEEP_RESIDENT);
    // Asks the kernel which pages a guest dirtied, so that only those are reset.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes);
    }
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(CALL_STACK)
        .concurrency_support(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable);
    config
}

fn fingerprint(engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("sealed-wasm-{:016x}", hasher.finish())
}

fn start_clock(engine: Engine, shared: Arc<Shared>) -> Result<JoinHandle<()>, StartError> {
    let keeper = Arc::clone(&shared);
    let thread = std::thread::Builder::new()
        .name("epoch".to_owned())
        .spawn(move || tick(&engine, &shared))
        .map_err(StartError::Threads)?;
    keeper.clock.thread.get_or_init(|| thread.thread().clone());
    Ok(thread)
}

/// Ticks while calls run; parks when there has been none for a while.
fn tick(engine: &Engine, shared: &Shared) {
    let mut idle = 0;
    while !shared.clock.stopped.load(Ordering::SeqCst) {
        std::thread::sleep(TICK);
        engine.increment_epoch();
        idle = if shared.running.load(Ordering::SeqCst) == 0 {
            idle + 1
        } else {
            0
        };
        if idle < IDLE_TICKS {
            continue;
        }
        shared.clock.parked.store(true, Ordering::SeqCst);
        // A call that entered before it could see `parked` is seen here.
        let quiet = shared.running.load(Ordering::SeqCst) == 0;
        if quiet && !shared.clock.stopped.load(Ordering::SeqCst) {
            std::thread::park();
        }
        shared.clock.parked.store(false, Ordering::SeqCst);
        idle = 0;
    }
}
