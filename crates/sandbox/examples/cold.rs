//! How long cold starts and warm calls of a Python function take without any network:
//! `cargo run --release -p fractus-sandbox --example cold -- [FUNCTIONS] [CALLS]`.

use std::error::Error;
use std::io::{Cursor, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fractus_func::{
    Body, BoxFuture, Call, FunctionName, Host, Identity, Limits, LogStream, Manifest, Memory,
    OutboundError, Program, Report, RequestId, Runtime, Tunnel,
};
use fractus_sandbox::{SandboxConfig, SandboxRuntime};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};

#[derive(Debug)]
struct Quiet(FunctionName, Limits, Mutex<Vec<Report>>);

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
    fn finished(&self, report: Report) {
        self.2.lock().expect("nobody panics with it").push(report);
    }
}

/// Memory without end.
#[derive(Debug)]
struct Endless;

impl Memory for Endless {
    fn reserve(&self, _bytes: usize) -> bool {
        true
    }
    fn release(&self, _bytes: usize) {}
}

fn function(number: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("f.py", zip::write::SimpleFileOptions::default())?;
    write!(zip, "def f(event):\n    return {{'number': {number}}}\n")?;
    Ok(zip.finish()?.into_inner())
}

async fn call(
    program: &dyn Program,
    host: &Arc<Quiet>,
    id: u128,
) -> Result<Duration, Box<dyn Error>> {
    let body = Full::new(Bytes::from_static(b"{}")).map_err(|never| match never {});
    let request = Request::post("http://localhost/run/cold").body(body.boxed_unsync())?;
    let began = Instant::now();
    let answer = program.call(Call {
        id: RequestId::from_random(id),
        request,
        event: None,
        host: Arc::clone(host) as Arc<dyn Host>,
        queue_us: 0,
        load_us: 0,
    });
    answer.await?.into_body().collect().await?;
    Ok(began.elapsed())
}

fn show(what: &str, mut times: Vec<Duration>) -> std::io::Result<()> {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    writeln!(
        std::io::stdout(),
        "{what}: p50 {:?}, p90 {:?}, p99 {:?}, most {:?}",
        at(50),
        at(90),
        at(99),
        at(100)
    )
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let functions: usize = args.next().map_or(Ok(100), |n| n.parse())?;
    let calls: usize = args.next().map_or(Ok(10_000), |n| n.parse())?;
    let folder = tempfile::tempdir()?;
    let runtime = SandboxRuntime::start(SandboxConfig {
        folder: folder.path().to_owned(),
        name: format!("fractus-cold-{}", std::process::id()),
        memory: Arc::new(Endless),
    })?;
    let mut programs = Vec::new();
    for number in 0..functions {
        let compiled = folder.path().join(format!("{number}.compiled"));
        std::fs::write(&compiled, runtime.compile(&function(number)?)?)?;
        programs.push(runtime.load(
            &compiled,
            &Manifest::named("cold".parse()?),
            &Identity::default(),
        )?);
    }
    let host = Arc::new(Quiet("cold".parse()?, Limits::default(), Mutex::default()));
    std::thread::sleep(Duration::from_secs(1));
    let threads = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    threads.block_on(async {
        let mut cold = Vec::new();
        for (number, program) in programs.iter().enumerate() {
            cold.push(call(program.as_ref(), &host, number as u128).await?);
            // The next one finds a spare, as at an idle machine.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        show("cold", cold)?;
        let reports = std::mem::take(&mut *host.2.lock().expect("nobody panics with it"));
        let part = |of: fn(&Report) -> u64| -> Vec<Duration> {
            reports
                .iter()
                .map(|r| Duration::from_micros(of(r)))
                .collect()
        };
        show("  sandbox", part(|r| r.start_us))?;
        show("  init", part(|r| r.load_us))?;
        show("  run", part(|r| r.run_us))?;
        show("  cpu", part(|r| r.cpu_us))?;
        let mut warm = Vec::new();
        for number in 0..calls {
            warm.push(call(programs[0].as_ref(), &host, number as u128).await?);
        }
        show("warm", warm)?;
        Ok(())
    })
}
