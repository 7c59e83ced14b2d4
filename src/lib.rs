#![doc = include_str!("../README.md")]
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable
    )
)]

mod codec;
pub mod doc;
pub mod doctor;
mod error;
mod format;
pub mod fs;
#[cfg(any(test, all(fuzzing, feature = "sim")))]
pub mod fuzzing;
mod ids;
pub mod limits;
mod log;
mod recovery;
mod session;
mod state;
mod store;

pub use codec::Codec;
pub use error::{Error, ErrorKind, Outcome, Result};
pub use format::Lineage;
pub use ids::{BirthId, SessionId, StoreId};
pub use log::{Message, Payload};
pub use recovery::{Finding, Report};
pub use session::{
    AppendOptions, Appended, Archive, ArchiveOutcome, Batch, Durability, Keep, Messages, NewMessage,
    OpenState, Reader, Session, SessionInfo, Ticket,
};
pub use state::Attributes;
pub use store::{Event, ListOptions, Listing, Options, SortBy, Store, StoreStats};
