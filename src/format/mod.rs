//! Bytes to values and back, pure: no file is touched here, and no floor above knows an offset.
//!
//! `FORMAT.md` beside this file is the specification of all bytes. In the code a layout is one table, which
//! gives encoder, decoder and compile-time proof together, and a test compares it with the text. `store` and
//! `segment` are the headers of files, `frame` is one commit with its `record`s (`builder` writes it), `extras`
//! is what goes with a message, and `bin` holds the bodies of journal records and snapshots. Nothing here trusts
//! its input: damaged bytes give a fault that says in a sentence what is wrong, without a panic and without an
//! allocation on their account.

pub(crate) mod bin;
mod builder;
pub(crate) mod catalog;
pub(crate) mod extras;
pub(crate) mod frame;
mod header;
mod layout;
mod record;
#[cfg(any(test, all(fuzzing, feature = "sim")))]
pub(crate) mod reseal;
pub(crate) mod segment;
#[cfg(test)]
pub(crate) mod spec_tests;
pub(crate) mod store;
mod sum;
#[cfg(test)]
mod tests;

pub(crate) use builder::FrameBuilder;
pub use catalog::Lineage;
pub(crate) use extras::Extras;
pub(crate) use frame::{
    FRAME_HEADER_LEN, Frame, FrameFault, FrameHeader, FrameKind, Peek, Single, Table, claimed_lengths,
    find_header, frame_len, is_zero, peek,
};
pub(crate) use header::HeaderFault;
pub(crate) use record::{CRITICAL, Cursor, Entry, EntryMeta, Record, RecordKind, TURN_START};
pub(crate) use segment::{SegmentHeader, Successor};
pub(crate) use store::StoreFile;
pub(crate) use sum::Seed;
