//! What is stored and what is being fetched, in shards. A shard's lock is held for lookups and
//! changes of its tables only, never while anything is awaited, copied or freed.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fractus_cache::{
    CacheKey, Forward, Index, Policy, PrecomputedHash, RequestDirectives, Reuse, Scheme, Timestamp,
    Variants,
};
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};

use crate::body::Pieces;
use crate::conn::lock;
use crate::fill::{Budget, Fill};
use crate::limits::{
    EPOCH_SLOTS, FIELD_OVERHEAD, FILLING_PERCENT, FILLS_PER_KEY, SHARDS, STORED_OVERHEAD,
    UNCACHEABLE_KEYS,
};
use crate::{EdgeConfig, Stats};

/// The head of an answer that is stored or may be: everything that a hit need not compute.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    /// As served, less Age, Cache-Status of ours and X-Request-Id. Has a Date.
    pub(crate) headers: HeaderMap,
    pub(crate) policy: Policy,
}

/// A stored answer.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) head: Arc<Head>,
    pub(crate) body: Pieces,
    pub(crate) era: Era,
}

/// The state of the world in which an answer was fetched; when it has changed the answer is void.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Era {
    /// The origin's.
    generation: u64,
    /// Where the path's purge epoch is.
    slot: u32,
    /// What it was.
    epoch: u32,
}

/// A request that concerns the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a> {
    pub(crate) headers: &'a HeaderMap,
    pub(crate) says: RequestDirectives,
    /// The origin's.
    pub(crate) generation: u64,
    /// Whether its answer may be stored: a GET's.
    pub(crate) may_fill: bool,
}

/// Whose answers are uncacheable. One that carries Authorization often gets what may not be stored
/// for that reason alone, and must not have the key remembered for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    Anyone,
    Authorized,
}

impl Asker {
    pub(crate) fn of(request: &HeaderMap) -> Self {
        if request.contains_key(AUTHORIZATION) {
            Self::Authorized
        } else {
            Self::Anyone
        }
    }
}

/// What to do with a request.
#[derive(Debug)]
pub(crate) enum Begin {
    /// Answer with it.
    Serve(Arc<Stored>),
    /// Answer with it and validate it behind the client's back.
    ServeAndRefresh(Arc<Stored>, Lead),
    /// Fetch, and let others follow.
    Lead(Lead),
    /// Wait for another request's fill. The fill counts the follower already.
    Follow(Arc<Fill>, Forward),
    /// Ask the origin and store nothing; whether the key is remembered as uncacheable.
    Pass(Forward, bool),
    /// Answer 504: the client wants no one to be asked.
    NotCached(Forward),
}

/// A fill that has just begun.
#[derive(Debug)]
pub(crate) struct Lead {
    pub(crate) fill: Arc<Fill>,
    /// To validate, if there is one.
    pub(crate) stale: Option<Arc<Stored>>,
    pub(crate) reason: Forward,
}

/// The cache of one edge.
#[derive(Debug)]
pub(crate) struct Store {
    shards: Box<[Mutex<Shard>]>,
    /// Seeds keys and paths; clients must not choose their hashes.
    hasher: RandomState,
    epochs: Box<[AtomicU32]>,
    pub(crate) budget: Arc<Budget>,
    /// Largest body stored.
    pub(crate) object_max: u64,
    uncacheable_for: u64,
}

/// What a shard stores, and in which order it makes room.
type Shelves = Index<CacheKey, Variants<Arc<Stored>>>;

#[derive(Debug)]
struct Shard {
    index: Shelves,
    fills: HashMap<CacheKey, Vec<Arc<Fill>>, BuildHasherDefault<PrecomputedHash>>,
    uncacheable: Recent,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    hits: u64,
    misses: u64,
    revalidations: u64,
    fills: u64,
    collapsed: u64,
    uncacheable: u64,
}

/// Hashes of keys lately found uncacheable and when that is forgotten, in milliseconds since the
/// epoch. Two halves: when the younger is full the older is dropped.
#[derive(Debug, Default)]
struct Recent {
    young: HashMap<u64, u64, BuildHasherDefault<PrecomputedHash>>,
    old: HashMap<u64, u64, BuildHasherDefault<PrecomputedHash>>,
}

impl Recent {
    fn has(&self, hash: u64, now: Timestamp) -> bool {
        let until = self.young.get(&hash).or_else(|| self.old.get(&hash));
        until.is_some_and(|&until| now.as_millis() < until)
    }

