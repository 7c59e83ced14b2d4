//! All of a segment file, from front to back and past whatever is in the way.

use std::io;

use crate::format::{FRAME_HEADER_LEN, Frame, FrameFault, Peek, Record, Seed, Table, is_zero, peek};
use crate::fs::File;
use crate::limits::MAX_FRAME;
use crate::log::resync::{Search, Wanted};
use crate::log::window::{At, Window};

/// What stands at a place.
pub(crate) enum Met<'a> {
    /// A frame whose header and table are good; its bodies are not verified yet. If the file ends before it does, there are zeros
    /// in place of what is missing ([`is_there`] tells), and a fault follows at the same offset.
    Frame(u64, Frame<'a>),
    /// Bytes that are no frame, or not all of one, up to the next one or to the end.
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
        let cut = cut_bytes(file, seed, offset, limit)?;
        if let Some(Ok(frame)) = cut.as_ref().map(|bytes| Frame::parse(seed, offset, bytes)) {
            visit(Met::Frame(offset, frame));
            visit(Met::Fault { offset, until: limit, fault });
            return Ok(());
        }
        // One that the file does not hold to its end is looked for, too.
        let beyond = limit.saturating_add(MAX_FRAME as u64);
        let search = Search { file, seed, limit: beyond, position: 0, wanted: Wanted::Head, unreadable: 0 };
        let until = search.behind(offset)?.unwrap_or(limit);
        visit(Met::Fault { offset, until, fault });
        offset = until;
    }
    Ok(())
}

/// The bytes of a frame that begins at `offset` and ends behind `limit`, with zeros in place of what is missing; `None` if its
/// header and table are not there. A reader takes from it whatever is whole, and so must everybody who gives the rest up.
pub(crate) fn cut_bytes(file: &dyn File, seed: Seed, offset: u64, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut window = Window::new();
    let Peek::Frame { len, .. } = peek(seed, offset, window.raw(file, offset, FRAME_HEADER_LEN, limit)?)
    else {
        return Ok(None);
    };
    if offset.saturating_add(len as u64) <= limit {
        return Ok(None);
    }
    let have = window.raw(file, offset, len, limit)?;
    if Table::parse(seed, offset, have).is_err() {
        return Ok(None);
    }
    let mut bytes = have.to_vec();
    bytes.resize(len, 0);
    Ok(Some(bytes))
}

/// Whether a record ends before the file does, so that its checksum says something.
pub(crate) fn is_there(record: &Record<'_>, end: u64) -> bool {
    record.body_offset.saturating_add(record.body_len() as u64) <= end
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
