//! The folder in which functions' files and packages lie, and who needs what of it.
//!
//! ```text
//! ROOT/code/SHA256-cp311/        an archive, unpacked
//! ROOT/code/SHA256-cp311.json    what it was prepared to
//! ROOT/packages/NAME-VERSION-cp311-SHA256/
//! ROOT/work/                     what is not done yet, and what is about to be removed
//! ```
//!
//! A folder under its final name is whole. What is needed is told by the compiled files that the
//! node keeps ([`Library::retain`], [`Library::forget`]), by what was prepared since, and by
//! leases.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use fractus_func::{CompileError, LoadError, RuntimeKind};
use fractus_stdx::{ErrorChain, Hex};
use sha2::{Digest as _, Sha256};

use crate::code::unpack::{Archive, publish, sync};
use crate::code::{FORMAT, Prepared, bytecode, imports, io_error, no_function};
use crate::packages::{self, Package, Python, REQUIREMENTS};
use crate::profile::TASK;

/// The files and packages of all functions on this machine.
#[derive(Debug)]
pub(crate) struct Library {
    root: PathBuf,
    python: Option<Python>,
    /// Held by whoever adds folders or removes some.
    changing: Mutex<()>,
    needs: Mutex<BTreeMap<String, Need>>,
    /// Whether something may be there that nobody needs.
    has_garbage: AtomicBool,
    /// Numbers what lies in `work`.
    numbers: AtomicU64,
}

/// Who needs a folder of code.
#[derive(Debug, Default)]
struct Need {
    packages: BTreeSet<String>,
    /// Whether the node has it as an artifact.
    is_kept: bool,
    leases: usize,
}

/// Keeps a function's files and packages in place until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Its own folder.
    pub(crate) code: PathBuf,
    /// Its packages, in the order in which they are searched.
    pub(crate) packages: Vec<PathBuf>,
    name: String,
    library: Arc<Library>,
}

