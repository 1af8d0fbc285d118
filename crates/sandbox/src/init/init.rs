//! What runs inside a sandbox before anyone else does, built without the standard library, twice:
//! as the program `init` and as the library `enter.so` that a zygote loads.
//!
//! It decides nothing. A *plan* is a list of system calls, made by the node (`plan.rs`), and
//! [`run`] makes them one after the other. All it knows beyond that is how to receive another plan
//! over a socket ([`RECEIVE`]), how to split into a child that goes on and a parent that reaps
//! ([`FORK`]), and, as a program, how to be the *keeper*: to clone a child for each plan that
//! arrives and to answer with its pid and a descriptor of it.
//!
//! Layout of a plan, in native-endian 64-bit words: number of calls, number of relocations, length
//! of the data in bytes; then the relocations (offset in the data, offset that is pointed to); then
//! eight words for each call: number, tags, six arguments; then the data. Tags: bits 0-11 two bits
//! for each argument (0 the value itself, 1 an offset into the data, 2 a register), bits 16-23 the
//! register for the result plus one, bit 24 that failure is no failure.

#![no_std]
#![cfg_attr(program, no_main)]
#![cfg_attr(not(program), allow(dead_code, reason = "the keeper is the program alone"))]
#![allow(unsafe_code, reason = "system calls are made here")]

use core::arch::asm;

/// Not a system call: receives a plan with descriptors over the socket in argument 0, and runs it
/// in place of the rest.
const RECEIVE: u64 = 1 << 32;
/// Not a system call: the child goes on with the next call; the parent, pid 1, drops to the call
/// whose index is argument 0 if that is not 0, then reaps until the child is gone, and ends as it
/// did.
const FORK: u64 = 1 << 33;

const REGISTERS: usize = 32;
/// The register of the child that [`FORK`] made.
const CHILD: usize = REGISTERS - 1;
const FDS_MAX: usize = 28;
const PLAN_WORDS: usize = 8192;

#[cfg(target_arch = "x86_64")]
mod nr {
    pub const WRITE: u64 = 1;
    pub const CLOSE: u64 = 3;
    pub const SENDMSG: u64 = 46;
    pub const RECVMSG: u64 = 47;
    pub const CLONE: u64 = 56;
    pub const WAIT4: u64 = 61;
    pub const RT_SIGACTION: u64 = 13;
    pub const EXIT_GROUP: u64 = 231;
}

#[cfg(target_arch = "aarch64")]
mod nr {
    pub const WRITE: u64 = 64;
    pub const CLOSE: u64 = 57;
    pub const SENDMSG: u64 = 211;
    pub const RECVMSG: u64 = 212;
    pub const CLONE: u64 = 220;
    pub const WAIT4: u64 = 260;
    pub const RT_SIGACTION: u64 = 134;
    pub const EXIT_GROUP: u64 = 94;
}

