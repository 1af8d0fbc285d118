//! A runtime for tests: its guests wait at a gate, and tell whether they are still there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fractus_func::{
    Body, BoxFuture, Call, CallError, CompileError, Description, Host, Identity, LoadError,
    Manifest, Outcome, Program, Report, Runtime, RuntimeKind,
};
use http_body_util::{BodyExt, Empty};
use tokio::sync::Semaphore;

use crate::runtimes::Runtimes;

/// Compiles by copying. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct FakeRuntime {
    fingerprint: String,
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    /// A guest ends when it gets a permit.
    pub(crate) gate: Semaphore,
    /// Programs loaded.
    pub(crate) loads: AtomicUsize,
    /// Guests that run now.
    pub(crate) running: AtomicUsize,
    /// Compilations begun and ended.
    pub(crate) compilations: (AtomicUsize, AtomicUsize),
    /// If set, a compilation ends when it gets a message.
    pub(crate) compile_gate: Mutex<Option<Receiver<()>>>,
    /// Times that somebody asked for a program, also in vain.
    pub(crate) load_attempts: AtomicUsize,
    /// Compiled files that were forgotten.
    pub(crate) forgotten: Mutex<Vec<PathBuf>>,
    /// Compiled files that were retained at last.
    pub(crate) retained: Mutex<Option<Vec<PathBuf>>>,
}

impl Default for FakeRuntime {
    fn default() -> Self {
        Self::with_fingerprint("fake")
    }
}

impl FakeRuntime {
    /// An artifact that does not compile.
    pub(crate) const INVALID: &[u8] = b"invalid";
    /// A compiled form that cannot be loaded.
    pub(crate) const TORN: &[u8] = b"torn";

    pub(crate) fn with_fingerprint(fingerprint: &str) -> Self {
        Self {
            fingerprint: fingerprint.to_owned(),
            shared: Arc::new(Shared {
                gate: Semaphore::new(0),
                loads: AtomicUsize::new(0),
                running: AtomicUsize::new(0),
                compilations: Default::default(),
                compile_gate: Mutex::default(),
                load_attempts: AtomicUsize::new(0),
                forgotten: Mutex::default(),
                retained: Mutex::default(),
            }),
        }
    }
}

impl FakeRuntime {
    /// This one for all that is no archive.
    pub(crate) fn runtimes(&self) -> Runtimes {
        Runtimes::new(Arc::new(self.clone()), Err("none in this test".to_owned()))
    }

    /// This one for all that is no archive, and another one for archives.
    pub(crate) fn beside(&self, native: &Self) -> Runtimes {
        Runtimes::new(Arc::new(self.clone()), Ok(Arc::new(native.clone())))
    }
}

impl Runtime for FakeRuntime {
    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn compile(&self, artifact: &[u8]) -> Result<Vec<u8>, CompileError> {
        if artifact == Self::INVALID {
            return Err(CompileError::NotWasm);
        }
        self.shared.compilations.0.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &*self.shared.compile_gate.lock().expect("no panic before") {
            gate.recv().expect("the test opens the gate");
        }
        self.shared.compilations.1.fetch_add(1, Ordering::SeqCst);
        Ok(artifact.to_owned())
    }

    fn describe(&self, _compiled: &Path, manifest: &Manifest) -> Result<Description, CompileError> {
        Ok(Description {
            runtime: manifest.runtime.unwrap_or(RuntimeKind::Wasm),
            packages: 0,
        })
    }

    fn forget(&self, compiled: &Path) {
        assert!(
            compiled.exists(),
            "a file is forgotten before it is removed"
        );
        let mut forgotten = self.shared.forgotten.lock().expect("no panic before");
        forgotten.push(compiled.to_owned());
    }

    fn retain(&self, compiled: &[PathBuf]) {
        *self.shared.retained.lock().expect("no panic before") = Some(compiled.to_owned());
    }

    fn load(
        &self,
        compiled: &Path,
        _manifest: &Manifest,
        _identity: &Identity,
    ) -> Result<Arc<dyn Program>, LoadError> {
        self.shared.load_attempts.fetch_add(1, Ordering::SeqCst);
        if fs::read(compiled).map_or(true, |bytes| bytes == Self::TORN) {
            return Err(LoadError {
                path: compiled.display().to_string(),
                reason: "absent or torn".to_owned(),
            });
        }
        self.shared.loads.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(FakeProgram(Arc::clone(&self.shared))))
    }
}

#[derive(Debug)]
struct FakeProgram(Arc<Shared>);

/// Reports as cancelled unless it has reported before, as a runtime must.
struct Guest {
    shared: Arc<Shared>,
    host: Arc<dyn Host>,
    report: Option<Report>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.shared.running.fetch_sub(1, Ordering::SeqCst);
        if let Some(report) = self.report.take() {
            self.host.finished(report);
        }
    }
}

impl Program for FakeProgram {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<http::Response<Body>, CallError>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            shared.running.fetch_add(1, Ordering::SeqCst);
            let mut report = crate::functions::refusal(
                call.id,
                call.queue_us,
                Outcome::Cancelled,
                "dropped".to_owned(),
            );
            report.load_us = call.load_us;
            let mut guest = Guest {
                shared: Arc::clone(&shared),
                host: call.host,
                report: Some(report),
            };
            shared
                .gate
                .acquire()
                .await
                .expect("the gate stays")
                .forget();
            let mut report = guest.report.take().expect("it has not reported");
            report.outcome = Outcome::Ok;
            guest.host.finished(report);
            let body = Empty::<Bytes>::new()
                .map_err(|never| match never {})
                .boxed_unsync();
            Ok(http::Response::new(body))
        })
    }
}
