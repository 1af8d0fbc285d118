//! Requests held outstanding: as many connections as there are to be requests, each of which asks
//! again as soon as it has its answer.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::client::header;
use crate::failure::Failure;
use crate::limits::{BURST_ANSWER_MAX, BURST_INSTANCES_MAX, BURST_SAMPLES_MAX, CONNECT_MAX};

/// Wait after a failed request: a node that refuses is not to be flooded.
const PAUSE: Duration = Duration::from_millis(20);

/// How often the observer is shown what was seen.
const SHOWN: Duration = Duration::from_millis(500);

/// What to ask for, how much at once, and for how long.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) address: SocketAddr,
    pub(super) path: String,
    pub(super) body: Bytes,
    pub(super) concurrency: u32,
    /// No request begins after it; those outstanding are waited for.
    pub(super) duration: Duration,
    /// How long an answer may take.
    pub(super) patience: Duration,
}

/// An answer, or its absence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// When it was asked for, in microseconds from the start.
    pub(super) begun_us: u64,
    /// Until its last byte was here.
    pub(super) took_us: u64,
    /// Which connection it came over.
    pub(super) connection: u32,
    /// Which instance gave it, by the order of appearance; None if it did not say.
    pub(super) instance: Option<u32>,
    /// The answer's status; None without an answer.
    pub(super) status: Option<u16>,
}

impl Sample {
    pub(super) fn is_answer(&self) -> bool {
        self.status == Some(StatusCode::OK.as_u16())
    }

    /// When it was here, in microseconds from the start.
    pub(super) fn ended_us(&self) -> u64 {
        self.begun_us + self.took_us
    }
}

/// What has been seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// In the order of their ends.
    pub(super) samples: Vec<Sample>,
    /// What went wrong and how often.
    pub(super) errors: BTreeMap<String, u64>,
    /// When each instance first answered, in microseconds from the start.
    pub(super) instances: Vec<u64>,
    /// Requests that were given up when the experiment was interrupted.
    pub(super) unfinished: u64,
    /// Instances by the names they give themselves.
    pub(super) numbers: HashMap<String, u32>,
}

/// What the function says of itself.
#[derive(Deserialize)]
struct Reply {
    instance: Option<String>,
}

/// How a request failed, in a few words; the same words for the same thing.
struct Trouble {
    what: String,
    status: Option<u16>,
}

type Board = Arc<Mutex<Seen>>;

/// Carries out a plan until its end or until `interrupted` is; `observe` is shown what was seen so
/// far every now and then.
pub(super) async fn run(
    plan: Plan,
    interrupted: impl Future<Output = ()>,
    mut observe: impl FnMut(Duration, &Seen),
) -> Result<Seen, Failure> {
    let board = Board::default();
    let mut lines = Vec::new();
    for number in 0..plan.concurrency {
        let wire = connect(plan.address).await.map_err(|trouble| {
            Failure::new(format!("connection {} to the edge", number + 1)).why(trouble.what)
        })?;
        lines.push(wire);
    }
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for (number, wire) in (0..).zip(lines) {
        tasks.spawn(hold(plan.clone(), number, wire, start, Arc::clone(&board)));
    }
    let mut interrupted = std::pin::pin!(interrupted);
    let mut ticks = interval(SHOWN);
    loop {
        tokio::select! {
            ended = tasks.join_next() => if ended.is_none() {
                break;
            },
            () = &mut interrupted => {
                let outstanding = tasks.len() as u64;
                tasks.shutdown().await;
                lock(&board).unfinished = outstanding;
                break;
            }
            _ = ticks.tick() => observe(start.elapsed(), &lock(&board)),
        }
    }
    let mut seen = lock(&board);
    Ok(std::mem::take(&mut *seen))
}

