//! What is appended, and how.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Serialize;
use serde_json::Value;

use crate::codec::{Codec, to_json};
use crate::error::{Error, ErrorKind, Result};

/// When an op is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// When it is on disk: it survives the death of the process and of the machine.
    #[default]
    Sync,
    /// When the operating system has it: it survives the death of the process, and that of the machine from
    /// the next sync on (the sync interval of the store, the next `Sync` op of the session, or `sync()`).
    Buffered,
}

/// A message to be appended: a payload and what the store should know of it.
///
/// ```
/// use sessionlog::NewMessage;
/// let message = NewMessage::from("hello").tag("user").turn_start().tokens(2);
/// let typed = NewMessage::json(&serde_json::json!({"role": "assistant"}))?.tag("assistant");
/// # Ok::<(), sessionlog::Error>(())
/// ```
#[derive(Clone)]
pub struct NewMessage<'a> {
    pub(crate) payload: Cow<'a, [u8]>,
    pub(crate) codec: Codec,
    pub(crate) tag: Option<&'a str>,
    pub(crate) tokens: Option<u32>,
    pub(crate) id: Option<&'a str>,
    pub(crate) parent: Option<&'a str>,
    pub(crate) turn_start: bool,
}

impl<'a> NewMessage<'a> {
    /// Bytes, which come out as they went in.
    pub fn new(payload: impl Into<Cow<'a, [u8]>>) -> NewMessage<'a> {
        NewMessage {
            payload: payload.into(),
            codec: Codec::Bytes,
            tag: None,
            tokens: None,
            id: None,
            parent: None,
            turn_start: false,
        }
    }

    /// A value as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for what JSON could not give back: a float that is not finite, an integer of more than 64
    /// bits, a map key that is not a string, nesting deeper than [`crate::limits::MAX_JSON_DEPTH`]. (JSON has one `null`:
    /// `Some(None)` and `Some(())` come back as `None`.)
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<NewMessage<'static>> {
        let mut bytes = Vec::with_capacity(128);
        to_json(value, &mut bytes)
            .map_err(|e| Error::new(ErrorKind::InvalidInput, "encode a message").hint(e.to_string()))?;
        let mut message = NewMessage::new(bytes);
        message.codec = Codec::Json;
        Ok(message)
    }

    /// How the payload is to be read: [`Codec::Bytes`] where nothing is said, [`Codec::Json`] from [`NewMessage::json`]. A label
    /// for readers: whether the payload is what it says is not checked. One of the library's own that does not exist yet (2 to
    /// 127) is refused by the append: `InvalidInput`.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// A label by which runtimes tell messages apart without decoding them: the role, say. At most 256 bytes.
    #[must_use]
    pub fn tag(mut self, tag: &'a str) -> Self {
        self.tag = Some(tag);
        self
    }

    /// An estimate of the tokens that it takes in a model's context.
    #[must_use]
    pub fn tokens(mut self, tokens: u32) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// A turn of the conversation begins with this message (see [`crate::Keep::Turns`]).
    #[must_use]
    pub fn turn_start(mut self) -> Self {
        self.turn_start = true;
        self
    }

    /// The caller's own id of this message. At most 256 bytes; not checked for uniqueness.
    #[must_use]
    pub fn id(mut self, id: &'a str) -> Self {
        self.id = Some(id);
        self
    }

    /// The caller's id of the message that this one answers. At most 256 bytes.
    #[must_use]
    pub fn parent_id(mut self, parent: &'a str) -> Self {
        self.parent = Some(parent);
        self
    }
}

/// As that of a [`Message`](crate::Message): the payload by its length.
impl fmt::Debug for NewMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewMessage")
            .field("bytes", &self.payload.len())
            .field("codec", &self.codec)
            .field("tag", &self.tag)
            .field("turn_start", &self.turn_start)
            .finish_non_exhaustive()
    }
}

impl<'a> From<&'a [u8]> for NewMessage<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        NewMessage::new(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for NewMessage<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        NewMessage::new(&bytes[..])
    }
}

impl<'a> From<&'a Vec<u8>> for NewMessage<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        NewMessage::new(&bytes[..])
    }
}

impl From<Vec<u8>> for NewMessage<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        NewMessage::new(bytes)
    }
}

impl<'a> From<&'a str> for NewMessage<'a> {
    fn from(text: &'a str) -> Self {
        NewMessage::new(text.as_bytes())
    }
}

