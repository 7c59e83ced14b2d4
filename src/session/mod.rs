//! A session: its handle, the writer behind it, and the ways to read it.

mod archive;
mod background;
mod core;
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

pub(crate) use self::core::{Core, Phase};
pub(crate) use files::{locate, lock, still_there};
pub(crate) use lifecycle::Closing;
pub use archive::{Archive, ArchiveOutcome, Keep};
pub use handle::Session;
pub use info::{OpenState, SessionInfo};
pub(crate) use info::summary_of;
pub use message::{Appended, AppendOptions, Batch, Durability, NewMessage};
pub use read::Messages;
pub use reader::Reader;
pub(crate) use pending::Control;
pub use ticket::Ticket;
