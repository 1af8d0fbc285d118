//! Names of functions.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::NAME_MAX;

/// A function's name: 1 to 64 of `a-z`, `0-9` and `-`, not starting or ending with `-`, so that it
/// is also a DNS label (`NAME.localhost`). Cheap to clone.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionName(Arc<str>);

/// A text that cannot name a function.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(
    "`{name}` cannot name a function: use 1 to 64 of a-z, 0-9 and -, not starting or ending with -"
)]
pub struct NameError {
    name: String,
}

impl FunctionName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FunctionName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let fits = (1..=NAME_MAX).contains(&name.len());
        if fits && name.bytes().all(allowed) && !name.starts_with('-') && !name.ends_with('-') {
            Ok(Self(name.into()))
        } else {
            Err(NameError {
                name: name.chars().take(2 * NAME_MAX).collect(),
            })
        }
    }
}

impl TryFrom<String> for FunctionName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        name.parse()
    }
}

impl From<FunctionName> for String {
    fn from(name: FunctionName) -> Self {
        name.as_str().to_owned()
    }
}

impl Borrow<str> for FunctionName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::FunctionName;

    #[test]
    fn a_name_is_a_dns_label() {
        for name in ["a", "hello", "resize-2", &"x".repeat(64)] {
            assert_eq!(name.parse::<FunctionName>().unwrap().as_str(), name);
        }
        for name in [
            "",
            "-a",
            "a-",
            "A",
            "a_b",
            "a.b",
            "a/b",
            "ä",
            &"x".repeat(65),
        ] {
            assert!(name.parse::<FunctionName>().is_err(), "{name}");
        }
    }
}
