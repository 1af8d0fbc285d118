//! Programs of our own choosing that help at deploy, within bounds.

use std::collections::VecDeque;
use std::io::{self, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error;

/// What a program left.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: ExitStatus,
    /// The begin of its output.
    pub(crate) stdout: Vec<u8>,
    /// The end of its complaints.
    pub(crate) stderr: String,
}

/// A program that did not come to an end of its own.
#[derive(Debug, Error)]
pub(crate) enum ChildError {
    /// It could not be started.
    #[error("it cannot be started")]
    Start(#[source] io::Error),
    /// It took longer than it may.
    #[error("it was not done within {0:?}")]
    Late(Duration),
}

/// Bounds of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) time: Duration,
    /// Bytes of output that are kept.
    pub(crate) stdout: usize,
    /// Bytes of complaints that are kept.
    pub(crate) stderr: usize,
}

/// Runs a program to its end. Its standard input holds `input` and stays open until then, so that
/// it can see when we are gone. It and what it started are killed when the time is over.
pub(crate) fn run(mut command: Command, input: &[u8], bounds: Bounds) -> Result<Told, ChildError> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(ChildError::Start)?;
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let stdout = child.stdout.take().expect("standard output is piped");
    let stderr = child.stderr.take().expect("standard error is piped");
    let (ended, end) = mpsc::channel();
    let (stdout, stderr, is_late) = thread::scope(|scope| {
        let stderr = scope.spawn(|| last_of(stderr, bounds.stderr));
        let stdout = scope.spawn(move || {
            let all = first_of(stdout, bounds.stdout);
            // Nobody listens any more when the time is over.
            ended.send(()).ok();
            all
        });
        // A program that does not want to hear us says why on standard error.
        stdin.write_all(input).and_then(|()| stdin.flush()).ok();
        let is_late = end.recv_timeout(bounds.time).is_err();
        if is_late {
            kill(&child);
        }
        let stdout = stdout.join().expect("reading does not panic");
        let stderr = stderr.join().expect("reading does not panic");
        (stdout, stderr, is_late)
    });
    drop(stdin);
    let status = child.wait().map_err(ChildError::Start)?;
    if is_late {
        return Err(ChildError::Late(bounds.time));
    }
    Ok(Told {
        status,
        stdout,
        stderr,
    })
}

fn kill(child: &Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        // It may be gone already.
        kill_process_group(group, Signal::KILL).ok();
    }
}

fn first_of(mut stream: impl Read, most: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    // What cannot be read is not there; what is over is read, so that the program goes on.
    stream
        .by_ref()
        .take(most as u64)
        .read_to_end(&mut kept)
        .ok();
    io::copy(&mut stream, &mut io::sink()).ok();
    kept
}

fn last_of(mut stream: impl Read, most: usize) -> String {
    let mut kept = VecDeque::new();
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        kept.extend(&piece[..read]);
        kept.drain(..kept.len().saturating_sub(most));
    }
    String::from_utf8_lossy(kept.make_contiguous()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::{Bounds, ChildError, run};

    const BOUNDS: Bounds = Bounds {
        time: Duration::from_secs(20),
        stdout: 10,
        stderr: 10,
    };

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_it_says_is_kept_within_bounds() {
        let script = "read line; echo $line; seq 100000; seq 100000 >&2; exit 3";
        let told = run(shell(script), b"hello\n", BOUNDS).unwrap();
        assert_eq!(told.status.code(), Some(3));
        assert_eq!(told.stdout, b"hello\n1\n2\n");
        assert_eq!(told.stderr, "99\n100000\n");
    }

    #[test]
    fn it_ends_in_time_with_all_that_it_started() {
        let bounds = Bounds {
            time: Duration::from_millis(200),
            ..BOUNDS
        };
        let begin = Instant::now();
        let late = run(shell("sleep 30 & sleep 30"), b"", bounds).unwrap_err();
        assert!(matches!(late, ChildError::Late(_)));
        assert!(begin.elapsed() < Duration::from_secs(10));
        let absent = run(Command::new("/no/such/program"), b"", bounds).unwrap_err();
        assert!(matches!(absent, ChildError::Start(_)));
    }
}