    fn insert(&mut self, hash: u64, until: u64) {
        if self.young.len() >= UNCACHEABLE_KEYS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, until);
    }

    fn remove(&mut self, hash: u64) {
        self.young.remove(&hash);
        self.old.remove(&hash);
    }
}

/// Now, as the cache counts time.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Stored {
    /// Memory that it takes.
    fn weight(&self) -> u64 {
        let fields: usize = self
            .head
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD)
            .sum();
        let vary = self.head.policy.vary().weight();
        (fields + vary + STORED_OVERHEAD) as u64 + self.body.len()
    }
}

impl Store {
    pub(crate) fn new(config: &EdgeConfig) -> Self {
        // An answer must fit its shard: a small cache for large objects has few shards.
        let fitting = config.cache_bytes / config.object_max_bytes.max(1);
        let shards = fitting.clamp(1, SHARDS as u64);
        let shards = 1_u64 << shards.ilog2();
        let capacity = config.cache_bytes / shards;
        let shard = || {
            Mutex::new(Shard {
                index: Index::new(capacity, BuildHasherDefault::default()),
                fills: HashMap::default(),
                uncacheable: Recent::default(),
                counts: Counts::default(),
            })
        };
        Self {
            shards: (0..shards).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            epochs: (0..EPOCH_SLOTS).map(|_| AtomicU32::new(0)).collect(),
            budget: Arc::new(Budget::new(config.cache_bytes / 100 * FILLING_PERCENT)),
            object_max: config.object_max_bytes.min(capacity),
            uncacheable_for: u64::try_from(config.uncacheable_for.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The key of a request, if it can have one.
    pub(crate) fn key(&self, authority: &str, path_and_query: &str) -> Option<CacheKey> {
        CacheKey::new(Scheme::Http, authority, path_and_query, &self.hasher).ok()
    }

    /// Decides what becomes of a request.
    pub(crate) fn begin(&self, key: &CacheKey, query: Query<'_>, now: Timestamp) -> Begin {
        let mut gone = Vec::new();
        let mut shard = lock(self.shard(key));
        let (stored, reason) = self.find(&mut shard, key, query, &mut gone);
        let begin = match stored {
            Some(stored) => match stored.head.policy.reuse(now, &query.says) {
                Reuse::Fresh | Reuse::Stale => Begin::Serve(stored),
                Reuse::StaleWhileRevalidate => self.refresh(&mut shard, key, query, stored),
                Reuse::Revalidate(reason) => {
                    self.forward(&mut shard, key, query, now, (Some(stored), reason))
                }
            },
            None => self.forward(&mut shard, key, query, now, (None, reason)),
        };
        match begin {
            Begin::Serve(_) | Begin::ServeAndRefresh(..) => shard.counts.hits += 1,
            _ => shard.counts.misses += 1,
        }
        drop(shard);
        drop(gone);
        begin
    }

    fn find(
        &self,
        shard: &mut Shard,
        key: &CacheKey,
        query: Query<'_>,
        gone: &mut Vec<(CacheKey, Variants<Arc<Stored>>)>,
    ) -> (Option<Arc<Stored>>, Forward) {
        let Some(variants) = shard.index.get(key) else {
            return (None, Forward::UriMiss);
        };
        let Some(stored) = variants.select(query.headers) else {
            return (None, Forward::VaryMiss);
        };
        if self.is_current(stored.era, query.generation) {
            return (Some(Arc::clone(stored)), Forward::Stale);
        }
        let left = variants.without(|stored| !self.is_current(stored.era, query.generation));
        gone.extend(shard.put(key, left));
        (None, Forward::UriMiss)
    }

    fn refresh(
        &self,
        shard: &mut Shard,
        key: &CacheKey,
        query: Query<'_>,
        stored: Arc<Stored>,
    ) -> Begin {
        if shard.fills.contains_key(key) || !query.may_fill {
            return Begin::Serve(stored);
        }
        let fill = self.begin_fill(shard, key, query.generation);
        let lead = Lead {
            fill,
            stale: Some(Arc::clone(&stored)),
            reason: Forward::Stale,
        };
        Begin::ServeAndRefresh(stored, lead)
    }

    fn forward(
        &self,
        shard: &mut Shard,
        key: &CacheKey,
        query: Query<'_>,
        now: Timestamp,
        (stale, reason): (Option<Arc<Stored>>, Forward),
    ) -> Begin {
        if query.says.only_if_cached {
            return Begin::NotCached(reason);
        }
        if !query.may_fill || query.says.no_store {
            return Begin::Pass(reason, false);
        }
        if stale.is_none() && shard.is_uncacheable(key, query, now) {
            shard.counts.uncacheable += 1;
            return Begin::Pass(reason, true);
        }
        let fills = shard.fills.get(key).map_or(&[][..], Vec::as_slice);
        let may_join = |fill: &&Arc<Fill>| {
            self.is_current(fill.era, query.generation) && fill.suits(query.headers)
        };
        if let Some(fill) = fills.iter().find(may_join) {
            // What was asked for before this request came is not what it wants.
            if query.says.no_cache {
                return Begin::Pass(reason, false);
            }
            fill.add_follower();
            let follow = Begin::Follow(Arc::clone(fill), reason);
            shard.counts.collapsed += 1;
            return follow;
        }
        if fills.len() >= FILLS_PER_KEY {
            return Begin::Pass(reason, false);
        }
        let fill = self.begin_fill(shard, key, query.generation);
        Begin::Lead(Lead {
            fill,
            stale,
            reason,
        })
    }

    fn begin_fill(&self, shard: &mut Shard, key: &CacheKey, generation: u64) -> Arc<Fill> {
        let fill = Arc::new(Fill::new(
            self.era(key, generation),
            Arc::clone(&self.budget),
        ));
        let fills = shard.fills.entry(key.clone()).or_default();
        fills.push(Arc::clone(&fill));
        fill
    }

    /// Ends a fill that has come to nothing, unless `keep` says otherwise under the shard's lock,
    /// when nobody can begin to follow.
    pub(crate) fn end_fill_unless(
        &self,
        key: &CacheKey,
        fill: &Arc<Fill>,
        keep: impl FnOnce(&Fill) -> bool,
    ) -> bool {
        let mut shard = lock(self.shard(key));
        if keep(fill) {
            return false;
        }
        shard.end_fill(key, fill);
        true
    }

    /// Ends a fill.
    pub(crate) fn end_fill(&self, key: &CacheKey, fill: &Arc<Fill>) {
        lock(self.shard(key)).end_fill(key, fill);
    }

    /// Ends a fill and remembers that its key's answers to `asker` cannot be stored.
    pub(crate) fn mark_uncacheable(&self, key: &CacheKey, fill: &Arc<Fill>, asker: Asker) {
        let until = now().as_millis().saturating_add(self.uncacheable_for);
        let mut shard = lock(self.shard(key));
        shard.end_fill(key, fill);
        let mark = mark(key, fill.era.generation, asker);
        shard.uncacheable.insert(mark, until);
    }

    /// Forgets that a key's answers to `asker` could not be stored. What may be stored for one that
    /// is authorised may be stored for anyone.
    pub(crate) fn unmark_uncacheable(&self, key: &CacheKey, generation: u64, asker: Asker) {
        let uncacheable = &mut lock(self.shard(key)).uncacheable;
        uncacheable.remove(mark(key, generation, Asker::Anyone));
        uncacheable.remove(mark(key, generation, asker));
    }

    /// Ends a fill with what it has brought, which is stored unless it has become void.
    pub(crate) fn complete(&self, key: &CacheKey, fill: &Arc<Fill>, stored: &Arc<Stored>) {
        let mut shard = lock(self.shard(key));
        let is_running = shard.end_fill(key, fill);
        if !is_running || !self.is_current(stored.era, stored.era.generation) {
            return;
        }
        let vary = stored.head.policy.vary().clone();
        let variants = match shard.index.peek(key) {
            Some(variants) => variants.with(vary, Arc::clone(stored)),
            None => Variants::default().with(vary, Arc::clone(stored)),
        };
        let gone = shard.put(key, variants);
        drop(shard);
        drop(gone);
    }

    /// Counts an answer that is being fetched to be stored.
    pub(crate) fn count_fill(&self, key: &CacheKey) {
        lock(self.shard(key)).counts.fills += 1;
    }

    /// Counts a stored answer that its origin confirmed or replaced.
    pub(crate) fn count_revalidation(&self, key: &CacheKey) {
        lock(self.shard(key)).counts.revalidations += 1;
    }

    /// Takes out one stored answer.
    pub(crate) fn remove(&self, key: &CacheKey, void: &Arc<Stored>) {
        let mut shard = lock(self.shard(key));
        let left = shard
            .index
            .peek(key)
            .map(|variants| variants.without(|stored| Arc::ptr_eq(stored, void)));
        let gone = left.map(|left| shard.put(key, left));
        drop(shard);
        drop(gone);
    }

    /// Takes out everything of a key, and keeps what is being fetched for it from being stored.
    pub(crate) fn invalidate(&self, key: &CacheKey) {
        let mut shard = lock(self.shard(key));
        let variants = shard.index.remove(key);
        let fills = shard.fills.remove(key);
        drop(shard);
        drop((variants, fills));
    }

    /// The key that an answer's Location or Content-Location names, if it is of the same origin.
    pub(crate) fn resolve(&self, key: &CacheKey, reference: &str) -> Option<CacheKey> {
        key.resolve(reference, &self.hasher)
    }

    pub(crate) fn invalidate_path(&self, path: &str) {
        if let Some(key) = self.key("any", path) {
            self.epochs[self.slot(&key) as usize].fetch_add(1, Ordering::Release);
        }
    }

    pub(crate) fn purge(&self) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let capacity = shard.index.capacity();
            let empty = Index::new(capacity, BuildHasherDefault::default());
            let index = std::mem::replace(&mut shard.index, empty);
            let fills = std::mem::take(&mut shard.fills);
            drop(shard);
            drop((index, fills));
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for shard in &self.shards {
            let shard = lock(shard);
            stats.entries += shard.index.len() as u64;
            stats.bytes += shard.index.weight();
            stats.capacity += shard.index.capacity();
            stats.hits += shard.counts.hits;
            stats.misses += shard.counts.misses;
            stats.revalidations += shard.counts.revalidations;
            stats.fills += shard.counts.fills;
            stats.collapsed += shard.counts.collapsed;
            stats.uncacheable += shard.counts.uncacheable;
        }
        stats
    }

    fn shard(&self, key: &CacheKey) -> &Mutex<Shard> {
        // The index within the shard uses the hash's low and highest bits.
        let bits = (key.hash_value() >> 32) as usize;
        &self.shards[bits & (self.shards.len() - 1)]
    }

    fn era(&self, key: &CacheKey, generation: u64) -> Era {
        let slot = self.slot(key);
        let epoch = self.epochs[slot as usize].load(Ordering::Acquire);
        Era {
            generation,
            slot,
            epoch,
        }
    }

    /// The slot of a key's path, without host and query. All ways to encode a path share one, since
    /// origins may take them for the same.
    fn slot(&self, key: &CacheKey) -> u32 {
        let path = key.decoded_path();
        let bits = self.hasher.hash_one(&*path) & (EPOCH_SLOTS as u64 - 1);
        u32::try_from(bits).expect("slots are counted in 32 bits")
    }

    fn is_current(&self, era: Era, generation: u64) -> bool {
        let epoch = self.epochs[era.slot as usize].load(Ordering::Acquire);
        era.generation == generation && era.epoch == epoch
    }
}

impl Shard {
    /// Puts the variants of a key in place of what was there; returns what goes.
    fn put(
        &mut self,
        key: &CacheKey,
        variants: Variants<Arc<Stored>>,
    ) -> Vec<(CacheKey, Variants<Arc<Stored>>)> {
        if variants.is_empty() {
            let gone = self.index.remove(key);
            return gone.into_iter().map(|gone| (key.clone(), gone)).collect();
        }
        let own = key.as_str().len() + Shelves::ENTRY_OVERHEAD;
        let weight = own as u64 + variants.iter().map(|stored| stored.weight()).sum::<u64>();
        self.index.insert(key.clone(), variants, weight)
    }

    fn is_uncacheable(&self, key: &CacheKey, query: Query<'_>, now: Timestamp) -> bool {
        let is_for = |asker| {
            let mark = mark(key, query.generation, asker);
            self.uncacheable.has(mark, now)
        };
        is_for(Asker::Anyone)
            || Asker::of(query.headers) == Asker::Authorized && is_for(Asker::Authorized)
    }

    /// Was it running?
    fn end_fill(&mut self, key: &CacheKey, fill: &Arc<Fill>) -> bool {
        let Some(fills) = self.fills.get_mut(key) else {
            return false;
        };
        let running = fills.len();
        fills.retain(|other| !Arc::ptr_eq(other, fill));
        let was_running = fills.len() < running;
        if fills.is_empty() {
            self.fills.remove(key);
        }
        was_running
    }
}

/// What an uncacheable key is remembered by.
fn mark(key: &CacheKey, generation: u64, asker: Asker) -> u64 {
    let state = key.hash_value() ^ generation.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    match asker {
        Asker::Anyone => state,
        Asker::Authorized => !state,
    }
}
