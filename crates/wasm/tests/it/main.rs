//! The runtime against real components: `examples/hello` and `examples/faults`.

mod artifacts;
mod calls;
mod support;
