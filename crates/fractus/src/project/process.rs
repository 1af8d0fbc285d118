//! Programs that build, run with their output shown as progress.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, ErrorKind, Read};
use std::process::{Command, Stdio};
use std::thread;

use indicatif::ProgressBar;

use crate::failure::Failure;
use crate::limits::BUILD_LINES_MAX;
use crate::output::Output;

/// Runs `command` to its end. What it says is shown as it goes, and again if it fails.
pub(crate) fn run(mut command: Command, label: &str, output: &Output) -> Result<(), Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        let failure = Failure::new(format!("cannot run `{program}`")).because(&error);
        match error.kind() {
            ErrorKind::NotFound => failure.hint(format!("install `{program}` or add it to PATH")),
            _ => failure,
        }
    })?;
    let spinner = output.spinner(label);
    let stdout = child.stdout.take().expect("standard output is piped");
    let stderr = child.stderr.take().expect("standard error is piped");
    let said = thread::scope(|scope| {
        let other = scope.spawn(|| show(stdout, &spinner, output));
        let mut said = show(stderr, &spinner, output);
        said.extend(other.join().expect("showing lines does not panic"));
        said
    });
    spinner.finish_and_clear();
    let status = child
        .wait()
        .map_err(|error| Failure::new(format!("cannot wait for `{program}`")).because(&error))?;
    if status.success() {
        return Ok(());
    }
    if output.bars {
        for line in &said {
            output.note(line);
        }
    }
    Err(Failure::new(format!("{label} failed")).why(format!(
        "`{program}` ended with {status}; its output is above"
    )))
}

/// Shows lines as progress where there is a terminal, as lines where there is none. Returns the
/// last of them.
fn show(stream: impl Read, spinner: &ProgressBar, output: &Output) -> VecDeque<String> {
    let mut last = VecDeque::new();
    for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        if output.bars {
            spinner.set_message(line.trim().to_owned());
        } else {
            output.note(&line);
        }
        if last.len() == BUILD_LINES_MAX {
            last.pop_front();
        }
        last.push_back(line);
    }
    last
}
