//! Where a sandbox stands: who waits for whom. Two sides change it, each in short steps under one
//! lock, and wake the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fractus_func::RequestId;
use tokio::sync::{Notify, oneshot};

use super::reply::Refusal;
use super::{Answer, ApiLimits, Invocation};
use crate::ErrorShape;

type Reply = oneshot::Sender<Result<Answer, ErrorShape>>;
type Answered = oneshot::Receiver<Result<Answer, ErrorShape>>;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: ApiLimits,
    state: Mutex<State>,
    /// An invocation lies ready; one request for the next one waits here for it.
    offered: Notify,
    /// Something changed that the driver may wait for. It alone waits here.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    init: Init,
    /// Requests for the next invocation that wait.
    waiting: usize,
    /// Counts invocations, so that what is left of an earlier one never touches a later one.
    serial: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Init {
    Starting,
    Ready,
    Failed(ErrorShape),
}

/// Where the invocation of `State::serial` stands.
#[derive(Debug)]
enum Stage {
    /// There is none, or it was withdrawn.
    Idle,
    /// The guest has not taken it yet.
    Offered(Box<Invocation>, Reply),
    /// The guest has it.
    Running(RequestId, Reply),
    /// The guest is sending its answer.
    Answering(RequestId),
    /// The answer is over.
    Answered(RequestId, Result<(), ErrorShape>),
}

impl Shared {
    pub(super) fn new(limits: ApiLimits) -> Self {
        Self {
            limits,
            state: Mutex::new(State {
                init: Init::Starting,
                waiting: 0,
                serial: 0,
                stage: Stage::Idle,
            }),
            offered: Notify::new(),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each step leaves the state whole, also one that panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `look` finds what it looks for.
    async fn until<T>(&self, look: impl Fn(&State) -> Option<T>) -> T {
        loop {
            let found = look(&self.lock());
            if let Some(found) = found {
                return found;
            }
            // A change in between has left a permit here.
            self.changed.notified().await;
        }
    }
}

/// The driver's steps.
impl Shared {
    pub(super) async fn ready(&self) -> Result<(), ErrorShape> {
        self.until(|state| match &state.init {
            Init::Starting => None,
            Init::Ready => Some(Ok(())),
            Init::Failed(error) => Some(Err(error.clone())),
        })
        .await
    }

    /// Lays an invocation ready; dropping the [`Offer`] withdraws it.
    pub(super) fn offer(
        self: &Arc<Self>,
        invocation: Invocation,
    ) -> Result<(Offer, Answered), ErrorShape> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.lock();
        if let Init::Failed(error) = &state.init {
            return Err(error.clone());
        }
        state.serial += 1;
        state.stage = Stage::Offered(Box::new(invocation), reply);
        let serial = state.serial;
        drop(state);
        self.offered.notify_one();
        let shared = Arc::clone(self);
        Ok((Offer { shared, serial }, answer))
    }

    pub(super) async fn ended(&self) -> Result<(), ErrorShape> {
        self.until(|state| match &state.stage {
            Stage::Idle => Some(Ok(())),
            Stage::Answered(_, end) => Some(end.clone()),
            Stage::Offered(..) | Stage::Running(..) | Stage::Answering(_) => None,
        })
        .await
    }

    pub(super) async fn idle(&self) {
        self.until(|state| {
            let over = matches!(state.stage, Stage::Idle | Stage::Answered(..));
            (over && state.waiting > 0).then_some(())
        })
        .await;
    }
}

/// The guest's steps.
impl Shared {
    /// Waits for the next invocation.
    pub(super) async fn next(&self) -> Result<Invocation, Refusal> {
        let _waiting = self.ask()?;
        loop {
            let taken = self.take();
            if let Some(invocation) = taken {
                return Ok(invocation);
            }
            // An offer in between has left a permit here, and one that woke a request whose
            // connection has gone is passed on.
            self.offered.notified().await;
        }
    }

    fn ask(&self) -> Result<Waiting<'_>, Refusal> {
        let mut state = self.lock();
        if matches!(state.init, Init::Failed(_)) {
            return Err(Refusal::InitFailed);
        }
        if matches!(state.stage, Stage::Running(..)) {
            return Err(Refusal::NotAnswered);
        }
        state.init = Init::Ready;
        state.waiting += 1;
        drop(state);
        self.changed.notify_one();
        Ok(Waiting { shared: self })
    }

