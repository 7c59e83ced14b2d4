//! The real disk.
//!
//! On Unix everything goes through descriptors of open directories, so that a path which is renamed or
//! replaced meanwhile leads nothing astray, and no link is ever followed. Elsewhere a small version that
//! works on paths takes its place; it is **untested** on the systems that would use it, but it runs through
//! the same suite on Unix.

mod temp;

#[cfg(unix)]
mod file;
#[cfg(unix)]
mod medium;
#[cfg(any(not(unix), test))]
mod portable;
#[cfg(unix)]
mod unix;

#[cfg(all(unix, test))]
mod tests;

#[cfg(not(unix))]
pub use portable::PortableFs as DiskFs;
#[cfg(unix)]
pub use unix::DiskFs;

#[cfg(test)]
pub(super) use portable::PortableFs;
