//! Every bound of this runtime, in one place.

use std::time::Duration;

/// Bytes of the file system that holds a sandbox's own small files and mount points.
pub(crate) const ROOT_BYTES: u64 = 1 << 20;
/// Bytes of a zygote's `/tmp`.
pub(crate) const ZYGOTE_TMP_BYTES: u64 = 16 << 20;
/// Open files of each process in a sandbox, as AWS Lambda's.
pub(crate) const FILES_OPEN_MAX: u64 = 1024;
/// Processes and threads in a sandbox, as AWS Lambda's.
pub(crate) const PIDS_MAX: u64 = 1024;
/// Connections to the Runtime API that wait to be accepted.
pub(crate) const RUNTIME_API_BACKLOG: u32 = 16;
/// How long the processes of a killed sandbox may take to go, in milliseconds.
pub(crate) const GROUP_EMPTY_MS: u64 = 2_000;
/// How long those of all sandboxes may take when a node stops or starts, in milliseconds.
pub(crate) const GROUPS_GONE_MS: u64 = 10_000;
/// What a frame from a guest may have beyond the largest answer of its function, in bytes.
pub(crate) const FRAME_EXTRA: usize = 1 << 20;
/// What is read of an answer before it is handed on, in bytes; more than that streams.
pub(crate) const ANSWER_AHEAD: usize = 256 << 10;
/// What a frame counts beside its bytes.
pub(crate) const FRAME_COST: usize = 64;
/// Longest answer of a zygote, in bytes.
pub(crate) const ZYGOTE_ANSWER_MAX: usize = 256 << 10;
/// How long a zygote may take to answer: it imports meanwhile. In milliseconds.
pub(crate) const ZYGOTE_ANSWER_MS: u64 = 30_000;
/// Memory of one zygote, in bytes.
pub(crate) const ZYGOTE_MEMORY_MAX: u64 = 1 << 30;
/// Share of the processors of a zygote: forks must not wait for functions.
pub(crate) const ZYGOTE_SHARES: u64 = 2048;

