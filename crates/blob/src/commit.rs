//! The write path: one thread, one batch, one write, one fdatasync.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::ack::{Receipt, Reply};
use crate::disk::is_full;
use crate::error::{WriteError, WriterFault};
use crate::format::{
    Draft, Entry, Kind, Mark, Place, SUPERBLOCK_BYTES, Stamp, bucket_key, encode_bucket,
    object_key, object_prefix,
};
use crate::index::{Change, IndexError, move_mark};
use crate::limits::{ALLOCATE_STEP_BYTES, MAX_BUCKETS, PERSIST_EVERY_BYTES, RESERVE_BYTES};
use crate::name::BucketName;
use crate::object::{BucketInfo, Committed, ETag, Precondition};
use crate::queue::{Action, PutObject, Request, Target};
use crate::recover::Active;
use crate::shared::Shared;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Why a batch was not written.
enum BatchError {
    /// No space; the tail is as before.
    Full,
    /// The writer must stop.
    Fault(WriterFault),
}

impl From<IndexError> for BatchError {
    fn from(error: IndexError) -> Self {
        Self::Fault(WriterFault::Index(error))
    }
}

type Answer = (Reply, Result<Receipt, WriteError>);

/// The only writer of a store.
#[derive(Debug)]
pub(crate) struct Committer {
    shared: Arc<Shared>,
    /// None after a volume was sealed and before the next one is there.
    active: Option<Active>,
    /// The last volume's number.
    volume: u32,
    sequence: u64,
    /// Bytes written since the index was made durable.
    unpersisted: u64,
}

