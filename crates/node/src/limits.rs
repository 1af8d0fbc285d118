//! Every bound of a node that is not a function's own ([`fractus_func::limits`]). Times are
//! milliseconds and sizes bytes unless the name says otherwise.

/// Largest configuration file that is read.
pub const CONFIG_MAX: u64 = 256 << 10;
/// Upstreams of a configuration file.
pub const UPSTREAMS_MAX: usize = 256;
/// Highest price of a second of 1 GiB or of a request, in a currency's unit.
pub const PRICE_MAX: u32 = 1_000_000;
/// Longest time that a shutdown may be told to wait for work in flight, in seconds.
pub const DRAIN_MAX_S: u64 = 900;

/// The account that ARNs name: a node has one.
pub const ACCOUNT: &str = "000000000000";
/// Longest time before an event that failed is tried again, in seconds.
pub const EVENT_RETRY_MAX_S: f64 = 3_600.0;
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
/// How often idle programs are looked for.
pub const SWEEP_MS: u64 = 5_000;
/// How often counters are written down that changed: what a crash may lose of them.
pub const COUNTERS_SAVE_MS: u64 = 500;
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

/// Body of a request of AWS Lambda's API that brings code, as on AWS: 50 MiB in base64, and what is
/// around it.
pub const API_CODE_BODY_MAX: usize = 70_167_211;
/// A URL of code is good for so long, in seconds: AWS Lambda's ten minutes.
pub const CODE_URL_S: u64 = 600;
/// Body of any other request of AWS's APIs that is no invocation.
pub const API_BODY_MAX: usize = 1 << 20;
/// Bodies of requests on the api listener that are in memory at once.
pub const API_BODIES_MAX: usize = 512 << 20;
/// A request's body on the api listener arrives within this time.
pub const API_STALL_MS: u64 = 300_000;
/// A change of a function is tried again so often, when another one comes in between.
pub const API_CHANGE_TRIES: usize = 16;
/// An answer with the end of a call's log waits for the log's last line so long.
pub const LOG_TAIL_WAIT_MS: u64 = 1_000;
/// Bytes of code that clients are told they may store in all: AWS Lambda's. The disk is the limit.
pub const CODE_TOTAL_TOLD: u64 = 75 << 30;

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

// Events, schedules and queues.

/// Events that are not done, letters that are not delivered, and messages in queues.
pub const EVENTS_MAX: u64 = 1_000_000;
/// Bytes of all of them together.
pub const EVENT_BYTES_MAX: u64 = 4 << 30;
/// Bytes of events that are kept in memory; others are read from the database when they are due.
pub const EVENT_CACHE_BYTES_MAX: u64 = 64 << 20;
/// Largest payload of an event; AWS Lambda's for asynchronous invocations. Callers check it.
pub const EVENT_PAYLOAD_MAX: usize = 1 << 20;
/// Largest answer of a function that is put into the record of its invocation.
pub const EVENT_RESPONSE_MAX: usize = 1 << 20;
/// Longest message of an error that is put into the attributes of a dead letter.
pub const EVENT_MESSAGE_MAX: usize = 1 << 10;
/// Further attempts after a function failed, as AWS Lambda has it.
pub const EVENT_RETRIES_MAX: u32 = 2;
/// Events are given up after this time unless a function says less; AWS Lambda's maximum.
pub const EVENT_AGE_MAX_MS: u64 = 6 * 3_600 * 1_000;
/// Events that run at once.
pub const EVENTS_IN_FLIGHT_MAX: u32 = 256;
/// Events of one function that run at once.
pub const EVENTS_PER_FUNCTION_MAX: u32 = 64;
/// Letters that are on their way at once.
pub const DELIVERIES_MAX: u32 = 64;
/// Those of one destination.
pub const DELIVERIES_PER_DESTINATION_MAX: u32 = 16;
/// A letter that its destination did not take so often is dropped.
pub const DELIVER_TRIES_MAX: u32 = 10;
/// Outcomes that are not written yet; while there are so many no event is started.
pub const EVENTS_UNSETTLED_MAX: usize = 16_384;
/// Changes that wait for the writer and somebody for their answer.
pub const EVENT_WRITES_MAX: usize = 16_384;
/// Bytes of all of them.
pub const EVENT_WRITE_BYTES_MAX: usize = 256 << 20;
/// Changes in one transaction.
pub const EVENT_BATCH_MAX: usize = 4_096;
/// Outcomes that nobody waits for are written within this time.
pub const EVENT_LINGER_MS: u64 = 10;
/// Longest time that a transaction waits for clients whose last events have just been answered.
pub const EVENT_GATHER_US: u64 = 1_000;
/// Outcomes that could not be written, since the disk is full, are tried again after this time.
pub const EVENT_REWRITE_MS: u64 = 250;
/// How often the wall clock is looked at, should it have been set.
pub const EVENT_CLOCK_MS: u64 = 1_000;
/// The log of the database is written back when it has so many pages of 4 KiB.
pub const EVENT_LOG_PAGES: u64 = 2_000;
/// Schedules of all functions.
pub const SCHEDULES_MAX: usize = 20_000;
/// Missed fires of a schedule that are counted at once; beyond, the count is a lower bound.
pub const MISSED_COUNTED_MAX: u64 = 10_000;

// Archives of OpenLambda.

/// An entry of a tar file that tells the name and attributes of the next.
pub const TAR_EXTENSION_MAX: u64 = 64 << 10;
/// Uploads of such archives that are in memory at once.
pub const OL_UPLOADS_MAX: usize = 2;
/// Further ones wait for so long.
pub const OL_UPLOAD_WAIT_MS: u64 = 30_000;
/// Wall time of a call of a function that came so, in seconds: that of `OpenLambda`'s worker.
pub const OL_TIMEOUT_S: f64 = 30.0;

/// Queues of messages.
pub const QUEUES_MAX: usize = 1_000;
/// Longest name of a queue; SQS's.
pub const QUEUE_NAME_MAX: usize = 80;
/// A message of a queue: SQS's 1 MiB.
pub const QUEUE_MESSAGE_MAX: usize = 1 << 20;
/// Calls at once for one event source mapping that says nothing of it.
pub const MAPPING_CONCURRENCY: u32 = 64;
/// Batches of messages that functions work at, at once.
pub const QUEUE_BATCHES_MAX: u32 = 64;
/// Bytes of the messages in one batch, unless a single one is larger.
pub const QUEUE_BATCH_BYTES_MAX: u64 = 4 << 20;
/// How often messages are looked for that are too old.
pub const QUEUE_SWEEP_MS: u64 = 60_000;
/// Those of one queue that are dropped at once.
pub const QUEUE_EXPIRED_MAX: u32 = 10_000;

// Traces.

/// Traces in memory; the oldest go first.
pub const TRACES_MAX: usize = 1_024;
/// Bytes of all of them together, about.
pub const TRACE_BYTES_MAX: usize = 32 << 20;
/// Traces in one answer.
pub const TRACES_PAGE_MAX: usize = 1_000;
/// Traces that wait for their collector; what comes while so many do is dropped and counted.
pub const EXPORT_QUEUE_MAX: usize = 1_024;
/// Traces that are sent at once.
pub const EXPORT_BATCH_MAX: usize = 64;
/// A trace that waits for others to be sent with waits no longer.
pub const EXPORT_LINGER_MS: u64 = 1_000;
/// A collector answers within this time.
pub const EXPORT_ANSWER_MS: u64 = 5_000;
/// Traces that were dropped are told of so often.
pub const EXPORT_COMPLAIN_MS: u64 = 30_000;
