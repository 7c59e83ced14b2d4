//! A session: its handle, the writer behind it, and the ways to read it.

mod archive;
mod background;
mod close;
mod core;
mod create;
mod cut;
mod files;
mod handle;
mod info;
mod lead;
mod lifecycle;
mod message;
mod pending;
mod read;
mod reader;
mod staged;
mod ticket;
mod writer;

pub(crate) use self::core::{Core, Phase, Poison, Seen};
pub use archive::{Archive, ArchiveOutcome, Keep};
pub(crate) use create::UNBORN;
pub(crate) use files::{LoadedTail, Look, Whose, load_tail, locate, lock, locked, still_named, unborn_name};
pub use handle::Session;
pub use info::{OpenState, SessionInfo};
pub(crate) use info::{summary_of, summary_of_state};
pub(crate) use lifecycle::Closing;
pub use message::{AppendOptions, Appended, Batch, Durability, NewMessage};

pub use read::Messages;
pub use reader::Reader;
pub use ticket::Ticket;
