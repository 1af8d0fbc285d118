//! A folder of code as a zip archive: the same files make the same bytes, whenever and wherever
//! they are packed.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Cursor, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use fractus_func::limits::{
    ARCHIVE_DEPTH_MAX, ARCHIVE_ENTRIES_MAX, ARCHIVE_UNPACKED_MAX, ARTIFACT_MAX,
};
use fractus_stdx::ByteSize;
use indicatif::ProgressBar;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::failure::Failure;
use crate::limits::CHUNK;
use crate::output::Output;
use crate::project::MANIFEST;

/// Folders that belong to tools rather than to a function, wherever they lie.
const FOLDERS_LEFT_OUT: &[&str] = &[
    ".git",
    ".hg",
    ".svn",
    ".idea",
    ".vscode",
    ".venv",
    ".tox",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    "__pycache__",
    "fractus-data",
];
/// What lies in a folder that is left out for it: caches, as Cargo's `target`, and Python's
/// environments.
const MARKS: &[&str] = &["CACHEDIR.TAG", "pyvenv.cfg"];
/// What a node's data directory holds, secrets among it.
const DATA_MARKS: &[&str] = &["registry.db", "credentials.json"];

/// An archive that was made of a folder or of one file.
#[derive(Debug)]
pub(crate) struct Packed {
    /// What it was made of, for messages.
    pub(crate) name: String,
    pub(crate) zip: Vec<u8>,
}

/// A file to be packed.
#[derive(Debug)]
struct Item {
    path: PathBuf,
    size: u64,
    is_executable: bool,
}

fn refuse(path: &Path, why: impl Into<String>) -> Failure {
    Failure::new(format!("cannot pack {}", path.display())).why(why)
}

/// Packs all that a folder holds, but for what no function needs.
pub(super) fn folder(root: &Path, output: &Output) -> Result<Packed, Failure> {
    let canonical = fs::canonicalize(root).map_err(|error| refuse(root, error.to_string()))?;
    let mut walk = Walk {
        root: canonical.clone(),
        items: BTreeMap::new(),
        size: 0,
    };
    walk.enter(&canonical, "", &mut vec![canonical.clone()])?;
    pack(root, &walk.items, output)
}

/// Packs one file under a name.
pub(super) fn file(path: &Path, name: &str, output: &Output) -> Result<Packed, Failure> {
    let metadata = fs::metadata(path).map_err(|error| refuse(path, error.to_string()))?;
    let item = item(path.to_owned(), &metadata);
    pack(path, &BTreeMap::from([(name.to_owned(), item)]), output)
}

fn item(path: PathBuf, metadata: &Metadata) -> Item {
    Item {
        path,
        size: metadata.len(),
        is_executable: metadata.permissions().mode() & 0o111 != 0,
    }
}

/// Finds what is to be packed.
struct Walk {
    /// Without symbolic links.
    root: PathBuf,
    /// By the path in the archive.
    items: BTreeMap<String, Item>,
    size: u64,
}

