//! Every bound on what a function may be or do, in one place. Times are milliseconds and sizes
//! bytes unless the name says otherwise.

/// Longest function name, in bytes.
pub const NAME_MAX: usize = 64;
/// Largest manifest file that is read.
pub const MANIFEST_MAX: usize = 64 << 10;
/// Largest artifact that may be deployed, a component or an archive.
pub const ARTIFACT_MAX: usize = 100 << 20;
/// Files of an archive when unpacked, all together, in bytes.
pub const ARCHIVE_UNPACKED_MAX: u64 = 512 << 20;
/// Entries of an archive, files and folders.
pub const ARCHIVE_ENTRIES_MAX: usize = 65_536;
/// Longest path in an archive, in bytes.
pub const ARCHIVE_PATH_MAX: usize = 1024;
/// Longest name of one file or folder in an archive, in bytes.
pub const ARCHIVE_NAME_MAX: usize = 255;
/// Folders within each other in an archive.
pub const ARCHIVE_DEPTH_MAX: usize = 64;
/// All environment variables of a function together, names and values.
pub const ENV_MAX: usize = 32 << 10;
/// Longest handler, in bytes.
pub const HANDLER_MAX: usize = 256;
/// Routes of one function.
pub const ROUTES_MAX: usize = 64;
/// Longest path of a route, in bytes.
pub const ROUTE_PATH_MAX: usize = 1024;
/// HTTP methods that a manifest may name.
pub const METHODS_MAX: usize = 32;
/// Triggers of one function, all kinds together.
pub const TRIGGERS_MAX: usize = 64;
/// Messages that a queue's trigger may put in one call: AWS's largest batch.
pub const QUEUE_BATCH_MAX: u32 = 10_000;
/// Longest time that a queue's trigger gathers messages, in seconds: AWS's.
pub const QUEUE_WINDOW_MAX_S: u32 = 300;
/// Entries in each list of a function's access rights.
pub const ACCESS_MAX: usize = 64;

/// Memory of one instance, unless the manifest says otherwise, in MiB.
pub const MEMORY_DEFAULT_MB: u32 = 128;
/// Most memory that a manifest may ask for, in MiB.
pub const MEMORY_MAX_MB: u32 = 32_768;
/// Most memory of a component, in MiB: what 32-bit WebAssembly can address.
pub const WASM_MEMORY_MAX_MB: u32 = 4096;
/// Size of `/tmp` of one instance, unless the manifest says otherwise, in MiB: AWS Lambda's.
pub const TMP_DEFAULT_MB: u32 = 512;
/// Largest `/tmp` that a manifest may ask for, in MiB: AWS Lambda's.
pub const TMP_MAX_MB: u32 = 10_240;
/// Wall time of one call, unless the manifest says otherwise.
pub const TIMEOUT_DEFAULT_MS: u64 = 10_000;
/// Longest wall time a manifest may ask for: a week. How long a call may take is the function's to
/// say; this only keeps the sum of two times from being absurd.
pub const TIMEOUT_MAX_MS: u64 = 7 * 24 * 3600 * 1000;
/// Request body, unless the manifest says otherwise, in MiB: AWS Lambda's 6 MB.
pub const REQUEST_DEFAULT_MB: u32 = 6;
/// Response body, unless the manifest says otherwise, in MiB.
pub const RESPONSE_DEFAULT_MB: u32 = 20;
/// Largest body limit that a manifest may ask for, in MiB.
pub const BODY_MAX_MB: u32 = 1024;
/// Concurrent instances of one function, unless the manifest says otherwise.
pub const CONCURRENCY_DEFAULT: u32 = 1000;
/// Most concurrent instances a manifest may ask for.
pub const CONCURRENCY_MAX: u32 = 10_000;
/// How long an idle instance is kept, unless the manifest says otherwise, in seconds.
pub const IDLE_DEFAULT_S: u32 = 300;
/// Longest time that an idle instance may be kept, in seconds.
pub const IDLE_MAX_S: u32 = 7 * 24 * 3600;
/// Calls that may wait for an instance of one function.
pub const QUEUE_MAX: usize = 1000;
/// Longest time that a call waits for an instance before it is refused.
pub const QUEUE_WAIT_MAX_MS: u64 = 5_000;
/// Longest line a guest may log; the rest of the line is cut off.
pub const LOG_LINE_MAX: usize = 8 << 10;
/// Bytes that one call may log.
pub const LOG_BYTES_MAX: usize = 256 << 10;

/// Longest expression of a schedule, in bytes: that of AWS.
pub const CRON_MAX: usize = 256;

// Traces.

/// Spans that are kept of one trace.
pub const SPANS_MAX: usize = 256;
/// Those of them that are not for what a function makes as it likes.
pub const SPANS_RESERVED: usize = 32;
/// Longest text of a span, such as its name, in bytes.
pub const SPAN_TEXT_MAX: usize = 256;
/// Attributes of one span.
pub const SPAN_ATTRIBUTES_MAX: usize = 16;
/// Longest `tracestate` that is handed on, in bytes: what the W3C wants at least.
pub const TRACE_STATE_MAX: usize = 512;
/// Members of a `tracestate`: the W3C's bound.
pub const TRACE_STATE_MEMBERS_MAX: usize = 32;
/// Longest member of a `tracestate` that is too long, in bytes: longer ones go first.
pub const TRACE_STATE_MEMBER_MAX: usize = 128;

const _: () = assert!(TIMEOUT_DEFAULT_MS <= TIMEOUT_MAX_MS);
const _: () = assert!(MEMORY_DEFAULT_MB <= WASM_MEMORY_MAX_MB);
const _: () = assert!(WASM_MEMORY_MAX_MB <= MEMORY_MAX_MB);
const _: () = assert!(TMP_DEFAULT_MB <= TMP_MAX_MB);
const _: () = assert!(IDLE_DEFAULT_S <= IDLE_MAX_S);
const _: () = assert!(CONCURRENCY_DEFAULT <= CONCURRENCY_MAX);
const _: () = assert!(SPANS_RESERVED < SPANS_MAX);
