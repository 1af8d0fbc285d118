//! The deployed functions in memory, and the way of a call: its length is checked, it gets a place
//! (or waits for one, or is refused), the program is loaded if it is not, and the runtime takes
//! over. Whatever happens on the way, and wherever the caller goes away, the place is given back
//! once and one usage record is left.
//!
//! Parts: [`Desk`] admits and counts, one for each name; [`Budget`] bounds all functions together;
//! [`Function`] is one deployed version; [`Visit`] is one call.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use fractus_func::trace::Price;
use fractus_func::{Body, Call, CallError, EventCall, FunctionName, Outcome, Program, RequestId};
use fractus_lambda::sigv4::SigningKeys;
use http::header::CONTENT_LENGTH;

use crate::artifacts::Artifacts;
use crate::functions::function::Unloadable;
use crate::functions::visit::{Seat, Visit};
use crate::limits::{PROGRAM_IDLE_MS, PROGRAM_RETIRED_MS, PROGRAMS_LOADED_MAX};
use crate::logs::Logs;
use crate::outbound::Outbound;
use crate::registry::{Ledger, Revision};
use crate::traces::{Recorder, Traces};
use crate::usage::Usage;

mod budget;
mod desk;
mod entry;
mod function;
mod visit;

pub(crate) use crate::functions::budget::Budget;
pub(crate) use crate::functions::desk::{Desk, LastError};
pub(crate) use crate::functions::entry::Entry;
pub(crate) use crate::functions::function::{Function, Version};
pub(crate) use crate::functions::visit::Tail;
#[cfg(test)]
pub(crate) use crate::functions::visit::refusal;

/// What all calls share.
#[derive(Debug)]
pub(crate) struct Services {
    /// Where compiled programs lie, and what loads them.
    pub(crate) artifacts: Arc<Artifacts>,
    /// Sends what guests request.
    pub(crate) outbound: Outbound,
    /// Takes what guests write.
    pub(crate) logs: Logs,
    /// Takes what calls cost.
    pub(crate) usage: Usage,
    /// Takes what happened during calls that are traced.
    pub(crate) traces: Traces,
    /// What calls cost in money.
    pub(crate) price: Price,
    /// Bounds all guests together.
    pub(crate) budget: Arc<Budget>,
    /// The region that ARNs name.
    pub(crate) region: Arc<str>,
    /// What requests are signed with.
    pub(crate) keys: Arc<SigningKeys>,
}

/// What a call has besides its request.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// It is an invocation with an event: see [`fractus_func::Call::event`].
    pub(crate) event: Option<EventCall>,
    /// Keeps the end of what it logs.
    pub(crate) tail: Option<Arc<Tail>>,
    /// Records it, if it is traced.
    pub(crate) recorder: Option<Arc<Recorder>>,
}

/// What is deployed, by name.
pub(crate) type Current = BTreeMap<FunctionName, Arc<Entry>>;

/// The deployed functions. Calls never come by here to find theirs: the edge's routes hold it.
#[derive(Debug)]
pub(crate) struct Functions {
    services: Arc<Services>,
    current: Mutex<Arc<Current>>,
    /// Versions that were current. Connections that rest hold them with the routes that they know,
    /// and their programs, with waiting instances, must not live as long as those.
    retired: Mutex<Vec<Weak<Function>>>,
    generations: AtomicU64,
}

impl Functions {
    /// No functions yet.
    pub(crate) fn new(services: Services) -> Self {
        Self {
            services: Arc::new(services),
            current: Mutex::default(),
            retired: Mutex::default(),
            generations: AtomicU64::new(1),
        }
    }

    /// A revision of a function, whose calls arrive at `desk`. Nobody calls it until
    /// [`Functions::replace`] makes it current.
    pub(crate) fn version(
        &self,
        version: Version,
        deployed: Revision,
        desk: Arc<Desk>,
    ) -> Arc<Function> {
        let region = &self.services.region;
        Arc::new(Function::new(version, region, deployed, desk))
    }

