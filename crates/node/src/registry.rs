//! What is deployed, in `DIR/registry.db`: functions, their versions, counters and last errors.
//!
//! Every call blocks for disk; async callers go through [`Registry::run`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fractus_func::{Counters, FunctionName, Manifest};
use rusqlite::{Connection, OptionalExtension, Row, params};
use thiserror::Error;

use crate::artifacts::Digest;
use crate::functions::LastError;
use crate::limits::VERSIONS_KEPT;

/// The schema's version, in `user_version`.
const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE functions (
        name       TEXT PRIMARY KEY,
        current    INTEGER NOT NULL,
        counters   TEXT NOT NULL,
        last_error TEXT
    ) STRICT;
    CREATE TABLE versions (
        name       TEXT NOT NULL REFERENCES functions (name) ON DELETE CASCADE,
        version    INTEGER NOT NULL,
        manifest   TEXT NOT NULL,
        artifact   TEXT NOT NULL,
        size       INTEGER NOT NULL,
        created_ms INTEGER NOT NULL,
        PRIMARY KEY (name, version)
    ) STRICT;
    CREATE INDEX versions_by_artifact ON versions (artifact);
    PRAGMA user_version = 1;";

/// The registry's database. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    connection: Arc<Mutex<Connection>>,
}

/// What a new version of a function is.
#[derive(Clone, Debug)]
pub(crate) struct NewVersion {
    /// Its settings, checked.
    pub(crate) manifest: Manifest,
    /// Its artifact.
    pub(crate) artifact: Digest,
    /// The artifact's size in bytes.
    pub(crate) size: u64,
    /// When it is deployed, in milliseconds since the UNIX epoch.
    pub(crate) created_ms: u64,
}

/// A function as the registry has it.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    /// The number of its current version.
    pub(crate) version: u64,
    /// Its current version.
    pub(crate) current: NewVersion,
    /// The sums over its calls.
    pub(crate) ledger: Ledger,
}

/// What calls of a function leave behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Sums over all calls.
    pub(crate) counters: Counters,
    /// The last call that failed.
    pub(crate) last_error: Option<LastError>,
}

/// The registry cannot be used.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The database or the disk below it failed.
    #[error("the registry cannot {action}")]
    Sqlite {
        /// What was tried.
        action: &'static str,
        /// What the database said.
        #[source]
        source: rusqlite::Error,
    },
    /// Written by a later version of Fractus.
    #[error(
        "the registry has schema version {found} and this Fractus knows {SCHEMA_VERSION}: run a \
         newer one"
    )]
    Newer {
        /// The version found.
        found: i64,
    },
    /// A row holds what no node wrote.
    #[error("the registry's row of function {name} is damaged: {what}")]
    Damaged {
        /// The function.
        name: String,
        /// The column.
        what: &'static str,
    },
    /// The thread that asked it is gone.
    #[error("the node is shutting down")]
    Gone,
}

fn sqlite(action: &'static str) -> impl Fn(rusqlite::Error) -> RegistryError {
    move |source| RegistryError::Sqlite { action, source }
}

