//! The data directory: who owns it, the credentials in it, and where a running node listens.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fractus_lambda::sigv4;
use fractus_stdx::Hex;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::durable;

const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
/// All that the group and others may do.
const OTHERS: u32 = 0o077;
/// Of a directory that everyone shares, such as `/tmp`.
const STICKY: u32 = 0o1000;

/// What a start may leave before there are credentials, and what a new disk has.
const OURS: [&str; 5] = [
    "lock",
    "credentials.json.new",
    "node.json",
    "node.json.new",
    "lost+found",
];

/// A data directory that this process owns until the value is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Locked; the system unlocks it when the process ends, however it ends.
    lock: File,
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // Closing is not enough: a child that has not yet become its program has a copy, and a copy
        // keeps the lock. If this fails, the last close unlocks it.
        drop(self.lock.unlock());
    }
}

/// `DIR/credentials.json`: made at random on the first start and kept.
#[derive(Clone, Deserialize, Serialize)]
pub struct Credentials {
    /// Name of the key for the AWS-compatible APIs.
    pub access_key_id: String,
    /// The key itself.
    pub secret_access_key: String,
    /// Bearer token of the admin API.
    pub admin_token: String,
    /// The region that AWS clients must name.
    pub region: String,
}

impl Credentials {
    /// What AWS clients sign with.
    pub(crate) fn keys(&self) -> sigv4::Credentials {
        sigv4::Credentials {
            access_key_id: self.access_key_id.clone(),
            secret_access_key: self.secret_access_key.clone(),
        }
    }
}

/// `DIR/node.json`: there while a node runs.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Addresses {
    /// The node's process.
    pub pid: u32,
    /// The edge, as bound.
    pub edge: SocketAddr,
    /// The api listener, as bound.
    pub api: SocketAddr,
    /// The admin listener, as bound.
    pub admin: SocketAddr,
}

/// A data directory that cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// A node runs on it.
    #[error(
        "another node ({owner}) runs on {}; stop it or choose another --data",
        path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// `pid N`, or that it is unknown.
        owner: String,
    },
    /// It exists and is not a node's.
    #[error(
        "{} is no data directory: it is shared or holds other things; choose a new or an empty \
         one, such as --data {}",
        path.display(),
        path.join("fractus-data").display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// A file or the directory itself cannot be made, read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not what a node wrote.
    #[error("{} is damaged; restore it, or delete it to have it made anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// The system gives no randomness.
    #[error("the system gives no random bytes for credentials")]
    Random(#[source] getrandom::Error),
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> DataDirError + 'a {
    move |source| DataDirError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

impl DataDir {
    /// Makes the directory if need be and takes it, or says who has it. One that exists must be
    /// empty or a node's, and is then closed to everyone else.
    pub(crate) fn open(path: &Path) -> Result<Self, DataDirError> {
        if path.exists() {
            adopt(path)?;
        } else {
            make_dir(path)?;
        }
        // Listeners change the working directory of nobody, but children might: keep it absolute.
        let path = fs::canonicalize(path).map_err(io_error("resolve", path))?;
        let lock = lock(&path)?;
        Ok(Self { path, lock })
    }

    /// The directory, absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it, made if need be.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, DataDirError> {
        let path = self.path.join(name);
        make_dir(&path)?;
        Ok(path)
    }

    /// The credentials, made on first use.
    pub(crate) fn credentials(&self) -> Result<Credentials, DataDirError> {
        let path = self.path.join("credentials.json");
        match Credentials::read(&self.path) {
            Err(DataDirError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Ok(found) => {
                let private = Permissions::from_mode(PRIVATE_FILE);
                fs::set_permissions(&path, private).map_err(io_error("protect", &path))?;
                return Ok(found);
            }
            Err(error) => return Err(error),
        }
        let made = Credentials::random().map_err(DataDirError::Random)?;
        write_json(&path, &made)?;
        Ok(made)
    }

    /// Tells where the node listens.
    pub(crate) fn announce(&self, addresses: &Addresses) -> Result<(), DataDirError> {
        write_json(&self.path.join("node.json"), addresses)
    }

    /// Takes back what [`DataDir::announce`] told.
    pub(crate) fn withdraw(&self) -> Result<(), DataDirError> {
        let path = self.path.join("node.json");
        durable::remove(&path).map_err(io_error("remove", &path))
    }
}

fn make_dir(path: &Path) -> Result<(), DataDirError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(PRIVATE_DIR);
    builder
        .create(path)
        .map_err(io_error("create the directory", path))
}

