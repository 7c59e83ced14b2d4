//! Every limit of the store, named. What is over a limit is refused at the call with `TooLarge` (a session id with `InvalidId`;
//! nesting, and options out of their range, with `InvalidInput`), before anything is written; a reader that meets a length over
//! its limit knows it for damage.

/// The longest session id, in bytes of UTF-8.
pub const MAX_SESSION_ID: usize = 512;
/// The largest payload that `Options::max_payload` can allow, in bytes: 64 MiB.
pub const MAX_PAYLOAD: usize = 64 << 20;
/// The largest payload by default, in bytes: 16 MiB.
pub const DEFAULT_MAX_PAYLOAD: usize = 16 << 20;
/// The most messages in one batch.
pub const MAX_BATCH_MESSAGES: usize = 65_536;
/// The most bytes of payload in one batch: 128 MiB.
pub const MAX_BATCH_BYTES: usize = 128 << 20;
/// The longest tag, caller's id, parent id or idempotency key, in bytes of UTF-8.
pub const MAX_LABEL: usize = 256;
/// The largest set of attributes (of a session, or of one archive), in bytes of JSON: 256 KiB.
pub const MAX_ATTRIBUTES: usize = 256 << 10;
/// All attributes of all archives of a session together, in bytes of JSON: 16 MiB. They stand in every snapshot.
pub const MAX_ARCHIVE_ATTRIBUTES: usize = 16 << 20;
/// How many idempotency keys a session remembers.
pub const IDEMPOTENCY_KEYS: usize = 1024;
/// The deepest nesting of JSON that `append_json` and attributes accept: what `serde_json` reads back.
pub const MAX_JSON_DEPTH: usize = 127;

/// The smallest segment that can be configured, in bytes.
pub const MIN_SEGMENT: u64 = 16 << 10;
/// The largest segment that can be configured, in bytes: 1 GiB.
pub const MAX_SEGMENT: u64 = 1 << 30;
/// The segment size by default, in bytes: 8 MiB.
pub const DEFAULT_SEGMENT: u64 = 8 << 20;

/// The largest frame (one commit with all its records), in bytes; a larger length in a file is damage.
pub(crate) const MAX_FRAME: usize = 256 << 20;
/// The most records in one frame.
pub(crate) const MAX_FRAME_RECORDS: usize = 1 << 20;
/// The highest position, and number of a segment or of a writer: 2^62, which nobody reaches. What stands in a file above it
/// is damage, so that one more never overflows.
pub(crate) const MAX_NUMBER: u64 = 1 << 62;
/// The largest state snapshot or journal record, in bytes.
pub(crate) const MAX_SNAPSHOT: usize = 64 << 20;
