//! Presigned URLs: requests that whoever has the URL may make, for a while.

use http::request::Parts;
use http::{Method, Request, Uri};

use super::canonical::{Content, canonical_request};
use super::encoding::{escape, hex};
use super::keys::SigningKey;
use super::time::Timestamp;
use super::{ALGORITHM, Credentials, SignError, TERMINATOR, UNSIGNED_PAYLOAD};

/// The query of a URL to `GET`: `host` is asked for `path`, which is in its encoded form, from
/// `now_s` (in UNIX seconds) on for `expires_s` seconds. The service is S3's, which needs no body.
pub fn presign(
    credentials: &Credentials,
    region: &str,
    (host, path): (&str, &str),
    (now_s, expires_s): (u64, u64),
) -> Result<String, SignError> {
    let time = Timestamp(now_s).to_string();
    let scope = format!("{}/{region}/s3/{TERMINATOR}", &time[..8]);
    let mut credential = Vec::new();
    for byte in format!("{}/{scope}", credentials.access_key_id).bytes() {
        escape(&mut credential, byte);
    }
    let credential = String::from_utf8_lossy(&credential);
    let query = format!(
        "X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={credential}&X-Amz-Date={time}\
         &X-Amz-Expires={expires_s}&X-Amz-SignedHeaders=host"
    );
    let head = head(host, &format!("{path}?{query}")).ok_or(SignError::NoHost)?;
    let content = Content {
        text: UNSIGNED_PAYLOAD,
        is_presigned: true,
    };
    let request =
        canonical_request(&head, "host", "s3", content).map_err(|_long| SignError::TooLarge)?;
    let key = SigningKey::derive(&credentials.secret_access_key, &scope);
    let signature = hex(&key.sign(&time, &scope, &request));
    Ok(format!("{query}&X-Amz-Signature={signature}"))
}

fn head(host: &str, target: &str) -> Option<Parts> {
    let uri: Uri = target.parse().ok()?;
    let request = Request::builder()
        .method(Method::GET)
        .uri(uri)
        .header("host", host);
    Some(request.body(()).ok()?.into_parts().0)
}

#[cfg(test)]
mod tests {
    use super::{head, presign};
    use crate::sigv4::{Credentials, Scope, SigError, Signature, SigningKeys};

    #[test]
    fn what_is_presigned_is_good_for_a_while_and_for_nothing_else() {
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "secret".to_owned(),
        };
        let query = presign(&credentials, "r-1", ("h:1", "/code/a"), (1_000_000, 600)).unwrap();
        let keys = SigningKeys::new([credentials]);
        let check = |target: &str, now_s| {
            let head = head("h:1", &format!("{target}?{query}")).unwrap();
            let signature = Signature::parse(&head, now_s)?.expect("it is signed");
            let scope = Scope {
                region: "r-1",
                services: &["s3"],
            };
            signature.check(None, &keys, &scope)
        };
        assert!(check("/code/a", 1_000_000).unwrap().is_presigned);
        assert!(check("/code/a", 1_000_600).is_ok());
        assert!(check("/code/a", 1_000_601).is_err());
        assert!(matches!(
            check("/code/b", 1_000_000),
            Err(SigError::Mismatch)
        ));
    }
}
