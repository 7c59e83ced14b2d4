//! A message as it is read.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::codec::{Codec, from_json};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Extras, TURN_START};
use crate::fs::Map;

/// The bytes behind messages: a buffer that was read, or a mapped segment.
pub(crate) enum Buffer {
    Heap(Vec<u8>),
    Map(Map),
}

impl Deref for Buffer {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Buffer::Heap(v) => v,
            Buffer::Map(m) => m,
        }
    }
}

/// The bytes of a message, as they were appended. Cheap to clone; keeps the buffer or mapping behind it alive
/// (up to one segment; use `to_vec` to keep a few small messages of a large session for long).
#[derive(Clone)]
pub struct Payload {
    buffer: Arc<Buffer>,
    range: Range<usize>,
}

impl Deref for Payload {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.buffer.get(self.range.clone()).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq<[u8]> for Payload {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

/// A message of a session: its payload and its header. Owned, `Send + Sync + 'static`; its checksum was
/// verified when it was read. No field here needs the payload to be decoded.
#[derive(Clone)]
pub struct Message {
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) extras: Range<usize>,
    pub(crate) body: Range<usize>,
    pub(crate) seq: u64,
    pub(crate) time: u64,
    pub(crate) flags: u8,
    pub(crate) codec: u8,
    pub(crate) confirmed: bool,
}

impl Message {
    /// Its sequence: the index in its session, from 0, never given twice in one epoch.
    #[inline]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// When it was appended, in microseconds since 1970 (UTC). Never before the message in front of it.
    #[inline]
    pub fn time_micros(&self) -> u64 {
        self.time
    }

    /// The bytes that were appended.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.buffer.get(self.body.clone()).unwrap_or_default()
    }

    /// The bytes that were appended, sharing the buffer behind them.
    pub fn to_payload(&self) -> Payload {
        Payload { buffer: self.buffer.clone(), range: self.body.clone() }
    }

    /// How the payload was encoded.
    pub fn codec(&self) -> Codec {
        Codec::from(self.codec)
    }

    /// Decodes the payload of a message that was appended with `append_json` (or as bytes that are JSON).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the bytes are not JSON for this type. (Its text is `serde_json`'s, and may quote a value.)
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        from_json(self.payload()).map_err(|e| {
            Error::new(ErrorKind::InvalidInput, "decode a message").hint(format!("message {}: {e}", self.seq))
        })
    }

    /// The tag it was appended with ("user", "tool"...).
    pub fn tag(&self) -> Option<&str> {
        self.extras().tag
    }

    /// The estimate of its tokens.
    pub fn tokens(&self) -> Option<u32> {
        self.extras().tokens
    }

    /// The caller's own id.
    pub fn id(&self) -> Option<&str> {
        self.extras().id
    }

    /// The caller's id of the message before it in the caller's tree.
    pub fn parent_id(&self) -> Option<&str> {
        self.extras().parent
    }

    /// True if a turn of the conversation begins here.
    pub fn is_turn_start(&self) -> bool {
        self.flags & TURN_START != 0
    }

    /// True if it is known to be on disk. False only for the newest messages, seen by a [`Reader`](crate::Reader) or appended as
    /// `Buffered`: a crash of the machine may still take them.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    fn extras(&self) -> Extras<'_> {
        // The checksum was right when the message was read, so these bytes are what the writer encoded.
        Extras::decode(self.buffer.get(self.extras.clone()).unwrap_or_default()).unwrap_or_default()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("seq", &self.seq)
            .field("bytes", &self.body.len())
            .field("codec", &self.codec())
            .field("tag", &self.tag())
            .field("turn_start", &self.is_turn_start())
            .field("confirmed", &self.confirmed)
            .finish_non_exhaustive()
    }
}
