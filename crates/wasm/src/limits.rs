//! Every bound of this runtime, in one place.

use std::time::Duration;

/// The epoch clock: how long a guest computes before it lets others run. Also how late a CPU limit
/// may be noticed.
pub(crate) const TICK: Duration = Duration::from_millis(2);
/// Ticks after which a call moves from the thread that asked for it to the guest threads.
pub(crate) const INLINE_TICKS: u32 = 2;
/// Functions that may have more memory than this never start on the thread that asked for them.
pub(crate) const INLINE_MEMORY_MAX_MB: u32 = 512;
/// Ticks without any call after which the epoch clock stops.
pub(crate) const IDLE_TICKS: u32 = 500;

/// Instances alive at once. Pools of address space are reserved for them: about 4 GiB for each
/// linear memory. Where the machine refuses that, the next smaller number is tried.
pub(crate) const INSTANCES: [u32; 3] = [1000, 250, 50];
/// Core instances for each instance of a component; components of interpreted languages have many,
/// but then there are not thousands of them at once.
pub(crate) const CORE_INSTANCES_PER_INSTANCE: u32 = 10;
/// Linear memories for each instance.
pub(crate) const MEMORIES_PER_INSTANCE: u32 = 2;
/// Tables for each instance.
pub(crate) const TABLES_PER_INSTANCE: u32 = 5;
/// Elements of one table.
pub(crate) const TABLE_ELEMENTS: usize = 20_000;

/// Linear memory that a free slot keeps from its last instance: reset by copying rather than given
/// back to the kernel and faulted in again.
pub(crate) const MEMORY_KEEP_RESIDENT: usize = 256 << 10;
/// The same for tables.
pub(crate) const TABLE_KEEP_RESIDENT: usize = 16 << 10;
/// Stack of WebAssembly code.
pub(crate) const WASM_STACK: usize = 1 << 20;
/// Stack of a call: WebAssembly's and the host's on top of it.
pub(crate) const CALL_STACK: usize = 2 << 20;

/// Response bodies up to this size are handed over whole, with their length.
pub(crate) const WHOLE_BODY_MAX: usize = 64 << 10;
/// Largest single write to a response body.
pub(crate) const BODY_CHUNK: usize = 64 << 10;
/// Writes to a response body that may wait for the client.
pub(crate) const BODY_CHUNKS_QUEUED: usize = 4;

/// Resources (headers, streams, requests …) that the host keeps for one instance at a time.
pub(crate) const RESOURCES_MAX: usize = 4096;
/// Header fields of one message, as they lie in memory.
pub(crate) const FIELDS_MAX: usize = 64 << 10;
/// Random bytes that a guest gets at once.
pub(crate) const RANDOM_MAX: u64 = 64 << 10;
/// What one call of a guest's into the host may hand over in lists and strings.
pub(crate) const HOST_CALL_BYTES_MAX: usize = 1 << 20;

const _: () = assert!(WASM_STACK < CALL_STACK);
