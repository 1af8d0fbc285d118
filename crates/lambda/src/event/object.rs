//! The event of a change of an object, as S3 sends it.

use std::fmt::Write as _;

use fractus_func::{ObjectChange, RequestId};
use serde_json::json;

use crate::model::iso_millis;

/// A change of an object.
#[derive(Clone, Copy, Debug)]
pub struct ObjectEvent<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key, as it is.
    pub key: &'a str,
    /// What happened.
    pub change: ObjectChange,
    /// The object's size in bytes.
    pub size: u64,
    /// Its entity tag, without quotation marks; empty where there is none.
    pub etag: &'a str,
    /// Grows with each change of the store.
    pub version: u64,
    /// When, in UNIX milliseconds.
    pub at_ms: u64,
    /// The node's region.
    pub region: &'a str,
    /// The event's own id.
    pub request_id: RequestId,
}

impl ObjectEvent<'_> {
    /// The event as JSON: `{"Records": [one]}`, in version 2.1 of S3's form.
    pub fn to_json(self) -> Vec<u8> {
        let name = match self.change {
            ObjectChange::Created => "ObjectCreated:Put",
            ObjectChange::Removed => "ObjectRemoved:Delete",
        };
        let mut object = json!({
            "key": form_encoded(self.key),
            "sequencer": format!("{:016X}", self.version),
        });
        if self.change == ObjectChange::Created {
            object["size"] = self.size.into();
            object["eTag"] = self.etag.into();
        }
        let bucket = json!({
            "name": self.bucket,
            "ownerIdentity": {"principalId": "FRACTUS"},
            "arn": format!("arn:aws:s3:::{}", self.bucket),
        });
        let record = json!({
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": self.region,
            "eventTime": iso_millis(self.at_ms),
            "eventName": name,
            "userIdentity": {"principalId": "FRACTUS"},
            "requestParameters": {"sourceIPAddress": "127.0.0.1"},
            "responseElements": {
                "x-amz-request-id": self.request_id,
                "x-amz-id-2": self.request_id,
            },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "fractus",
                "bucket": bucket,
                "object": object,
            },
        });
        json!({"Records": [record]}).to_string().into_bytes()
    }
}

/// A key as S3 has it in events: as in a form, but for slashes.
fn form_encoded(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' | b'/' => {
                text.push(char::from(byte));
            }
            b' ' => text.push('+'),
            other => write!(text, "%{other:02X}").expect("a string takes all"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use fractus_func::{ObjectChange, RequestId};
    use serde_json::Value;

    use super::ObjectEvent;

    #[test]
    fn an_event_is_as_s3_sends_it() {
        let mut event = ObjectEvent {
            bucket: "photos",
            key: "a b/ü+.jpg",
            change: ObjectChange::Created,
            size: 7,
            etag: "0123",
            version: 10,
            at_ms: 1_583_348_638_390,
            region: "r-1",
            request_id: RequestId::from_random(1),
        };
        let told: Value = serde_json::from_slice(&event.to_json()).unwrap();
        let record = &told["Records"][0];
        assert_eq!(record["eventName"], "ObjectCreated:Put");
        assert_eq!(record["eventTime"], "2020-03-04T19:03:58.390Z");
        assert_eq!(record["s3"]["bucket"]["arn"], "arn:aws:s3:::photos");
        let object = &record["s3"]["object"];
        assert_eq!(object["key"], "a+b/%C3%BC%2B.jpg");
        assert_eq!(
            (&object["size"], &object["eTag"]),
            (&7.into(), &"0123".into())
        );
        event.change = ObjectChange::Removed;
        let told: Value = serde_json::from_slice(&event.to_json()).unwrap();
        assert_eq!(told["Records"][0]["eventName"], "ObjectRemoved:Delete");
        assert_eq!(told["Records"][0]["s3"]["object"].get("size"), None);
    }
}
