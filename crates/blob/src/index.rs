//! The index.

/// Why the index failed.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The engine failed.
    #[error("the index engine failed")]
    Engine(#[source] fjall::Error),
}
