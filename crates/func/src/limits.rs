//! Every bound on what a function may be or do, in one place. Times are milliseconds and sizes
//! bytes unless the name says otherwise.

/// Longest function name, in bytes.
pub const NAME_MAX: usize = 64;
/// Largest manifest file that is read.
pub const MANIFEST_MAX: usize = 64 << 10;
/// Largest component that may be deployed.
pub const ARTIFACT_MAX: usize = 100 << 20;
/// All environment variables of a function together, names and values.
pub const ENV_MAX: usize = 32 << 10;
/// Routes of one function.
pub const ROUTES_MAX: usize = 64;
/// Longest path of a route, in bytes.
pub const ROUTE_PATH_MAX: usize = 1024;
/// Entries in each list of a function's access rights.
pub const ACCESS_MAX: usize = 64;

/// Memory of one instance, unless the manifest says otherwise, in MiB.
pub const MEMORY_DEFAULT_MB: u32 = 128;
/// Most memory that a manifest may ask for, in MiB: what 32-bit WebAssembly can address.
pub const MEMORY_MAX_MB: u32 = 4096;
/// Wall time of one call, unless the manifest says otherwise.
pub const TIMEOUT_DEFAULT_MS: u64 = 10_000;
/// Longest wall time a manifest may ask for: AWS Lambda's 900 s.
pub const TIMEOUT_MAX_MS: u64 = 900_000;
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
/// Calls that may wait for an instance of one function.
pub const QUEUE_MAX: usize = 1000;
/// Longest time that a call waits for an instance before it is refused.
pub const QUEUE_WAIT_MAX_MS: u64 = 5_000;
/// Longest line a guest may log; the rest of the line is cut off.
pub const LOG_LINE_MAX: usize = 8 << 10;

const _: () = assert!(TIMEOUT_DEFAULT_MS <= TIMEOUT_MAX_MS);
const _: () = assert!(MEMORY_DEFAULT_MB <= MEMORY_MAX_MB);
const _: () = assert!(CONCURRENCY_DEFAULT <= CONCURRENCY_MAX);
