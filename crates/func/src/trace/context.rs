//! What a request tells of the trace that it is a part of: `traceparent` and `tracestate` of the
//! W3C's Trace Context, and `X-Amzn-Trace-Id` of AWS X-Ray.

use thiserror::Error;

use super::{SpanId, TraceId};
use crate::limits::{TRACE_STATE_MAX, TRACE_STATE_MEMBER_MAX, TRACE_STATE_MEMBERS_MAX};

/// The trace that a request is a part of. The two forms of it hold the same, but for the state,
/// which X-Ray does not have, and what X-Ray adds about itself, which is not kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span of the sender that the request is a part of.
    pub parent: Option<SpanId>,
    /// Whether the trace is kept. X-Ray may leave that to whoever asks: then it is.
    pub sampled: bool,
    /// What tracing systems add for themselves.
    state: Option<String>,
}

/// A header field that tells of no trace.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("not the context of a trace: expected the form of {0}")]
pub struct TraceContextError(&'static str);

const W3C: TraceContextError = TraceContextError("`traceparent`");
const XRAY: TraceContextError = TraceContextError("`X-Amzn-Trace-Id`");

impl TraceContext {
    /// A new trace that is kept.
    pub fn new(trace_id: TraceId) -> Self {
        Self {
            trace_id,
            parent: None,
            sampled: true,
            state: None,
        }
    }

    /// What the header fields of a request tell, if anything: the W3C's form goes before X-Ray's.
    pub fn from_fields(
        traceparent: Option<&str>,
        tracestate: Option<&str>,
        x_amzn_trace_id: Option<&str>,
    ) -> Option<Self> {
        let w3c = traceparent.and_then(|text| Self::from_traceparent(text).ok());
        let w3c = w3c.map(|context| context.with_state(tracestate.unwrap_or_default()));
        w3c.or_else(|| Self::from_xray(x_amzn_trace_id?).ok())
    }

    /// What is told to others who are asked within a span.
    #[must_use]
    pub fn within(&self, span: SpanId) -> Self {
        Self {
            parent: Some(span),
            ..self.clone()
        }
    }

    /// Reads `traceparent` (Trace Context §3.2). Of versions after 00 only what 00 has is read, as
    /// §4.3 wants it.
    pub fn from_traceparent(text: &str) -> Result<Self, TraceContextError> {
        let mut parts = text.trim_matches([' ', '\t']).splitn(5, '-');
        let mut digits = |count| {
            let is_lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            let part = parts.next().unwrap_or_default();
            let is_hex = part.len() == count && part.bytes().all(is_lower);
            is_hex.then_some(part).ok_or(W3C)
        };
        let (version, trace_id) = (digits(2)?, digits(32)?);
        let (parent, flags) = (digits(16)?, digits(2)?);
        if version == "ff" || version == "00" && parts.next().is_some() {
            return Err(W3C);
        }
        let flags = u8::from_str_radix(flags, 16).or(Err(W3C))?;
        Ok(Self {
            trace_id: trace_id.parse().or(Err(W3C))?,
            parent: Some(parent.parse().or(Err(W3C))?),
            sampled: flags & 1 == 1,
            state: None,
        })
    }

    /// Writes `traceparent`, in version 00; None without a parent, which it must have.
    pub fn to_traceparent(&self) -> Option<String> {
        let Self {
            trace_id, sampled, ..
        } = self;
        let parent = self.parent?;
        Some(format!("00-{trace_id}-{parent}-{:02x}", u8::from(*sampled)))
    }

    /// Reads `X-Amzn-Trace-Id`, such as
    /// `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`. The digits of
    /// its root are those of the trace's id.
    pub fn from_xray(text: &str) -> Result<Self, TraceContextError> {
        let field = |name: &str| {
            let mut fields = text.split(';').filter_map(|field| field.split_once('='));
            let value = fields.find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
            value.map(|(_, value)| value.trim())
        };
        let root = field("Root").and_then(|root| root.strip_prefix("1-"));
        let (seconds, random) = root.and_then(|root| root.split_once('-')).ok_or(XRAY)?;
        if seconds.len() != 8 {
            return Err(XRAY);
        }
        Ok(Self {
            trace_id: format!("{seconds}{random}").parse().or(Err(XRAY))?,
            parent: field("Parent").and_then(|parent| parent.parse().ok()),
            sampled: field("Sampled") != Some("0"),
            state: None,
        })
    }

    /// Writes `X-Amzn-Trace-Id`.
    pub fn to_xray(&self) -> String {
        let id = self.trace_id.to_string();
        let (seconds, random) = id.split_at(8);
        let parent = self.parent.map(|parent| format!(";Parent={parent}"));
        let sampled = u8::from(self.sampled);
        format!(
            "Root=1-{seconds}-{random}{};Sampled={sampled}",
            parent.unwrap_or_default()
        )
    }

    /// The text of `tracestate`, at most [`TRACE_STATE_MAX`] bytes.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// With the text of `tracestate`. What is over its bounds goes, whole members at a time: first
    /// those that are long, then those at the end (Trace Context §3.3.1.5). What could not be a
    /// header field goes altogether.
    #[must_use]
    pub fn with_state(self, text: &str) -> Self {
        let is_field = text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
        let members = text.split(',').map(str::trim);
        let members = members.filter(|member| !member.is_empty());
        let members: Vec<&str> = members.take(TRACE_STATE_MEMBERS_MAX).collect();
        let mut state = members.join(",");
        if state.len() > TRACE_STATE_MAX {
            let short = members
                .iter()
                .filter(|text| text.len() <= TRACE_STATE_MEMBER_MAX);
            state.clear();
            for member in short {
                let comma = if state.is_empty() { "" } else { "," };
                if state.len() + comma.len() + member.len() > TRACE_STATE_MAX {
                    break;
                }
                state.extend([comma, member]);
            }
        }
        Self {
            state: Some(state).filter(|state| is_field && !state.is_empty()),
            ..self
        }
    }
}
