//! What stands for functions, their versions, layers and mappings: names and ARNs.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::error::{Constraint, ServiceError};
use crate::limits::{
    FUNCTION_NAME_MAX, FUNCTION_REF_MAX, LAYER_NAME_MAX, LAYER_REF_MAX, QUALIFIED_REF_MAX,
    QUALIFIER_MAX,
};

#[cfg(test)]
mod tests;

// As the model has them, for messages. Any name of a region will do here.
const FUNCTION_PATTERN: &str = "(arn:(aws[a-zA-Z-]*)?:lambda:)?\
    ((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:)?(\\d{12}:)?\
    (function:)?([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?";
const LAYER_PATTERN: &str = "(arn:(aws[a-zA-Z-]*)?:lambda:\
    (eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:\\d{12}:\
    layer:[a-zA-Z0-9-_]{1,140}(:[0-9]+)?|[a-zA-Z0-9-_]{1,140})";
const QUALIFIER_PATTERN: &str = "(|[a-zA-Z0-9$_-]+)";
const ALIAS_PATTERN: &str = "(?!^[0-9]+$)([a-zA-Z0-9-_]+)";

/// What a request calls a function.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FunctionRef {
    /// The account's twelve digits, if they are told.
    pub account: Option<String>,
    /// The region, if it is told.
    pub region: Option<String>,
    /// The function's name.
    pub name: String,
    /// The version or alias, if it is told.
    pub qualifier: Option<Qualifier>,
}

/// What stands for a version of a function.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Qualifier {
    /// `$LATEST`: what was last uploaded.
    Latest,
    /// A published version.
    Version(u64),
    /// What stands for a version or two.
    Alias(String),
}

/// What a request calls a layer, or a version of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LayerRef {
    /// The account's twelve digits, if they are told.
    pub account: Option<String>,
    /// The region, if it is told.
    pub region: Option<String>,
    /// The layer's name.
    pub name: String,
    /// The version, if it is told.
    pub version: Option<u64>,
}

impl FunctionRef {
    /// Reads `name`, `function:name`, `ACCOUNT:function:name`, `ACCOUNT:name`,
    /// `REGION:ACCOUNT:function:name` or `arn:aws:lambda:REGION:ACCOUNT:function:name`, each with
    /// `:qualifier` or without. Whose account and region it is, is not looked at, and the name may
    /// be longer than any function's: see [`FunctionRef::check_new`]. The error is a
    /// `ValidationException` about `functionName`.
    pub fn parse(text: &str) -> Result<Self, ServiceError> {
        let refused = |constraint| ServiceError::constraint("functionName", text, constraint);
        let mismatch = || refused(Constraint::Pattern(FUNCTION_PATTERN));
        if text.is_empty() {
            return Err(refused(Constraint::LengthMin(1)));
        }
        if text.len() > QUALIFIED_REF_MAX {
            return Err(refused(Constraint::LengthMax(QUALIFIED_REF_MAX)));
        }
        let (region, account, rest) = if let Some((region, account, rest)) = arn(text) {
            let rest = rest.strip_prefix("function:").ok_or_else(mismatch)?;
            (Some(region), Some(account), rest)
        } else {
            let (region, rest) = short_region(text);
            let split = rest.split_once(':').filter(|(first, _)| is_account(first));
            let (account, rest) = split.map_or((None, rest), |(first, rest)| (Some(first), rest));
            (
                region,
                account,
                rest.strip_prefix("function:").unwrap_or(rest),
            )
        };
        let (name, qualifier) = match rest.split_once(':') {
            Some((name, qualifier)) => {
                let qualifier = Qualifier::from_text(qualifier);
                // Only here no alias has a dollar sign.
                let known = |one: &Qualifier| match one {
                    Qualifier::Alias(alias) => is_name(alias),
                    _ => true,
                };
                (name, Some(qualifier.filter(known).ok_or_else(mismatch)?))
            }
            None if text.len() > FUNCTION_REF_MAX => {
                return Err(refused(Constraint::LengthMax(FUNCTION_REF_MAX)));
            }
            None => (rest, None),
        };
        if !is_name(name) {
            return Err(mismatch());
        }
        Ok(Self {
            account: account.map(str::to_owned),
            region: region.map(str::to_owned),
            name: name.to_owned(),
            qualifier,
        })
    }

