//! A server that takes part in a benchmark, and its life.

use std::any::Any;
use std::fmt;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

use super::http;
use super::machine::{self, Memory};

/// How long a server may take to answer its first request.
const START_LIMIT: Duration = Duration::from_mins(1);

/// How long a server may take to end before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Between two looks at a server that is coming up: well below what is measured.
const POLL: Duration = Duration::from_micros(200);

/// How to run a server, prepared so far that starting it is starting a process.
pub(super) struct Contestant {
    /// Its name in the table.
    pub(super) name: String,
    program: PathBuf,
    arguments: Vec<String>,
    /// Where it will listen.
    pub(super) address: SocketAddr,
    /// The path and query that are asked for.
    pub(super) target: String,
    /// Directories that live as long as it does.
    keep: Vec<Box<dyn Any>>,
}

impl Contestant {
    /// A server on a free port.
    pub(super) fn new(name: &str, program: impl Into<PathBuf>, target: &str) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            program: program.into(),
            arguments: Vec::new(),
            address: free_address()?,
            target: target.to_owned(),
            keep: Vec::new(),
        })
    }

    pub(super) fn arguments<S: Into<String>>(
        mut self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub(super) fn keep(mut self, kept: impl Any) -> Self {
        self.keep.push(Box::new(kept));
        self
    }

    /// Starts it, on one core if asked, and waits until it has answered with 200.
    pub(super) fn start(&self, core: Option<u32>) -> Result<Server> {
        self.start_until(core, || http::expect(self.address, &self.target))
    }

    /// Starts it and waits until nothing is wrong with it any more.
    pub(super) fn start_until(
        &self,
        core: Option<u32>,
        ready: impl Fn() -> Result<()>,
    ) -> Result<Server> {
        let mut server = self.spawn(core)?;
        let began = Instant::now();
        while let Err(wrong) = ready() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{self} ended with {status}\n{}", server.complaints());
            }
            if began.elapsed() > START_LIMIT {
                bail!("{self} does not start: {wrong:#}\n{}", server.complaints());
            }
            thread::sleep(POLL);
        }
        Ok(server)
    }

    fn spawn(&self, core: Option<u32>) -> Result<Server> {
        let mut command = match core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command
                    .args(["--cpu-list", &core.to_string()])
                    .arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        let log = NamedTempFile::new()?;
        let output = || -> Result<File> { Ok(log.reopen()?) };
        command
            .args(&self.arguments)
            .stdout(output()?)
            .stderr(output()?);
        let child = command
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        Ok(Server { child, log })
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{} {}`",
            self.program.display(),
            self.arguments.join(" ")
        )
    }
}

/// A running server; it ends when this is dropped, whatever happened in between.
pub(super) struct Server {
    child: Child,
    log: NamedTempFile,
}

impl Server {
    /// CPU time it and its children have taken so far.
    pub(super) fn cpu(&self) -> Result<Duration> {
        machine::cpu(self.child.id())
    }

    pub(super) fn memory(&self) -> Result<Memory> {
        machine::memory(self.child.id())
    }

    /// Its processes and their memory, its children's among them.
    pub(super) fn tree_memory(&self) -> Result<(usize, Memory)> {
        machine::tree_memory(self.child.id())
    }

    /// Ends it as a failure of the machine would.
    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The end of what it printed.
    fn complaints(&self) -> String {
        const LINES: usize = 20;
        let text = fs::read_to_string(self.log.path()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    fn stop(&mut self) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)?;
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > STOP_LIMIT {
                eprintln!("process {pid:?} did not end on SIGTERM and is killed");
                self.child.kill()?;
                self.child.wait()?;
                break;
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A process that has ended by itself is as good as one that was stopped.
        let ended = matches!(self.child.try_wait(), Ok(Some(_)));
        if let Err(error) = if ended { Ok(()) } else { self.stop() } {
            eprintln!(
                "process {} could not be stopped: {error:#}",
                self.child.id()
            );
        }
    }
}

/// An address on loopback that nobody listens on. Another process may take it before it is used;
/// the bench then fails and says so.
pub(super) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A file's path as an argument.
pub(super) fn argument(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::Contestant;

    #[test]
    fn a_server_that_ends_at_once_is_an_error_that_tells_what_it_printed() {
        let contestant = Contestant::new("sh", "sh", "/").unwrap();
        let contestant = contestant.arguments(["-c", "echo no such thing >&2; exit 3"]);
        let error = contestant
            .start(None)
            .err()
            .expect("it did not serve")
            .to_string();
        assert!(
            error.contains("no such thing") && error.contains("exit status: 3"),
            "{error}"
        );
    }
}