impl Registry {
    /// Opens the database, or makes one.
    pub(crate) fn open(path: &Path) -> Result<Self, RegistryError> {
        let opened = Connection::open(path).and_then(|connection| {
            connection.busy_timeout(Duration::from_secs(10))?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "full")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            Ok((connection, version))
        });
        let (mut connection, version): (_, i64) = opened.map_err(sqlite("open"))?;
        match version {
            0 => {
                let make = connection.transaction().and_then(|transaction| {
                    transaction.execute_batch(SCHEMA)?;
                    transaction.commit()
                });
                make.map_err(sqlite("make its tables"))?;
            }
            SCHEMA_VERSION => {}
            found => return Err(RegistryError::Newer { found }),
        }
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// Calls `action` where blocking is allowed.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        action: impl FnOnce(&Self) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let registry = self.clone();
        let done = tokio::task::spawn_blocking(move || action(&registry)).await;
        done.unwrap_or(Err(RegistryError::Gone))
    }

    fn with<T>(
        &self,
        action: &'static str,
        act: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, RegistryError> {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        act(&mut connection).map_err(sqlite(action))
    }

    /// Makes `new` the current version of its function; durable when this returns. Answers its
    /// number: one more than the last.
    pub(crate) fn deploy(&self, new: &NewVersion) -> Result<u64, RegistryError> {
        let name = new.manifest.name.as_str();
        let manifest = serde_json::to_string(&new.manifest).expect("a manifest is JSON");
        self.with("take a version", |connection| {
            let transaction = connection.transaction()?;
            let last = transaction
                .query_row(
                    "SELECT current FROM functions WHERE name = ?1",
                    [name],
                    |row| row.get::<_, u64>(0),
                )
                .optional()?;
            let version = last.unwrap_or(0) + 1;
            transaction.execute(
                "INSERT INTO functions (name, current, counters) VALUES (?1, ?2, '{}')
                 ON CONFLICT (name) DO UPDATE SET current = excluded.current",
                params![name, version],
            )?;
            transaction.execute(
                "INSERT INTO versions (name, version, manifest, artifact, size, created_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    name,
                    version,
                    manifest,
                    new.artifact.to_string(),
                    new.size,
                    new.created_ms
                ],
            )?;
            transaction.execute(
                "DELETE FROM versions WHERE name = ?1 AND version + ?2 <= ?3",
                params![name, VERSIONS_KEPT, version],
            )?;
            transaction.commit()?;
            Ok(version)
        })
    }

    /// Forgets a function and its versions; false when there was none.
    pub(crate) fn remove(&self, name: &FunctionName) -> Result<bool, RegistryError> {
        self.with("remove a function", |connection| {
            let gone = connection.execute("DELETE FROM functions WHERE name = ?1", [name.as_str()]);
            gone.map(|rows| rows > 0)
        })
    }

    /// All functions with their current versions.
    pub(crate) fn functions(&self) -> Result<Vec<Registered>, RegistryError> {
        let rows = self.with("list its functions", |connection| {
            let mut query = connection.prepare(
                "SELECT f.name, f.current, v.manifest, v.artifact, v.size, v.created_ms,
                        f.counters, f.last_error
                 FROM functions f JOIN versions v ON v.name = f.name AND v.version = f.current
                 ORDER BY f.name",
            )?;
            let rows = query.query_map([], |row| Ok(read_function(row)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter().collect()
    }

    /// Whether any kept version of any function has this artifact.
    pub(crate) fn has_artifact(&self, artifact: Digest) -> Result<bool, RegistryError> {
        self.with("look for an artifact", |connection| {
            connection
                .query_row(
                    "SELECT 1 FROM versions WHERE artifact = ?1 LIMIT 1",
                    [artifact.to_string()],
                    |_| Ok(()),
                )
                .optional()
                .map(|found| found.is_some())
        })
    }

    /// The artifacts of the kept versions of one function, or of all.
    pub(crate) fn artifacts(
        &self,
        of: Option<&FunctionName>,
    ) -> Result<BTreeSet<Digest>, RegistryError> {
        let name = of.map(FunctionName::as_str);
        let texts = self.with("list artifacts", |connection| {
            let mut query = connection
                .prepare("SELECT DISTINCT artifact FROM versions WHERE ?1 IS NULL OR name = ?1")?;
            let rows = query.query_map([name], |row| row.get::<_, String>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
    }

    /// Writes down what calls left behind, of all functions in one transaction.
    pub(crate) fn save(
        &self,
        ledgers: &BTreeMap<FunctionName, Ledger>,
    ) -> Result<(), RegistryError> {
        self.with("save counters", |connection| {
            let transaction = connection.transaction()?;
            for (name, ledger) in ledgers {
                let counters = serde_json::to_string(&ledger.counters).expect("numbers are JSON");
                let error = ledger.last_error.as_ref();
                let error = error.map(|e| serde_json::to_string(e).expect("texts are JSON"));
                transaction.execute(
                    "UPDATE functions SET counters = ?2, last_error = ?3 WHERE name = ?1",
                    params![name.as_str(), counters, error],
                )?;
            }
            transaction.commit()
        })
    }
}

/// Reads a row of [`Registry::functions`]: what is in the columns may be anything.
fn read_function(row: &Row<'_>) -> Result<Registered, RegistryError> {
    let name: String = row.get(0).map_err(sqlite("read a function"))?;
    let text = |column| {
        row.get::<_, String>(column)
            .map_err(sqlite("read a function"))
    };
    let number = |column| row.get::<_, u64>(column).map_err(sqlite("read a function"));
    let damaged = |what| RegistryError::Damaged {
        name: name.clone(),
        what,
    };
    let manifest: Manifest = serde_json::from_str(&text(2)?).or(Err(damaged("manifest")))?;
    if manifest.name.as_str() != name || manifest.check().is_err() {
        return Err(damaged("manifest"));
    }
    let counters = match text(6)?.as_str() {
        "{}" => Counters::default(),
        counters => serde_json::from_str(counters).or(Err(damaged("counters")))?,
    };
    let last_error: Option<String> = row.get(7).map_err(sqlite("read a function"))?;
    let last_error = last_error.map(|text| serde_json::from_str(&text));
    Ok(Registered {
        version: number(1)?,
        current: NewVersion {
            manifest,
            artifact: text(3)?.parse().or(Err(damaged("artifact")))?,
            size: number(4)?,
            created_ms: number(5)?,
        },
        ledger: Ledger {
            counters,
            last_error: last_error.transpose().or(Err(damaged("last_error")))?,
        },
    })
}

#[cfg(test)]
mod tests;