/// Compiled form of an archive, in bytes: a small JSON document.
pub(crate) const PREPARED_MAX: u64 = 4 << 20;
/// Longest time for making bytecode of a function's own Python files; what is not done then is
/// compiled when it is imported.
pub(crate) const BYTECODE_TIME_MAX: Duration = Duration::from_mins(1);
/// Python files that are looked through for what they import.
pub(crate) const IMPORT_FILES_MAX: usize = 256;
/// Part of a Python file that is looked through, in bytes.
pub(crate) const IMPORT_BYTES_MAX: u64 = 256 << 10;
/// Modules that are noted as imported.
pub(crate) const IMPORTS_MAX: usize = 256;
/// Longest time for the installation of a function's packages.
pub(crate) const INSTALL_TIME_MAX: Duration = Duration::from_mins(5);
/// Distributions of one function.
pub(crate) const PACKAGES_MAX: usize = 256;
/// What one installation may unpack, in bytes; twice that with what it downloads.
pub(crate) const PACKAGES_BYTES_MAX: u64 = 4 << 30;
/// `requirements.txt`, with all that it includes, in bytes.
pub(crate) const REQUIREMENTS_MAX: usize = 256 << 10;
/// How long the answer to "which versions satisfy this?" is reused, so that a function that is
/// changed and deployed again and again does not ask the index each time.
pub(crate) const RESOLVED_FRESH: Duration = Duration::from_mins(10);
/// Answers of that kind that are kept.
pub(crate) const RESOLVED_MAX: usize = 64;
/// What the installer may tell us, in bytes.
pub(crate) const INSTALLER_OUTPUT_MAX: usize = 4 << 20;
/// What is kept of what a program said that failed, in bytes.
pub(crate) const TOLD_MAX: usize = 2 << 10;
/// What is read of a guest's socket or output at once, in bytes.
pub(crate) const READ_CHUNK: usize = 8 << 10;
/// Such reads before others have their turn.
pub(crate) const READS_AT_ONCE: usize = 16;
/// Spares of one sort that stand ready once one was needed; more after a burst.
pub(crate) const SPARES_MIN: usize = 2;
/// The most that stand ready.
pub(crate) const SPARES_MAX: usize = 32;
/// Of the base zygote, one for each so many bytes that instances may have stands ready: a spare has
/// about 3 MiB, so that all have about half a hundredth.
pub(crate) const SPARE_FOR_EACH: usize = 512 << 20;
/// How long the making of a spare waits for processes that calls wait for.
pub(crate) const SPARES_YIELD: Duration = Duration::from_millis(200);
/// Zygotes besides the base.
pub(crate) const ZYGOTES_MAX: usize = 64;
/// Memory of all zygotes besides the base, in bytes; one may always be there.
pub(crate) const ZYGOTES_MEMORY_MAX: u64 = 2 << 30;
/// Spares go after this time without use, in milliseconds.
pub(crate) const ZYGOTE_IDLE_MS: u128 = 300_000;
/// Processes that are made on demand at once; calls beyond wait their turn, in order.
pub(crate) const STARTS_AT_ONCE: usize = 4;
/// How long an instance may take from its start until it can be called: imports, above all.
pub(crate) const INIT_MAX: Duration = Duration::from_mins(1);
/// Memory that an instance is expected to need before any was measured, in bytes.
pub(crate) const MEMORY_GUESS: usize = 32 << 20;
/// The least that one is expected to need.
pub(crate) const MEMORY_LEAST: usize = 4 << 20;
/// Share of the processors for each GiB of memory: AWS Lambda gives one processor, here 1024, for
/// 1,769 MiB.
pub(crate) const CPU_SHARES_PER_GIB: u64 = 593;
/// The least share.
pub(crate) const SHARES_LEAST: u64 = 32;
/// An instance that waits is frozen after this time.
pub(crate) const FREEZE_AFTER: Duration = Duration::from_millis(200);
/// How often waiting instances are looked after.
pub(crate) const SWEEP: Duration = Duration::from_millis(100);
/// Instances that wait, of all functions.
pub(crate) const IDLE_INSTANCES_MAX: usize = 4_000;
/// Instances that are frozen each time: nobody can take one meanwhile.
pub(crate) const FREEZES_AT_ONCE: usize = 16;
/// Provisioned instances are not tried again for this time after one could not start.
pub(crate) const PROVISION_RETRY: Duration = Duration::from_secs(10);
/// What is read of a request's body before an instance is taken, in bytes.
pub(crate) const REQUEST_AHEAD: usize = 64 << 10;
/// Chunks of a streamed answer that wait for the client.
pub(crate) const STREAM_CHUNKS: usize = 4;
/// What is shown of the last words of a zygote that failed, in bytes.
pub(crate) const ZYGOTE_WORDS_MAX: usize = 4 << 10;
/// After a call found all instances at work, one more than is needed stands ready for so long.
pub(crate) const HOT_FOR: Duration = Duration::from_secs(10);
/// It is started so long after the call that needed one.
pub(crate) const SPARE_AFTER: Duration = Duration::from_millis(50);
/// Connections of one instance to its way out; those beyond wait to be accepted.
pub(crate) const EGRESS_CONNECTIONS_MAX: usize = 128;
/// Connections to it that wait to be accepted.
pub(crate) const EGRESS_BACKLOG: u32 = 128;
/// Head of a request to it, and the most that is read ahead, in bytes.
pub(crate) const EGRESS_HEAD_MAX: usize = 64 << 10;
/// A connection to it ends after this time without a request, or a tunnel without a byte.
pub(crate) const EGRESS_IDLE_MAX: Duration = Duration::from_mins(2);
/// A connection to it ends after this time, whatever it does; a call is shorter.
pub(crate) const EGRESS_CONNECTION_TIME_MAX: Duration = Duration::from_hours(1);
/// After a connection could not be accepted, for want of descriptors above all.
pub(crate) const EGRESS_RETRY: Duration = Duration::from_millis(100);
/// Signals that may be queued for the processes of a sandbox, and timers of theirs.
pub(crate) const SIGNALS_PENDING_MAX: u64 = 1024;
/// How long the making of a process may take until it is heard of, in milliseconds.
pub(crate) const FORK_ANSWER_MS: u64 = 5_000;
/// How long a call waits for its turn to have a process made.
pub(crate) const TURN_MAX: Duration = Duration::from_secs(10);
/// How long a call waits for an instance in all: for memory, a process and its start.
pub(crate) const ACQUIRE_MAX: Duration = Duration::from_secs(75);
/// How often a call that waits for memory looks whether there is some.
pub(crate) const ADMIT_AGAIN: Duration = Duration::from_millis(50);
/// Share of the processors that all sandboxes have together, for each processor; a process of the
/// host has 1024.
pub(crate) const GROUP_SHARES_PER_CORE: u64 = 4096;
/// Each how many times it is looked whether they are still there.
pub(crate) const LOOK_EACH: u64 = 10;
/// Deployed functions whose zygotes and spares are made when a node starts.
pub(crate) const WARM_AT_START_MAX: usize = 1_000;
/// Spares are made anew once none was needed for this time, in milliseconds, or half are gone.
pub(crate) const REFILL_AFTER_MS: u128 = 20;
