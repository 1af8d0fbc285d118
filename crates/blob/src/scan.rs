//! Walking a volume needle by needle.
//!
//! The walk tells a torn tail from damage. Every needle says up to where the volume was durable
//! when it was written. An unreadable place before such an offset had been synced: it is damage,
//! is reported, and the walk goes on behind it. An unreadable place of which nobody says so can
//! only lie in the last, never acknowledged batch: the log ends there.

use std::io;

use crate::disk::DiskFile;
use crate::error::Damage;
use crate::format::{HEAD_MAX_BYTES, Head, Kind, NEEDLE_ALIGN, is_magic};
use crate::limits::{LOOK_AHEAD_BYTES, READ_STEP_BYTES};
use crate::volumes::Volumes;

/// Bytes read at once.
const WINDOW_BYTES: usize = 512 << 10;

const STRIDE: u64 = NEEDLE_ALIGN as u64;

/// What the walk meets.
#[derive(Debug)]
pub(crate) enum Found {
    /// A needle.
    Needle {
        /// Where it begins.
        offset: u64,
        /// Its head.
        head: Head,
    },
    /// Bytes that had been synced and are none of ours now.
    Damage {
        /// Where they begin.
        offset: u64,
        /// What is wrong.
        damage: Damage,
    },
}

/// Where and how a walk begins and ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) volume: u32,
    pub(crate) from: u64,
    /// The end of the file, or of what is to be looked at.
    pub(crate) end: u64,
    /// Everything before this is known to have been synced.
    pub(crate) synced: u64,
}

/// How a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Where the log ends.
    pub(crate) tail: u64,
    /// The volume takes no more: it is sealed, or its end is damaged.
    pub(crate) closed: bool,
}

/// Walks a volume, calling `visit` for every needle that counts and every damaged place.
pub(crate) fn walk<E: From<io::Error>>(
    volumes: &Volumes,
    file: &dyn DiskFile,
    span: Span,
    visit: &mut dyn FnMut(Found) -> Result<(), E>,
) -> Result<Ending, E> {
    let window = Window {
        file,
        end: span.end,
        at: 0,
        bytes: Vec::new(),
    };
    let mut walk = Walk {
        volumes,
        window,
        span,
        held: Vec::new(),
        visit,
    };
    walk.run()
}

/// Checks a needle's payload and trailer where it lies.
pub(crate) fn check_payload(
    file: &dyn DiskFile,
    offset: u64,
    head: &Head,
) -> io::Result<Result<(), Damage>> {
    let mut at = offset + head.len() as u64;
    let mut left = head.data_len();
    let mut block = 0;
    let mut buffer = vec![0; READ_STEP_BYTES.min(left)];
    while left > 0 {
        let step = left.min(READ_STEP_BYTES);
        if file.read_at(&mut buffer[..step], at)? < step {
            return Ok(Err(Damage::Short));
        }
        if let Err(damage) = head.check_blocks(block, &buffer[..step]) {
            return Ok(Err(damage));
        }
        block += step / crate::limits::BLOCK_BYTES;
        at += step as u64;
        left -= step;
    }
    let mut tail = vec![0; usize::try_from(offset + head.needle_len() - at).expect("few bytes")];
    let read = file.read_at(&mut tail, at)?;
    Ok(head.check_trailer(&tail[..read]))
}

struct Walk<'a, E> {
    volumes: &'a Volumes,
    window: Window<'a>,
    span: Span,
    /// Needles of which it is not yet known whether they were synced.
    held: Vec<(u64, Head)>,
    visit: &'a mut dyn FnMut(Found) -> Result<(), E>,
}

