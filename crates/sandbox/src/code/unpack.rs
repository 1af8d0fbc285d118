//! Archives of functions: what may be in one, and how it gets onto the disk.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Cursor, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use fractus_func::limits::{
    ARCHIVE_DEPTH_MAX, ARCHIVE_ENTRIES_MAX, ARCHIVE_NAME_MAX, ARCHIVE_PATH_MAX,
    ARCHIVE_UNPACKED_MAX,
};
use fractus_func::{BOOTSTRAP, CompileError};
use fractus_stdx::ByteSize;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use crate::code::io_error;

/// Pieces in which files are unpacked, in bytes.
const PIECE: usize = 64 << 10;
const FOLDER_MODE: u32 = 0o755;

/// The bits of a Unix mode that tell what an entry is.
const TYPE: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;

/// An archive whose table of contents has been checked: all of it lies below one folder, and
/// nothing in it is anything but a file or a folder.
#[derive(Debug)]
pub(super) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// By path, so that folders come before what is in them.
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Entry {
    Folder,
    File { index: usize, is_executable: bool },
}

fn refuse(why: impl Into<String>) -> CompileError {
    CompileError::Archive(why.into())
}

fn too_many() -> CompileError {
    refuse(format!(
        "it has more than {ARCHIVE_ENTRIES_MAX} files and folders: leave out what the function does not \
         need"
    ))
}

fn broken(error: &ZipError) -> CompileError {
    refuse(match error {
        ZipError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it is cut off: send it again".to_owned()
        }
        ZipError::Io(error) => format!("it is damaged: {error}"),
        other => other.to_string(),
    })
}

impl<'a> Archive<'a> {
    /// Reads the table of contents.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, CompileError> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(&error))?;
        if zip.has_duplicate_names() {
            return Err(refuse("two of its entries have the same name"));
        }
        if zip.len() > ARCHIVE_ENTRIES_MAX {
            return Err(too_many());
        }
        let mut entries = BTreeMap::new();
        for index in 0..zip.len() {
            let (path, entry) = check(&zip, index)?;
            if path.is_empty() {
                continue;
            }
            match entries.insert(path, entry) {
                None => {}
                Some(Entry::Folder) if entry == Entry::Folder => {}
                Some(_) => return Err(refuse("two of its entries have the same name")),
            }
        }
        // Every entry's folders, whether the archive lists them or not.
        let listed: Vec<String> = entries.keys().cloned().collect();
        for path in &listed {
            for (end, _) in path.match_indices('/') {
                let parent = &path[..end];
                match entries.get(parent) {
                    Some(Entry::Folder) => {}
                    Some(Entry::File { .. }) => {
                        return Err(refuse(format!("`{parent}` is both a file and a folder")));
                    }
                    None if entries.len() == ARCHIVE_ENTRIES_MAX => return Err(too_many()),
                    None => {
                        entries.insert(parent.to_owned(), Entry::Folder);
                    }
                }
            }
        }
        Ok(Self { zip, entries })
    }

    /// The paths of its files, sorted.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> + Clone {
        let files = self.entries.iter();
        files.filter_map(|(path, entry)| match entry {
            Entry::File { .. } => Some(path.as_str()),
            Entry::Folder => None,
        })
    }

    /// Writes everything below `target`, which is made and must not exist. The sizes that count are
    /// those of what comes out, whatever the archive says.
    pub(super) fn unpack(&mut self, target: &Path) -> Result<(), CompileError> {
        make_folder(target)?;
        let mut left = ARCHIVE_UNPACKED_MAX;
        for (path, entry) in &self.entries {
            let to = target.join(path);
            match *entry {
                Entry::Folder => make_folder(&to)?,
                Entry::File {
                    index,
                    is_executable,
                } => {
                    let is_executable = is_executable || path == BOOTSTRAP;
                    left = unpack_file(&mut self.zip, index, (path, &to), is_executable, left)?;
                }
            }
        }
        Ok(())
    }
}