    /// Whether a function may be made by this name; `text` is what was parsed.
    pub fn check_new(&self, text: &str) -> Result<(), ServiceError> {
        if self.name.len() <= FUNCTION_NAME_MAX {
            return Ok(());
        }
        let most = Constraint::LengthMax(FUNCTION_NAME_MAX);
        let error = ServiceError::constraint("functionName", text, most);
        Err(ServiceError::invalid_parameter(error.message))
    }

    /// Whether it is in the region `own`, or names none; `text` is what was parsed.
    pub fn check_region(&self, text: &str, own: &str) -> Result<(), ServiceError> {
        match self.region.as_deref() {
            None => Ok(()),
            Some(region) if region == own => Ok(()),
            Some(region) if is_region(region) => Err(ServiceError::not_found(format!(
                "Functions from '{region}' are not reachable in this region ('{own}')"
            ))),
            Some(_) => {
                let pattern = Constraint::Pattern(FUNCTION_PATTERN);
                Err(ServiceError::constraint("functionName", text, pattern))
            }
        }
    }

    /// With the request's parameter `Qualifier`; empty text is none. It may say what the name says
    /// already, and nothing else.
    pub fn with_qualifier(mut self, qualifier: Option<&str>) -> Result<Self, ServiceError> {
        let Some(text) = qualifier.filter(|text| !text.is_empty()) else {
            return Ok(self);
        };
        let qualifier = Qualifier::parse(text)?;
        if self.qualifier.as_ref().is_some_and(|own| *own != qualifier) {
            return Err(ServiceError::invalid_parameter(
                "The derived qualifier from the function name does not match the specified \
                 qualifier.",
            ));
        }
        self.qualifier = Some(qualifier);
        Ok(self)
    }

    /// For operations on a function as a whole: the error is about the qualifier, if there is one.
    pub fn unqualified(self) -> Result<Self, ServiceError> {
        match &self.qualifier {
            None => Ok(self),
            Some(qualifier) => Err(ServiceError::invalid_parameter(format!(
                "This operation takes a function name without a qualifier, and not \
                 '{}:{qualifier}'.",
                self.name
            ))),
        }
    }
}

impl Qualifier {
    /// Reads a qualifier that stands alone. The error is a `ValidationException` about
    /// `qualifier`.
    pub fn parse(text: &str) -> Result<Self, ServiceError> {
        Self::from_text(text).ok_or_else(|| {
            let constraint = if text.len() > QUALIFIER_MAX {
                Constraint::LengthMax(QUALIFIER_MAX)
            } else {
                Constraint::Pattern(QUALIFIER_PATTERN)
            };
            ServiceError::constraint("qualifier", text, constraint)
        })
    }

    fn from_text(text: &str) -> Option<Self> {
        if text == "$LATEST" {
            return Some(Self::Latest);
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // No version has a number beyond that.
            let number = text.parse().ok().map(Self::Version);
            return number
                .or_else(|| (text.len() <= QUALIFIER_MAX).then(|| Self::Alias(text.to_owned())));
        }
        let is_alias = (1..=QUALIFIER_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte == b'$' || is_name_byte(byte));
        is_alias.then(|| Self::Alias(text.to_owned()))
    }
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("$LATEST"),
            Self::Version(number) => write!(f, "{number}"),
            Self::Alias(name) => f.write_str(name),
        }
    }
}

impl LayerRef {
    /// Reads `name` or `arn:aws:lambda:REGION:ACCOUNT:layer:name`, the latter with `:version` or
    /// without. The error is a `ValidationException` about `layerName`.
    pub fn parse(text: &str) -> Result<Self, ServiceError> {
        let refused = |constraint| ServiceError::constraint("layerName", text, constraint);
        let mismatch = || refused(Constraint::Pattern(LAYER_PATTERN));
        if text.len() > LAYER_REF_MAX {
            return Err(refused(Constraint::LengthMax(LAYER_REF_MAX)));
        }
        let (region, account, name, version) = match arn(text) {
            Some((region, account, rest)) => {
                let rest = rest.strip_prefix("layer:").ok_or_else(mismatch)?;
                let (name, version) = match rest.split_once(':') {
                    Some((name, version)) => match Qualifier::from_text(version) {
                        Some(Qualifier::Version(version)) => (name, Some(version)),
                        _ => return Err(mismatch()),
                    },
                    None => (rest, None),
                };
                (Some(region), Some(account), name, version)
            }
            None => (None, None, text, None),
        };
        if !is_name(name) || name.len() > LAYER_NAME_MAX {
            return Err(mismatch());
        }
        Ok(Self {
            account: account.map(str::to_owned),
            region: region.map(str::to_owned),
            name: name.to_owned(),
            version,
        })
    }
}

