//! Every bound of a node that is not a function's own ([`fractus_func::limits`]). Times are
//! milliseconds and sizes bytes unless the name says otherwise.

/// Largest configuration file that is read.
pub const CONFIG_MAX: u64 = 256 << 10;
/// Upstreams of a configuration file.
pub const UPSTREAMS_MAX: usize = 256;
/// Longest time that a shutdown may be told to wait for work in flight, in seconds.
pub const DRAIN_MAX_S: u64 = 900;

/// Deployed functions.
pub const FUNCTIONS_MAX: usize = 10_000;
/// Versions of a function that the registry keeps; older ones are forgotten.
pub const VERSIONS_KEPT: u64 = 10;
/// Compiled programs in memory; the least recently called go first.
pub const PROGRAMS_LOADED_MAX: usize = 256;
/// A program that was not called for so long leaves memory.
pub const PROGRAM_IDLE_MS: u64 = 300_000;
/// That of a version which is not current any more, after so long.
pub const PROGRAM_RETIRED_MS: u64 = 3_000;
/// A program that could not be loaded is not tried again within this time.
pub const LOAD_RETRY_MS: u64 = 5_000;
/// How often idle programs are looked for and counters are written down.
pub const SWEEP_MS: u64 = 5_000;
/// Instances of all functions at once.
pub const INSTANCES_MAX: usize = 2_000;
/// Longest message of a failed call that is kept as a function's last error.
pub const LAST_ERROR_MAX: usize = 2 << 10;

/// Usage records in memory; the oldest go first.
pub const USAGE_RECORDS_MAX: usize = 65_536;
/// Usage records in one answer.
pub const USAGE_PAGE_MAX: usize = 1_000;

/// Log lines on their way to disk; what comes while so many wait is dropped and counted.
pub const LOG_QUEUE_MAX: usize = 4_096;
/// A function's log file is set aside when it has reached this size; one such is kept.
pub const LOG_FILE_MAX: u64 = 8 << 20;
/// Log files held open.
pub const LOG_FILES_OPEN_MAX: usize = 64;
/// Log lines in one answer that does not follow.
pub const LOG_PAGE_MAX: usize = 10_000;
/// Log lines that a slow follower may fall behind before it reads them from the file.
pub const LOG_FOLLOW_LAG: usize = 1_024;

/// Connections at once of each of the api and admin listeners. Beyond, whichever has been without a
/// request for longest is closed for the next one.
pub const CONTROL_CONNECTIONS_MAX: usize = 1_024;
/// A connection that is closed for another one may still send the end of its last answer so long.
pub const CONTROL_LEAVE_MS: u64 = 20;
/// A client of the api and admin listeners sends a request's head within this time.
pub const CONTROL_HEAD_MS: u64 = 10_000;
/// Next bytes of a body on the admin listener arrive within this time.
pub const CONTROL_STALL_MS: u64 = 30_000;
/// What is read, to be thrown away, of a body whose request is answered already, so that its client
/// sees the answer and not a reset.
pub const CONTROL_DRAIN_MAX: usize = 8 << 20;
/// It is read for so long at most.
pub const CONTROL_DRAIN_MS: u64 = 1_000;
/// Body of an admin request that is neither an artifact nor an object.
pub const CONTROL_BODY_MAX: usize = 1 << 20;
/// Requests on the api and admin listeners may end within this time when the node stops, at least.
pub const CONTROL_GRACE_MS: u64 = 1_000;
/// Calls whose answers are sent are counted within this time when the node stops.
pub const SETTLE_MS: u64 = 1_000;
/// Objects of a bucket that are counted for an answer; beyond, the count is a lower bound.
pub const COUNTED_PER_BUCKET_MAX: usize = 10_000;
/// Objects that are counted for one answer.
pub const COUNTED_MAX: usize = 100_000;
/// Threads that serve the api and admin listeners.
pub const CONTROL_THREADS: usize = 2;

const _: () = assert!(PROGRAMS_LOADED_MAX > 0 && INSTANCES_MAX > 0);
const _: () = assert!(LOG_FILE_MAX > 2 * fractus_func::limits::LOG_LINE_MAX as u64);

/// Connections of outgoing HTTP to public addresses at once, idle ones included; as many again go
/// to private ones, where upstreams mostly are.
pub const OUTBOUND_CONNECTIONS_MAX: usize = 1_024;
/// Connections of one function at once, of those above.
pub const OUTBOUND_FUNCTION_CONNECTIONS_MAX: usize = 64;
/// Idle connections that are kept for the next request to the same scheme, host and port.
pub const OUTBOUND_IDLE_MAX: usize = 64;
/// An idle connection is closed after this time.
pub const OUTBOUND_IDLE_MS: u64 = 15_000;
/// A connection is made within this time: a free place, the name's addresses, TCP.
pub const OUTBOUND_CONNECT_MS: u64 = 5_000;
/// An answer's head comes within this time after the request was sent or its body last moved.
pub const OUTBOUND_HEAD_MS: u64 = 60_000;
/// A request's body is sent within this time, however it moves; a function's timeout is shorter.
pub const OUTBOUND_UPLOAD_MS: u64 = 3_600_000;
/// Next bytes of an answer's body come within this time.
pub const OUTBOUND_STALL_MS: u64 = 60_000;
/// Largest head of an answer, and the most that is read ahead of its reader.
pub const OUTBOUND_BUFFER_MAX: usize = 128 << 10;
/// Names looked up at once; each lookup holds a thread.
pub const OUTBOUND_LOOKUPS_MAX: usize = 64;
/// Open files that the edge's clients never get: for volumes, logs, the registry, outgoing and
/// admin connections. Where fewer than twice as many are allowed, half of what is.
pub const DESCRIPTORS_RESERVED: usize = 4096;
