//! Payloads to values and back, pure. A payload itself is opaque: what goes in comes out byte for byte. This
//! is the typed layer above it, and the byte in a message's header that says how its payload is to be read.

mod codec_id;
mod json;

pub use codec_id::Codec;
pub(crate) use json::{from_json, to_json};