/// A batch being laid out.
struct Plan {
    start: Place,
    stamp: Stamp,
    len: u64,
    drafts: Vec<Draft>,
    changes: Vec<Change>,
    /// Buckets as they will be after this batch, where it touches them.
    buckets: BTreeMap<BucketName, Option<BucketInfo>>,
    answers: Vec<Answer>,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, active: Active, sequence: u64) -> Self {
        let volume = active.volume;
        Self {
            shared,
            active: Some(active),
            volume,
            sequence,
            unpersisted: 0,
        }
    }

    /// Commits until the queue is closed or a fault stops the writer.
    pub(crate) fn run(mut self) {
        while let Some(batch) = self.shared.queue.take() {
            if let Err(fault) = self.commit(batch) {
                self.stop(&fault);
                return;
            }
        }
        if let Err(fault) = self.finish() {
            self.stop(&fault);
        }
    }

    fn stop(&self, fault: &Arc<WriterFault>) {
        tracing::error!(fault = ?fault, "the store takes no more writes");
        self.shared.set_stopped(Arc::clone(fault));
        for request in self.shared.queue.stop() {
            answer(request.reply, Err(WriteError::Stopped));
        }
    }

    /// Writes a batch and answers all of it.
    fn commit(&mut self, batch: Vec<Request>) -> Result<(), Arc<WriterFault>> {
        let bytes = batch.iter().map(|request| request.draft.len() as u64).sum();
        let content = batch.iter().any(|request| request.action.adds_content());
        match self.make_room(bytes, content) {
            Ok(()) => self.write_batch(batch),
            Err(BatchError::Full) => self.without_content(batch),
            Err(BatchError::Fault(fault)) => {
                let fault = Arc::new(fault);
                for request in batch {
                    answer(request.reply, Err(WriteError::Failed(Arc::clone(&fault))));
                }
                Err(fault)
            }
        }
    }

    /// Refuses what adds content for want of space, and tries the rest again.
    fn without_content(&mut self, batch: Vec<Request>) -> Result<(), Arc<WriterFault>> {
        let (content, rest): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|request| request.action.adds_content());
        let (refused, rest) = if content.is_empty() {
            (rest, content)
        } else {
            (content, rest)
        };
        for request in refused {
            answer(request.reply, Err(WriteError::NoSpace));
        }
        if rest.is_empty() {
            Ok(())
        } else {
            self.commit(rest)
        }
    }

    fn write_batch(&mut self, batch: Vec<Request>) -> Result<(), Arc<WriterFault>> {
        let mut plan = self.plan();
        let outcome = batch
            .into_iter()
            .try_for_each(|request| self.lay_out(&mut plan, request))
            .map_err(BatchError::from)
            .and_then(|()| self.append(&plan))
            .and_then(|()| self.publish(&mut plan));
        let (refusal, outcome) = match outcome {
            Ok(()) => (None, Ok(())),
            Err(BatchError::Full) => (Some(WriteError::NoSpace), Ok(())),
            Err(BatchError::Fault(fault)) => {
                let fault = Arc::new(fault);
                (Some(WriteError::Failed(Arc::clone(&fault))), Err(fault))
            }
        };
        for (reply, result) in plan.answers {
            answer(reply, refusal.clone().map_or(result, Err));
        }
        outcome
    }

    fn active(&mut self) -> &mut Active {
        self.active
            .as_mut()
            .expect("room was made, so there is an active volume")
    }

    fn plan(&mut self) -> Plan {
        let Active { volume, tail, .. } = *self.active();
        Plan {
            start: self.shared.volumes.place(volume, tail),
            stamp: Stamp {
                sequence: self.sequence,
                synced: tail,
                time_ms: now_ms(),
            },
            len: 0,
            drafts: Vec::new(),
            changes: Vec::new(),
            buckets: BTreeMap::new(),
            answers: Vec::new(),
        }
    }

    /// Decides a request in its turn, and gives its needle a place if it is to happen.
    fn lay_out(&self, plan: &mut Plan, request: Request) -> Result<(), IndexError> {
        let Request {
            mut draft,
            action,
            reply,
        } = request;
        if let Some(refusal) = self.judge(plan, &action, draft.len() as u64)? {
            plan.answers.push((reply, Err(refusal)));
            return Ok(());
        }
        plan.stamp.sequence += 1;
        let place = Place {
            offset: plan.start.offset + plan.len,
            ..plan.start
        };
        draft.stamp(place, plan.stamp);
        let etag = self.note(plan, action, &draft, place);
        let Stamp {
            sequence: version,
            time_ms: modified_ms,
            ..
        } = plan.stamp;
        let committed = Committed {
            version,
            modified_ms,
            etag,
        };
        plan.len += draft.len() as u64;
        plan.drafts.push(draft);
        plan.answers.push((reply, Ok(Receipt { committed, place })));
        Ok(())
    }

    /// Why a request must not happen, if so.
    fn judge(
        &self,
        plan: &Plan,
        action: &Action,
        len: u64,
    ) -> Result<Option<WriteError>, IndexError> {
        if action.adds_content() && !self.shared.has_room(plan.len + len) {
            return Ok(Some(WriteError::NoSpace));
        }
        let known = |name: &BucketName| self.bucket(plan, name).is_some();
        Ok(match action {
            Action::Chunk => None,
            Action::Put(target, _) | Action::Delete(target) => {
                if !known(&target.bucket) {
                    return Ok(Some(no_such(&target.bucket)));
                }
                (!self.holds(plan, target)?).then_some(WriteError::PreconditionFailed)
            }
            Action::CreateBucket(bucket, _) if known(bucket) => Some(WriteError::BucketExists {
                bucket: bucket.clone(),
            }),
            Action::CreateBucket(..) => {
                let planned = self.shared.bucket_count() + plan.buckets.len();
                (planned >= MAX_BUCKETS).then_some(WriteError::TooManyBuckets)
            }
            Action::SetBucket(bucket, _) => (!known(bucket)).then(|| no_such(bucket)),
            Action::DeleteBucket(bucket) if !known(bucket) => Some(no_such(bucket)),
            Action::DeleteBucket(bucket) => {
                let mut empty = true;
                self.shared
                    .index
                    .scan(&object_prefix(bucket), &[], &mut |_, _| {
                        empty = false;
                        false
                    })?;
                (!empty).then(|| WriteError::BucketNotEmpty {
                    bucket: bucket.clone(),
                })
            }
        })
    }

    /// Notes what a needle changes. Returns the entity tag, if it is an object's.
    fn note(&self, plan: &mut Plan, action: Action, draft: &Draft, place: Place) -> Option<ETag> {
        match action {
            Action::Chunk => {}
            Action::Put(target, object) => {
                let value = entry(object, draft, place, plan.stamp).encode();
                plan.change(object_key(&target.bucket, &target.key), Some(value));
                return Some(object.etag);
            }
            Action::Delete(target) => {
                plan.change(object_key(&target.bucket, &target.key), None);
            }
            Action::CreateBucket(name, settings) | Action::SetBucket(name, settings) => {
                let known = self.bucket(plan, &name).map(|info| info.created_ms);
                let created_ms = known.unwrap_or(plan.stamp.time_ms);
                let info = BucketInfo {
                    name: name.clone(),
                    settings,
                    created_ms,
                };
                plan.change(bucket_key(&name), Some(encode_bucket(&info)));
                plan.buckets.insert(name, Some(info));
            }
            Action::DeleteBucket(name) => {
                plan.change(bucket_key(&name), None);
                plan.buckets.insert(name, None);
            }
        }
        None
    }

    /// A bucket at this point of the batch.
    fn bucket(&self, plan: &Plan, name: &BucketName) -> Option<BucketInfo> {
        match plan.buckets.get(name) {
            Some(planned) => planned.clone(),
            None => self.shared.bucket(name),
        }
    }

    /// Whether a target's precondition holds at this point of the batch.
    fn holds(&self, plan: &Plan, target: &Target) -> Result<bool, IndexError> {
        if target.precondition == Precondition::None {
            return Ok(true);
        }
        let key = object_key(&target.bucket, &target.key);
        let planned = plan.changes.iter().rev().find(|change| change.key == key);
        let value = match planned {
            Some(change) => change.value.clone(),
            None => self.shared.index.get(&key)?,
        };
        let entry = value
            .map(|value| Entry::decode(&value).ok_or(IndexError::Value))
            .transpose()?;
        Ok(match target.precondition {
            Precondition::None => true,
            Precondition::IfAbsent => entry.is_none(),
            Precondition::IfPresent => entry.is_some(),
            Precondition::IfMatch(etag) => entry.is_some_and(|entry| entry.etag == etag),
        })
    }

    /// Writes a batch behind the tail and syncs it. When this returns, it is durable.
    fn append(&mut self, plan: &Plan) -> Result<(), BatchError> {
        if plan.drafts.is_empty() {
            return Ok(());
        }
        let active = self.active();
        let mut slices: Vec<IoSlice<'_>> = plan.drafts.iter().flat_map(Draft::slices).collect();
        match active.file.write_at(&mut slices, active.tail) {
            Ok(()) => {}
            Err(error) if is_full(&error) => {
                // Nothing of the batch may stay behind what will be written here next.
                step(active, "cut back", |active| {
                    active.file.truncate(active.tail)
                })?;
                active.allocated = active.tail;
                step(active, "synced", |active| active.file.sync())?;
                return Err(BatchError::Full);
            }
            Err(source) => return Err(fault(active.volume, "written", source)),
        }
        step(active, "synced", |active| active.file.sync())?;
        active.tail += plan.len;
        active.allocated = active.allocated.max(active.tail);
        self.sequence = plan.stamp.sequence;
        Ok(())
    }

    /// Makes a durable batch visible.
    fn publish(&mut self, plan: &mut Plan) -> Result<(), BatchError> {
        if plan.drafts.is_empty() {
            return Ok(());
        }
        let &mut Active {
            volume,
            tail: offset,
            ..
        } = self.active();
        let store = plan.start.store;
        plan.changes.push(move_mark(Mark {
            store,
            volume,
            offset,
            sequence: self.sequence,
        }));
        self.shared.index.apply(std::mem::take(&mut plan.changes))?;
        self.shared.set_buckets(std::mem::take(&mut plan.buckets));
        self.shared.add_bytes(plan.len, (volume, offset));
        self.unpersisted += plan.len;
        if self.unpersisted >= PERSIST_EVERY_BYTES {
            self.shared.index.persist()?;
            self.unpersisted = 0;
        }
        Ok(())
    }

    /// Sees to it that a batch of `bytes` has a place.
    fn make_room(&mut self, bytes: u64, content: bool) -> Result<(), BatchError> {
        if content {
            let free = self.shared.volumes.disk().free();
            let free = free.map_err(|source| fault(self.volume, "measured", source))?;
            if free < RESERVE_BYTES {
                return Err(BatchError::Full);
            }
        }
        let limit = self.shared.config.volume_bytes;
        let is_over =
            |active: &mut Active| active.tail > SUPERBLOCK_BYTES && active.tail + bytes > limit;
        if self.active.as_mut().is_some_and(is_over) {
            self.seal()?;
        }
        if self.active.is_none() {
            self.active = Some(self.next_volume()?);
        }
        let step = ALLOCATE_STEP_BYTES.min(limit);
        allocate(self.active(), bytes, step)
    }

    /// Ends the active volume.
    fn seal(&mut self) -> Result<(), BatchError> {
        self.append_alone(Kind::Seal)?;
        if let Some(active) = self.active.take() {
            step(&active, "cut", |active| active.file.truncate(active.tail))?;
        }
        Ok(())
    }

    /// Appends a needle that says nothing of objects, with a sync of its own.
    fn append_alone(&mut self, kind: Kind) -> Result<(), BatchError> {
        let mut draft = Draft::new(kind, ("", ""), &[], Vec::new(), 0);
        allocate(self.active(), draft.len() as u64, draft.len() as u64)?;
        let mut plan = self.plan();
        plan.stamp.sequence += 1;
        draft.stamp(plan.start, plan.stamp);
        plan.len = draft.len() as u64;
        plan.drafts.push(draft);
        self.append(&plan)?;
        let Active { volume, tail, .. } = *self.active();
        self.shared.add_bytes(plan.len, (volume, tail));
        Ok(())
    }

    fn next_volume(&mut self) -> Result<Active, BatchError> {
        let volume = self
            .volume
            .checked_add(1)
            .ok_or(BatchError::Fault(WriterFault::Exhausted))?;
        let file = match self.shared.volumes.create(volume, now_ms()) {
            Ok(file) => file,
            Err(error) if is_full(&error) => return Err(BatchError::Full),
            Err(source) => return Err(fault(volume, "created", source)),
        };
        self.volume = volume;
        self.shared.add_volume(volume);
        Ok(Active {
            volume,
            file,
            tail: SUPERBLOCK_BYTES,
            allocated: SUPERBLOCK_BYTES,
        })
    }

    /// Leaves a closed store: marked, cut to its length, its index durable.
    fn finish(&mut self) -> Result<(), Arc<WriterFault>> {
        let mark = match self.active {
            Some(_) => self.append_alone(Kind::Mark),
            None => Ok(()),
        };
        match mark {
            Ok(()) | Err(BatchError::Full) => {}
            Err(BatchError::Fault(fault)) => return Err(Arc::new(fault)),
        }
        if let Some(active) = &self.active
            && let Err(error) = active.file.truncate(active.tail)
        {
            tracing::warn!(volume = active.volume, error = ?error, "a volume keeps unused space");
        }
        let persisted = self.shared.index.persist();
        persisted.map_err(|error| Arc::new(WriterFault::Index(error)))
    }
}