    /// A number that no other origin of the edge has, be it a function or not: what the
    /// edge keeps of one never answers for another.
    pub(crate) fn generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed)
    }

    /// What all calls share.
    pub(crate) fn services(&self) -> &Services {
        &self.services
    }

    /// The current versions as they are now.
    pub(crate) fn snapshot(&self) -> Arc<Current> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One function.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Entry>> {
        self.snapshot().get(name).cloned()
    }

    /// Loads the functions that have instances before they are called; what cannot be loaded is
    /// tried again when it is called.
    pub(crate) fn load_provisioned(&self) {
        let snapshot = self.snapshot();
        let all = snapshot.values().flat_map(|entry| entry.versions());
        let missing =
            all.filter(|function| function.is_provisioned() && function.loaded().is_none());
        for function in missing {
            let (function, services) = (Arc::clone(function), Arc::clone(&self.services));
            // The log says it when it fails.
            tokio::spawn(async move { function.load(&services).await.is_ok() });
        }
    }

    /// Replaces all current versions. Calls on versions that are gone end on them; a function's
    /// new limit of concurrent calls holds from now on.
    pub(crate) fn replace(&self, functions: Current) {
        let before = self.snapshot();
        let mut gone = Vec::new();
        for (name, old) in before.iter() {
            let new = functions.get(name);
            if new.is_some_and(|new| Arc::ptr_eq(new, old)) {
                continue;
            }
            let stays = |one: &&Arc<Function>| new.is_some_and(|new| new.holds(one));
            let versions = old.versions().filter(|one| !stays(one));
            gone.extend(versions.map(Arc::downgrade));
        }
        for (name, new) in &functions {
            if !before.get(name).is_some_and(|old| Arc::ptr_eq(new, old)) {
                let waits = new.attachments.reserved.is_none();
                new.latest.desk().set_limit(new.concurrency(), waits);
            }
        }
        self.retired
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(gone);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(functions);
    }

    /// Answers one call, refused or not, with a usage record. Yields the response's head; the body
    /// may stream after it. Dropping the future or the body ends the call.
    pub(crate) async fn call(
        &self,
        function: &Arc<Function>,
        mut request: http::Request<Body>,
        id: RequestId,
        asked: Asked,
    ) -> Result<http::Response<Body>, CallError> {
        if let Some(recorder) = &asked.recorder {
            recorder.arrived();
            recorder.tell_guest(request.headers_mut());
        }
        let (event, visit) = Visit::arrive(&self.services, function, id, asked);
        let visit = Arc::new(visit);
        let limit = function.manifest().limits.request_bytes();
        if content_length(&request).is_some_and(|length| length > limit) {
            let message = format!("the request's body is larger than the {limit} bytes allowed");
            return Err(visit.refuse(Outcome::RequestTooLarge, message));
        }
        let Ok(place) = function.desk().enter().await else {
            let message = "as many calls as may run and wait do so already; try again".to_owned();
            return Err(visit.refuse(Outcome::Throttled, message));
        };
        let Some(instance) = self.services.budget.instance() else {
            let message = "the node runs as many instances as it may; try again".to_owned();
            return Err(visit.refuse(Outcome::NodeBusy, message));
        };
        visit.take(Seat { place, instance });
        let queue_us = visit.elapsed_us();
        let begin = Instant::now();
        let Ok((program, was_loaded)) = self.program(function).await else {
            let message = "the function could not be loaded; the node's log says why".to_owned();
            return Err(visit.refuse(Outcome::StartFailed, message));
        };
        let load_us = if was_loaded { 0 } else { micros(begin).max(1) };
        visit.loaded(load_us);
        let call = Call {
            id,
            request,
            event,
            host: visit,
            queue_us,
            load_us,
        };
        program.call(call).await
    }

    /// The function's program, and whether it was loaded already.
    async fn program(
        &self,
        function: &Arc<Function>,
    ) -> Result<(Arc<dyn Program>, bool), Unloadable> {
        if let Some(program) = function.loaded() {
            return Ok((program, true));
        }
        let program = function.load(&self.services).await?;
        self.evict_surplus();
        Ok((program, false))
    }

    /// Drops programs that were not called for long. `now_ms` is the wall clock's.
    pub(crate) fn evict_idle(&self, now_ms: u64) {
        let snapshot = self.snapshot();
        for function in snapshot.values().flat_map(|entry| entry.versions()) {
            let idle_ms = now_ms.saturating_sub(function.called_ms());
            if function.is_provisioned() {
                continue;
            }
            if idle_ms >= PROGRAM_IDLE_MS && function.unload() {
                tracing::debug!(function = %function.name(), idle_ms, "unloaded");
            }
        }
        self.evict_retired(now_ms);
    }

    /// Drops the programs of versions that nobody finds any more, once those who had found them
    /// before have surely begun their calls.
    fn evict_retired(&self, now_ms: u64) {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let functions: Vec<_> = retired.iter().filter_map(Weak::upgrade).collect();
        retired.clear();
        for function in &functions {
            let idle_ms = now_ms.saturating_sub(function.called_ms());
            // What waits has not taken its program yet.
            if idle_ms >= PROGRAM_RETIRED_MS && function.desk().waiting() == 0 {
                function.unload();
            } else {
                retired.push(Arc::downgrade(function));
            }
        }
    }

    /// Drops the least recently called programs beyond the limit.
    fn evict_surplus(&self) {
        let snapshot = self.snapshot();
        let mut loaded: Vec<_> = snapshot
            .values()
            .flat_map(|entry| entry.versions())
            .filter(|f| f.loaded().is_some() && !f.is_provisioned())
            .collect();
        let surplus = loaded.len().saturating_sub(PROGRAMS_LOADED_MAX);
        loaded.sort_by_key(|function| function.called_ms());
        for function in &loaded[..surplus] {
            function.unload();
        }
    }

    /// The ledgers that changed since they were last asked for.
    pub(crate) fn changed_ledgers(&self) -> BTreeMap<FunctionName, Ledger> {
        let snapshot = self.snapshot();
        let changed = snapshot.iter().filter_map(|(name, entry)| {
            let ledger = entry.latest.desk().changed_ledger()?;
            Some((name.clone(), ledger))
        });
        changed.collect()
    }
}

fn content_length(request: &http::Request<Body>) -> Option<u64> {
    request
        .headers()
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Microseconds since `begin`.
pub(crate) fn micros(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