/// Checks that a directory holds nothing of anybody else's before it is changed.
fn adopt(path: &Path) -> Result<(), DataDirError> {
    let mode = fs::metadata(path)
        .map_err(io_error("look at", path))?
        .permissions()
        .mode();
    if mode & STICKY != 0 || !is_ours(path).map_err(io_error("list", path))? {
        return Err(DataDirError::Foreign {
            path: path.to_owned(),
        });
    }
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let private = Permissions::from_mode(mode & 0o7777 & !OTHERS);
    fs::set_permissions(path, private).map_err(io_error("protect", path))
}

/// Whether a node has lived here, or nothing is here but what a node would make.
fn is_ours(path: &Path) -> io::Result<bool> {
    let is_file = |name: &&str| path.join(name).is_file();
    if ["credentials.json", "registry.db"].iter().any(is_file) {
        return Ok(true);
    }
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if !OURS.iter().any(|ours| name == *ours) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn lock(dir: &Path) -> Result<File, DataDirError> {
    let path = dir.join("lock");
    let open = io_error("open", &path);
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE_FILE);
    let mut file = options.open(&path).map_err(&open)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&path).ok();
            let pid = pid
                .as_deref()
                .and_then(|text| text.trim().parse::<u32>().ok());
            return Err(DataDirError::Locked {
                path: dir.to_owned(),
                owner: pid.map_or_else(|| "pid unknown".to_owned(), |pid| format!("pid {pid}")),
            });
        }
        Err(TryLockError::Error(source)) => return Err(io_error("lock", &path)(source)),
    }
    file.set_len(0).map_err(&open)?;
    writeln!(file, "{}", std::process::id()).map_err(&open)?;
    Ok(file)
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), DataDirError> {
    let mut text = serde_json::to_vec_pretty(value).expect("plain strings and numbers are JSON");
    text.push(b'\n');
    durable::replace(path, &text, PRIVATE_FILE).map_err(io_error("write", path))
}

fn read_json<T: for<'de> Deserialize<'de>>(path: PathBuf) -> Result<T, DataDirError> {
    let text = fs::read(&path).map_err(io_error("read", &path))?;
    serde_json::from_slice(&text).map_err(|source| DataDirError::Damaged { path, source })
}

impl Credentials {
    /// Reads those of the data directory `dir`.
    pub fn read(dir: &Path) -> Result<Self, DataDirError> {
        read_json(dir.join("credentials.json"))
    }

    /// Key names and keys of the lengths that AWS clients expect.
    fn random() -> Result<Self, getrandom::Error> {
        const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        const KEY: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut bits = [0_u8; 88];
        getrandom::fill(&mut bits)?;
        let (name, rest) = bits.split_at(16);
        let (key, token) = rest.split_at(40);
        let text = |alphabet: &[u8], bytes: &[u8]| -> String {
            let pick = |byte: &u8| char::from(alphabet[usize::from(*byte) % alphabet.len()]);
            bytes.iter().map(pick).collect()
        };
        Ok(Self {
            access_key_id: format!("FRAC{}", text(LETTERS, name)),
            secret_access_key: text(KEY, key),
            admin_token: Hex(token).to_string(),
            region: "us-east-1".to_owned(),
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Addresses {
    /// Reads those of the node that runs on the data directory `dir`. After a crash the file may
    /// name a node that is gone.
    pub fn read(dir: &Path) -> Result<Self, DataDirError> {
        read_json(dir.join("node.json"))
    }
}

#[cfg(test)]
mod tests;
