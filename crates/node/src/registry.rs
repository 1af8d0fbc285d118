//! What is deployed, in `DIR/registry.db`: functions, their versions, counters and last errors.
//!
//! Every call blocks for disk; async callers go through [`Registry::run`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fractus_func::{Counters, FunctionName, Manifest, RuntimeKind};
use fractus_lambda::model::{Attachments, Settings};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::artifacts::Digest;
use crate::functions::LastError;
use crate::limits::VERSIONS_KEPT;

/// The schema's version, in `user_version`.
const SCHEMA_VERSION: i64 = 2;
/// What brings a schema to the next version, from none on.
const STEPS: [&str; 2] = [
    "
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
    PRAGMA user_version = 1;",
    "
    ALTER TABLE functions ADD COLUMN published INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE functions ADD COLUMN attachments TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE versions ADD COLUMN kind TEXT;
    ALTER TABLE versions ADD COLUMN settings TEXT;
    ALTER TABLE versions ADD COLUMN code TEXT;
    ALTER TABLE versions ADD COLUMN published INTEGER;
    CREATE INDEX versions_by_code ON versions (code) WHERE code IS NOT NULL;
    CREATE UNIQUE INDEX versions_published ON versions (name, published)
        WHERE published IS NOT NULL;
    CREATE TABLE documents (
        kind     TEXT NOT NULL,
        key      TEXT NOT NULL,
        artifact TEXT,
        document TEXT NOT NULL,
        PRIMARY KEY (kind, key)
    ) STRICT;
    CREATE INDEX documents_by_artifact ON documents (artifact) WHERE artifact IS NOT NULL;
    PRAGMA user_version = 2;",
];

/// The registry's database. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    connection: Arc<Mutex<Connection>>,
}

/// One deployment of a function. It never changes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Revision {
    /// Its manifest, checked.
    pub(crate) manifest: Manifest,
    /// Its artifact.
    pub(crate) artifact: Digest,
    /// The artifact's size in bytes.
    pub(crate) size: u64,
    /// What runs it; None where the artifact was not described yet.
    pub(crate) kind: Option<RuntimeKind>,
    /// What AWS Lambda's API said of it; None if it was deployed by other means.
    pub(crate) settings: Option<Settings>,
    /// When it was deployed, in milliseconds since the UNIX epoch.
    pub(crate) created_ms: u64,
}

/// A function as the registry has it.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    /// The number of its current revision.
    pub(crate) number: u64,
    /// Its current revision.
    pub(crate) current: Revision,
    /// Its published versions: their numbers, and the revisions with theirs.
    pub(crate) published: BTreeMap<u64, (u64, Revision)>,
    /// The number of the version that was published last, be it gone or not.
    pub(crate) last_published: u64,
    /// What is attached to it.
    pub(crate) attachments: Attachments,
    /// The sums over its calls.
    pub(crate) ledger: Ledger,
}

/// The numbers of what was written down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Numbers {
    /// Of the revision, among all of its function.
    pub(crate) revision: u64,
    /// Of the published version and its revision, if one was asked for.
    pub(crate) published: Option<(u64, u64)>,
}

/// What is kept besides functions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DocumentKind {
    /// Versions of layers.
    Layer,
    /// Event source mappings.
    Mapping,
    /// The last number that a version of a function had which is gone, by the function's name: no
    /// other one has it.
    LastPublished,
}

impl DocumentKind {
    fn name(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Mapping => "mapping",
            Self::LastPublished => "published",
        }
    }
}

/// What calls of a function leave behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Sums over all calls, and over those of each revision that is kept.
    pub(crate) sums: Sums,
    /// The last call that failed.
    pub(crate) last_error: Option<LastError>,
}

