//! A host that remembers what it is told, and calls that are easy to make.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fractus_func::{
    Body, BoxFuture, Call, CallError, FunctionName, Host, Identity, Limits, LogStream, Manifest,
    OutboundError, Program, Report, RequestId, Runtime, Tunnel,
};
use fractus_wasm::{WasmConfig, WasmRuntime};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::sync::mpsc;

/// The node's side of a function, in memory.
#[derive(Debug)]
pub(crate) struct TestHost {
    name: FunctionName,
    limits: Limits,
    env: Vec<(String, String)>,
    pub(crate) log: Mutex<Vec<(LogStream, String)>>,
    pub(crate) reserved: Mutex<usize>,
    reports: mpsc::UnboundedSender<Report>,
}

impl Host for TestHost {
    fn name(&self) -> &FunctionName {
        &self.name
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn env(&self) -> &[(String, String)] {
        &self.env
    }

    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, OutboundError>> {
        let authority = request
            .uri()
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        Box::pin(async move {
            match authority.as_str() {
                "allowed.example" => Ok(Response::new(body(b"from outside"))),
                _ => Err(OutboundError::Denied {
                    authority,
                    why: "not in the list".to_owned(),
                }),
            }
        })
    }

    fn connect(&self, authority: &str) -> BoxFuture<'static, Result<Tunnel, OutboundError>> {
        let name = authority.to_owned();
        Box::pin(async { Err(OutboundError::NoSuchHost(name)) })
    }

    fn log(&self, _id: RequestId, stream: LogStream, line: &str) {
        self.log.lock().unwrap().push((stream, line.to_owned()));
    }

    fn reserve_memory(&self, bytes: usize) -> bool {
        *self.reserved.lock().unwrap() += bytes;
        true
    }

    fn release_memory(&self, bytes: usize) {
        *self.reserved.lock().unwrap() -= bytes;
    }

    fn finished(&self, report: Report) {
        self.reports
            .send(report)
            .expect("the test waits for reports");
    }
}

/// A component loaded into a runtime of its own.
pub(crate) struct Loaded {
    pub(crate) host: Arc<TestHost>,
    reports: mpsc::UnboundedReceiver<Report>,
    program: Arc<dyn Program>,
    _runtime: WasmRuntime,
}

/// The bytes of an example's component, built by `cargo xtask test`.
pub(crate) fn example(name: &str) -> Vec<u8> {
    let file = format!("examples/{name}/target/wasm32-wasip2/release/{name}.wasm");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(&file);
    std::fs::read(path).unwrap_or_else(|error| {
        panic!("{file}: {error}; build it there: cargo build --release --target wasm32-wasip2")
    })
}

pub(crate) fn runtime() -> WasmRuntime {
    WasmRuntime::new(&WasmConfig { threads: 2 }).unwrap()
}

pub(crate) fn body(bytes: &'static [u8]) -> Body {
    Full::new(Bytes::from_static(bytes))
        .map_err(|never| match never {})
        .boxed_unsync()
}

impl Loaded {
    pub(crate) fn new(name: &str, limits: Limits) -> Self {
        let runtime = runtime();
        let dir = tempfile::tempdir().unwrap();
        let compiled = dir.path().join("compiled");
        std::fs::write(&compiled, runtime.compile(&example(name)).unwrap()).unwrap();
        let manifest = Manifest::named("a".parse().unwrap());
        let program = runtime
            .load(&compiled, &manifest, &Identity::default())
            .unwrap();
        let (sender, reports) = mpsc::unbounded_channel();
        let host = Arc::new(TestHost {
            name: name.parse().unwrap(),
            limits,
            env: vec![("GREETING".to_owned(), "moin".to_owned())],
            log: Mutex::default(),
            reserved: Mutex::default(),
            reports: sender,
        });
        Self {
            host,
            reports,
            program,
            _runtime: runtime,
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, CallError> {
        let host: Arc<dyn Host> = Arc::<TestHost>::clone(&self.host);
        let id = RequestId::from_random(7);
        self.program
            .call(Call {
                id,
                request,
                event: None,
                host,
                queue_us: 3,
                load_us: 0,
            })
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Response<Body>, CallError> {
        let uri = format!("http://f.localhost{path}");
        self.send(Request::get(uri).body(body(b"")).unwrap()).await
    }

    /// The report of the call before; every call leaves exactly one.
    pub(crate) async fn report(&mut self) -> Report {
        let report = self.reports.recv().await.unwrap();
        assert!(self.reports.is_empty(), "one report for each call");
        assert_eq!(
            *self.host.reserved.lock().unwrap(),
            0,
            "all memory is given back"
        );
        report
    }

    pub(crate) fn logged(&self) -> Vec<(LogStream, String)> {
        std::mem::take(&mut self.host.log.lock().unwrap())
    }
}

pub(crate) async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}
