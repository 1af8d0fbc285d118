//! One way to print an error with its causes.

use std::error::Error;
use std::fmt;

/// Displays an error followed by each of its sources, separated by `: `.
///
/// Our errors never repeat their source in their own message, so the chain reads once through.
#[derive(Clone, Copy)]
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::ErrorChain;

    #[derive(Debug, Error)]
    #[error("disk gone")]
    struct Inner;

    #[derive(Debug, Error)]
    #[error("write volume 3")]
    struct Outer(#[source] Inner);

    #[test]
    fn each_cause_once() {
        assert_eq!(
            ErrorChain(&Outer(Inner)).to_string(),
            "write volume 3: disk gone"
        );
    }
}
