//! Replays a trace against the index and, beside it, SIEVE and FIFO; prints miss ratios.
//!
//! `cargo run -p fractus-cache --release --example replay -- TRACE [CAPACITY…]`
//!
//! A trace is libCacheSim's `*.oracleGeneral.bin` (24 bytes a request: time `u32`, object `u64`,
//! size `u32`, next access `i64`, little-endian) or lines of `time object size`. Capacities are
//! bytes, or shares of the trace's footprint such as `5%`.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{self, Write as _};

use fractus_cache::Index;

type Hasher = BuildHasherDefault<DefaultHasher>;

#[derive(Clone, Copy)]
struct Request {
    object: u64,
    size: u64,
}

/// What is replayed: look up, and put in after a miss.
trait Cache {
    fn hit(&mut self, object: u64) -> bool;
    fn put(&mut self, object: u64, size: u64);
}

impl Cache for Index<u64, (), Hasher> {
    fn hit(&mut self, object: u64) -> bool {
        self.get(&object).is_some()
    }

    fn put(&mut self, object: u64, size: u64) {
        drop(self.insert(object, (), size));
    }
}

/// SIEVE (Zhang et al., NSDI 2024), as plainly as it can be said; with `IS_FIFO` nothing is spared.
#[derive(Default)]
struct Sieve<const IS_FIFO: bool> {
    /// Oldest first; the object's number tells a live element from a removed one.
    queue: VecDeque<Option<u64>>,
    entries: HashMap<u64, (u64, bool), Hasher>,
    hand: usize,
    weight: u64,
    capacity: u64,
}

impl<const IS_FIFO: bool> Sieve<IS_FIFO> {
    fn evict(&mut self) {
        loop {
            if self.hand >= self.queue.len() {
                self.hand = 0;
            }
            let at = self.hand;
            self.hand += 1;
            let Some(object) = self.queue[at] else {
                continue;
            };
            let (size, visited) = self.entries.get_mut(&object).expect("queued entries exist");
            if *visited && !IS_FIFO {
                *visited = false;
                continue;
            }
            self.weight -= *size;
            self.entries.remove(&object);
            self.queue[at] = None;
            break;
        }
        // Removed elements are dropped in bulk, so that a pass over the queue stays short.
        if self.queue.len() > 2 * self.entries.len() + 16 {
            let behind = self
                .queue
                .iter()
                .take(self.hand)
                .filter(|slot| slot.is_some())
                .count();
            self.queue.retain(Option::is_some);
            self.hand = behind;
        }
    }
}

impl<const IS_FIFO: bool> Cache for Sieve<IS_FIFO> {
    fn hit(&mut self, object: u64) -> bool {
        self.entries
            .get_mut(&object)
            .map(|(_, visited)| *visited = true)
            .is_some()
    }

    fn put(&mut self, object: u64, size: u64) {
        if size > self.capacity {
            return;
        }
        while self.weight + size > self.capacity {
            self.evict();
        }
        self.weight += size;
        self.queue.push_back(Some(object));
        self.entries.insert(object, (size, false));
    }
}

fn replay(trace: &[Request], cache: &mut impl Cache) -> String {
    let (mut misses, mut missed, mut bytes) = (0_u32, 0, 0);
    for &Request { object, size } in trace {
        bytes += size;
        if !cache.hit(object) {
            misses += 1;
            missed += size;
            cache.put(object, size);
        }
    }
    format!(
        "{:.4}/{:.4}",
        f64::from(misses) / count(trace.len()),
        ratio(missed, bytes)
    )
}

#[expect(clippy::cast_precision_loss, reason = "ratios printed to four digits")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

fn count(length: usize) -> f64 {
    f64::from(u32::try_from(length).expect("a trace of fewer than 2^32 requests"))
}

fn parse(trace: &[u8]) -> Vec<Request> {
    if let Ok(text) = std::str::from_utf8(trace) {
        return text.lines().filter_map(parse_line).collect();
    }
    let records = trace.chunks_exact(24);
    records
        .map(|record| Request {
            object: u64::from_le_bytes(record[4..12].try_into().expect("eight bytes")),
            size: u64::from(u32::from_le_bytes(
                record[12..16].try_into().expect("four bytes"),
            )),
        })
        .collect()
}

fn parse_line(line: &str) -> Option<Request> {
    let mut words = line.split_whitespace().skip(1);
    let object = Hasher::default().hash_one(words.next()?);
    Some(Request {
        object,
        size: words.next()?.parse().ok()?,
    })
}

fn capacity(argument: &str, footprint: u64) -> Option<u64> {
    match argument.strip_suffix('%') {
        Some(percent) => Some(footprint / 100 * percent.parse::<u64>().ok()?),
        None => argument.parse().ok(),
    }
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or_else(|| io::Error::other("usage: replay TRACE [CAPACITY…]"))?;
    let trace = parse(&std::fs::read(path)?);
    let sizes: HashMap<u64, u64> = trace.iter().map(|r| (r.object, r.size)).collect();
    let footprint = sizes.values().sum();
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{} requests, {} objects, {footprint} bytes",
        trace.len(),
        sizes.len()
    )?;
    writeln!(
        out,
        "object/byte miss ratio\ncapacity      Index          SIEVE          FIFO"
    )?;
    for argument in arguments {
        let Some(capacity) = capacity(&argument, footprint) else {
            return Err(io::Error::other(format!("{argument} is no capacity")));
        };
        let index = replay(&trace, &mut Index::new(capacity, Hasher::default()));
        let sieve = replay(
            &trace,
            &mut Sieve::<false> {
                capacity,
                ..Sieve::default()
            },
        );
        let fifo = replay(
            &trace,
            &mut Sieve::<true> {
                capacity,
                ..Sieve::default()
            },
        );
        writeln!(out, "{capacity:<13} {index}  {sieve}  {fifo}")?;
    }
    Ok(())
}
