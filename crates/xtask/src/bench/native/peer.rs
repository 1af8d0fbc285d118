//! What the benchmarks run as processes of their own: this program under another name. They are
//! built in release mode, whatever the one that asks for them is.

use std::env;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;

use super::super::Setup;
use super::super::api::{self, Sending};
use super::load::{self, Load};
use super::serve::{self, Runtime};
use super::wire::Wire;
use crate::process::{cargo, run as run_command};

/// Stands for the number of a start in the command of [`Peer::Cold`].
pub(super) const NUMBER: &str = "{}";

/// A part of a benchmark.
#[derive(Debug, Subcommand)]
pub(crate) enum Peer {
    /// Serve HTTP by runtimes on the barest of Runtime APIs
    Serve {
        #[arg(long)]
        front: SocketAddr,
        #[arg(long, default_value_t = 1)]
        runtimes: usize,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Serve HTTP by runtimes on cargo-lambda's local server
    CargoLambda {
        #[arg(long)]
        program: PathBuf,
        #[arg(long)]
        front: SocketAddr,
        #[arg(long, default_value_t = 1)]
        runtimes: usize,
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Answer the one request on standard input, a socket, by a new runtime
    Once {
        #[command(flatten)]
        runtime: Runtime,
    },
    /// Time a command from its start to its answer to a request on its standard input
    Cold {
        #[arg(long)]
        count: usize,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Ask for something again and again
    Load(Load),
    /// Send requests that were made ahead
    Send {
        #[command(flatten)]
        sending: Sending,
        /// A file with the requests: a JSON array of texts
        requests: PathBuf,
    },
}

/// Plays the part.
pub(crate) fn run(peer: &Peer) -> Result<()> {
    match peer {
        Peer::Serve {
            front,
            runtimes,
            runtime,
        } => serve::serve(*front, *runtimes, runtime),
        Peer::CargoLambda {
            program,
            front,
            runtimes,
            runtime,
        } => serve::cargo_lambda(program, *front, *runtimes, runtime),
        Peer::Once { runtime } => serve::once(runtime),
        Peer::Cold { count, command } => print(&cold(*count, command)?),
        Peer::Load(load) => print(&load::run(load)?),
        Peer::Send { sending, requests } => print(&api::send(sending, requests)?),
    }
}

fn print(found: &impl serde::Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(found)?);
    Ok(())
}

/// The release build of this program.
pub(in crate::bench) fn program(setup: &Setup<'_>) -> Result<PathBuf> {
    let arguments = ["build", "--quiet", "--release", "--locked", "-p", "xtask"];
    run_command(&mut cargo(setup.root, &arguments))?;
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    Ok(target
        .unwrap_or_else(|| setup.root.join("target"))
        .join("release/xtask"))
}

/// Microseconds from start to answer, of each start.
fn cold(count: usize, command: &[String]) -> Result<Vec<f64>> {
    (0..count).map(|number| start(number, command)).collect()
}

fn start(number: usize, command: &[String]) -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = Wire::new(TcpStream::connect(listener.local_addr()?)?)?;
    let server = listener.accept()?.0;
    server.set_nodelay(true)?;
    client.send(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")?;
    let number = number.to_string();
    let mut words = command.iter().map(|word| word.replace(NUMBER, &number));
    let mut command = Command::new(words.next().context("no command was named")?);
    command
        .args(words)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(server)))
        .stdout(Stdio::null());
    let began = Instant::now();
    let mut child = command.spawn()?;
    // Our copy of the socket goes with the command: a child that dies is then an end of file.
    drop(command);
    let answer = client.receive();
    let took = began.elapsed();
    wait(&mut child)?;
    let answer = answer?.context("there was no answer")?;
    ensure!(answer.status() == Some(200), "{}", answer.head);
    Ok(took.as_secs_f64() * 1e6)
}

/// Waits until a process that is done has ended, so that it does not disturb the next one.
fn wait(child: &mut std::process::Child) -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(10);
    let began = Instant::now();
    while child.try_wait()?.is_none() {
        if began.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