fn lock(board: &Board) -> std::sync::MutexGuard<'_, Seen> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps one request outstanding.
async fn hold(plan: Plan, connection: u32, wire: Wire, start: Instant, board: Board) {
    let mut wire = Some(wire);
    while start.elapsed() < plan.duration && lock(&board).samples.len() < BURST_SAMPLES_MAX {
        let begun = Instant::now();
        let asked = async {
            let mut open = match wire.take() {
                Some(open) => open,
                None => connect(plan.address).await?,
            };
            let answer = ask(&plan, &mut open).await?;
            Ok((open, answer))
        };
        let answer = timeout(plan.patience, asked).await;
        let (begun_us, took_us) = (micros(begun - start), micros(begun.elapsed()));
        let answer = answer.unwrap_or_else(|_| Err(trouble("no answer in time", None)));
        let mut sample = Sample {
            begun_us,
            took_us,
            connection,
            instance: None,
            status: None,
        };
        let failed = match answer {
            Ok((open, answer)) => {
                wire = Some(open);
                lock(&board).take(sample, answer)
            }
            Err(trouble) => {
                sample.status = trouble.status;
                lock(&board).fail(sample, trouble.what);
                true
            }
        };
        if failed {
            sleep(PAUSE).await;
        }
    }
}

impl Seen {
    /// Takes an answer; true if it is a refusal.
    fn take(&mut self, mut sample: Sample, answer: Result<Option<String>, Trouble>) -> bool {
        match answer {
            Ok(instance) => {
                sample.status = Some(StatusCode::OK.as_u16());
                sample.instance = instance.and_then(|name| self.number(name, sample.ended_us()));
                self.samples.push(sample);
                false
            }
            Err(trouble) => {
                sample.status = trouble.status;
                self.fail(sample, trouble.what);
                true
            }
        }
    }

    fn fail(&mut self, sample: Sample, what: String) {
        *self.errors.entry(what).or_default() += 1;
        self.samples.push(sample);
    }

    /// The number of an instance, counted as they appear.
    fn number(&mut self, name: String, now_us: u64) -> Option<u32> {
        if let Some(number) = self.numbers.get(&name) {
            return Some(*number);
        }
        let number = u32::try_from(self.instances.len()).ok()?;
        if self.instances.len() >= BURST_INSTANCES_MAX {
            return None;
        }
        self.numbers.insert(name, number);
        self.instances.push(now_us);
        Some(number)
    }
}

type Wire = SendRequest<Full<Bytes>>;

fn trouble(what: &(impl ToString + ?Sized), status: Option<u16>) -> Trouble {
    Trouble {
        what: what.to_string(),
        status,
    }
}

async fn connect(address: SocketAddr) -> Result<Wire, Trouble> {
    let stream = match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
        Ok(stream) => stream.map_err(|error| trouble(&format!("no connection: {error}"), None))?,
        Err(_) => return Err(trouble("no connection in time", None)),
    };
    stream
        .set_nodelay(true)
        .map_err(|error| trouble(&error, None))?;
    let made = handshake(TokioIo::new(stream)).await;
    let (wire, connection) = made.map_err(|error| trouble(&error, None))?;
    // It ends with the sender, or with an error that the sender's user is told as well.
    drop(tokio::spawn(connection));
    Ok(wire)
}

/// One request. The outer error ends the connection; the inner one is an answer that refuses.
async fn ask(plan: &Plan, wire: &mut Wire) -> Result<Result<Option<String>, Trouble>, Trouble> {
    let broken = |error: hyper::Error| trouble(&format!("broken off: {error}"), None);
    let request = Request::post(&plan.path)
        .header(HOST, plan.address.to_string())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(plan.body.clone()))
        .map_err(|error| trouble(&error, None))?;
    wire.ready().await.map_err(broken)?;
    let response = wire.send_request(request).await.map_err(broken)?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, BURST_ANSWER_MAX).collect().await;
    let body = body.map_err(|error| trouble(&format!("broken off: {error}"), None))?;
    if head.status != StatusCode::OK {
        let error = header(&head.headers, "x-fractus-error").unwrap_or_default();
        let what = format!("status {} {error}", head.status.as_u16());
        return Ok(Err(trouble(what.trim_end(), Some(head.status.as_u16()))));
    }
    let reply = serde_json::from_slice(&body.to_bytes());
    Ok(Ok(reply.ok().and_then(|Reply { instance }| instance)))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
