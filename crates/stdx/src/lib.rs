//! What std lacks and several of our crates need. It knows nothing about Fractus: no function, no
//! object, no cache. Start at [`ErrorChain`], [`ByteSize`] and [`Hex`].

mod byte_size;
mod error_chain;
mod hex;

pub use byte_size::{ByteSize, ParseByteSizeError};
pub use error_chain::ErrorChain;
pub use hex::Hex;
