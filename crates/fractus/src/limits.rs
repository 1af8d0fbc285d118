//! Every bound on what the command line waits for or holds in memory.

use std::time::Duration;

/// Longest wait for a connection to a node.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest time in which nothing arrives and nothing leaves before an exchange is given up.
pub(crate) const STALL_MAX: Duration = Duration::from_mins(1);
/// Longest wait for a node to compile what was deployed.
pub(crate) const COMPILE_MAX: Duration = Duration::from_mins(10);
/// Longest wait for the answer of a function: its longest wall time, and some to load and queue.
pub(crate) const INVOKE_MAX: Duration = Duration::from_secs(930);
/// Largest answer of the admin API, and largest answer the demo looks at, in bytes.
pub(crate) const ANSWER_MAX: usize = 64 << 20;
/// Pieces in which files are read, in bytes.
pub(crate) const CHUNK: usize = 64 << 10;
/// Lines of a failed build that are shown.
pub(crate) const BUILD_LINES_MAX: usize = 200;
/// Longest wait of the demo for the node's record of a call.
pub(crate) const RECORD_MAX: Duration = Duration::from_secs(5);
