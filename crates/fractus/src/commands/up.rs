//! `fractus up`: a node in the foreground.

use std::env;
use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use fractus_node::{Addresses, Config, ConfigFile, Node, OtelSpec};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cli::Context;
use crate::failure::Failure;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  fractus up
  fractus up --data /srv/cloud --edge 0.0.0.0:80 --log json
  fractus up --edge 127.0.0.1:0            a free port; node.json tells which

The first SIGINT or SIGTERM finishes the work in flight and exits with 0, a second one stops at
once. FRACTUS_LOG or RUST_LOG choose what is logged, such as `debug` or `warn,fractus_edge=trace`.";

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    listen: Listen,
    /// Read a configuration; flags go before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Export traces to this OpenTelemetry collector, by OTLP/HTTP
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otel: Option<String>,
    /// Form of the log on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log: LogForm,
}

/// What is logged unless the environment says otherwise: not what the libraries of the store tell.
const LOGGED: &str = "info,fjall=warn,lsm_tree=warn";

/// Where a node listens: IP:PORT, where port 0 is any that is free.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub(crate) struct Listen {
    /// Address of the edge [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub(crate) edge: Option<SocketAddr>,
    /// Address of the AWS-compatible API [default: 127.0.0.1:9000]
    #[arg(long, value_name = "ADDR")]
    pub(crate) api: Option<SocketAddr>,
    /// Address of the admin API [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,
}

/// Form of a log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogForm {
    Text,
    Json,
}

impl Listen {
    /// The configuration of a node on `data` that listens so.
    pub(crate) fn config(self, data: Option<PathBuf>) -> ConfigFile {
        ConfigFile {
            data,
            edge: self.edge,
            api: self.api,
            admin: self.admin,
            ..ConfigFile::default()
        }
    }
}

pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let Args {
        listen,
        config,
        otel,
        log,
    } = args;
    log_to_stderr(log, LOGGED)?;
    let file = match &config {
        Some(path) => ConfigFile::read(path).map_err(|error| unusable(&error))?,
        None => ConfigFile::default(),
    };
    let flags = ConfigFile {
        otel: OtelSpec { endpoint: otel },
        ..listen.config(context.given.clone())
    };
    let config = file.with(flags).check().map_err(|error| unusable(&error))?;
    let data = config.data.clone();
    let mut running = Running::start(config)?;
    // A node does not end because nobody reads its greeting.
    greet(&context.output, &data, &running.addresses()).ok();
    running.wait();
    let note = "finishing the work in flight; a second signal stops at once";
    context.output.note(note);
    Ok(running.stop())
}

/// The node's own listeners must not take each other's ports: the system only tells of an address
/// in use.
fn apart(config: &Config) -> Result<(), Failure> {
    let listeners = [
        ("--edge", config.edge),
        ("--api", config.api),
        ("--admin", config.admin),
    ];
    for (index, (flag, address)) in listeners.iter().enumerate() {
        let same = listeners[..index].iter().find(|(_, other)| {
            let meet = other.ip() == address.ip()
                || other.ip().is_unspecified()
                || address.ip().is_unspecified();
            address.port() != 0 && other.port() == address.port() && meet
        });
        if let Some((other, taken)) = same {
            return Err(Failure::usage(format!(
                "{other} and {flag} cannot both have port {}",
                taken.port()
            ))
            .why(format!("{other} is {taken}, {flag} is {address}"))
            .hint(format!("choose another port with {flag} ADDRESS")));
        }
    }
    Ok(())
}

fn unusable(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new("the node cannot be configured so").because(error)
}

/// Logs to standard error, by default what is at least of the level `default`.
pub(crate) fn log_to_stderr(form: LogForm, default: &str) -> Result<(), Failure> {
    let wanted = env::var("FRACTUS_LOG").or_else(|_| env::var("RUST_LOG"));
    let wanted = wanted.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(wanted).map_err(|error| {
        Failure::usage(format!("`{wanted}` does not say what to log"))
            .because(&error)
            .hint("set FRACTUS_LOG to error, warn, info, debug or trace, or to `info,TARGET=debug`")
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    match form {
        LogForm::Text => log.init(),
        LogForm::Json => log.json().init(),
    }
    Ok(())
}

/// A node that runs in this process until a signal asks it to end.
#[derive(Debug)]
pub(crate) struct Running {
    node: Node,
    /// For the signals and our own requests; the node has threads of its own.
    runtime: Runtime,
    signals: Signals,
}

impl Running {
    /// Starts a node. Signals are caught from before, so that none leaves it half started.
    pub(crate) fn start(config: Config) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new("cannot start").because(&error))?;
        apart(&config)?;
        let signals = runtime.block_on(async { Signals::catch() })?;
        let node = Node::start(config)
            .map_err(|error| Failure::new("the node did not start").because(&error))?;
        Ok(Self {
            node,
            runtime,
            signals,
        })
    }

    pub(crate) fn addresses(&self) -> Addresses {
        self.node.addresses()
    }

    /// Does `work`, unless a signal ends it.
    pub(crate) fn during<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let signals = &mut self.signals;
        self.runtime.block_on(async {
            tokio::select! {
                done = work => done,
                () = signals.next() => Err(Failure::new("interrupted")),
            }
        })
    }

    /// Waits for a signal.
    pub(crate) fn wait(&mut self) {
        self.runtime.block_on(self.signals.next());
    }

    /// Shuts the node down, unless another signal tells that there is no time for it.
    pub(crate) fn stop(self) -> ExitCode {
        let Self {
            node,
            runtime,
            mut signals,
        } = self;
        let stopped = runtime.block_on(async {
            let stopping = tokio::task::spawn_blocking(|| node.shutdown());
            tokio::select! {
                stopped = stopping => stopped.is_ok(),
                () = signals.next() => false,
            }
        });
        // What is not done yet, nobody waits for.
        runtime.shutdown_background();
        if stopped {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn greet(output: &Output, data: &Path, addresses: &Addresses) -> Result<(), Failure> {
    if output.json {
        return output.json(addresses);
    }
    let Addresses {
        pid,
        edge,
        api,
        admin,
    } = addresses;
    let directory = data.display();
    let at = if data == Path::new("fractus-data") {
        String::new()
    } else {
        format!("--data {directory} ")
    };
    output.line(format_args!(
        "fractus {}: a node on {directory}, process {pid}
  edge   http://{edge}   functions, public objects, cache
  api    http://{api}   AWS-compatible
  admin  http://{admin}   what `fractus` itself speaks to
  credentials in {}

Try, in another terminal:
  fractus {at}deploy examples/hello
  fractus {at}invoke hello
  fractus {at}status

Ctrl-C stops the node.",
        env!("CARGO_PKG_VERSION"),
        data.join("credentials.json").display(),
    ))
}

/// The signals that ask a process to end.
#[derive(Debug)]
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Catches them from now on.
    fn catch() -> Result<Self, Failure> {
        let catch = |kind| {
            signal(kind).map_err(|error| Failure::new("cannot catch signals").because(&error))
        };
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
