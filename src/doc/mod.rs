//! The long documents: how it is built and why, what a crash can do, which failures
//! of other stores it was made against, and how it is tested. (The bytes on disk
//! are specified in `src/format/FORMAT.md`.)

#[doc = include_str!("design.md")]
pub mod design {}

#[doc = include_str!("crash_model.md")]
pub mod crash_model {}

#[doc = include_str!("failures.md")]
pub mod failures {}

#[doc = include_str!("testing.md")]
pub mod testing {}

#[doc = include_str!("../format/FORMAT.md")]
pub mod format {}
