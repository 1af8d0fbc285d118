//! Secrets, and the keys that follow from them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use super::encoding::hex;
use super::{ALGORITHM, SigError};
use crate::limits::SIGNING_KEYS_MAX;

/// An access key.
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials {
    /// Who it is; no secret.
    pub access_key_id: String,
    /// What only this one and the server know.
    pub secret_access_key: String,
}

/// The access keys that a server knows, and the signing keys that it derived from them of late (at
/// most [`SIGNING_KEYS_MAX`]).
pub struct SigningKeys {
    secrets: BTreeMap<String, String>,
    /// By access key and scope, as a credential has them.
    derived: Mutex<BTreeMap<String, SigningKey>>,
}

/// A key of one access key, day, region and service.
#[derive(Clone)]
pub(super) struct SigningKey(Hmac<Sha256>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKeys")
            .field("access_key_ids", &self.secrets.keys())
            .finish_non_exhaustive()
    }
}

impl SigningKeys {
    /// Knows these access keys; of two with the same id the last.
    pub fn new(credentials: impl IntoIterator<Item = Credentials>) -> Self {
        let pairs = credentials.into_iter();
        Self {
            secrets: pairs
                .map(|one| (one.access_key_id, one.secret_access_key))
                .collect(),
            derived: Mutex::new(BTreeMap::new()),
        }
    }

    /// The key of an access key for a scope.
    pub(super) fn derive(&self, access_key_id: &str, scope: &str) -> Result<SigningKey, SigError> {
        let secret = self
            .secrets
            .get(access_key_id)
            .ok_or(SigError::UnknownKey)?;
        Ok(SigningKey::derive(secret, scope))
    }

    /// The key for a credential, if it was kept.
    pub(super) fn kept(&self, credential: &str) -> Option<SigningKey> {
        let derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        derived.get(credential).cloned()
    }

    /// Keeps a key that made a valid signature: nobody else can fill the room.
    pub(super) fn keep(&self, credential: &str, key: SigningKey) {
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        // Deriving all of them anew costs less than knowing which are of use.
        if derived.len() >= SIGNING_KEYS_MAX {
            derived.clear();
        }
        derived.insert(credential.to_owned(), key);
    }
}

impl SigningKey {
    /// The key for a scope, `date/region/service/aws4_request`.
    pub(super) fn derive(secret: &str, scope: &str) -> Self {
        let first = keyed(format!("AWS4{secret}").as_bytes());
        Self(scope.split('/').fold(first, |mut mac, part| {
            mac.update(part.as_bytes());
            keyed(&mac.finalize().into_bytes())
        }))
    }

    /// The signature of a canonical request.
    pub(super) fn sign(&self, time: &str, scope: &str, canonical_request: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        let hash = hex(&Sha256::digest(canonical_request).into());
        for part in [ALGORITHM, "\n", time, "\n", scope, "\n", &hash] {
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}
