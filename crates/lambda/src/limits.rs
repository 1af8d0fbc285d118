//! Every bound of this crate. Sizes are bytes unless the name says otherwise.

/// Answer of an invocation that is sent whole, unless told otherwise: AWS Lambda's 6 MB.
pub const RESPONSE_MAX: usize = (6 << 20) + 100;
/// Answer of an invocation that is streamed, unless told otherwise: AWS Lambda's 200 MB.
pub const STREAM_MAX: u64 = (STREAM_MAX_MB as u64) << 20;
/// The same in MiB.
pub const STREAM_MAX_MB: u32 = 200;

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

// OpenLambda's configuration of a function.

/// An `ol.yaml`.
pub const OL_CONFIG_MAX: usize = 64 << 10;
/// Lists and maps within each other in an `ol.yaml`; it has a use for four.
pub const OL_CONFIG_DEPTH_MAX: usize = 16;
/// Aliases in an `ol.yaml`.
pub const OL_CONFIG_ALIASES_MAX: usize = 1024;

// Signatures of requests.

/// How far the clock of who signs may be from ours, in seconds: that of AWS.
pub const CLOCK_SKEW_S: u64 = 300;
/// How long a presigned URL may hold, in seconds: that of AWS, a week.
pub const PRESIGNED_MAX_S: u64 = 604_800;
/// An `Authorization` header field, and each query parameter that stands for a part of it.
pub const AUTHORIZATION_MAX: usize = 8 << 10;
/// Header fields that a signature covers, by name.
pub const SIGNED_HEADERS_MAX: usize = 128;
/// Parameters in the query of a signed request.
pub const QUERY_PARAMETERS_MAX: usize = 1024;
/// A signed request in its canonical form, without the body.
pub const CANONICAL_MAX: usize = 256 << 10;
/// Derived keys that are kept, each of one access key, day, region and service.
pub const SIGNING_KEYS_MAX: usize = 256;

// Event streams.

/// Payload of one message that carries a part of a streamed answer.
pub const EVENT_CHUNK_MAX: usize = 64 << 10;
/// Payload of a message that is read: what AWS's own clients take.
pub const EVENT_PAYLOAD_MAX: usize = 24 << 20;
/// Header fields of a message that is read: what AWS's own clients take.
pub const EVENT_HEADERS_MAX: usize = 128 << 10;

// The control plane.

/// Name of a function.
pub const FUNCTION_NAME_MAX: usize = 64;
/// What stands for a function without a qualifier, an ARN at most.
pub const FUNCTION_REF_MAX: usize = 140;
/// What stands for a function with a qualifier.
pub const QUALIFIED_REF_MAX: usize = 256;
/// A qualifier, so an alias too.
pub const QUALIFIER_MAX: usize = 128;
/// Name of a layer.
pub const LAYER_NAME_MAX: usize = 140;
/// What stands for a layer, an ARN at most.
pub const LAYER_REF_MAX: usize = 2048;
/// What a message repeats of a value that it refuses.
pub const REFUSED_VALUE_MAX: usize = 512;

const _: () = assert!(ERROR_MESSAGE_MAX < ERROR_BODY_MAX);
const _: () = assert!(FIELD_MAX * 4 < HEAD_MAX);

// What the control plane takes: AWS Lambda's quotas.

/// Code in a request, unpacked from base64.
pub const ZIP_MAX: usize = 50 << 20;
/// Layers of a function.
pub const LAYERS_MAX: usize = 5;
/// Runtimes that a layer names.
pub const LAYER_RUNTIMES_MAX: usize = 15;
/// Characters of a layer's license.
pub const LICENSE_MAX: usize = 512;
/// Characters of a description.
pub const DESCRIPTION_MAX: usize = 256;
/// Characters of a handler.
pub const HANDLER_MAX: usize = 128;
/// A function's environment variables together, as JSON.
pub const ENV_MAX: usize = 4 << 10;
/// Longest timeout, in seconds.
pub const TIMEOUT_MAX_S: u32 = 900;
/// Timeout of a function that names none, in seconds.
pub const TIMEOUT_DEFAULT_S: u32 = 3;
/// Least memory, in MiB.
pub const MEMORY_MIN_MB: u32 = 128;
/// Most memory, in MiB.
pub const MEMORY_MAX_MB: u32 = 10_240;
/// Least `/tmp`, in MiB.
pub const TMP_MIN_MB: u32 = 512;
/// Most `/tmp`, in MiB.
pub const TMP_MAX_MB: u32 = 10_240;
/// Tags of a function.
pub const TAGS_MAX: usize = 50;
/// Characters of a tag's name.
pub const TAG_NAME_MAX: usize = 128;
/// Characters of a tag's value.
pub const TAG_VALUE_MAX: usize = 256;
/// Payload of an invocation whose caller waits.
pub const PAYLOAD_MAX: usize = 6 << 20;
/// Payload of an event.
pub const EVENT_MAX: usize = 1 << 20;
/// Client context of an invocation, in base64.
pub const CLIENT_CONTEXT_MAX: usize = 3_583;
/// Name of a policy's statement.
pub const STATEMENT_ID_MAX: usize = 100;
/// A policy's document.
pub const POLICY_MAX: usize = 20 << 10;
/// The end of the log that an invocation is answered with.
pub const LOG_TAIL_MAX: usize = 4 << 10;
/// Entries of a page of a list, however many a client asks for.
pub const PAGE_MAX: usize = 50;
/// Entries that a client may ask for where AWS Lambda lets it ask for more than that.
pub const PAGE_ASKED_MAX: usize = 10_000;
/// Versions of a function that are published.
pub const PUBLISHED_MAX: usize = 1_000;
/// Aliases of a function.
pub const ALIASES_MAX: usize = 1_000;
/// Code and layers of a function, unpacked, in bytes.
pub const UNZIPPED_MAX: u64 = 250 << 20;
/// Entries of a list of a URL's CORS rules.
pub const CORS_ENTRIES_MAX: usize = 100;
/// Longest time that a browser may remember those rules, in seconds.
pub const CORS_MAX_AGE_S: u32 = 86_400;
/// Times that a failed event may be tried again.
pub const EVENT_RETRIES_MAX: u32 = 2;
/// Shortest age that events may be given, in seconds.
pub const EVENT_AGE_MIN_S: u32 = 60;
/// Longest age that events may be given, in seconds.
pub const EVENT_AGE_MAX_S: u32 = 21_600;
