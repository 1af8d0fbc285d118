//! `OpenLambda`'s archives of functions, which are gzipped tar files, as the zip files that are
//! deployed here.

use std::collections::BTreeSet;
use std::io::{self, Cursor, Read};

use flate2::read::MultiGzDecoder;
use fractus_func::limits::{ARCHIVE_ENTRIES_MAX, ARCHIVE_UNPACKED_MAX};
use fractus_stdx::ByteSize;
use tar::{Archive, Entry, EntryType, PaxExtensions};
use thiserror::Error;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::limits::TAR_EXTENSION_MAX;

/// An archive that is not taken.
#[derive(Debug, Error)]
pub(crate) enum RepackError {
    /// It is cut off, damaged, or something else.
    #[error("the archive is not a whole tar.gz")]
    Broken(#[source] io::Error),
    /// It unpacks to more than [`ARCHIVE_UNPACKED_MAX`] bytes.
    #[error(
        "the archive unpacks to more than {}: leave out what the function does not need",
        ByteSize(ARCHIVE_UNPACKED_MAX)
    )]
    TooLarge,
    /// It has more than [`ARCHIVE_ENTRIES_MAX`] entries.
    #[error(
        "the archive has more than {ARCHIVE_ENTRIES_MAX} files and folders: leave out what the \
         function does not need"
    )]
    TooMany,
    /// One of its entries is nothing that a function may have.
    #[error("`{entry}` in the archive {problem}")]
    Entry {
        /// Its name, shown without control characters.
        entry: String,
        /// What is wrong with it, and what to do.
        problem: &'static str,
    },
    /// The zip file cannot be made.
    #[error("the archive cannot be packed as a zip file")]
    Zip(#[source] ZipError),
}

/// What names and attributes were told of the entry that follows.
#[derive(Debug, Default)]
struct Extension {
    path: Option<Vec<u8>>,
    is_sparse: bool,
}

/// Makes a zip file of a gzipped tar file. Names, contents and permissions stay; owners and times
/// go, so that equal files make equal archives. Nothing is trusted: what is not a file or a folder
/// below the archive's own is refused, and no more is unpacked than may be.
pub(crate) fn repack(bytes: &[u8]) -> Result<Vec<u8>, RepackError> {
    // One more than may be, so that reaching the end of it tells.
    let mut plain = MultiGzDecoder::new(bytes).take(ARCHIVE_UNPACKED_MAX + 1);
    let packed = pack(&mut plain);
    if plain.limit() == 0 {
        return Err(RepackError::TooLarge);
    }
    packed
}

fn pack(plain: &mut impl Read) -> Result<Vec<u8>, RepackError> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut archive = Archive::new(&mut *plain);
    let mut extension = Extension::default();
    let mut paths = BTreeSet::new();
    // Raw, since names that the library puts together may be as long as the archive.
    let entries = archive.entries().map_err(RepackError::Broken)?.raw(true);
    for (count, entry) in entries.enumerate() {
        let mut entry = entry.map_err(RepackError::Broken)?;
        if count >= ARCHIVE_ENTRIES_MAX {
            return Err(RepackError::TooMany);
        }
        match entry.header().entry_type() {
            EntryType::XHeader => extension.read_pax(&mut entry)?,
            EntryType::GNULongName => extension.path = Some(read_extension(&mut entry)?),
            EntryType::GNULongLink | EntryType::XGlobalHeader => {}
            _ => add(
                &mut zip,
                &mut entry,
                std::mem::take(&mut extension),
                &mut paths,
            )?,
        }
    }
    // What follows may show that it is damaged.
    io::copy(plain, &mut io::sink()).map_err(RepackError::Broken)?;
    let zip = zip.finish().map_err(RepackError::Zip)?;
    Ok(zip.into_inner())
}

/// Adds one file or folder.
fn add<R: Read>(
    zip: &mut ZipWriter<Cursor<Vec<u8>>>,
    entry: &mut Entry<'_, R>,
    extension: Extension,
    paths: &mut BTreeSet<String>,
) -> Result<(), RepackError> {
    let name = extension
        .path
        .unwrap_or_else(|| entry.path_bytes().into_owned());
    let refuse = |problem| RepackError::Entry {
        entry: String::from_utf8_lossy(&name).escape_debug().to_string(),
        problem,
    };
    let path = normal(&name).map_err(refuse)?;
    match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous | EntryType::Directory => {}
        EntryType::Link | EntryType::Symlink => {
            return Err(refuse(
                "is a link: pack the file itself, as `tar -h --hard-dereference`",
            ));
        }
        EntryType::GNUSparse => return Err(refuse("is sparse: pack it without `tar -S`")),
        _ => return Err(refuse("is neither a file nor a folder")),
    }
    if extension.is_sparse {
        return Err(refuse("is sparse: pack it without `tar -S`"));
    }
    let kind = entry.header().entry_type();
    // Before there were types of entries, a slash made a folder.
    let is_folder = kind == EntryType::Directory || name.ends_with(b"/");
    if path.is_empty() {
        return if is_folder {
            Ok(())
        } else {
            Err(refuse("names no file"))
        };
    }
    let mode = entry.header().mode().map_err(RepackError::Broken)?;
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .unix_permissions(mode & 0o777);
    let is_new = paths.insert(path.clone());
    if !is_new {
        // A folder may be named each time that something is added to it.
        return if is_folder {
            Ok(())
        } else {
            Err(refuse("is there twice"))
        };
    }
    if is_folder {
        return zip.add_directory(path, options).map_err(RepackError::Zip);
    }
    zip.start_file(path, options).map_err(RepackError::Zip)?;
    io::copy(entry, zip).map_err(RepackError::Broken)?;
    Ok(())
}

impl Extension {
    /// Reads what POSIX calls an extended header (pax, "Interchange Format").
    fn read_pax<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), RepackError> {
        for record in PaxExtensions::new(&read_extension(entry)?) {
            let record = record.map_err(RepackError::Broken)?;
            match record.key_bytes() {
                b"path" => self.path = Some(record.value_bytes().to_vec()),
                key => self.is_sparse |= key.starts_with(b"GNU.sparse."),
            }
        }
        Ok(())
    }
}

/// The contents of an entry that tells of the next, without the NUL at their end.
fn read_extension<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, RepackError> {
    if entry.size() > TAR_EXTENSION_MAX {
        return Err(RepackError::Entry {
            entry: String::from_utf8_lossy(&entry.path_bytes())
                .escape_debug()
                .to_string(),
            problem: "has a name that is too long",
        });
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(RepackError::Broken)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

/// A name without empty parts and `.`, or what is wrong with it; empty for the archive's own root.
fn normal(name: &[u8]) -> Result<String, &'static str> {
    let name = str::from_utf8(name).map_err(|_not_text| "has a name that is not UTF-8")?;
    if name.starts_with('/') {
        return Err("is absolute: names must be relative to the function's own folder");
    }
    let parts = name.split('/').filter(|part| !matches!(*part, "" | "."));
    let parts: Vec<&str> = parts.collect();
    if parts.contains(&"..") {
        return Err("leaves the function's own folder");
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests;