#[cfg(target_arch = "x86_64")]
unsafe fn call(n: u64, a: [u64; 6]) -> i64 {
    let out: i64;
    // SAFETY: the registers are as the kernel wants them; what the call does is the caller's.
    unsafe {
        asm!("syscall", inlateout("rax") n.cast_signed() => out,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    out
}

#[cfg(target_arch = "aarch64")]
unsafe fn call(n: u64, a: [u64; 6]) -> i64 {
    let out: i64;
    // SAFETY: the registers are as the kernel wants them; what the call does is the caller's.
    unsafe {
        asm!("svc 0", in("x8") n, inlateout("x0") a[0] => out,
            in("x1") a[1], in("x2") a[2], in("x3") a[3],
            in("x4") a[4], in("x5") a[5], options(nostack));
    }
    out
}

const SIGCHLD: u64 = 17;
const SOL_SOCKET: u32 = 1;
const SCM_RIGHTS: u32 = 1;
const MSG_CMSG_CLOEXEC: u64 = 0x4000_0000;
const MSG_NOSIGNAL: u64 = 0x4000;
const EINTR: i64 = -4;
const EBADMSG: i64 = 74;

#[repr(C)]
struct Iovec {
    base: u64,
    length: u64,
}

#[repr(C)]
struct Message {
    name: u64,
    name_length: u64,
    iov: u64,
    iov_count: u64,
    control: u64,
    control_length: u64,
    flags: u64,
}

/// Room for one control message with all descriptors.
#[repr(C, align(8))]
struct Control {
    length: u64,
    level: u32,
    kind: u32,
    fds: [i32; FDS_MAX],
}

/// Failed: which call, and why.
fn failure(index: usize, errno: i64) -> i64 {
    -(((index as i64) << 16) | (errno & 0xffff))
}

/// Receives a message and its descriptors; answers its length and their number.
unsafe fn receive(
    socket: u64,
    into: &mut [u64; PLAN_WORDS],
    fds: &mut [i64; FDS_MAX],
) -> (i64, usize) {
    let mut iov = Iovec {
        base: into.as_mut_ptr() as u64,
        length: (PLAN_WORDS * 8) as u64,
    };
    let mut control = Control {
        length: 0,
        level: 0,
        kind: 0,
        fds: [0; FDS_MAX],
    };
    let mut message = Message {
        name: 0,
        name_length: 0,
        iov: &raw mut iov as u64,
        iov_count: 1,
        control: &raw mut control as u64,
        control_length: size_of::<Control>() as u64,
        flags: 0,
    };
    let length = loop {
        // SAFETY: all that the message points to lives here.
        let got = unsafe {
            call(nr::RECVMSG, [socket, &raw mut message as u64, MSG_CMSG_CLOEXEC, 0, 0, 0])
        };
        if got != EINTR {
            break got;
        }
    };
    let mut count = 0;
    if message.control_length >= 16 && control.level == SOL_SOCKET && control.kind == SCM_RIGHTS {
        count = ((control.length as usize).saturating_sub(16) / 4).min(FDS_MAX);
        let mut at = 0;
        while at < count {
            fds[at] = i64::from(control.fds[at]);
            at += 1;
        }
    }
    (length, count)
}

/// A plan in memory that may be written.
#[derive(Clone, Copy)]
struct Plan {
    /// Its first call.
    calls: *const u64,
    count: usize,
    data: u64,
}

/// Finds a plan's parts and makes its pointers point.
unsafe fn open(plan: *mut u64, words: usize) -> Result<Plan, i64> {
    if words < 3 {
        return Err(failure(0, EBADMSG));
    }
    // SAFETY: at least three words are there.
    let head = unsafe { core::slice::from_raw_parts(plan, 3) };
    let (count, relocations, bytes) = (head[0] as usize, head[1] as usize, head[2] as usize);
    let first = 3 + relocations;
    let data_at = first + count * 8;
    if count > words || relocations > words || data_at > words || bytes > (words - data_at) * 8 {
        return Err(failure(0, EBADMSG));
    }
    // SAFETY: the data lies within the plan.
    let data = unsafe { plan.add(data_at) } as u64;
    let mut at = 0;
    while at < relocations {
        // SAFETY: within the plan.
        let pair = unsafe { *plan.add(3 + at) };
        let (place, target) = (pair >> 32, pair & 0xffff_ffff);
        if place as usize + 8 > bytes || target as usize > bytes {
            return Err(failure(at, EBADMSG));
        }
        // SAFETY: eight bytes at `place` lie within the data.
        unsafe { ((data + place) as *mut u64).write_unaligned(data + target) };
        at += 1;
    }
    // SAFETY: the calls lie within the plan.
    let calls = unsafe { plan.add(first) };
    Ok(Plan { calls, count, data })
}

/// Makes the calls of a plan, and of those it receives.
unsafe fn run(plan: *mut u64, words: usize, registers: &mut [i64; REGISTERS]) -> i64 {
    // SAFETY: as the caller's.
    let mut plan = match unsafe { open(plan, words) } {
        Ok(plan) => plan,
        Err(failed) => return failed,
    };
    let mut received = [0; PLAN_WORDS];
    let mut fds = [-1; FDS_MAX];
    let mut index = 0;
    while index < plan.count {
        // SAFETY: eight words for each call lie within the plan.
        let call_words = unsafe { core::slice::from_raw_parts(plan.calls.add(index * 8), 8) };
        let tags = call_words[1];
        let mut arguments = [0; 6];
        let mut n = 0;
        while n < 6 {
            let word = call_words[2 + n];
            arguments[n] = match (tags >> (2 * n)) & 3 {
                0 => word,
                1 => plan.data + word,
                _ => registers[(word as usize) & (REGISTERS - 1)] as u64,
            };
            n += 1;
        }
        index += 1;
        let result = match call_words[0] {
            RECEIVE => {
                // SAFETY: the buffers are ours.
                let (length, count) = unsafe { receive(arguments[0], &mut received, &mut fds) };
                if length <= 0 {
                    // Nobody will send any more.
                    end(0);
                }
                registers[..count].copy_from_slice(&fds[..count]);
                // SAFETY: the buffer is ours, and the plan that was in it is over.
                plan = match unsafe { open(received.as_mut_ptr(), length as usize / 8) } {
                    Ok(plan) => plan,
                    Err(failed) => return failed,
                };
                index = 0;
                continue;
            }
            FORK => {
                // SAFETY: no thread but this one is here.
                let child = unsafe { call(nr::CLONE, [SIGCHLD, 0, 0, 0, 0, 0]) };
                if child > 0 {
                    registers[CHILD] = child;
                    index = if arguments[0] == 0 { plan.count } else { arguments[0] as usize };
                    continue;
                }
                child
            }
            // SAFETY: the node that made the plan answers for it.
            number => unsafe { call(number, arguments) },
        };
        if result < 0 && tags & (1 << 24) == 0 {
            return failure(index - 1, -result);
        }
        let save = ((tags >> 16) & 0xff) as usize;
        if save != 0 {
            registers[(save - 1) & (REGISTERS - 1)] = result;
        }
    }
    if registers[CHILD] > 0 {
        reap(registers[CHILD]);
    }
    0
}

/// Ends the process.
fn end(code: u64) -> ! {
    loop {
        // SAFETY: ends the process.
        unsafe { call(nr::EXIT_GROUP, [code, 0, 0, 0, 0, 0]) };
    }
}

/// As pid 1: waits for every child, and ends when `child` has, as it did.
fn reap(child: i64) -> ! {
    let mut status: i32 = 0;
    loop {
        // SAFETY: `status` lives here.
        let gone = unsafe { call(nr::WAIT4, [u64::MAX, &raw mut status as u64, 0, 0, 0, 0]) };
        if gone == child || (gone < 0 && gone != EINTR) {
            let code = if status & 0x7f == 0 {
                (status >> 8) & 0xff
            } else {
                128 + (status & 0x7f)
            };
            end(code as u64);
        }
    }
}

/// Runs a plan in the calling process, with descriptors in its first registers. 0, or minus the
/// index of the call that failed in bits 16 and up and its errno below.
///
/// # Safety
/// `plan` is that of `length` bytes, aligned to 8, and may be changed; `fds` holds `count` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fractus_run(plan: *const u8, length: usize, fds: *const i64, count: usize) -> i64 {
    let mut registers = [0; REGISTERS];
    let mut at = 0;
    while at < count && at < FDS_MAX {
        // SAFETY: so many are there.
        registers[at] = unsafe { *fds.add(at) };
        at += 1;
    }
    if length / 8 > PLAN_WORDS {
        return failure(0, EBADMSG);
    }
    // A caller's buffer may be neither aligned nor its own to change.
    let mut copy = [0_u64; PLAN_WORDS];
    let mut at = 0;
    while at < length / 8 {
        // SAFETY: within the plan.
        copy[at] = unsafe { plan.cast::<u64>().add(at).read_unaligned() };
        at += 1;
    }
    // SAFETY: the copy is ours.
    unsafe { run(copy.as_mut_ptr(), length / 8, &mut registers) }
}

/// Tells the node over the instance's socket what failed, as a frame.
#[cfg(program)]
fn tell(socket: i64, failed: i64) {
    let frame = [
        b'!', 8, 0, 0, 0,
        failed as u8, (failed >> 8) as u8, (failed >> 16) as u8, (failed >> 24) as u8,
        (failed >> 32) as u8, (failed >> 40) as u8, (failed >> 48) as u8, (failed >> 56) as u8,
    ];
    // SAFETY: the frame lives here.
    unsafe { call(nr::WRITE, [socket as u64, frame.as_ptr() as u64, frame.len() as u64, 0, 0, 0]) };
}

/// The keeper: for each message on descriptor 3 (a word of flags for clone, then a plan) a child
/// that runs it; the answer is its pid, or minus errno, and a pidfd.
#[cfg(program)]
unsafe fn keep() -> ! {
    const CLONE_PIDFD: u64 = 0x1000;
    // Children are reaped by the kernel.
    let ignore: [u64; 4] = [1, 0, 0, 0];
    // SAFETY: the action lives here.
    unsafe { call(nr::RT_SIGACTION, [SIGCHLD, ignore.as_ptr() as u64, 0, 8, 0, 0]) };
    let mut plan = [0; PLAN_WORDS];
    let mut fds = [-1; FDS_MAX];
    loop {
        // SAFETY: the buffers are ours.
        let (length, count) = unsafe { receive(3, &mut plan, &mut fds) };
        if length < 16 {
            end(0);
        }
        let mut pidfd: i32 = -1;
        // SAFETY: no thread but this one is here; the child has a copy of everything.
        let pid = unsafe {
            call(nr::CLONE, [plan[0] | CLONE_PIDFD | SIGCHLD, 0, &raw mut pidfd as u64, 0, 0, 0])
        };
        if pid == 0 {
            let mut registers = [0; REGISTERS];
            registers[..FDS_MAX].copy_from_slice(&fds);
            let default: [u64; 4] = [0; 4];
            // SAFETY: the action lives here, and the plan behind its first word.
            let failed = unsafe {
                call(nr::RT_SIGACTION, [SIGCHLD, default.as_ptr() as u64, 0, 8, 0, 0]);
                run(plan.as_mut_ptr().add(1), (length as usize / 8) - 1, &mut registers)
            };
            tell(fds[0], failed);
            end(127);
        }
        // SAFETY: what is answered lives here; the descriptors are ours.
        unsafe { answer(pid, pidfd, &fds[..count]) };
    }
}

#[cfg(program)]
unsafe fn answer(pid: i64, pidfd: i32, fds: &[i64]) {
    let mut control = Control {
        length: 20,
        level: SOL_SOCKET,
        kind: SCM_RIGHTS,
        fds: [pidfd; FDS_MAX],
    };
    let mut iov = Iovec {
        base: &raw const pid as u64,
        length: 8,
    };
    let message = Message {
        name: 0,
        name_length: 0,
        iov: &raw mut iov as u64,
        iov_count: 1,
        control: if pid > 0 { &raw mut control as u64 } else { 0 },
        control_length: if pid > 0 { 24 } else { 0 },
        flags: 0,
    };
    // SAFETY: all that the message points to lives here; the descriptors are the keeper's.
    unsafe {
        call(nr::SENDMSG, [3, &raw const message as u64, MSG_NOSIGNAL, 0, 0, 0]);
        if pid > 0 {
            call(nr::CLOSE, [pidfd as u64, 0, 0, 0, 0, 0]);
        }
        for fd in fds {
            call(nr::CLOSE, [*fd as u64, 0, 0, 0, 0, 0]);
        }
    }
}

#[cfg(all(program, target_arch = "x86_64"))]
core::arch::global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {}", sym start);

#[cfg(all(program, target_arch = "aarch64"))]
core::arch::global_asm!(".globl _start", "_start:", "b {}", sym start);

#[cfg(program)]
extern "C" fn start() -> ! {
    // SAFETY: descriptor 3 is the node's socket, by how this program is started.
    unsafe { keep() }
}

#[cfg(program)]
mod memory {
    //! What the compiler takes for granted.

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
        let mut at = 0;
        while at + 8 <= n {
            // SAFETY: by contract of `memcpy`; volatile, lest this become a call of itself.
            unsafe {
                let word = from.add(at).cast::<u64>().read_unaligned();
                core::ptr::write_volatile(to.add(at).cast::<[u8; 8]>(), word.to_ne_bytes());
            }
            at += 8;
        }
        while at < n {
            // SAFETY: as above.
            unsafe { to.add(at).write_volatile(*from.add(at)) };
            at += 1;
        }
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, byte: i32, n: usize) -> *mut u8 {
        let word = [byte as u8; 8];
        let mut at = 0;
        while at + 8 <= n {
            // SAFETY: by contract of `memset`; volatile, lest this become a call of itself.
            unsafe { core::ptr::write_volatile(to.add(at).cast::<[u8; 8]>(), word) };
            at += 8;
        }
        while at < n {
            // SAFETY: as above.
            unsafe { to.add(at).write_volatile(byte as u8) };
            at += 1;
        }
        to
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    end(126)
}
