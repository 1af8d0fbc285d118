//! Load on a server: each connection asks again as soon as it has its answer.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::super::numbers::{float, median, percentile};
use super::serve::EVENT;
use super::wire::{Message, Wire};
use crate::process::output;

/// What to ask for and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct Load {
    #[arg(long)]
    pub(super) address: SocketAddr,
    #[arg(long)]
    pub(super) target: String,
    #[arg(long)]
    pub(super) connections: usize,
    #[arg(long)]
    pub(super) seconds: f64,
    /// Count answers other than 200 in place of failing
    #[arg(long)]
    pub(super) lenient: bool,
    /// Post the event of a function URL in place of getting
    #[arg(long)]
    pub(super) post: bool,
}

impl Load {
    /// Has another process do this, and takes its figures.
    pub(super) fn by(&self, program: &Path) -> Result<Found> {
        let mut command = Command::new(program);
        command.args(["peer", "load", "--target", &self.target]);
        command.args(["--address", &self.address.to_string()]);
        command.args(["--connections", &self.connections.to_string()]);
        command.args(["--seconds", &self.seconds.to_string()]);
        if self.lenient {
            command.arg("--lenient");
        }
        if self.post {
            command.arg("--post");
        }
        let text = output(&mut command)?;
        serde_json::from_str(&text).with_context(|| text.clone())
    }
}

/// What came of it; times in microseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) requests: u64,
    /// Answers other than 200.
    pub(super) refused: u64,
    /// Answers with 200 a second.
    pub(super) rate: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// A client with a connection that it keeps while the server lets it.
#[derive(Debug)]
pub(in crate::bench) struct Client {
    address: SocketAddr,
    request: Vec<u8>,
    wire: Option<Wire>,
}

impl Client {
    /// A client that is connected.
    pub(in crate::bench) fn connect(address: SocketAddr, request: Vec<u8>) -> Result<Self> {
        let mut client = Self {
            address,
            request,
            wire: None,
        };
        client.wire = Some(client.open()?);
        Ok(client)
    }

    /// Asks for something else from now on.
    pub(in crate::bench) fn aim(&mut self, request: Vec<u8>) {
        self.request = request;
    }

    fn open(&self) -> Result<Wire> {
        Wire::new(TcpStream::connect(self.address)?)
    }

    /// Asks once and reads the whole answer.
    pub(in crate::bench) fn ask(&mut self) -> Result<Message> {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => self.open()?,
        };
        wire.send(&self.request)?;
        let answer = wire.receive()?.context("the server hung up")?;
        if !answer.closes() {
            self.wire = Some(wire);
        }
        Ok(answer)
    }
}

/// A request for a path and query.
pub(super) fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes()
}

/// A request that calls a function with the event that runtimes are handed here.
pub(super) fn post(target: &str) -> Vec<u8> {
    let length = EVENT.len();
    format!(
        "POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{EVENT}"
    )
    .into_bytes()
}

/// Asks for as long as it shall and tells what came of it.
pub(super) fn run(load: &Load) -> Result<Found> {
    let began = Instant::now();
    let lanes = thread::scope(|scope| {
        let lanes: Vec<_> = (0..load.connections)
            .map(|_| {
                let lane = thread::Builder::new().stack_size(256 << 10);
                lane.spawn_scoped(scope, || lane_of(load, began))
            })
            .collect();
        lanes
            .into_iter()
            .map(|lane| {
                let ended = lane?.join();
                ended.unwrap_or_else(|_| Err(anyhow!("a lane panicked")))
            })
            .collect::<Result<Vec<_>>>()
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let refused = lanes.iter().map(|lane| lane.refused).sum();
    let times = || lanes.iter().flat_map(|lane| lane.times.iter().copied());
    let requests = u64::try_from(times().count())?;
    ensure!(requests > 0, "no request was answered with 200");
    Ok(Found {
        requests,
        refused,
        rate: float(requests) / seconds,
        p50: median(times()),
        p99: percentile(times(), 99),
        max: percentile(times(), 100),
    })
}

#[derive(Debug, Default)]
struct Lane {
    times: Vec<f64>,
    refused: u64,
}

fn lane_of(load: &Load, began: Instant) -> Result<Lane> {
    let request = if load.post { post } else { get };
    let mut client = Client::connect(load.address, request(&load.target))?;
    let mut lane = Lane::default();
    while began.elapsed().as_secs_f64() < load.seconds {
        let asked = Instant::now();
        let answer = match client.ask() {
            Ok(answer) => answer,
            Err(error) if hung_up(&error) && load.lenient => {
                lane.refused += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        if answer.status() == Some(200) {
            lane.times.push(asked.elapsed().as_secs_f64() * 1e6);
            continue;
        }
        ensure!(
            load.lenient,
            "{}\n{}",
            answer.head,
            String::from_utf8_lossy(&answer.body)
        );
        lane.refused += 1;
    }
    Ok(lane)
}

fn hung_up(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_none_or(|io| {
        matches!(
            io.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        )
    })
}
