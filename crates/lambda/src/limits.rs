//! Every bound of this crate. Sizes are bytes unless the name says otherwise.

/// Answer of an invocation that is sent whole, unless told otherwise: AWS Lambda's 6 MB.
pub const RESPONSE_MAX: usize = (6 << 20) + 100;
/// Answer of an invocation that is streamed, unless told otherwise: AWS Lambda's 200 MB.
pub const STREAM_MAX: u64 = 200 << 20;

/// Connections of one sandbox to its Runtime API at once. Clients use one or two.
pub const CONNECTIONS_MAX: usize = 16;
/// Head of a request to the Runtime API. The Python client may send almost 1 MiB about an error's
/// cause in one field.
pub const HEAD_MAX: usize = (1 << 20) + (64 << 10);
/// What is read, to be thrown away, of a body whose request is refused, so that its sender sees the
/// refusal and not a reset.
pub const DRAIN_MAX: u64 = 64 << 20;

/// Body of an error report. What is longer is taken as text and cut.
pub const ERROR_BODY_MAX: usize = 256 << 10;
/// Type of an error.
pub const ERROR_TYPE_MAX: usize = 256;
/// Message of an error.
pub const ERROR_MESSAGE_MAX: usize = 32 << 10;
/// Lines of an error's stack trace.
pub const STACK_LINES_MAX: usize = 128;
/// One line of a stack trace.
pub const STACK_LINE_MAX: usize = 2 << 10;
/// An error that is told within a streamed body, in the place of a chunk.
pub const IN_BAND_ERROR_MAX: usize = 64 << 10;

/// The JSON in front of a streamed HTTP answer.
pub const PRELUDE_MAX: usize = 64 << 10;
/// Header fields of a function's HTTP answer, cookies included.
pub const ANSWER_FIELDS_MAX: usize = 256;
/// Names and values of those fields together.
pub const ANSWER_HEAD_MAX: usize = 64 << 10;
/// Client context of an invocation, and any other text that becomes a header field of the Runtime
/// API; longer ones are cut or, where a cut would break them, left out.
pub const FIELD_MAX: usize = 8 << 10;

const _: () = assert!(ERROR_MESSAGE_MAX < ERROR_BODY_MAX);
const _: () = assert!(FIELD_MAX * 4 < HEAD_MAX);
