//! Runs functions that are ordinary programs: Python, Node and native executables, each instance in
//! a Linux sandbox of its own.
//!
//! **What it is.** `func::Runtime` on namespaces, control groups, seccomp and Landlock. How a
//! sandbox is built is data: a *plan* of system calls, made by `profile.rs` and carried out inside
//! by a tiny interpreter without the standard library (`init/init.rs`). Python instances are forked
//! from *zygotes* that have imported already (`zygote.rs`); others are cloned by the *keeper*
//! (`keeper.rs`). Spares stand ready of each (`machine.rs`); instances that have answered wait for
//! the next call, frozen (`fleet.rs`).
//!
//! **What it is not.** It knows no routes and no versions, and it never decides who may run: that
//! is `func::Pool`'s. What the AWS Lambda protocols look like is the crate `lambda`'s.
//!
//! **Where to start.** [`SandboxRuntime`]; `function.rs` makes an instance, `call.rs` is the life
//! of a call.
#![expect(
    unsafe_code,
    reason = "namespaces, seccomp and Landlock are reached by system calls"
)]

mod call;
mod cgroup;
mod code;
mod doctor;
mod egress;
mod fleet;
mod frame;
mod function;
mod host;
mod instance;
mod keeper;
mod landlock;
mod limits;
mod machine;
mod opener;
mod packages;
mod plan;
mod process;
mod profile;
mod runtime;
mod seccomp;
mod stream;
mod sys;
mod zygote;

pub use code::OPT;
pub use doctor::{Finding, State, examine};
pub use runtime::{Machinery, SandboxConfig, SandboxRuntime, Standing, StartError};