impl<'a> From<&'a String> for NewMessage<'a> {
    fn from(text: &'a String) -> Self {
        NewMessage::new(text.as_bytes())
    }
}

/// Messages, and changes of attributes, that are applied together or not at all.
///
/// ```
/// # fn main() -> sessionlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = sessionlog::Store::open(dir.path().join("s"))?;
/// use sessionlog::Batch;
/// let batch = Batch::new()
///     .message("the question")
///     .message("the answer")
///     .attributes(serde_json::json!({"title": "a talk"}));
/// assert_eq!(store.session("chat")?.append_batch(&batch)?.seqs, 0..2);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Batch<'a> {
    pub(crate) messages: Vec<NewMessage<'a>>,
    pub(crate) patch: Option<Value>,
}

impl<'a> Batch<'a> {
    /// An empty batch.
    pub fn new() -> Batch<'a> {
        Batch::default()
    }

    /// Adds a message.
    #[must_use]
    pub fn message(mut self, message: impl Into<NewMessage<'a>>) -> Self {
        self.messages.push(message.into());
        self
    }

    /// Adds a merge patch for the session's attributes (a later one replaces an earlier one).
    #[must_use]
    pub fn attributes(mut self, patch: Value) -> Self {
        self.patch = Some(patch);
        self
    }
}

impl<'a, M: Into<NewMessage<'a>>> FromIterator<M> for Batch<'a> {
    fn from_iter<I: IntoIterator<Item = M>>(iter: I) -> Self {
        Batch { messages: iter.into_iter().map(Into::into).collect(), patch: None }
    }
}

impl<'a, M: Into<NewMessage<'a>>> Extend<M> for Batch<'a> {
    fn extend<I: IntoIterator<Item = M>>(&mut self, iter: I) {
        self.messages.extend(iter.into_iter().map(Into::into));
    }
}

/// Options of one append.
///
/// ```
/// # fn main() -> sessionlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = sessionlog::Store::open(dir.path().join("s"))?;
/// use sessionlog::{AppendOptions, ErrorKind};
/// let session = store.session("chat")?;
/// let once = AppendOptions::new().key("request-17");
/// session.append_with("hello", &once)?;
/// assert!(session.append_with("hello", &once)?.repeated);
/// let stale = session.append_with("late", &AppendOptions::new().expect_next(0)).unwrap_err();
/// assert_eq!(stale.kind(), ErrorKind::Conflict);
/// assert_eq!(session.message_count()?, 1);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct AppendOptions<'a> {
    pub(crate) expect: Option<(u64, Option<u64>)>,
    pub(crate) key: Option<&'a str>,
    pub(crate) durability: Option<Durability>,
}

impl<'a> AppendOptions<'a> {
    /// No expectation, no key, the store's durability.
    pub fn new() -> AppendOptions<'a> {
        AppendOptions::default()
    }

    /// Append only if the first message gets this sequence: nobody appended meanwhile. Otherwise `Conflict`.
    #[must_use]
    pub fn expect_next(mut self, seq: u64) -> Self {
        self.expect = Some((seq, None));
        self
    }

    /// As [`AppendOptions::expect_next`], and only if the epoch is this one: sequences mean what they did.
    #[must_use]
    pub fn expect(mut self, epoch: u64, seq: u64) -> Self {
        self.expect = Some((seq, Some(epoch)));
        self
    }

    /// An idempotency key of 1 to 256 bytes, for messages: a repeat with the same content gets the first result and
    /// appends nothing, whatever it expects; a repeat with other content is a `Conflict`. A session remembers its last 1,024 keys,
    /// across archives, crashes and processes; and a repair, as long as one of the messages survives: the repeat of a batch
    /// of which some are lost is still a repeat.
    #[must_use]
    pub fn key(mut self, key: &'a str) -> Self {
        self.key = Some(key);
        self
    }

    /// When this append is acknowledged, whatever the store's default.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }
}

/// Where an append went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// The sequences of its messages; empty if it had none, but attributes.
    pub seqs: Range<u64>,
    /// The epoch in which they mean what they do.
    pub epoch: u64,
    /// True if an earlier append under the same key had done it already.
    pub repeated: bool,
}

impl Appended {
    /// The sequence of the first message; if there is none, of the next one that comes.
    pub fn seq(&self) -> u64 {
        self.seqs.start
    }
}