impl<E: From<io::Error>> Walk<'_, E> {
    fn run(&mut self) -> Result<Ending, E> {
        let mut at = self.span.from;
        let closed = loop {
            match self.head_at(at)? {
                Ok(head) => {
                    let end = at + head.needle_len();
                    let sealed = head.kind() == Kind::Seal;
                    self.learn(head.synced())?;
                    self.held.push((at, head));
                    self.learn(self.span.synced)?;
                    at = end;
                    if sealed {
                        break true;
                    }
                }
                Err(damage) => {
                    let next = self.find_next(at)?;
                    if next.is_none() && self.span.synced <= at {
                        break false;
                    }
                    self.learn(self.span.synced.max(at))?;
                    (self.visit)(Found::Damage { offset: at, damage })?;
                    match next {
                        Some(next) => at = next,
                        None => break true,
                    }
                }
            }
        };
        self.finish(at, closed)
    }

    /// The head of the needle at `at`, if there is one that ends within the span.
    fn head_at(&mut self, at: u64) -> io::Result<Result<Head, Damage>> {
        let place = self.volumes.place(self.span.volume, at);
        let head = Head::decode(self.window.get(at, HEAD_MAX_BYTES)?, place);
        let fits = |head: &Head| at + head.needle_len() <= self.span.end;
        Ok(head.and_then(|head| {
            if fits(&head) {
                Ok(head)
            } else {
                Err(Damage::Short)
            }
        }))
    }

    /// Takes note that all before `synced` was durable, and passes on what was held until then.
    fn learn(&mut self, synced: u64) -> Result<(), E> {
        self.span.synced = self.span.synced.max(synced);
        let ends_synced = |(at, head): &(u64, Head)| at + head.needle_len() <= self.span.synced;
        let known = self
            .held
            .iter()
            .take_while(|held| ends_synced(held))
            .count();
        for (offset, head) in self.held.drain(..known) {
            (self.visit)(Found::Needle { offset, head })?;
        }
        Ok(())
    }

    /// The next needle behind the unreadable place `bad` that may be believed: `bad` was synced,
    /// or this needle proves it.
    fn find_next(&mut self, bad: u64) -> io::Result<Option<u64>> {
        let limit = self
            .span
            .end
            .min(self.span.synced.max(bad.saturating_add(LOOK_AHEAD_BYTES)));
        let mut at = (bad + 1).next_multiple_of(STRIDE);
        while at < limit {
            let bytes = self.window.get(at, HEAD_MAX_BYTES)?;
            if bytes.len() < NEEDLE_ALIGN {
                break;
            }
            let skip = bytes
                .chunks_exact(NEEDLE_ALIGN)
                .take_while(|c| !is_magic(c));
            match skip.count() as u64 * STRIDE {
                0 => {
                    let head = self.head_at(at)?;
                    let proves = |h: Head| bad < self.span.synced || bad < h.synced();
                    if head.is_ok_and(proves) {
                        return Ok(Some(at));
                    }
                    at += STRIDE;
                }
                skip => at += skip,
            }
        }
        Ok(None)
    }

    /// Believes of the last batch what is whole, up to the first needle that is not.
    fn finish(&mut self, end: u64, closed: bool) -> Result<Ending, E> {
        for (offset, head) in std::mem::take(&mut self.held) {
            if check_payload(self.window.file, offset, &head)?.is_err() {
                return Ok(Ending {
                    tail: offset,
                    closed: false,
                });
            }
            (self.visit)(Found::Needle { offset, head })?;
        }
        Ok(Ending { tail: end, closed })
    }
}

/// A piece of the file in memory.
struct Window<'a> {
    file: &'a dyn DiskFile,
    end: u64,
    at: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// Up to `len` bytes at `at`, fewer only before the end.
    fn get(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let len = usize::try_from(self.end.saturating_sub(at))
            .unwrap_or(usize::MAX)
            .min(len);
        let behind = at
            .checked_sub(self.at)
            .and_then(|skip| usize::try_from(skip).ok());
        let fits = behind.is_some_and(|skip| skip + len <= self.bytes.len());
        if !fits {
            let ahead = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
            self.bytes.resize(ahead.min(WINDOW_BYTES.max(len)), 0);
            let read = self.file.read_at(&mut self.bytes, at)?;
            self.bytes.truncate(read);
            self.at = at;
        }
        let skip = usize::try_from(at - self.at).expect("the window begins at or before");
        let to = self.bytes.len().min(skip + len);
        Ok(&self.bytes[skip.min(to)..to])
    }
}
