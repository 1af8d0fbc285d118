//! What a function answered, as an HTTP answer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::response::Parts;
use http::{Response, StatusCode};
use serde::Deserialize;
use serde::de::{Deserializer, Error as DeError, IgnoredAny, Visitor};

use crate::ErrorShape;
use crate::limits::{ANSWER_FIELDS_MAX, ANSWER_HEAD_MAX};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Reads an answer as a function URL does. An object with `statusCode` is status, header fields,
/// cookies and body; a text is the body; any other JSON is the body as it is. Both have status 200.
pub fn answer_from_json(json: Bytes) -> Result<Response<Bytes>, ErrorShape> {
    let text = str::from_utf8(&json).map_err(ErrorShape::malformed)?;
    if text.trim_ascii_start().starts_with('{') {
        let probe: Probe = serde_json::from_str(text).map_err(ErrorShape::malformed)?;
        if probe.status_code.is_some() {
            return integration(&json, text);
        }
    } else if text.trim_ascii_start().starts_with('"') {
        let Text(text) = serde_json::from_str(text).map_err(ErrorShape::malformed)?;
        let body = match text {
            Cow::Borrowed(text) => json.slice_ref(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text.into_bytes()),
        };
        return Ok(raw_answer(body));
    } else {
        serde_json::from_str::<IgnoredAny>(text).map_err(ErrorShape::malformed)?;
    }
    Ok(raw_answer(json))
}

/// The event of the raw form: the request's body as it is, `{}` if there is none.
pub fn raw_event(body: Bytes) -> Result<Bytes, ErrorShape> {
    if body.trim_ascii().is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    let text = str::from_utf8(&body).map_err(ErrorShape::invalid_request)?;
    serde_json::from_str::<IgnoredAny>(text).map_err(ErrorShape::invalid_request)?;
    Ok(body)
}

/// The answer of the raw form: what the function answered, with status 200.
pub fn raw_answer(json: Bytes) -> Response<Bytes> {
    let mut response = Response::new(json);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    status_code: Option<IgnoredAny>,
}

/// An answer with a head of its own; also the prelude of a streamed one, which has no body.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Integration<'a> {
    #[serde(default)]
    status_code: Option<Scalar>,
    #[serde(default)]
    headers: Option<BTreeMap<String, Values>>,
    #[serde(default)]
    multi_value_headers: Option<BTreeMap<String, Values>>,
    #[serde(default)]
    cookies: Option<Vec<String>>,
    #[serde(default, borrow)]
    body: Option<Text<'a>>,
    #[serde(default)]
    is_base64_encoded: Option<bool>,
}

fn integration(json: &Bytes, text: &str) -> Result<Response<Bytes>, ErrorShape> {
    let answer: Integration<'_> = serde_json::from_str(text).map_err(ErrorShape::malformed)?;
    let is_base64 = answer.is_base64_encoded.unwrap_or(false);
    let body = match &answer.body {
        None => Bytes::new(),
        Some(Text(text)) if is_base64 => {
            Bytes::from(STANDARD.decode(&**text).map_err(ErrorShape::malformed)?)
        }
        // Text without escapes lies in the answer just as it is sent.
        Some(Text(Cow::Borrowed(text))) => json.slice_ref(text.as_bytes()),
        Some(Text(Cow::Owned(text))) => Bytes::copy_from_slice(text.as_bytes()),
    };
    let parts = answer.into_head(&JSON)?;
    Ok(Response::from_parts(parts, body))
}

impl Integration<'_> {
    /// Status and fields; `content_type` is for answers that set none.
    pub(super) fn into_head(self, content_type: &HeaderValue) -> Result<Parts, ErrorShape> {
        let mut head = Head::default();
        head.set_status(self.status_code)?;
        for (name, values) in self.headers.unwrap_or_default() {
            head.add(&name, values)?;
        }
        for (name, values) in self.multi_value_headers.unwrap_or_default() {
            head.replace(&name, values)?;
        }
        for cookie in self.cookies.unwrap_or_default() {
            head.append(&SET_COOKIE, &cookie)?;
        }
        let headers = head.parts.headers_mut();
        headers
            .entry(CONTENT_TYPE)
            .or_insert_with(|| content_type.clone());
        Ok(head.parts.into_parts().0)
    }
}

/// The head of an answer while it is built, and how large it is.
#[derive(Default)]
struct Head {
    parts: Response<()>,
    fields: usize,
    bytes: usize,
}

impl Head {
    fn set_status(&mut self, status: Option<Scalar>) -> Result<(), ErrorShape> {
        let Some(Scalar(text)) = status else {
            return Ok(());
        };
        let code = text
            .parse::<u16>()
            .ok()
            .filter(|code| (200..600).contains(code));
        let code = code.and_then(|code| StatusCode::from_u16(code).ok());
        *self.parts.status_mut() = code.ok_or_else(|| {
            ErrorShape::malformed(format_args!("statusCode {text:.32} is not from 200 to 599"))
        })?;
        Ok(())
    }

    fn add(&mut self, name: &str, Values(values): Values) -> Result<(), ErrorShape> {
        let name = field_name(name)?;
        values
            .iter()
            .try_for_each(|value| self.append(&name, value))
    }

    fn replace(&mut self, name: &str, values: Values) -> Result<(), ErrorShape> {
        self.parts.headers_mut().remove(&field_name(name)?);
        self.add(name, values)
    }

    fn append(&mut self, name: &HeaderName, value: &str) -> Result<(), ErrorShape> {
        if is_of_connection(name) {
            return Ok(());
        }
        self.fields += 1;
        self.bytes += name.as_str().len() + value.len();
        if self.fields > ANSWER_FIELDS_MAX || self.bytes > ANSWER_HEAD_MAX {
            return Err(ErrorShape::malformed(
                "its header fields are too many or too large",
            ));
        }
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_invalid| {
            ErrorShape::malformed(format_args!(
                "the value of header field {name} has controls"
            ))
        })?;
        self.parts.headers_mut().append(name, value);
        Ok(())
    }
}

fn field_name(name: &str) -> Result<HeaderName, ErrorShape> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_invalid| {
        ErrorShape::malformed(format_args!("{name:.64?} is no header field's name"))
    })
}

/// Fields that speak of a connection or of framing, which are not the function's to set.
fn is_of_connection(name: &HeaderName) -> bool {
    [
        CONNECTION,
        CONTENT_LENGTH,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ]
    .contains(name)
        || name == "keep-alive"
        || name == "proxy-connection"
}

/// A JSON string, number or boolean, as text.
struct Scalar(String);

/// The values of a field: one scalar, a list of them, or none.
struct Values(Vec<String>);

/// A JSON string that borrows where it can, or a number or boolean as text.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Text::deserialize(from).map(|Text(text)| Self(text.into_owned()))
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            None(()),
            One(Scalar),
            Many(Vec<Scalar>),
        }
        Ok(Self(match Form::deserialize(from)? {
            Form::None(()) => Vec::new(),
            Form::One(Scalar(value)) => vec![value],
            Form::Many(values) => values.into_iter().map(|Scalar(value)| value).collect(),
        }))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, number or boolean")
    }

    fn visit_borrowed_str<E: DeError>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: DeError>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_bool<E: DeError>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_string()))
    }

    fn visit_u64<E: DeError>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_string()))
    }

    fn visit_i64<E: DeError>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_string()))
    }

    fn visit_f64<E: DeError>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_string()))
    }
}
