//! A node in memory, functions that are made in the test, and calls that are easy to make.

pub(crate) mod child;
mod system;

use std::io::{Cursor, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fractus_func::{
    Body, BoxFuture, Call, CallError, FunctionName, Host, Identity, Instances, Limits, LogStream,
    Manifest, Memory, OutboundError, Program, Report, RequestId, Runtime, Tunnel,
};
use fractus_sandbox::{SandboxConfig, SandboxRuntime};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

pub(crate) use system::{
    Seen, are_there_groups, descendants, group_count, is_root, mount_count, named_so, open_files,
    processes, resident_kib,
};

/// Python for a function that runs what it is told: [`Function::python`].
const PROBE: &str = include_str!("support/probe.py");

/// The memory of the node.
#[derive(Debug)]
pub(crate) struct Account {
    left: Mutex<usize>,
    all: usize,
}

impl Account {
    /// Bytes that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.all - *self.left.lock().unwrap()
    }
}

impl Memory for Account {
    fn reserve(&self, bytes: usize) -> bool {
        let mut left = self.left.lock().unwrap();
        let rest = left.checked_sub(bytes);
        *left = rest.unwrap_or(*left);
        rest.is_some()
    }

    fn release(&self, bytes: usize) {
        let mut left = self.left.lock().unwrap();
        *left += bytes;
        assert!(*left <= self.all, "more is given back than was taken");
    }
}

/// The node's side of a function, in memory.
#[derive(Debug)]
struct TestHost {
    name: FunctionName,
    limits: Limits,
    log: Mutex<Vec<(LogStream, String)>>,
    reports: Mutex<Vec<Report>>,
    /// Reports that there were.
    ended: AtomicUsize,
}

impl Host for TestHost {
    fn name(&self) -> &FunctionName {
        &self.name
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn env(&self) -> &[(String, String)] {
        &[]
    }

    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, OutboundError>> {
        let authority = request.uri().authority().map(ToString::to_string);
        Box::pin(async move {
            match authority.as_deref() {
                Some("allowed.example") => Ok(Response::new(body("from outside"))),
                other => Err(denied(other.unwrap_or_default())),
            }
        })
    }

    fn connect(&self, authority: &str) -> BoxFuture<'static, Result<Tunnel, OutboundError>> {
        let authority = authority.to_owned();
        Box::pin(async move {
            match authority.as_str() {
                "echo.example:7" => Ok(echo().unwrap()),
                other => Err(denied(other)),
            }
        })
    }

    fn log(&self, _id: RequestId, stream: LogStream, line: &str) {
        self.log.lock().unwrap().push((stream, line.to_owned()));
    }

    fn reserve_memory(&self, _bytes: usize) -> bool {
        true
    }

    fn release_memory(&self, _bytes: usize) {}

    fn finished(&self, report: Report) {
        self.reports.lock().unwrap().push(report);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

fn denied(authority: &str) -> OutboundError {
    OutboundError::Denied {
        authority: authority.to_owned(),
        why: "no test allows it".to_owned(),
    }
}

/// A connection whose other end sends back what comes.
fn echo() -> std::io::Result<Tunnel> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let near = std::net::TcpStream::connect(listener.local_addr()?)?;
    near.set_nonblocking(true)?;
    let (far, _) = listener.accept()?;
    std::thread::spawn(move || std::io::copy(&mut &far, &mut &far));
    Ok(Tunnel {
        socket: near.into(),
        place: Box::new(()),
    })
}

/// A runtime with a folder and an account of memory of its own.
pub(crate) struct Bench {
    pub(crate) runtime: SandboxRuntime,
    pub(crate) account: Arc<Account>,
    pub(crate) name: String,
    compiled: AtomicUsize,
    folder: Arc<TempDir>,
}

/// Numbers whatever must differ between tests.
static NUMBERS: AtomicUsize = AtomicUsize::new(0);

/// The runtime that most tests share; it ends with the last test that has it.
static SHARED: Mutex<Weak<Bench>> = Mutex::new(Weak::new());

impl Bench {
    /// A fresh one.
    pub(crate) fn new() -> Arc<Self> {
        Self::with_memory(64 << 30)
    }

