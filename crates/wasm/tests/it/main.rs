//! The runtime against real components: `examples/hello` and `examples/faults`.

#[cfg(test)]
mod artifacts;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod support;
