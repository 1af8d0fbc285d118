//! The least server that a Lambda runtime can run on: it offers the Runtime API to a process and
//! hands it what clients ask for. What it costs is what nobody can do without, so it stands for
//! the fastest host of unmodified runtimes that there could be.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Args;

use super::wire::{Message, Wire};

/// What every call is handed: the event of a function URL, made in advance.
pub(super) const EVENT: &str = r#"{"version":"2.0","routeKey":"$default","rawPath":"/","rawQueryString":"","headers":{"host":"127.0.0.1:8080","user-agent":"bench","accept":"*/*","x-forwarded-for":"127.0.0.1","x-forwarded-proto":"http","x-forwarded-port":"8080"},"requestContext":{"accountId":"000000000000","apiId":"hello","domainName":"127.0.0.1","domainPrefix":"127","http":{"method":"GET","path":"/","protocol":"HTTP/1.1","sourceIp":"127.0.0.1","userAgent":"bench"},"requestId":"8476a536-e9f4-11e8-9739-2dfe598c3fcd","routeKey":"$default","stage":"$default","time":"01/Jan/2026:00:00:00 +0000","timeEpoch":1767225600000},"isBase64Encoded":false}"#;

/// The one request id that is ever given out.
const REQUEST_ID: &str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";

/// The function's name.
const FUNCTION: &str = "hello";

/// cargo-lambda's name for it: that of the program.
const BINARY: &str = "bootstrap";

/// A far deadline: no call here is to run out of time.
const DEADLINE_MS: &str = "4102444800000";

/// How to start a runtime.
#[derive(Debug, Clone, Args)]
pub(crate) struct Runtime {
    /// Where the function's code is
    #[arg(long)]
    directory: PathBuf,
    /// What its interpreter finds packages in
    #[arg(long, default_value = "")]
    packages: String,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl Runtime {
    /// Starts it for the Runtime API at `api`.
    fn spawn(&self, api: &str) -> Result<Child> {
        let (program, arguments) = self.command.split_first().context("no runtime was named")?;
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .current_dir(&self.directory)
            .env("AWS_LAMBDA_RUNTIME_API", api)
            .env("LAMBDA_TASK_ROOT", &self.directory)
            .env("PYTHONPATH", &self.packages)
            .envs(ENVIRONMENT.iter().copied())
            .spawn()
            .with_context(|| program.clone())
    }
}

/// A runtime that has asked for work.
struct Running {
    child: Child,
    wire: Wire,
}

impl Running {
    /// Starts a runtime and waits until it is initialised.
    fn start(runtime: &Runtime) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let child = runtime.spawn(&listener.local_addr()?.to_string())?;
        let wire = Wire::new(listener.accept()?.0)?;
        let mut runtime = Self { child, wire };
        runtime.expect("GET", "/runtime/invocation/next")?;
        Ok(runtime)
    }

    /// Reads the next request of the runtime, which must be this one.
    fn expect(&mut self, method: &str, end: &str) -> Result<Message> {
        let message = self.wire.receive()?.context("the runtime has gone")?;
        let mut words = message.head.split(' ');
        let (actual, path) = (words.next(), words.next().unwrap_or_default());
        ensure!(
            actual == Some(method) && path.ends_with(end),
            "{}\n{}",
            message.head,
            String::from_utf8_lossy(&message.body)
        );
        Ok(message)
    }

    /// Hands it an event and returns what it makes of it. [`Self::answered`] must follow.
    fn call(&mut self) -> Result<Vec<u8>> {
        let event = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
             Lambda-Runtime-Aws-Request-Id: {REQUEST_ID}\r\n\
             Lambda-Runtime-Deadline-Ms: {DEADLINE_MS}\r\n\
             Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:hello\r\n\
             Content-Length: {}\r\n\r\n{EVENT}",
            EVENT.len()
        );
        self.wire.send(event.as_bytes())?;
        Ok(self.expect("POST", "/response")?.body)
    }

    /// Acknowledges the answer and waits until the runtime asks for work again.
    fn answered(&mut self) -> Result<()> {
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n\
                       Content-Length: 0\r\n\r\n";
        self.wire.send(answer)?;
        self.expect("GET", "/runtime/invocation/next").map(drop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What a runtime wants to know of its function.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("_HANDLER", "app.handler"),
    ("AWS_DEFAULT_REGION", "us-east-1"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
    ("AWS_LAMBDA_FUNCTION_NAME", FUNCTION),
    ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
    ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
    ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/hello"),
    ("AWS_LAMBDA_LOG_STREAM_NAME", "1"),
    ("AWS_REGION", "us-east-1"),
];

/// Serves for ever: as many runtimes as there are to be clients, each with a thread of its own.
pub(super) fn serve(front: SocketAddr, runtimes: usize, runtime: &Runtime) -> Result<()> {
    let front = TcpListener::bind(front)?;
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..runtimes)
            .map(|_| scope.spawn(|| lane(&front, runtime)))
            .collect();
        lanes.into_iter().try_for_each(|lane| {
            let ended = lane
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a lane panicked")));
            ended.and_then(|()| bail!("a lane has ended"))
        })
    })
}

fn lane(front: &TcpListener, runtime: &Runtime) -> Result<()> {
    let mut runtime = Running::start(runtime)?;
    for client in front.incoming() {
        let mut client = Wire::new(client?)?;
        // A client that breaks off is its own affair.
        while let Ok(Some(request)) = client.receive() {
            let answer = runtime.call()?;
            client.send(&whole(&answer)).ok();
            runtime.answered()?;
            if request.closes() {
                break;
            }
        }
    }
    Ok(())
}

/// Runs cargo-lambda's local server and runtimes that work for it until it ends; all of them end
/// with this process.
pub(super) fn cargo_lambda(
    program: &Path,
    front: SocketAddr,
    runtimes: usize,
    runtime: &Runtime,
) -> Result<()> {
    const WITH_US: [&str; 3] = ["setpriv", "--pdeathsig", "KILL"];
    let mut server = Command::new(WITH_US[0]);
    server.args(&WITH_US[1..]).arg(program);
    server.args(["lambda", "watch", "--quiet", "--only-lambda-apis"]);
    server.args(["--invoke-address", &front.ip().to_string()]);
    server.args(["--invoke-port", &front.port().to_string()]);
    // It wants to be in a project.
    server.current_dir(runtime.directory.join(".."));
    let mut server = server.stdin(Stdio::null()).spawn()?;
    while TcpStream::connect(front).is_err() {
        ensure!(server.try_wait()?.is_none(), "cargo-lambda has ended");
        thread::sleep(Duration::from_millis(10));
    }
    let mut runtime = runtime.clone();
    let with_us = WITH_US.map(str::to_owned);
    runtime.command.splice(0..0, with_us);
    let api = format!("http://{front}/.rt/{BINARY}");
    for _ in 0..runtimes {
        runtime.spawn(&api)?;
    }
    let status = server.wait()?;
    bail!("cargo-lambda: {status}")
}

/// Where a function of cargo-lambda's is called.
pub(super) fn cargo_lambda_target() -> String {
    format!("/2015-03-31/functions/{BINARY}/invocations")
}

/// Answers the one request that arrives on standard input, a socket, and ends.
pub(super) fn once(runtime: &Runtime) -> Result<()> {
    let client = std::io::stdin().as_fd().try_clone_to_owned()?;
    let mut client = Wire::new(TcpStream::from(client))?;
    let mut runtime = Running::start(runtime)?;
    client.receive()?.context("there is no request")?;
    let answer = runtime.call()?;
    client.send(&whole(&answer))
}

fn whole(body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}