/// Whether an alias may have this name. The error is a `ValidationException` about `name`.
pub fn alias_name(text: &str) -> Result<(), ServiceError> {
    let refused = |constraint| Err(ServiceError::constraint("name", text, constraint));
    if text.len() > QUALIFIER_MAX {
        return refused(Constraint::LengthMax(QUALIFIER_MAX));
    }
    if !is_name(text) || text.bytes().all(|byte| byte.is_ascii_digit()) {
        return refused(Constraint::Pattern(ALIAS_PATTERN));
    }
    Ok(())
}

/// The ARN of a function or, with a qualifier, of a version or alias of it.
pub fn function_arn(
    region: &str,
    account: &str,
    name: &str,
    qualifier: Option<&Qualifier>,
) -> String {
    let arn = format!("arn:aws:lambda:{region}:{account}:function:{name}");
    match qualifier {
        Some(qualifier) => format!("{arn}:{qualifier}"),
        None => arn,
    }
}

/// The ARN of a layer.
pub fn layer_arn(region: &str, account: &str, name: &str) -> String {
    format!("arn:aws:lambda:{region}:{account}:layer:{name}")
}

/// The ARN of a version of a layer.
pub fn layer_version_arn(region: &str, account: &str, name: &str, version: u64) -> String {
    format!("{}:{version}", layer_arn(region, account, name))
}

/// The ARN of an event source mapping.
pub fn mapping_arn(region: &str, account: &str, uuid: &str) -> String {
    format!("arn:aws:lambda:{region}:{account}:event-source-mapping:{uuid}")
}

/// What stands for a function in the host of its URL: 32 small letters and digits that follow from
/// its ARN (with the alias, for the URL of one), as a digest of it.
pub fn url_id(function_arn: &str) -> String {
    // RFC 4648, base 32, in small letters: 20 bytes are 32 digits, without padding.
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let digest = Sha256::digest(function_arn);
    let digit = |at: usize| {
        let (byte, bit) = (at * 5 / 8, at * 5 % 8);
        let pair = u16::from_be_bytes([digest[byte], digest[byte + 1]]);
        char::from(DIGITS[usize::from(pair >> (11 - bit) & 31)])
    };
    (0..32).map(digit).collect()
}

/// Region, account and the rest of an ARN of AWS Lambda.
fn arn(text: &str) -> Option<(&str, &str, &str)> {
    let (partition, rest) = text.strip_prefix("arn:")?.split_once(':')?;
    let (region, rest) = rest.strip_prefix("lambda:")?.split_once(':')?;
    let (account, rest) = rest.split_once(':')?;
    let is_partition = partition.is_empty()
        || partition
            .strip_prefix("aws")
            .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-'));
    (is_partition && has_region_bytes(region) && is_account(account))
        .then_some((region, account, rest))
}

/// The region in front of `ACCOUNT:function:name`, and the rest.
fn short_region(text: &str) -> (Option<&str>, &str) {
    let split = text.split_once(':').filter(|(region, rest)| {
        let account = rest.split_once(':').map_or("", |(account, _)| account);
        *region != "function"
            && has_region_bytes(region)
            && !is_account(region)
            && is_account(account)
    });
    split.map_or((None, text), |(region, rest)| (Some(region), rest))
}

fn has_region_bytes(text: &str) -> bool {
    let plain = |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
    !text.is_empty() && text.bytes().all(plain)
}

/// Whether a region of AWS may have this name: `us-east-1`, `us-gov-west-1`, `us-iso-east-1`.
fn is_region(text: &str) -> bool {
    let mut parts: Vec<_> = text
        .strip_prefix("eusc-")
        .unwrap_or(text)
        .split('-')
        .collect();
    let is_special = |part: &str| {
        part == "gov"
            || part
                .strip_prefix("iso")
                .is_some_and(|rest| rest.len() <= 1 && rest.bytes().all(|b| b.is_ascii_lowercase()))
    };
    if parts.len() == 4 && is_special(parts[1]) {
        parts.remove(1);
    }
    let letters = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase());
    match parts[..] {
        [land, place, number] => {
            land.len() == 2
                && letters(land)
                && letters(place)
                && number.len() == 1
                && number.bytes().all(|b| b.is_ascii_digit())
        }
        _ => false,
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_name_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}
