//! All of a segment file, from front to back and past whatever is in the way.

use std::io;

use crate::format::{Frame, FrameFault, Seed, is_zero};
use crate::fs::File;
use crate::log::resync::{Search, Wanted};
use crate::log::window::{At, Window};

/// What stands at a place.
pub(crate) enum Met<'a> {
    /// A frame whose header and table are good; its bodies are not verified yet.
    Frame(u64, Frame<'a>),
    /// Bytes that are no frame, up to the next one or to the end.
    Fault { offset: u64, until: u64, fault: FrameFault },
    /// Nothing but zeros up to the end of the file.
    Zeros { offset: u64, until: u64 },
}

/// Visits everything in `[from, limit)`, each byte once.
pub(crate) fn walk(
    file: &dyn File,
    seed: Seed,
    from: u64,
    limit: u64,
    visit: &mut dyn FnMut(Met<'_>),
) -> io::Result<()> {
    let mut window = Window::new();
    let mut offset = from;
    while offset < limit {
        let fault = match window.at(file, seed, offset, limit)? {
            At::Frame(frame) => {
                let len = frame.len() as u64;
                visit(Met::Frame(offset, frame));
                offset += len;
                continue;
            }
            At::End if only_zeros(file, offset, limit)? => {
                visit(Met::Zeros { offset, until: limit });
                return Ok(());
            }
            At::End => FrameFault::Field("zeros in front of other bytes"),
            At::Fault(fault) => fault,
        };
        let search = Search { file, seed, limit, position: 0, wanted: Wanted::Head, unreadable: 0 };
        let until = search.behind(offset)?.unwrap_or(limit);
        visit(Met::Fault { offset, until, fault });
        offset = until;
    }
    Ok(())
}

/// Whether nothing but zeros stands in `[from, limit)`.
pub(crate) fn only_zeros(file: &dyn File, from: u64, limit: u64) -> io::Result<bool> {
    let mut window = Window::new();
    let mut at = from;
    while at < limit {
        let bytes = window.raw(file, at, 256 << 10, limit)?;
        if bytes.is_empty() {
            break;
        }
        if !is_zero(bytes) {
            return Ok(false);
        }
        at += bytes.len() as u64;
    }
    Ok(true)
}
