//! Every bound on what the command line waits for or holds in memory.

use std::time::Duration;

use fractus_func::limits::TIMEOUT_MAX_MS;

/// Longest wait for a connection to a node.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest time in which nothing arrives and nothing leaves before an exchange is given up.
pub(crate) const STALL_MAX: Duration = Duration::from_mins(1);
/// Longest wait for a node to compile what was deployed.
pub(crate) const COMPILE_MAX: Duration = Duration::from_mins(10);
/// Longest wait for the answer of a function: its longest wall time, and some to load and queue.
pub(crate) const INVOKE_MAX: Duration = Duration::from_millis(TIMEOUT_MAX_MS + 30_000);
/// Largest answer of the admin API, and largest answer the demo looks at, in bytes.
pub(crate) const ANSWER_MAX: usize = 64 << 20;
/// Pieces in which files are read, in bytes.
pub(crate) const CHUNK: usize = 64 << 10;
/// Lines of a failed build that are shown.
pub(crate) const BUILD_LINES_MAX: usize = 200;
/// Longest wait of the demo for the node's record of a call.
pub(crate) const RECORD_MAX: Duration = Duration::from_secs(5);
/// Longest wait until a function that was just deployed runs nothing.
pub(crate) const QUIET_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the trace of a call that was answered.
pub(crate) const TRACE_MAX: Duration = Duration::from_secs(1);
/// Longest time of an experiment, and of the work of one of its requests.
pub(crate) const BURST_TIME_MAX: Duration = Duration::from_hours(1);
/// Requests of one experiment that are remembered, one by one; with the last it ends.
pub(crate) const BURST_SAMPLES_MAX: usize = 5_000_000;
/// Instances of one experiment that are told apart.
pub(crate) const BURST_INSTANCES_MAX: usize = 100_000;
/// Largest answer of a function that is experimented with, in bytes.
pub(crate) const BURST_ANSWER_MAX: usize = 1 << 20;
