//! Names of functions.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::NAME_MAX;

/// A function's name: 1 to 64 of `A-Z`, `a-z`, `0-9`, `-` and `_`, as AWS Lambda has it. Cheap to
/// clone.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionName(Arc<str>);

/// A text that cannot name a function.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{name}` cannot name a function: use 1 to 64 of A-Z, a-z, 0-9, - and _")]
pub struct NameError {
    name: String,
}

impl FunctionName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it can also be a part of a host's name (RFC 1123 §2.1), such as `NAME.localhost`:
    /// those have one case, no `_`, at most 63 bytes, and no `-` at either end.
    pub fn is_dns_label(&self) -> bool {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let name = self.as_str();
        name.len() < NAME_MAX
            && name.bytes().all(plain)
            && !name.starts_with('-')
            && !name.ends_with('-')
    }
}

impl FromStr for FunctionName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(allowed) {
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
    fn names_are_those_of_aws() {
        for name in ["a", "hello", "Resize_2", "-a", "a-", &"x".repeat(64)] {
            assert_eq!(name.parse::<FunctionName>().unwrap().as_str(), name);
        }
        for name in ["", "a.b", "a/b", "..", "a b", "ä", &"x".repeat(65)] {
            assert!(name.parse::<FunctionName>().is_err(), "{name}");
        }
    }

    #[test]
    fn some_are_parts_of_a_host() {
        let label = |name: &str| name.parse::<FunctionName>().unwrap().is_dns_label();
        for name in ["a", "hello-2", &"x".repeat(63)] {
            assert!(label(name), "{name}");
        }
        for name in ["A", "a_b", "-a", "a-", &"x".repeat(64)] {
            assert!(!label(name), "{name}");
        }
    }
}
