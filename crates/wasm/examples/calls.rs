//! How long a call takes without any network: `cargo run --release -p fractus-wasm --example calls
//! -- COMPONENT.wasm [CALLS]`.

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use fractus_func::{
    Body, BoxFuture, Call, FunctionName, Host, Identity, Limits, LogStream, Manifest,
    OutboundError, Report, RequestId, Runtime, Tunnel,
};
use fractus_wasm::{WasmConfig, WasmRuntime};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};

#[derive(Debug)]
struct Quiet(FunctionName, Limits);

impl Host for Quiet {
    fn name(&self) -> &FunctionName {
        &self.0
    }
    fn limits(&self) -> &Limits {
        &self.1
    }
    fn env(&self) -> &[(String, String)] {
        &[]
    }
    fn send(
        &self,
        _request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, OutboundError>> {
        Box::pin(async { Err(OutboundError::NoSuchHost("there is no network".to_owned())) })
    }
    fn connect(&self, _authority: &str) -> BoxFuture<'static, Result<Tunnel, OutboundError>> {
        Box::pin(async { Err(OutboundError::NoSuchHost("there is no network".to_owned())) })
    }
    fn log(&self, _id: RequestId, _stream: LogStream, _line: &str) {}
    fn reserve_memory(&self, _bytes: usize) -> bool {
        true
    }
    fn release_memory(&self, _bytes: usize) {}
    fn finished(&self, _report: Report) {}
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: calls COMPONENT.wasm [CALLS]")?;
    let calls: usize = args.next().map_or(Ok(100_000), |n| n.parse())?;
    let runtime = WasmRuntime::new(&WasmConfig { threads: 1 })?;
    let compiled = tempfile::NamedTempFile::new()?;
    std::fs::write(compiled.path(), runtime.compile(&std::fs::read(path)?)?)?;
    let program = runtime.load(
        compiled.path(),
        &Manifest::named("calls".parse()?),
        &Identity::default(),
    )?;
    let host: Arc<dyn Host> = Arc::new(Quiet("bench".parse()?, Limits::default()));
    let mut micros = Vec::with_capacity(calls);
    let began = Instant::now();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            for _ in 0..calls {
                let body = Empty::<Bytes>::new()
                    .map_err(|never| match never {})
                    .boxed_unsync();
                let request = Request::get("http://bench.localhost/").body(body)?;
                let (id, host) = (RequestId::from_random(1), Arc::clone(&host));
                let call = Call {
                    id,
                    request,
                    event: None,
                    host,
                    queue_us: 0,
                    load_us: 0,
                };
                let began = Instant::now();
                let response = program.call(call).await?;
                response.into_body().collect().await?;
                micros.push(began.elapsed().as_nanos() / 100);
            }
            Ok::<_, Box<dyn Error>>(())
        })?;
    let total = began.elapsed();
    micros.sort_unstable();
    let at = |share: usize| {
        let tenths = micros[(micros.len() - 1) * share / 100];
        format!("{}.{} µs", tenths / 10, tenths % 10)
    };
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{calls} calls in {total:?}: p50 {}, p99 {}",
        at(50),
        at(99)
    )?;
    Ok(())
}