/// Checks one entry, and tells its path in normal form; empty for the archive's own root.
fn check(zip: &ZipArchive<Cursor<&[u8]>>, index: usize) -> Result<(String, Entry), CompileError> {
    let data = zip.by_index_data(index).map_err(|error| broken(&error))?;
    let raw = data.name_raw();
    let name = str::from_utf8(raw).map_err(|_not_text| {
        refuse(format!(
            "the name `{}` is not UTF-8: rename the file",
            raw.escape_ascii()
        ))
    })?;
    let shown = name.escape_debug();
    let path = normal(name).map_err(|why| refuse(format!("the name `{shown}` {why}")))?;
    let mode = data.unix_mode().unwrap_or(0);
    let says_folder = name.ends_with('/');
    match mode & TYPE {
        0 => {}
        FOLDER if says_folder => {}
        FILE if !says_folder => {}
        _ if data.is_symlink() => {
            return Err(refuse(format!(
                "`{shown}` is a symbolic link: pack the file itself (`zip -r` does, `zip -y` does \
                 not)"
            )));
        }
        _ => return Err(refuse(format!("`{shown}` is neither a file nor a folder"))),
    }
    if says_folder {
        return Ok((path, Entry::Folder));
    }
    if path.is_empty() {
        return Err(refuse(format!("the name `{shown}` names no file")));
    }
    if data.encrypted() {
        return Err(refuse(format!(
            "`{shown}` is encrypted: pack it without a password"
        )));
    }
    match data.compression() {
        CompressionMethod::Stored | CompressionMethod::Deflated => {}
        other => {
            return Err(refuse(format!(
                "`{shown}` is compressed with {other}: pack it with deflate, as `zip` does"
            )));
        }
    }
    let is_executable = mode & 0o111 != 0;
    Ok((
        path,
        Entry::File {
            index,
            is_executable,
        },
    ))
}

/// A name without empty parts and `.`, or what is wrong with it.
fn normal(name: &str) -> Result<String, &'static str> {
    if name.len() > ARCHIVE_PATH_MAX {
        return Err("is longer than 1024 bytes");
    }
    if name.starts_with('/') {
        return Err("is absolute: names must be relative to the function's own folder");
    }
    if name.contains('\0') {
        return Err("holds a NUL");
    }
    if name.contains('\\') {
        return Err("holds a backslash: parts of a path are separated by /");
    }
    let parts: Vec<&str> = name
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") {
        return Err("leaves the function's own folder");
    }
    if parts.iter().any(|part| part.len() > ARCHIVE_NAME_MAX) {
        return Err("has a part of more than 255 bytes");
    }
    if parts.len() > ARCHIVE_DEPTH_MAX {
        return Err("lies more than 64 folders deep");
    }
    Ok(parts.join("/"))
}

fn make_folder(path: &Path) -> Result<(), CompileError> {
    let made = DirBuilder::new().mode(FOLDER_MODE).create(path);
    // Whatever our umask is: instances run as somebody else.
    let made = made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE)));
    made.map_err(io_error("create", path))
}

/// Unpacks one file, and tells how many bytes may follow.
fn unpack_file(
    zip: &mut ZipArchive<Cursor<&[u8]>>,
    index: usize,
    (name, to): (&str, &Path),
    is_executable: bool,
    mut left: u64,
) -> Result<u64, CompileError> {
    let mut from = zip.by_index(index).map_err(|error| broken(&error))?;
    let mode = if is_executable { 0o755 } else { 0o644 };
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(to);
    let mut file = file.map_err(io_error("create", to))?;
    file.set_permissions(Permissions::from_mode(mode))
        .map_err(io_error("create", to))?;
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece);
        let read = read.map_err(|error| refuse(format!("`{name}` is damaged: {error}")))?;
        if read == 0 {
            return Ok(left);
        }
        left = left.checked_sub(read as u64).ok_or_else(|| {
            refuse(format!(
                "it unpacks to more than {}: leave out what the function does not need, and keep \
                 data in a bucket",
                ByteSize(ARCHIVE_UNPACKED_MAX)
            ))
        })?;
        file.write_all(&piece[..read])
            .map_err(io_error("write", to))?;
    }
}

/// Makes all that was written to the file system of `folder` durable.
pub(crate) fn sync(folder: &Path) -> Result<(), CompileError> {
    let synced = File::open(folder).and_then(|file| Ok(rustix::fs::syncfs(&file)?));
    synced.map_err(io_error("sync", folder))
}

/// Gives a folder, which is synced already, its final name; one that has it already stays.
pub(crate) fn publish(from: &Path, to: &Path) -> Result<(), CompileError> {
    if to.is_dir() {
        return Ok(());
    }
    let parent: PathBuf = to.parent().expect("it lies in a folder of ours").to_owned();
    let renamed = fs::rename(from, to).and_then(|()| File::open(&parent)?.sync_all());
    renamed.map_err(io_error("create", to))
}

#[cfg(test)]
mod tests;