/// Sums over calls, as they are stored.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Sums {
    /// Over all calls.
    #[serde(flatten)]
    pub(crate) counters: Counters,
    /// By the number of the revision that was called.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) revisions: BTreeMap<u64, Counters>,
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
        let done = usize::try_from(version)
            .ok()
            .filter(|done| *done <= STEPS.len());
        let Some(done) = done else {
            return Err(RegistryError::Newer { found: version });
        };
        if done < STEPS.len() {
            let make = connection.transaction().and_then(|transaction| {
                for step in &STEPS[done..] {
                    transaction.execute_batch(step)?;
                }
                transaction.commit()
            });
            make.map_err(sqlite("make its tables"))?;
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

    /// Makes `new` the current revision of its function; durable when this returns. With
    /// `attachments` those become the function's; with `publish` a version of it is published, too,
    /// with this description.
    pub(crate) fn deploy(
        &self,
        new: &Revision,
        attachments: Option<&Attachments>,
        publish: Option<&Revision>,
    ) -> Result<Numbers, RegistryError> {
        let name = new.manifest.name.as_str();
        self.with("take a revision", |connection| {
            let transaction = connection.transaction()?;
            let revision = next_revision(&transaction, name)?;
            transaction.execute(
                "INSERT INTO functions (name, current, counters, published)
                 VALUES (?1, ?2, '{}', coalesce((SELECT CAST(document AS INTEGER) FROM documents
                                                 WHERE kind = ?3 AND key = ?1), 0))
                 ON CONFLICT (name) DO UPDATE SET current = excluded.current",
                params![name, revision, DocumentKind::LastPublished.name()],
            )?;
            insert(&transaction, revision, new, None)?;
            if let Some(attachments) = attachments {
                attach(&transaction, name, attachments)?;
            }
            let published = publish.map(|version| publish_next(&transaction, version));
            let published = published.transpose()?;
            transaction.execute(
                "DELETE FROM versions
                 WHERE name = ?1 AND published IS NULL AND version + ?2 <= ?3",
                params![name, VERSIONS_KEPT, revision],
            )?;
            transaction.commit()?;
            Ok(Numbers {
                revision,
                published,
            })
        })
    }

    /// Publishes a version. Answers its number and that of its revision.
    pub(crate) fn publish(&self, version: &Revision) -> Result<(u64, u64), RegistryError> {
        self.with("publish a version", |connection| {
            let transaction = connection.transaction()?;
            let numbers = publish_next(&transaction, version)?;
            transaction.commit()?;
            Ok(numbers)
        })
    }

    /// Forgets a published version.
    pub(crate) fn unpublish(&self, name: &FunctionName, number: u64) -> Result<(), RegistryError> {
        self.with("remove a version", |connection| {
            connection.execute(
                "DELETE FROM versions WHERE name = ?1 AND published = ?2",
                params![name.as_str(), number],
            )?;
            Ok(())
        })
    }

    /// Replaces what is attached to a function.
    pub(crate) fn attach(
        &self,
        name: &FunctionName,
        attachments: &Attachments,
    ) -> Result<(), RegistryError> {
        self.with("change a function", |connection| {
            attach(connection, name.as_str(), attachments)
        })
    }

    /// Writes a document, and the artifact that it needs, if any.
    pub(crate) fn put_document(
        &self,
        kind: DocumentKind,
        key: &str,
        artifact: Option<Digest>,
        document: &str,
    ) -> Result<(), RegistryError> {
        self.with("write a document", |connection| {
            connection.execute(
                "INSERT OR REPLACE INTO documents (kind, key, artifact, document)
                 VALUES (?1, ?2, ?3, ?4)",
                params![kind.name(), key, artifact.map(|a| a.to_string()), document],
            )?;
            Ok(())
        })
    }

    /// Counts up in a document of its own, and answers the new number.
    pub(crate) fn count_document(
        &self,
        kind: DocumentKind,
        key: &str,
    ) -> Result<u64, RegistryError> {
        self.with("count", |connection| {
            connection.query_row(
                "INSERT INTO documents (kind, key, document) VALUES (?1, ?2, '1')
                 ON CONFLICT (kind, key) DO UPDATE SET document = CAST(document AS INTEGER) + 1
                 RETURNING CAST(document AS INTEGER)",
                params![kind.name(), key],
                |row| row.get(0),
            )
        })
    }

    /// Deletes a document; false when there was none.
    pub(crate) fn delete_document(
        &self,
        kind: DocumentKind,
        key: &str,
    ) -> Result<bool, RegistryError> {
        self.with("delete a document", |connection| {
            let gone = connection.execute(
                "DELETE FROM documents WHERE kind = ?1 AND key = ?2",
                params![kind.name(), key],
            );
            gone.map(|rows| rows > 0)
        })
    }

    /// All documents of a kind: keys, and what they say.
    pub(crate) fn documents(
        &self,
        kind: DocumentKind,
    ) -> Result<Vec<(String, String)>, RegistryError> {
        self.with("list documents", |connection| {
            let mut query = connection
                .prepare("SELECT key, document FROM documents WHERE kind = ?1 ORDER BY key")?;
            let rows = query.query_map([kind.name()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
    }

    /// Forgets a function and its versions, but for the last number that one of them had; false
    /// when there was none.
    pub(crate) fn remove(&self, name: &FunctionName) -> Result<bool, RegistryError> {
        self.with("remove a function", |connection| {
            let transaction = connection.transaction()?;
            transaction.execute(
                "INSERT OR REPLACE INTO documents (kind, key, document)
                 SELECT ?2, name, published FROM functions WHERE name = ?1 AND published > 0",
                params![name.as_str(), DocumentKind::LastPublished.name()],
            )?;
            let gone =
                transaction.execute("DELETE FROM functions WHERE name = ?1", [name.as_str()])?;
            transaction.commit()?;
            Ok(gone > 0)
        })
    }

    /// All functions with their current revisions and published versions.
    pub(crate) fn functions(&self) -> Result<Vec<Registered>, RegistryError> {
        let rows = self.with("list its functions", |connection| {
            let mut query = connection.prepare(
                "SELECT f.name, v.manifest, v.artifact, v.size, v.created_ms, v.kind, v.settings,
                        v.version, f.published, f.attachments, f.counters, f.last_error
                 FROM functions f JOIN versions v ON v.name = f.name AND v.version = f.current
                 ORDER BY f.name",
            )?;
            let rows = query.query_map([], |row| Ok(read_function(row)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let mut functions: Vec<Registered> = rows.into_iter().collect::<Result<_, _>>()?;
        let rows = self.with("list its versions", |connection| {
            let mut query = connection.prepare(
                "SELECT name, manifest, artifact, size, created_ms, kind, settings, version,
                        published
                 FROM versions WHERE published IS NOT NULL ORDER BY name",
            )?;
            let rows = query.query_map([], |row| {
                Ok((
                    row.get::<_, u64>(7)?,
                    row.get::<_, u64>(8)?,
                    read_revision(row),
                ))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        for (number, published, revision) in rows {
            let revision = revision?;
            let name = &revision.manifest.name;
            let found = functions.binary_search_by(|one| one.current.manifest.name.cmp(name));
            if let Ok(at) = found {
                functions[at]
                    .published
                    .insert(published, (number, revision));
            }
        }
        Ok(functions)
    }

    /// Whether anything that is kept has this artifact.
    pub(crate) fn has_artifact(&self, artifact: Digest) -> Result<bool, RegistryError> {
        self.with("look for an artifact", |connection| {
            connection
                .query_row(
                    "SELECT 1 FROM versions WHERE artifact = ?1
                     UNION ALL SELECT 1 FROM versions WHERE code = ?1
                     UNION ALL SELECT 1 FROM documents WHERE artifact = ?1 LIMIT 1",
                    [artifact.to_string()],
                    |_| Ok(()),
                )
                .optional()
                .map(|found| found.is_some())
        })
    }

    /// The artifacts of the kept revisions of one function, or of all that is kept.
    pub(crate) fn artifacts(
        &self,
        of: Option<&FunctionName>,
    ) -> Result<BTreeSet<Digest>, RegistryError> {
        let name = of.map(FunctionName::as_str);
        let texts = self.with("list artifacts", |connection| {
            let mut query = connection.prepare(
                "SELECT artifact FROM versions WHERE ?1 IS NULL OR name = ?1
                 UNION SELECT code FROM versions
                       WHERE code IS NOT NULL AND (?1 IS NULL OR name = ?1)
                 UNION SELECT artifact FROM documents WHERE artifact IS NOT NULL AND ?1 IS NULL",
            )?;
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
                let counters = serde_json::to_string(&ledger.sums).expect("numbers are JSON");
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

/// The number for a function's next revision.
fn next_revision(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    connection.query_row(
        "SELECT coalesce(max(version), 0) + 1 FROM versions WHERE name = ?1",
        [name],
        |row| row.get(0),
    )
}

fn insert(
    connection: &Connection,
    number: u64,
    revision: &Revision,
    published: Option<u64>,
) -> rusqlite::Result<()> {
    let settings = revision.settings.as_ref();
    let code = settings.and_then(|settings| settings.code.as_ref());
    connection.execute(
        "INSERT INTO versions (name, version, manifest, artifact, size, created_ms, kind, settings,
                               code, published)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            revision.manifest.name.as_str(),
            number,
            serde_json::to_string(&revision.manifest).expect("a manifest is JSON"),
            revision.artifact.to_string(),
            revision.size,
            revision.created_ms,
            revision.kind.map(RuntimeKind::as_str),
            settings.map(|settings| serde_json::to_string(settings).expect("texts are JSON")),
            code.map(|code| code.digest.as_str()),
            published,
        ],
    )?;
    Ok(())
}

fn publish_next(connection: &Connection, version: &Revision) -> rusqlite::Result<(u64, u64)> {
    let name = version.manifest.name.as_str();
    let revision = next_revision(connection, name)?;
    let published = connection.query_row(
        "UPDATE functions SET published = published + 1 WHERE name = ?1 RETURNING published",
        [name],
        |row| row.get(0),
    )?;
    insert(connection, revision, version, Some(published))?;
    Ok((published, revision))
}

fn attach(connection: &Connection, name: &str, attachments: &Attachments) -> rusqlite::Result<()> {
    let text = serde_json::to_string(attachments).expect("texts and numbers are JSON");
    connection.execute(
        "UPDATE functions SET attachments = ?2 WHERE name = ?1",
        params![name, text],
    )?;
    Ok(())
}

/// A column's text, whatever is in it.
fn text(row: &Row<'_>, column: usize) -> Result<String, RegistryError> {
    row.get(column).map_err(sqlite("read a function"))
}

fn number(row: &Row<'_>, column: usize) -> Result<u64, RegistryError> {
    row.get(column).map_err(sqlite("read a function"))
}

fn maybe_text(row: &Row<'_>, column: usize) -> Result<Option<String>, RegistryError> {
    row.get(column).map_err(sqlite("read a function"))
}

/// Reads name, manifest, artifact, size, time, kind and settings, the first columns of a row.
fn read_revision(row: &Row<'_>) -> Result<Revision, RegistryError> {
    let name = text(row, 0)?;
    let damaged = |what| RegistryError::Damaged {
        name: name.clone(),
        what,
    };
    let manifest: Manifest = serde_json::from_str(&text(row, 1)?).or(Err(damaged("manifest")))?;
    if manifest.name.as_str() != name || manifest.check().is_err() {
        return Err(damaged("manifest"));
    }
    let kind = maybe_text(row, 5)?.map(|kind| kind.parse());
    let settings = maybe_text(row, 6)?.map(|settings| serde_json::from_str(&settings));
    Ok(Revision {
        manifest,
        artifact: text(row, 2)?.parse().or(Err(damaged("artifact")))?,
        size: number(row, 3)?,
        created_ms: number(row, 4)?,
        kind: kind.transpose().or(Err(damaged("kind")))?,
        settings: settings.transpose().or(Err(damaged("settings")))?,
    })
}

/// Reads a row of [`Registry::functions`].
fn read_function(row: &Row<'_>) -> Result<Registered, RegistryError> {
    let current = read_revision(row)?;
    let damaged = |what| RegistryError::Damaged {
        name: current.manifest.name.to_string(),
        what,
    };
    let attachments = match text(row, 9)?.as_str() {
        "{}" => Attachments::default(),
        text => serde_json::from_str(text).or(Err(damaged("attachments")))?,
    };
    let sums = match text(row, 10)?.as_str() {
        "{}" => Sums::default(),
        text => serde_json::from_str(text).or(Err(damaged("counters")))?,
    };
    let last_error = maybe_text(row, 11)?.map(|text| serde_json::from_str(&text));
    let last_error = last_error.transpose().or(Err(damaged("last_error")))?;
    Ok(Registered {
        number: number(row, 7)?,
        published: BTreeMap::new(),
        last_published: number(row, 8)?,
        attachments,
        ledger: Ledger { sums, last_error },
        current,
    })
}

#[cfg(test)]
mod tests;
