//! A function with all that can be called of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use fractus_lambda::model::{Attachments, LATEST};

use crate::functions::Function;

/// A deployed function: its newest revision, the versions that were published of it, and what is
/// attached to it. It never changes; a change makes another one.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// What was deployed last: `$LATEST`.
    pub(crate) latest: Arc<Function>,
    /// Published versions by number.
    pub(crate) published: BTreeMap<u64, Arc<Function>>,
    /// The number of the version that was published last, be it gone or not.
    pub(crate) last_published: u64,
    /// Aliases, policies, URLs and the like.
    pub(crate) attachments: Arc<Attachments>,
    /// Tells it apart from all other entries while the node runs: what the edge keeps of one never
    /// answers for another.
    pub(crate) generation: u64,
}

impl Entry {
    /// All that has a program.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &Arc<Function>> {
        std::iter::once(&self.latest).chain(self.published.values())
    }

    /// Whether this very version is one of them.
    pub(crate) fn holds(&self, function: &Arc<Function>) -> bool {
        self.versions().any(|one| Arc::ptr_eq(one, function))
    }

    /// Calls that may run at once, of all versions together.
    pub(crate) fn concurrency(&self) -> u32 {
        let limit = self.latest.manifest().limits.concurrency;
        self.attachments
            .reserved
            .map_or(limit, |reserved| reserved.min(limit))
    }

    /// The version of this number, or `$LATEST`.
    pub(crate) fn version(&self, version: &str) -> Option<&Arc<Function>> {
        if version == LATEST {
            return Some(&self.latest);
        }
        self.published.get(&version.parse::<u64>().ok()?)
    }

    /// What a call of `qualifier` runs; none stands for `$LATEST`. `chance` chooses between the two
    /// versions of an alias: random, from 0 inclusive to 1 exclusive.
    pub(crate) fn resolve(&self, qualifier: Option<&str>, chance: f64) -> Option<&Arc<Function>> {
        let qualifier = qualifier.unwrap_or(LATEST);
        match self.attachments.aliases.get(qualifier) {
            Some(alias) => self.version(alias.choose(chance)),
            None => self.version(qualifier),
        }
    }

    /// Instances that are to be ready of a version before it is called, by its label.
    pub(crate) fn provisioned(&self, version: &str) -> Option<u32> {
        let on = |qualifier: &str| {
            let qualified = self.attachments.qualified.get(qualifier)?;
            Some(qualified.provisioned?.instances)
        };
        let aliases = self.attachments.aliases.iter();
        let by_alias = aliases.filter(|(_, alias)| alias.version == version);
        let all = by_alias.filter_map(|(name, _)| on(name)).chain(on(version));
        all.reduce(u32::saturating_add)
    }
}
