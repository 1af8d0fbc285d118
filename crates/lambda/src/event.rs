//! HTTP to a function and back: the event of a function URL (payload format 2.0), the answers that
//! are understood, and the raw form, where body and answer are the function's own JSON.

mod answer;
mod invoke;
mod object;
mod prelude;
mod time;
mod url;

#[cfg(test)]
mod tests;

pub use answer::{answer_from_json, raw_answer, raw_event};
pub use invoke::{event_request, http_answer, is_http_event, plain_answer};
pub use object::ObjectEvent;
pub use prelude::{StreamPrelude, prelude_head, stream_response};
pub(crate) use time::civil;
pub use url::{UrlContext, url_event};
