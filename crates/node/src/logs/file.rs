//! One function's log on disk: a JSON text a line, oldest first.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fractus_func::FunctionName;
use fractus_func::limits::LOG_LINE_MAX;

use crate::durable;
use crate::limits::LOG_FILE_MAX;
use crate::logs::LogLine;

/// No stored line is longer: JSON writes a control character with six bytes.
const STORED_LINE_MAX: u64 = 6 * LOG_LINE_MAX as u64 + 1024;

/// A log open for writing.
#[derive(Debug)]
pub(super) struct LogFile {
    paths: Paths,
    file: BufWriter<File>,
    size: u64,
    /// Of the last line.
    seq: u64,
}

#[derive(Debug)]
struct Paths {
    current: PathBuf,
    before: PathBuf,
}

impl Paths {
    fn new(folder: &Path, function: &FunctionName) -> Self {
        Self {
            current: folder.join(format!("{function}.jsonl")),
            before: folder.join(format!("{function}.jsonl.1")),
        }
    }
}

impl LogFile {
    /// Opens a function's log behind its last whole line.
    pub(super) fn open(folder: &Path, function: &FunctionName) -> io::Result<Self> {
        let paths = Paths::new(folder, function);
        let mut file = append_to(&paths.current)?;
        let (size, last) = last_line(&mut file)?;
        file.set_len(size)?;
        file.seek(SeekFrom::End(0))?;
        let seq = match last {
            Some(line) => line.seq,
            None => match open_existing(&paths.before)? {
                Some(mut before) => last_line(&mut before)?.1.map_or(0, |line| line.seq),
                None => 0,
            },
        };
        Ok(Self {
            paths,
            file: BufWriter::new(file),
            size,
            seq,
        })
    }

    /// Appends a line, to which it gives its number.
    pub(super) fn append(&mut self, line: &mut LogLine) -> io::Result<()> {
        line.seq = self.seq + 1;
        let mut text = serde_json::to_vec(line).expect("texts and numbers are JSON");
        text.push(b'\n');
        if self.size + text.len() as u64 > LOG_FILE_MAX {
            self.rotate()?;
        }
        self.file.write_all(&text)?;
        self.size += text.len() as u64;
        self.seq += 1;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.flush()?;
        fs::rename(&self.paths.current, &self.paths.before)?;
        self.file = BufWriter::new(append_to(&self.paths.current)?);
        self.size = 0;
        Ok(())
    }

    /// Hands buffered lines to the system.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options.open(path)
}

fn open_existing(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// Where the last whole line ends, and that line.
fn last_line(file: &mut File) -> io::Result<(u64, Option<LogLine>)> {
    let length = file.metadata()?.len();
    let begin = length.saturating_sub(2 * STORED_LINE_MAX);
    file.seek(SeekFrom::Start(begin))?;
    let mut tail = Vec::new();
    file.take(2 * STORED_LINE_MAX).read_to_end(&mut tail)?;
    let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else {
        return Ok((0, None));
    };
    let lines = tail[..end].rsplit(|byte| *byte == b'\n');
    let last = lines
        .into_iter()
        .find_map(|line| serde_json::from_slice(line).ok());
    Ok((begin + end as u64 + 1, last))
}

/// Removes a function's log.
pub(super) fn remove(folder: &Path, function: &FunctionName) -> io::Result<()> {
    let paths = Paths::new(folder, function);
    durable::remove(&paths.current)?;
    durable::remove(&paths.before)
}

/// As [`super::Logs::read`].
pub(super) fn read(
    folder: &Path,
    function: &FunctionName,
    after: Option<u64>,
    limit: usize,
) -> io::Result<Vec<LogLine>> {
    let paths = Paths::new(folder, function);
    // In this order: what is rotated in between is then seen twice rather than never.
    let current = open_existing(&paths.current)?;
    let before = open_existing(&paths.before)?;
    let mut found = VecDeque::new();
    let mut last = after.unwrap_or(0);
    for file in [before, current].into_iter().flatten() {
        for text in BufReader::new(file).split(b'\n') {
            // A line that is cut off is being written.
            let Ok(line) = serde_json::from_slice::<LogLine>(&text?) else {
                continue;
            };
            if line.seq <= last {
                continue;
            }
            if found.len() == limit {
                if after.is_some() {
                    return Ok(found.into());
                }
                found.pop_front();
            }
            last = line.seq;
            found.push_back(line);
        }
    }
    found.truncate(limit);
    Ok(found.into())
}
