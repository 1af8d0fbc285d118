//! What waits, in memory: who is next. No IO, no clock.
//!
//! Items stand in lines, one for each function (or destination), by when they are due. Of the lines
//! whose first item is due, the one with the fewest items running is next, so that a slow function
//! does not keep others waiting; and none takes more places than it leaves free, so that there is
//! always one for a line that has none. A line that is refused further calls halves how many it
//! runs at once, and regains them one by one as calls end well.

use std::collections::BTreeMap;

/// When an item is due, and its number in the database, which tells apart what is due together.
pub(super) type Key = (u64, u64);

/// Lines of items `T`, by `K`.
#[derive(Debug)]
pub(super) struct Index<K, T> {
    lines: BTreeMap<K, Line<T>>,
    /// First items that are not due yet, of lines that may run one more.
    later: BTreeMap<Key, K>,
    /// First items that are due, of such lines, by how many the line runs.
    ready: BTreeMap<(u32, Key), K>,
    running: u32,
    running_max: u32,
    line_max: u32,
    waiting: usize,
}

#[derive(Debug)]
struct Line<T> {
    waiting: BTreeMap<Key, T>,
    running: u32,
    /// How many may run at once.
    limit: u32,
    /// Items that ended well since the limit last changed.
    credit: u32,
    filed: Filed,
}

/// Where a line's first item is noted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Filed {
    Nowhere,
    Later(Key),
    Ready(u32, Key),
}

/// How an item left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Left {
    /// It was served, well or not.
    Served,
    /// It was refused.
    Refused,
}

/// An item that may start; its place is given back with [`Index::leave`].
#[derive(Debug)]
pub(super) struct Taken<K, T> {
    pub(super) line: K,
    pub(super) key: Key,
    pub(super) item: T,
}

impl<K: Clone + Ord, T> Index<K, T> {
    /// Nothing waits. At most `running_max` items run at once, `line_max` of one line.
    pub(super) fn new(running_max: u32, line_max: u32) -> Self {
        Self {
            lines: BTreeMap::new(),
            later: BTreeMap::new(),
            ready: BTreeMap::new(),
            running: 0,
            running_max,
            line_max,
            waiting: 0,
        }
    }

    /// Items that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Items that run.
    pub(super) fn running(&self) -> u32 {
        self.running
    }

    /// When to look again if nothing changes: the next time at which an item that waits for its
    /// time alone is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.later.first_key_value().map(|((due, _), _)| *due)
    }

    /// Puts an item into its line.
    pub(super) fn insert(&mut self, line: &K, key: Key, item: T) {
        let limit = self.line_max;
        if !self.lines.contains_key(line) {
            let new = Line {
                waiting: BTreeMap::new(),
                running: 0,
                limit,
                credit: 0,
                filed: Filed::Nowhere,
            };
            self.lines.insert(line.clone(), new);
        }
        let at = self.lines.get_mut(line).expect("it was just made sure of");
        if at.waiting.insert(key, item).is_none() {
            self.waiting += 1;
        }
        self.file(line);
    }

    /// The next item that may start, if there is one.
    pub(super) fn take(&mut self, now_ms: u64) -> Option<Taken<K, T>> {
        while let Some(first) = self.later.first_entry()
            && first.key().0 <= now_ms
        {
            let (key, name) = first.remove_entry();
            let line = self.lines.get_mut(&name).expect("a filed line exists");
            line.filed = Filed::Ready(line.running, key);
            self.ready.insert((line.running, key), name);
        }
        let (&(running, key), _) = self.ready.first_key_value()?;
        let free = self.running_max.saturating_sub(self.running);
        if running >= free {
            return None;
        }
        let (_, name) = self.ready.pop_first()?;
        let line = self.lines.get_mut(&name).expect("a filed line exists");
        line.filed = Filed::Nowhere;
        let item = line.waiting.remove(&key).expect("the first item waits");
        line.running += 1;
        self.running += 1;
        self.waiting -= 1;
        self.file(&name);
        Some(Taken {
            line: name,
            key,
            item,
        })
    }

    /// Gives back the place of an item that was taken.
    pub(super) fn leave(&mut self, name: &K, left: Left) {
        let line = self.lines.get_mut(name);
        let line = line.expect("a line with running items exists");
        line.running -= 1;
        self.running -= 1;
        match left {
            Left::Refused => {
                line.limit = (line.limit / 2).max(1);
                line.credit = 0;
            }
            Left::Served => line.credit += 1,
        }
        if line.limit >= self.line_max {
            line.credit = 0;
        } else if line.credit >= line.limit {
            line.limit += 1;
            line.credit = 0;
        }
        self.file(name);
    }

    /// Takes all that waits out of a line.
    pub(super) fn remove(&mut self, name: &K) -> Vec<T> {
        let Some(line) = self.lines.get_mut(name) else {
            return Vec::new();
        };
        let items: Vec<_> = std::mem::take(&mut line.waiting).into_values().collect();
        self.waiting -= items.len();
        self.file(name);
        items
    }

    /// Notes a line where it belongs, or forgets it.
    fn file(&mut self, name: &K) {
        let line = self.lines.get_mut(name).expect("callers have seen it");
        let first = line.waiting.first_key_value().map(|(key, _)| *key);
        let may = first.filter(|_| line.running < line.limit);
        let filed = match (may, line.filed) {
            (None, _) => Filed::Nowhere,
            // What was due stays so, also when the clock is set back.
            (Some(key), Filed::Ready(_, was)) if key <= was => Filed::Ready(line.running, key),
            (Some(key), _) => Filed::Later(key),
        };
        if filed != line.filed {
            match line.filed {
                Filed::Nowhere => None,
                Filed::Later(key) => self.later.remove(&key),
                Filed::Ready(running, key) => self.ready.remove(&(running, key)),
            };
            match filed {
                Filed::Nowhere => None,
                Filed::Later(key) => self.later.insert(key, name.clone()),
                Filed::Ready(running, key) => self.ready.insert((running, key), name.clone()),
            };
            line.filed = filed;
        }
        // A line that was throttled keeps its limit while anything of it is left.
        if first.is_none() && line.running == 0 {
            self.lines.remove(name);
        }
    }
}

#[cfg(test)]
mod tests;