impl Plan {
    fn change(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.changes.push(Change { key, value });
    }
}

fn entry(object: PutObject, draft: &Draft, place: Place, stamp: Stamp) -> Entry {
    Entry {
        volume: place.volume,
        head_len: draft.head_len(),
        offset: place.offset,
        data_len: draft.data_len(),
        etag: object.etag,
        sequence: stamp.sequence,
        size: object.size,
        time_ms: stamp.time_ms,
    }
}

fn no_such(bucket: &BucketName) -> WriteError {
    WriteError::NoSuchBucket {
        bucket: bucket.clone(),
    }
}

/// Gives an answer; that nobody waits for it any more is no concern of ours.
fn answer(reply: Reply, result: Result<Receipt, WriteError>) {
    drop(reply.send(result));
}

fn fault(volume: u32, step: &'static str, source: io::Error) -> BatchError {
    BatchError::Fault(WriterFault::Volume {
        volume,
        step,
        source,
    })
}

fn step(
    active: &Active,
    name: &'static str,
    work: impl FnOnce(&Active) -> io::Result<()>,
) -> Result<(), BatchError> {
    work(active).map_err(|source| fault(active.volume, name, source))
}

/// Gives the volume room for `bytes` behind the tail, `ahead` at a time while there is so much.
fn allocate(active: &mut Active, bytes: u64, ahead: u64) -> Result<(), BatchError> {
    let needed = active.tail + bytes;
    if needed <= active.allocated {
        return Ok(());
    }
    for end in [needed.max(active.allocated + ahead), needed] {
        match active.file.allocate(active.allocated, end) {
            Ok(()) => {
                active.allocated = end;
                return Ok(());
            }
            // A part may have been given: back with it, the next try needs less.
            Err(error) if is_full(&error) => {
                step(active, "cut back", |active| {
                    active.file.truncate(active.allocated)
                })?;
            }
            Err(source) => return Err(fault(active.volume, "allocated", source)),
        }
    }
    Err(BatchError::Full)
}
