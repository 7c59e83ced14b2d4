//! Bytes to values and back, pure: no file is touched here, and no floor above knows an offset.
//!
//! `FORMAT.md` beside this file is the specification of all bytes. In the code a layout is one table, which
//! gives encoder, decoder and compile-time proof together, and a test compares it with the text. `store` and
//! `segment` are the headers of files, `frame` is one commit with its `record`s (`builder` writes it), `extras`
//! is what goes with a message, and `bin` holds the bodies of journal records and snapshots. Nothing here trusts
//! its input: damaged bytes give a fault that says in a sentence what is wrong, without a panic and without an
//! allocation on their account.

pub(crate) mod bin;
pub(crate) mod catalog;