    fn take(&self) -> Option<Invocation> {
        let mut state = self.lock();
        match std::mem::replace(&mut state.stage, Stage::Idle) {
            Stage::Offered(invocation, reply) => {
                state.stage = Stage::Running(invocation.id, reply);
                Some(*invocation)
            }
            other => {
                state.stage = other;
                None
            }
        }
    }

    /// Begins the answer to the invocation that the guest calls `id`.
    pub(super) fn claim(self: &Arc<Self>, id: &str) -> Result<Claim, Refusal> {
        let id: RequestId = id.parse().or(Err(Refusal::UnknownId))?;
        let mut state = self.lock();
        match std::mem::replace(&mut state.stage, Stage::Idle) {
            Stage::Running(running, reply) if running == id => {
                state.stage = Stage::Answering(id);
                let serial = state.serial;
                drop(state);
                Ok(Claim {
                    shared: Arc::clone(self),
                    id,
                    serial,
                    reply: Some(reply),
                    over: false,
                })
            }
            other => {
                let twice = matches!(
                    other,
                    Stage::Answering(last) | Stage::Answered(last, _) if last == id
                );
                state.stage = other;
                Err(if twice {
                    Refusal::AlreadyAnswered
                } else {
                    Refusal::UnknownId
                })
            }
        }
    }

    pub(super) fn init_failed(&self, error: ErrorShape) -> Result<(), Refusal> {
        let mut state = self.lock();
        if !matches!(state.init, Init::Starting) {
            return Err(Refusal::NotStarting);
        }
        // An invocation that lies ready has nobody to take it any more.
        if let Stage::Offered(_, reply) = std::mem::replace(&mut state.stage, Stage::Idle) {
            // Its driver may have gone.
            reply.send(Err(error.clone())).ok();
        }
        state.init = Init::Failed(error);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }
}

/// An invocation as its driver holds it.
#[derive(Debug)]
pub(super) struct Offer {
    shared: Arc<Shared>,
    serial: u64,
}

impl Drop for Offer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let open = matches!(state.stage, Stage::Offered(..) | Stage::Running(..));
        if open && state.serial == self.serial {
            state.stage = Stage::Idle;
        }
    }
}

/// A request for the next invocation, as long as it waits.
#[derive(Debug)]
struct Waiting<'a> {
    shared: &'a Shared,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.lock().waiting -= 1;
    }
}

/// The right to answer an invocation, of which there is one. Dropped before it gave an answer, as
/// when the guest's connection is lost, it lets the guest try again.
#[derive(Debug)]
pub(super) struct Claim {
    shared: Arc<Shared>,
    id: RequestId,
    serial: u64,
    reply: Option<Reply>,
    over: bool,
}

impl Claim {
    /// Gives the driver the answer or its beginning. It may have withdrawn the invocation.
    pub(super) fn answer(&mut self, answer: Result<Answer, ErrorShape>) -> Result<(), Refusal> {
        let reply = self.reply.take().ok_or(Refusal::AlreadyAnswered)?;
        reply.send(answer).map_err(|_unsent| Refusal::UnknownId)
    }

    /// Says that the guest has sent all.
    pub(super) fn end(mut self, end: Result<(), ErrorShape>) {
        self.over = true;
        self.leave(|id| Stage::Answered(id, end));
    }

    /// Gives the answer, which is all of it.
    pub(super) fn finish(mut self, answer: Result<Answer, ErrorShape>) -> Result<(), Refusal> {
        let end = answer.as_ref().map(|_answer| ()).map_err(Clone::clone);
        // First the state, so that the driver finds it when it wakes.
        let reply = self.reply.take();
        self.over = true;
        self.leave(|id| Stage::Answered(id, end));
        let reply = reply.ok_or(Refusal::AlreadyAnswered)?;
        reply.send(answer).map_err(|_unsent| Refusal::UnknownId)
    }

    fn leave(&self, stage: impl FnOnce(RequestId) -> Stage) {
        let mut state = self.shared.lock();
        if state.serial == self.serial && matches!(state.stage, Stage::Answering(_)) {
            state.stage = stage(self.id);
        }
        drop(state);
        self.shared.changed.notify_one();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        match self.reply.take() {
            Some(reply) if reply.is_closed() => self.leave(|_id| Stage::Idle),
            Some(reply) => self.leave(|id| Stage::Running(id, reply)),
            None => self.leave(|id| Stage::Answered(id, Err(ErrorShape::truncated()))),
        }
    }
}
