//! The one place that writes to standard output and standard error.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::Duration;

use fractus_stdx::ByteSize;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::failure::Failure;

/// Where results, notes and progress go. Results are the only thing on standard output.
#[derive(Debug)]
pub(crate) struct Output {
    /// Results as JSON in place of tables and sentences.
    pub(crate) json: bool,
    /// Progress bars on standard error.
    pub(crate) bars: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            bars: io::stderr().is_terminal(),
        }
    }

    /// Writes a result, followed by a line end.
    #[expect(clippy::unused_self, reason = "printing is the output's to do")]
    pub(crate) fn line(&self, text: impl Display) -> Result<(), Failure> {
        told(writeln!(io::stdout().lock(), "{text}"))
    }

    /// Writes a result as it is.
    #[expect(clippy::unused_self, reason = "printing is the output's to do")]
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        told(stdout.write_all(bytes).and_then(|()| stdout.flush()))
    }

    /// Writes a result as indented JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::new("cannot write the result as JSON").because(&error))?;
        self.line(text)
    }

    /// Tells the user something that is not a result. It is no failure when nobody listens.
    #[expect(clippy::unused_self, reason = "printing is the output's to do")]
    pub(crate) fn note(&self, text: impl Display) {
        writeln!(io::stderr().lock(), "{text}").ok();
    }

    /// Begins to show how many of `total` bytes are done; a plain line where there is no terminal.
    pub(crate) fn bar(&self, label: &str, total: Option<u64>) -> ProgressBar {
        if !self.bars {
            let size = total.map_or_else(String::new, |total| format!(" ({})", ByteSize(total)));
            self.note(format_args!("{label}{size}"));
            return ProgressBar::hidden();
        }
        let (bar, form) = match total {
            Some(total) => (
                ProgressBar::new(total),
                "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}",
            ),
            None => (
                ProgressBar::no_length(),
                "{msg} {spinner} {bytes} {bytes_per_sec}",
            ),
        };
        bar.with_style(style(form)).with_message(label.to_owned())
    }

    /// Begins to show that something of unknown length goes on; a plain line where there is no
    /// terminal.
    pub(crate) fn spinner(&self, label: &str) -> ProgressBar {
        if !self.bars {
            self.note(label);
            return ProgressBar::hidden();
        }
        let spinner = ProgressBar::new_spinner()
            .with_style(style("{spinner} {prefix} {elapsed} {wide_msg:.dim}"))
            .with_prefix(label.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(100));
        spinner
    }
}

fn style(form: &str) -> ProgressStyle {
    ProgressStyle::with_template(form).expect("the templates are constants and well-formed")
}

fn told(written: io::Result<()>) -> Result<(), Failure> {
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::new("cannot write to standard output").because(&error),
    })
}
