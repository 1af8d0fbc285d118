//! What a caller is told of a guest that failed.

use fractus_func::{CallError, Outcome, RequestId};
use fractus_lambda::ErrorShape;
use fractus_stdx::ErrorChain;
use tokio::io::Interest;

use crate::instance::{Broken, Instance, watch};
use crate::process::Process;
use crate::sys::Exit;

/// An error in a guest's own words.
pub(crate) fn shaped(outcome: Outcome, shape: ErrorShape) -> CallError {
    CallError {
        outcome,
        message: shape.error_message,
        kind: Some(shape.error_type),
        stack: shape.stack_trace,
    }
}

/// What became of a guest that ended or broke its protocol.
pub(crate) async fn broken(
    broken: &Broken,
    instance: &Instance,
    id: RequestId,
    otherwise: Outcome,
) -> CallError {
    match broken {
        Broken::Gone => {
            let (exit, memory) = instance.ended().await;
            if memory {
                return shaped(Outcome::MemoryLimit, ErrorShape::out_of_memory(id));
            }
            let exit = match exit {
                // Pid 1 of its sandbox ended as the program did: a status stands for a signal.
                Exit::Status(status @ 129..) if instance.has_init() => {
                    fractus_lambda::Exit::Signal(status - 128)
                }
                Exit::Status(NOT_RUN)
                    if instance.has_init() && otherwise == Outcome::InitFailed =>
                {
                    return shaped(otherwise, invalid_entrypoint(id));
                }
                Exit::Status(status) => fractus_lambda::Exit::Status(status),
                Exit::Signal(signal) => fractus_lambda::Exit::Signal(signal),
                Exit::Unknown => fractus_lambda::Exit::Status(0),
            };
            shaped(otherwise, ErrorShape::exited(id, exit))
        }
        Broken::TooLarge => {
            let limit = instance.answer_max();
            shaped(
                Outcome::ResponseTooLarge,
                ErrorShape::response_too_large(limit),
            )
        }
        Broken::Protocol => {
            let message = format!("RequestId: {id} Error: Runtime broke its protocol");
            shaped(otherwise, ErrorShape::new("Runtime.InvalidFrame", message))
        }
        Broken::Socket(_) | Broken::Build(_) => {
            tracing::error!(error = %ErrorChain(broken), "a sandbox failed");
            let message = "the sandbox failed; the node's log says why";
            CallError::new(Outcome::StartFailed, message)
        }
    }
}

/// The status of a program that could not be run.
const NOT_RUN: i32 = 127;

fn invalid_entrypoint(id: RequestId) -> ErrorShape {
    let message = format!(
        "RequestId: {id} Error: the bootstrap cannot be run: is it for this machine, does it name \
         an interpreter that is there, and are its libraries?"
    );
    ErrorShape::new("Runtime.InvalidEntrypoint", message)
}

/// Waits until a process has ended.
pub(crate) async fn gone(process: &Process) {
    match watch(&process.pidfd, Interest::READABLE) {
        Ok(watched) => drop(watched.readable().await),
        // The deadline ends it.
        Err(_refused) => std::future::pending().await,
    }
}