impl Walk {
    /// Takes what lies in `folder`, which is `prefix` in the archive. `above` are the folders on
    /// the way to it, itself included, without symbolic links.
    fn enter(
        &mut self,
        folder: &Path,
        prefix: &str,
        above: &mut Vec<PathBuf>,
    ) -> Result<(), Failure> {
        if above.len() > ARCHIVE_DEPTH_MAX {
            return Err(refuse(folder, "it lies more than 64 folders deep"));
        }
        let unreadable = |error: io::Error| refuse(folder, error.to_string());
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let path = entry.path();
            let Ok(name) = entry.file_name().into_string() else {
                return Err(refuse(&path, "its name is not UTF-8").hint("rename it"));
            };
            let metadata = self.metadata(&path)?;
            if is_left_out(&path, prefix, &name, &metadata) {
                continue;
            }
            let inside = if prefix.is_empty() {
                name
            } else {
                format!("{prefix}/{name}")
            };
            if metadata.is_file() {
                self.take(inside, item(path, &metadata))?;
            } else if metadata.is_dir() {
                let real = fs::canonicalize(&path).map_err(unreadable)?;
                if above.contains(&real) {
                    return Err(
                        refuse(&path, "it is a symbolic link to a folder that it is in")
                            .hint("remove the link"),
                    );
                }
                above.push(real);
                self.enter(&path, &inside, above)?;
                above.pop();
            } else {
                return Err(refuse(&path, "it is neither a file nor a folder").hint("remove it"));
            }
        }
        Ok(())
    }

    /// What `path` is, or what it is a link to, as long as that is packed too.
    fn metadata(&self, path: &Path) -> Result<Metadata, Failure> {
        let unreadable = |error: io::Error| refuse(path, error.to_string());
        let own = fs::symlink_metadata(path).map_err(unreadable)?;
        if !own.is_symlink() {
            return Ok(own);
        }
        let target = fs::canonicalize(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => refuse(path, "it is a symbolic link to nothing")
                .hint("remove the link, or make what it points to"),
            _ => unreadable(error),
        })?;
        if !target.starts_with(&self.root) {
            let why = format!(
                "it is a symbolic link to {}, which lies outside of the function's folder",
                target.display()
            );
            return Err(refuse(path, why).hint("copy what it points to in its place"));
        }
        fs::metadata(path).map_err(unreadable)
    }

    fn take(&mut self, inside: String, item: Item) -> Result<(), Failure> {
        self.size = self.size.saturating_add(item.size);
        let hint = "leave out what the function does not need, list Python packages in \
                    requirements.txt in place of packing them, and keep data in a bucket";
        if self.size > ARCHIVE_UNPACKED_MAX {
            let most = ByteSize(ARCHIVE_UNPACKED_MAX);
            let why = format!("its files have more than {most} together");
            return Err(refuse(&self.root, why).hint(hint));
        }
        if self.items.len() == ARCHIVE_ENTRIES_MAX {
            let why = format!("it has more than {ARCHIVE_ENTRIES_MAX} files");
            return Err(refuse(&self.root, why).hint(hint));
        }
        self.items.insert(inside, item);
        Ok(())
    }
}

fn is_left_out(path: &Path, prefix: &str, name: &str, metadata: &Metadata) -> bool {
    if metadata.is_dir() {
        let has = |mark: &str| path.join(mark).is_file();
        let in_modules = prefix == "node_modules" || prefix.ends_with("/node_modules");
        FOLDERS_LEFT_OUT.contains(&name)
            || (in_modules && name == ".cache")
            || MARKS.iter().any(|mark| has(mark))
            || DATA_MARKS.iter().all(|mark| has(mark))
    } else {
        let is_bytecode = path.extension().is_some_and(|extension| extension == "pyc");
        is_bytecode || name == ".DS_Store" || (prefix.is_empty() && name == MANIFEST)
    }
}

fn pack(from: &Path, items: &BTreeMap<String, Item>, output: &Output) -> Result<Packed, Failure> {
    let name = from.file_name().unwrap_or(from.as_os_str());
    let name = name.to_string_lossy().into_owned();
    let size = items.values().map(|item| item.size).sum();
    let bar = output.bar(&format!("packing {name}"), Some(size));
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (inside, item) in items {
        let mode = if item.is_executable { 0o755 } else { 0o644 };
        // Nothing of when or where it was packed.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::default())
            .unix_permissions(mode);
        zip.start_file(inside.as_str(), options)
            .map_err(|error| refuse(&item.path, error.to_string()))?;
        write(&mut zip, from, item, &bar)?;
    }
    let zip = zip
        .finish()
        .map_err(|error| refuse(from, error.to_string()))?;
    bar.finish_and_clear();
    let zip = zip.into_inner();
    if zip.len() > ARTIFACT_MAX {
        return Err(too_large(from));
    }
    Ok(Packed { name, zip })
}

fn write(
    zip: &mut ZipWriter<Cursor<Vec<u8>>>,
    from: &Path,
    item: &Item,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let unreadable = |error: io::Error| refuse(&item.path, error.to_string());
    // A file that grows while it is read is cut; its next version is deployed next time.
    let mut file = File::open(&item.path).map_err(unreadable)?.take(item.size);
    let mut piece = vec![0; CHUNK];
    loop {
        let read = file.read(&mut piece).map_err(unreadable)?;
        if read == 0 {
            return Ok(());
        }
        zip.write_all(&piece[..read]).map_err(unreadable)?;
        bar.inc(read as u64);
        let packed = zip.get_ref().map_or(0, Cursor::position);
        if packed > ARTIFACT_MAX as u64 {
            return Err(too_large(from));
        }
    }
}

fn too_large(from: &Path) -> Failure {
    let most = ByteSize(ARTIFACT_MAX as u64);
    refuse(from, format!("its files have more than {most} when packed")).hint(
        "list Python packages in requirements.txt in place of packing them, and keep data in a \
         bucket",
    )
}

#[cfg(test)]
mod tests;
