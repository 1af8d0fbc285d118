//! What a user is told when a command fails: what happened, why, and what to do.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use fractus_stdx::ErrorChain;

/// Why a command ended without doing what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something to tell the user.
    Told(Box<Told>),
    /// Whoever read our standard output has gone, as `head` does: nothing is wrong.
    OutputClosed,
}

/// A failure in words.
#[derive(Debug)]
pub(crate) struct Told {
    what: String,
    why: Option<String>,
    hint: Option<String>,
    /// What the process ends with: 1, or 2 where the command line is to blame.
    exit: u8,
    /// The node's code for it, where the node refused.
    refusal: Option<String>,
    /// Whether an answer ended before it was whole.
    is_broken_off: bool,
}

impl Failure {
    /// What happened, as a sentence without a full stop.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self::Told(Box::new(Told {
            what: what.into(),
            why: None,
            hint: None,
            exit: 1,
            refusal: None,
            is_broken_off: false,
        }))
    }

    /// A command line that cannot be meant.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(what).with(|told| told.exit = 2)
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Told(told) => ExitCode::from(told.exit),
            Self::OutputClosed => ExitCode::SUCCESS,
        }
    }

    /// Adds the cause in words.
    #[must_use]
    pub(crate) fn why(self, why: impl Into<String>) -> Self {
        self.with(|told| told.why = Some(why.into()))
    }

    /// Adds the cause: an error with all of its sources.
    #[must_use]
    pub(crate) fn because(self, error: &dyn Error) -> Self {
        self.why(ErrorChain(error).to_string())
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        self.with(|told| told.hint = Some(hint.into()))
    }

    /// Adds what the user can do about it, if nothing better is known.
    #[must_use]
    pub(crate) fn or_hint(self, hint: impl Into<String>) -> Self {
        self.with(|told| {
            told.hint.get_or_insert_with(|| hint.into());
        })
    }

    /// Adds the node's code for it.
    #[must_use]
    pub(crate) fn refused(self, code: String) -> Self {
        self.with(|told| told.refusal = Some(code))
    }

    /// Whether the node refused with `code`.
    pub(crate) fn is_refusal(&self, code: &str) -> bool {
        matches!(self, Self::Told(told) if told.refusal.as_deref() == Some(code))
    }

    /// Says that an answer ended before it was whole.
    #[must_use]
    pub(crate) fn broken_off(self) -> Self {
        self.with(|told| told.is_broken_off = true)
    }

    /// Whether an answer ended before it was whole.
    pub(crate) fn is_broken_off(&self) -> bool {
        matches!(self, Self::Told(told) if told.is_broken_off)
    }

    fn with(mut self, change: impl FnOnce(&mut Told)) -> Self {
        if let Self::Told(told) = &mut self {
            change(told);
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Told(told) = self else {
            return f.write_str("standard output was closed");
        };
        write!(f, "error: {}", told.what)?;
        if let Some(why) = &told.why {
            write!(f, "\n  why: {}", why.trim_end().replace('\n', "\n       "))?;
        }
        if let Some(hint) = &told.hint {
            write!(f, "\n  try: {}", hint.replace('\n', "\n       "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::Failure;

    #[test]
    fn tells_what_why_and_what_to_do() {
        let failure = Failure::new("cannot read x")
            .because(&io::Error::other("disk gone\nreally"))
            .hint("mount it");
        assert_eq!(
            failure.to_string(),
            "error: cannot read x\n  why: disk gone\n       really\n  try: mount it"
        );
        assert_eq!(Failure::new("no").to_string(), "error: no");
        let kept = failure.or_hint("something else").to_string();
        assert!(kept.ends_with("mount it"), "{kept}");
    }
}
