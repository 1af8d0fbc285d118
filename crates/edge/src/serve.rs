//! Threads and sockets: one acceptor that deals sockets out to workers, each a thread with a
//! runtime of its own, so that a connection never changes threads.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fractus_stdx::ErrorChain;
use hyper::server::conn::http1;
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::answer::Refusal;
use crate::conn::{CoarseClock, ConnState, Connection, Patience, lock};
use crate::edge::Shared;
use crate::ids::Ids;
use crate::limits::{ACCEPTED_QUEUE, COMPLAIN_EVERY, CONNECTION_BUFFER_MAX, HEAD_MAX};
use crate::service::Requests;

/// A listener that could not be served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The listener cannot be used.
    #[error("use the edge's listener")]
    Listener(#[source] io::Error),
    /// A thread or its event loop could not be made.
    #[error("start the edge's thread {name}")]
    Thread {
        /// The thread.
        name: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// A listener being served. Dropping it cuts every connection at once; [`Serving::shutdown`] does
/// not.
#[derive(Debug)]
pub struct Serving {
    addr: SocketAddr,
    /// The threads hold the receivers.
    order: watch::Sender<Order>,
    /// Each worker sends what it cut; it and the acceptor hold a sender until they have ended.
    cut: mpsc::Receiver<usize>,
}

/// What the threads are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Serve,
    /// Take no more and end what is idle; at the instant, cut the rest.
    Drain(Instant),
}

impl Serving {
    /// Serves `listener` until the value is dropped or shut down.
    pub(crate) fn start(shared: &Arc<Shared>, listener: TcpListener) -> Result<Self, ServeError> {
        listener
            .set_nonblocking(true)
            .map_err(ServeError::Listener)?;
        let addr = listener.local_addr().map_err(ServeError::Listener)?;
        let threads = match shared.config.threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let (order, orders) = watch::channel(Order::Serve);
        let (cut_sender, cut) = mpsc::channel(threads);
        let mut workers = Vec::with_capacity(threads);
        for number in 0..threads {
            let (sender, sockets) = mpsc::channel(ACCEPTED_QUEUE);
            let worker = Worker {
                shared: Arc::clone(shared),
                clock: Arc::default(),
                connections: Arc::default(),
                ids: Arc::default(),
                next: AtomicU64::new(0),
                local: addr,
            };
            let (orders, cut) = (orders.clone(), cut_sender.clone());
            spawn(&format!("edge-{number}"), async move {
                let left = worker.run(sockets, orders).await;
                if cut.send(left).await.is_err() {
                    tracing::debug!(left, "the edge was dropped, and its connections with it");
                }
            })?;
            workers.push(sender);
        }
        let acceptor = Acceptor {
            shared: Arc::clone(shared),
            workers,
            ids: Ids::default(),
        };
        spawn("edge-accept", async move {
            acceptor.run(listener, orders).await;
            // By now the listener is closed.
            drop(cut_sender);
        })?;
        Ok(Self { addr, order, cut })
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops accepting, lets requests in flight end for as long as `grace`, then cuts the rest.
    /// Returns how many connections were cut; the address is free by then.
    pub async fn shutdown(mut self, grace: Duration) -> usize {
        let deadline = Instant::now() + grace;
        self.order.send_replace(Order::Drain(deadline));
        let mut total = 0;
        // Ends when all threads have dropped their senders.
        while let Some(cut) = self.cut.recv().await {
            total += cut;
        }
        total
    }
}

/// Runs a future on a thread of its own until it ends.
fn spawn(name: &str, work: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
    let error = |source| ServeError::Thread {
        name: name.to_owned(),
        source,
    };
    let runtime: Runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(error)?;
    let thread = thread::Builder::new().name(name.to_owned());
    // The thread ends by the order it watches; nothing is to be had from joining it.
    drop(
        thread
            .spawn(move || runtime.block_on(work))
            .map_err(error)?,
    );
    Ok(())
}

struct Acceptor {
    shared: Arc<Shared>,
    workers: Vec<mpsc::Sender<Accepted>>,
    /// For connections that no worker gets.
    ids: Ids,
}

/// A socket that counts as open.
#[derive(Debug)]
struct Accepted {
    socket: TcpStream,
    permit: Permit,
}

/// Counts as one open connection while it lives.
#[derive(Debug)]
struct Permit(Arc<Shared>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.close_connection();
    }
}

impl Acceptor {
    async fn run(self, listener: TcpListener, mut orders: watch::Receiver<Order>) {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(error = %ErrorChain(&error), "the edge's listener cannot be polled");
                return;
            }
        };
        let mut turn = 0;
        let mut complained: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = orders.changed() => return,
            };
            match accepted.and_then(|(socket, _)| socket.into_std()) {
                Ok(socket) => {
                    turn = (turn + 1) % self.workers.len();
                    self.deal(socket, turn);
                }
                Err(error) => {
                    // Out of descriptors, most likely: trying again at once would only spin, and
                    // saying so each time would fill the log.
                    let said = complained.replace(Instant::now());
                    if said.is_none_or(|at| at.elapsed() > COMPLAIN_EVERY) {
                        tracing::warn!(error = %ErrorChain(&error), "accept failed");
                    } else {
                        complained = said;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    fn deal(&self, socket: TcpStream, turn: usize) {
        if !self.shared.open_connection() {
            self.refuse(&socket);
            return;
        }
        let permit = Permit(Arc::clone(&self.shared));
        let accepted = Accepted { socket, permit };
        if let Err(unsent) = self.workers[turn].try_send(accepted) {
            self.refuse(&unsent.into_inner().socket);
        }
    }

    /// Answers a connection beyond what can be served. The socket does not block; what does not fit
    /// its empty buffer is lost with it.
    fn refuse(&self, mut socket: &TcpStream) {
        let answer = Refusal::Busy.to_bytes(self.ids.draw());
        if let Err(error) = socket.write_all(&answer) {
            tracing::debug!(error = %ErrorChain(&error), "refused a connection without a word");
        }
    }
}

/// One thread's part of a listener.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    clock: Arc<CoarseClock>,
    connections: Arc<Mutex<BTreeMap<u64, Arc<ConnState>>>>,
    pub(crate) ids: Arc<Ids>,
    next: AtomicU64,
    pub(crate) local: SocketAddr,
}

impl Worker {
    /// Serves the sockets that come in; returns how many connections it cut.
    async fn run(
        self,
        mut sockets: mpsc::Receiver<Accepted>,
        mut orders: watch::Receiver<Order>,
    ) -> usize {
        let config = &self.shared.config;
        let patience = patience(
            config.header_timeout,
            config.idle_timeout,
            config.stall_timeout,
        );
        let tick = patience.header.min(patience.idle).min(patience.stall) / 4;
        let mut sweeps = tokio::time::interval(Duration::from_millis(tick.clamp(5, 500)));
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let builder = builder();
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                Some(accepted) = sockets.recv() => self.begin(&builder, accepted, &mut tasks),
                Some(_) = tasks.join_next() => {}
                _ = sweeps.tick() => {
                    self.clock.set(millis(begun.elapsed()));
                    for connection in lock(&self.connections).values() {
                        connection.sweep(patience);
                    }
                }
                changed = orders.changed() => {
                    let Order::Drain(deadline) = *orders.borrow() else { return tasks.len() };
                    if changed.is_err() {
                        return tasks.len();
                    }
                    return self.drain(tasks, deadline).await;
                }
            }
        }
    }

    fn begin(&self, builder: &http1::Builder, accepted: Accepted, tasks: &mut JoinSet<()>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(ConnState::new(Arc::clone(&self.clock)));
        let open = Open {
            connections: Arc::clone(&self.connections),
            number,
            _permit: accepted.permit,
        };
        lock(&self.connections).insert(number, Arc::clone(&state));
        match prepare(accepted.socket) {
            Ok((socket, peer)) => {
                let requests = Requests::new(self, state, peer);
                let connection = Connection::new(builder, socket, requests);
                tasks.spawn(async move {
                    connection.await;
                    drop(open);
                });
            }
            Err(error) => {
                tracing::debug!(error = %ErrorChain(&error), "connection lost before it was served");
            }
        }
    }

    async fn drain(&self, mut tasks: JoinSet<()>, deadline: Instant) -> usize {
        for connection in lock(&self.connections).values() {
            connection.end_gracefully();
        }
        let all_ended = async { while tasks.join_next().await.is_some() {} };
        match tokio::time::timeout_at(deadline.into(), all_ended).await {
            Ok(()) => 0,
            Err(_elapsed) => tasks.len(),
        }
    }
}

/// A connection that the sweep knows.
struct Open {
    connections: Arc<Mutex<BTreeMap<u64, Arc<ConnState>>>>,
    number: u64,
    _permit: Permit,
}

impl Drop for Open {
    fn drop(&mut self) {
        lock(&self.connections).remove(&self.number);
    }
}

fn prepare(socket: TcpStream) -> io::Result<(tokio::net::TcpStream, SocketAddr)> {
    let peer = socket.peer_addr()?;
    let socket = tokio::net::TcpStream::from_std(socket)?;
    socket.set_nodelay(true)?;
    Ok((socket, peer))
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // The sweep does it, and tells a slow head from an idle connection.
        .header_read_timeout(None)
        .max_header_size(HEAD_MAX)
        .max_buf_size(CONNECTION_BUFFER_MAX);
    builder
}

fn patience(header: Duration, idle: Duration, stall: Duration) -> Patience {
    Patience {
        header: millis(header),
        idle: millis(idle),
        stall: millis(stall),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
