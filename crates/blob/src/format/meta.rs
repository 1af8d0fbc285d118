//! A needle's metadata: a sequence of tagged fields.

use crate::error::Damage;
use crate::format::{array, u16_at, u32_at};
use crate::object::{BucketSettings, ETag, ObjectMeta};

const ETAG: u16 = 1;
const CONTENT_TYPE: u16 = 2;
const USER: u16 = 3;
const PUBLIC: u16 = 4;
/// Fields with this bit may be skipped by who does not know them; others may not.
const OPTIONAL: u16 = 0x8000;

/// All that metadata may say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) etag: Option<ETag>,
    pub(crate) object: ObjectMeta,
    pub(crate) settings: BucketSettings,
}

fn push(out: &mut Vec<u8>, tag: u16, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    out.extend_from_slice(&tag.to_le_bytes());
    out.extend_from_slice(
        &u16::try_from(len)
            .expect("fields are limited")
            .to_le_bytes(),
    );
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// The metadata of an object that is within its limits.
pub(crate) fn encode_object_meta(etag: ETag, meta: &ObjectMeta) -> Vec<u8> {
    let mut out = Vec::new();
    push(&mut out, ETAG, &[&etag.md5, &etag.parts.to_le_bytes()]);
    if let Some(content_type) = &meta.content_type {
        push(&mut out, CONTENT_TYPE, &[content_type.as_bytes()]);
    }
    for (name, value) in &meta.user {
        let name_len = u16::try_from(name.len())
            .expect("names are limited")
            .to_le_bytes();
        push(
            &mut out,
            USER,
            &[&name_len, name.as_bytes(), value.as_bytes()],
        );
    }
    out
}

/// The metadata of a bucket.
pub(crate) fn encode_settings(settings: BucketSettings) -> Vec<u8> {
    let mut out = Vec::new();
    push(&mut out, PUBLIC, &[&[u8::from(settings.public)]]);
    out
}

impl Meta {
    pub(crate) fn decode(mut bytes: &[u8]) -> Result<Self, Damage> {
        let mut meta = Self::default();
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at_checked(4).ok_or(Damage::Nonsense)?;
            let len = usize::from(u16_at(head, 2));
            let (value, rest) = rest.split_at_checked(len).ok_or(Damage::Nonsense)?;
            meta.take(u16_at(head, 0), value).ok_or(Damage::Nonsense)?;
            bytes = rest;
        }
        Ok(meta)
    }

    fn take(&mut self, tag: u16, value: &[u8]) -> Option<()> {
        let text = |bytes: &[u8]| str::from_utf8(bytes).ok().map(str::to_owned);
        match tag {
            ETAG if value.len() == 20 => {
                self.etag = Some(ETag {
                    md5: array(value, 0),
                    parts: u32_at(value, 16),
                });
            }
            CONTENT_TYPE => self.object.content_type = Some(text(value)?),
            USER => {
                let (len, rest) = value.split_at_checked(2)?;
                let (name, value) = rest.split_at_checked(u16_at(len, 0).into())?;
                self.object.user.push((text(name)?, text(value)?));
            }
            PUBLIC if value.len() == 1 => self.settings.public = value[0] != 0,
            _ if tag & OPTIONAL != 0 => {}
            _ => return None,
        }
        Some(())
    }
}