impl Library {
    /// The library in `root`, which is made if need be, for functions that run on `python`. Removes
    /// what was left unfinished.
    pub(crate) fn open(root: &Path, python: Option<Python>) -> io::Result<Arc<Self>> {
        let library = Self {
            root: root.to_owned(),
            python,
            changing: Mutex::default(),
            needs: Mutex::default(),
            has_garbage: AtomicBool::new(false),
            numbers: AtomicU64::new(0),
        };
        for folder in [library.code(), library.packages()] {
            fs::create_dir_all(folder)?;
        }
        match fs::remove_dir_all(library.work()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir(library.work())?;
        Ok(Arc::new(library))
    }

    fn code(&self) -> PathBuf {
        self.root.join("code")
    }

    fn packages(&self) -> PathBuf {
        self.root.join("packages")
    }

    /// Where a package lies, by its folder's name.
    pub(crate) fn package_folder(&self, name: &str) -> PathBuf {
        self.packages().join(name)
    }

    fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// A path in the work folder that nothing has.
    fn unused(&self) -> PathBuf {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.work().join(number.to_string())
    }

    fn needs(&self) -> MutexGuard<'_, BTreeMap<String, Need>> {
        self.needs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unpacks an archive and installs the packages that it asks for, unless that was done before;
    /// durable when this returns. Takes long. One at a time: others wait.
    pub(crate) fn prepare(&self, zip: &[u8]) -> Result<Prepared, CompileError> {
        let prepared = {
            let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            let prepared = self.prepare_in_turn(zip)?;
            self.keep(&prepared);
            prepared
        };
        self.sweep();
        Ok(prepared)
    }

    fn prepare_in_turn(&self, zip: &[u8]) -> Result<Prepared, CompileError> {
        let tag = self.python.as_ref().map_or("none", |python| &python.tag);
        let name = format!("{}-{tag}", Hex(&Sha256::digest(zip)));
        let note = self.code().join(format!("{name}.json"));
        // What was prepared once stays as it was: its packages do not change under it, and the
        // index need not be there.
        if let Ok(prepared) = Prepared::read(&note)
            && self.paths(&prepared).all(|path| path.is_dir())
        {
            return Ok(prepared);
        }
        let mut archive = Archive::read(zip)?;
        let kinds = RuntimeKind::told_from(archive.files());
        let first = *kinds.first().ok_or_else(no_function)?;
        let unpacked = Scrap(self.unused());
        archive.unpack(&unpacked.0)?;
        let python = self
            .python
            .as_ref()
            .filter(|_| kinds.contains(&RuntimeKind::Python3));
        let asks = archive.files().any(|file| file == REQUIREMENTS);
        let packages = match python {
            Some(python) if asks => self.install(python, &unpacked.0)?,
            None if asks && first == RuntimeKind::Python3 => {
                return Err(CompileError::Unsupported(
                    "there is no python3 on this machine to install packages with".to_owned(),
                ));
            }
            _ => Vec::new(),
        };
        let mut modules = Vec::new();
        if let Some(python) = python {
            modules = imports::imported(&unpacked.0, archive.files());
            bytecode::compile(python, &unpacked.0, TASK);
        }
        sync(&unpacked.0)?;
        publish(&unpacked.0, &self.code().join(&name))?;
        let prepared = Prepared {
            format: FORMAT,
            code: name,
            kinds,
            python: python.map(|python| python.version.clone()),
            packages,
            modules,
        };
        self.write_note(&prepared, &note)?;
        Ok(prepared)
    }

    fn install(&self, python: &Python, unpacked: &Path) -> Result<Vec<Package>, CompileError> {
        packages::install(python, unpacked, &self.packages(), &self.unused())
    }

    fn write_note(&self, prepared: &Prepared, note: &Path) -> Result<(), CompileError> {
        let new = Scrap(self.unused());
        let written = fs::write(&new.0, prepared.to_bytes())
            .and_then(|()| fs::File::open(&new.0)?.sync_all())
            .and_then(|()| fs::rename(&new.0, note))
            .and_then(|()| fs::File::open(self.code())?.sync_all());
        written.map_err(io_error("write", note))
    }

    /// All folders of something prepared.
    fn paths(&self, prepared: &Prepared) -> impl Iterator<Item = PathBuf> {
        let packages = prepared.packages.iter();
        let packages = packages.map(|package| self.packages().join(&package.folder));
        [self.code().join(&prepared.code)]
            .into_iter()
            .chain(packages)
    }

    /// Notes that the node has it as an artifact.
    fn keep(&self, prepared: &Prepared) {
        let mut needs = self.needs();
        let need = needs.entry(prepared.code.clone()).or_default();
        need.is_kept = true;
        need.name(prepared);
    }

    /// Keeps the folders of something prepared in place, if they are.
    pub(crate) fn lease(self: &Arc<Self>, prepared: &Prepared) -> Result<Lease, LoadError> {
        // Noted first: from then on nobody removes them.
        let mut needs = self.needs();
        let need = needs.entry(prepared.code.clone()).or_default();
        need.leases += 1;
        need.name(prepared);
        drop(needs);
        let mut paths = self.paths(prepared);
        let lease = Lease {
            code: paths.next().unwrap_or_default(),
            packages: paths.collect(),
            name: prepared.code.clone(),
            library: Arc::clone(self),
        };
        let is_gone = |path: &&PathBuf| !path.is_dir();
        let code = Some(&lease.code).filter(is_gone);
        if let Some(missing) = code.or_else(|| lease.packages.iter().find(is_gone)) {
            return Err(LoadError {
                path: missing.display().to_string(),
                reason: "the folder is gone".to_owned(),
            });
        }
        Ok(lease)
    }

    /// Gives up what one artifact was prepared to, when the last lease on it ends at the latest.
    pub(crate) fn forget(&self, compiled: &Path) {
        let prepared = match Prepared::read(compiled) {
            Ok(prepared) => prepared,
            Err(error) => {
                tracing::warn!(error = %ErrorChain(&error), "files stay until the next start");
                return;
            }
        };
        let mut needs = self.needs();
        let need = needs.entry(prepared.code.clone()).or_default();
        need.is_kept = false;
        need.name(&prepared);
        drop(needs);
        self.has_garbage.store(true, Ordering::SeqCst);
        self.sweep();
    }

    /// Gives up all but what these artifacts were prepared to, and what is leased.
    pub(crate) fn retain(&self, compiled: &[PathBuf]) {
        let kept = compiled.iter().filter_map(|path| Prepared::read(path).ok());
        let mut left = BTreeMap::new();
        for prepared in kept {
            let need: &mut Need = left.entry(prepared.code.clone()).or_default();
            need.is_kept = true;
            need.name(&prepared);
        }
        let mut needs = self.needs();
        for (name, need) in std::mem::take(&mut *needs) {
            let kept = left.entry(name).or_default();
            kept.leases = need.leases;
            kept.packages.extend(need.packages);
        }
        // Whatever else lies there is nobody's.
        for name in names(&self.code()) {
            left.entry(name.trim_end_matches(".json").to_owned())
                .or_default();
        }
        let strays = left.entry(String::new()).or_default();
        strays.packages.extend(names(&self.packages()));
        *needs = left;
        drop(needs);
        self.has_garbage.store(true, Ordering::SeqCst);
        self.sweep();
    }

    /// Removes what nobody needs. Whoever is changing something does so afterwards in our place.
    fn sweep(&self) {
        while self.has_garbage.load(Ordering::SeqCst) {
            let _turn = match self.changing.try_lock() {
                Ok(turn) => turn,
                Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            self.has_garbage.store(false, Ordering::SeqCst);
            let scraps = self.take_garbage();
            if let Err(error) = scraps {
                tracing::warn!(error = %ErrorChain(&error), "files stay until the next start");
            }
        }
    }

    /// Moves what nobody needs out of reach, and removes it.
    fn take_garbage(&self) -> io::Result<()> {
        let mut needs = self.needs();
        let is_needed = |need: &Need| need.is_kept || need.leases > 0;
        let gone: Vec<String> = needs
            .iter()
            .filter(|(_, need)| !is_needed(need))
            .map(|(name, _)| name.clone())
            .collect();
        let mut candidates = BTreeSet::new();
        for name in &gone {
            candidates.extend(needs.remove(name).unwrap_or_default().packages);
        }
        for need in needs.values() {
            for package in &need.packages {
                candidates.remove(package);
            }
        }
        // The names must be gone before somebody can find them there.
        let mut scraps = Vec::new();
        for name in gone.iter().filter(|name| !name.is_empty()) {
            scraps.push(self.take(&self.code().join(format!("{name}.json")))?);
            scraps.push(self.take(&self.code().join(name))?);
        }
        for package in candidates {
            scraps.push(self.take(&self.packages().join(package))?);
        }
        drop(needs);
        drop(scraps);
        Ok(())
    }

    fn take(&self, path: &Path) -> io::Result<Scrap> {
        let scrap = Scrap(self.unused());
        match fs::rename(path, &scrap.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(scrap),
        }
    }
}

impl Need {
    fn name(&mut self, prepared: &Prepared) {
        let folders = prepared
            .packages
            .iter()
            .map(|package| package.folder.clone());
        self.packages.extend(folders);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut needs = self.library.needs();
        let Some(need) = needs.get_mut(&self.name) else {
            return;
        };
        need.leases -= 1;
        if need.leases == 0 && !need.is_kept {
            self.library.has_garbage.store(true, Ordering::SeqCst);
            drop(needs);
            self.library.sweep();
        }
    }
}

/// The names in a folder; none if it cannot be read.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.collect()
}

/// A file or folder that goes with the value, unless it has got another name by then.
#[derive(Debug)]
struct Scrap(PathBuf);

impl Drop for Scrap {
    fn drop(&mut self) {
        // What stays is removed by the next start.
        if fs::remove_file(&self.0).is_err() {
            fs::remove_dir_all(&self.0).ok();
        }
    }
}

#[cfg(test)]
mod tests;