    /// The one that is shared.
    pub(crate) fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let bench = Self::new();
            *shared = Arc::downgrade(&bench);
            bench
        })
    }

    /// One whose instances may take so many bytes.
    pub(crate) fn with_memory(bytes: usize) -> Arc<Self> {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("fractus-it-{}-{number}", std::process::id());
        Self::open(&name, Arc::new(tempfile::tempdir().unwrap()), bytes)
    }

    /// One of this name, in this folder.
    pub(crate) fn open(name: &str, folder: Arc<TempDir>, bytes: usize) -> Arc<Self> {
        let account = Arc::new(Account {
            left: Mutex::new(bytes),
            all: bytes,
        });
        // Guests that are not root's have to see it.
        let public = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), public).unwrap();
        let runtime = SandboxRuntime::start(SandboxConfig {
            folder: folder.path().to_owned(),
            name: name.to_owned(),
            memory: Arc::<Account>::clone(&account),
        });
        Arc::new(Self {
            runtime: runtime.unwrap(),
            account,
            name: name.to_owned(),
            compiled: AtomicUsize::new(0),
            folder,
        })
    }

    /// Where it keeps its files.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A function of these files. One named `bootstrap` can be run.
    pub(crate) fn function(
        self: &Arc<Self>,
        files: &[(&str, &str)],
        change: impl FnOnce(&mut Manifest),
    ) -> Function {
        let number = self.compiled.fetch_add(1, Ordering::Relaxed);
        let compiled = self.path().join(format!("compiled-{number}"));
        std::fs::write(&compiled, self.runtime.compile(&archive(files)).unwrap()).unwrap();
        let mut manifest = Manifest::named(format!("f{number}").parse().unwrap());
        change(&mut manifest);
        manifest.check().unwrap();
        let program = self
            .runtime
            .load(&compiled, &manifest, &Identity::default())
            .unwrap();
        let host = Arc::new(TestHost {
            name: manifest.name,
            limits: manifest.limits,
            log: Mutex::default(),
            reports: Mutex::default(),
            ended: AtomicUsize::new(0),
        });
        Function {
            host,
            program,
            calls: AtomicUsize::new(0),
            bench: Arc::clone(self),
        }
    }

    /// A function for [`Function::python`].
    pub(crate) fn probe(self: &Arc<Self>, change: impl FnOnce(&mut Manifest)) -> Function {
        self.function(&[("f.py", PROBE)], change)
    }

    /// A function for [`Function::python`] with so many seconds for each call.
    pub(crate) fn probe_for(self: &Arc<Self>, timeout_s: f64) -> Function {
        self.probe(|manifest| manifest.limits.timeout_s = timeout_s)
    }

    /// Waits until something holds that takes a while.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !holds(self) {
            assert!(Instant::now() < deadline, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, text) in files {
        let mode = if *path == "bootstrap" { 0o755 } else { 0o644 };
        let options = SimpleFileOptions::default().unix_permissions(mode);
        zip.start_file(*path, options).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

pub(crate) fn body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A function that was deployed.
pub(crate) struct Function {
    host: Arc<TestHost>,
    program: Arc<dyn Program>,
    calls: AtomicUsize,
    pub(crate) bench: Arc<Bench>,
}

impl Function {
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, CallError> {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let host: Arc<dyn Host> = Arc::<TestHost>::clone(&self.host);
        let call = Call {
            id: RequestId::from_random(number as u128),
            request,
            event: None,
            host,
            queue_us: 3,
            load_us: 0,
        };
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.program.call(call).await
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Response<Body>, CallError> {
        let uri = format!("http://f.localhost{path}");
        self.send(Request::get(uri).body(body("")).unwrap()).await
    }

    /// Calls it with an event; the answer is JSON.
    pub(crate) async fn event(&self, event: &Value) -> Result<Value, CallError> {
        let request = Request::post("http://f.localhost/").body(body(event.to_string()));
        let response = self.send(request.unwrap()).await?;
        Ok(serde_json::from_str(&text(response).await).unwrap())
    }

    /// Has a probe run Python; the answer is what it left in `answer`.
    pub(crate) async fn python(&self, code: &str) -> Result<Value, CallError> {
        self.event(&json!({"code": code})).await
    }

    /// What an instance may have.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.host.limits.memory_bytes()
    }

    /// What has been logged since the last time, once all calls have ended.
    pub(crate) async fn logged(&self) -> Vec<(LogStream, String)> {
        self.settled().await;
        std::mem::take(&mut self.host.log.lock().unwrap())
    }

    /// What has been logged so far.
    pub(crate) fn has_logged(&self, line: &str) -> bool {
        let log = self.host.log.lock().unwrap();
        log.iter().any(|(_, logged)| logged == line)
    }

    /// The reports since the last time.
    pub(crate) async fn reports(&self) -> Vec<Report> {
        self.settled().await;
        std::mem::take(&mut self.host.reports.lock().unwrap())
    }

    /// The report of the only call since the last time.
    pub(crate) async fn report(&self) -> Report {
        let mut reports = self.reports().await;
        assert_eq!(reports.len(), 1, "one report for each call");
        reports.remove(0)
    }

    /// Waits until each call has its report, which may follow its answer.
    async fn settled(&self) {
        let ended = || self.host.ended.load(Ordering::Relaxed);
        self.bench
            .until("each call has a report", |_| {
                ended() >= self.calls.load(Ordering::Relaxed)
            })
            .await;
    }
}

pub(crate) async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The name of an error and its message.
pub(crate) fn named(error: &CallError) -> (&str, &str) {
    (error.kind.as_deref().unwrap_or(""), &error.message)
}

/// For functions whose instances wait for so many seconds.
pub(crate) fn idle(seconds: u32) -> Instances {
    Instances {
        idle_s: seconds,
        ..Instances::default()
    }
}
