//! Finding the next good frame behind bytes that are none.

use std::io;

use super::window::{At, Found, Window};
use crate::format::{FRAME_HEADER_LEN, Seed, find_header};
use crate::fs::File;

/// What a frame must be to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Its header and table are good: its bodies are judged one by one by who reads them.
    Head,
    /// Every body is, too.
    Whole,
}

/// The offset of the next frame behind `offset` and before `limit` that is good as far as is `wanted`, and whose first
/// position is at least `position`.
///
/// A frame's checksum covers its own offset and the salt of its segment, so bytes that were copied here from
/// another place, or a payload that looks like a frame, cannot pass.
pub(crate) fn next_frame(
    file: &dyn File,
    seed: Seed,
    offset: u64,
    limit: u64,
    position: u64,
    wanted: Wanted,
) -> io::Result<Option<u64>> {
    let mut search = Window::new();
    let mut parse = Window::new();
    let mut at = offset + 1;
    const STEP: usize = 256 << 10;
    while at < limit {
        let bytes = search.raw(file, at, STEP, limit)?;
        let have = bytes.len();
        if have == 0 {
            return Ok(None);
        }
        match find_header(seed, at, bytes) {
            Some(ahead) => {
                let candidate = at + ahead as u64;
                let good = match wanted {
                    Wanted::Head => match parse.find(file, seed, candidate, limit)? {
                        Found::Frame { head_len, .. } => parse
                            .table(seed, candidate, head_len)
                            .is_ok_and(|table| table.header().first_position >= position),
                        _ => false,
                    },
                    Wanted::Whole => match parse.at(file, seed, candidate, limit)? {
                        At::Frame(frame) => {
                            frame.header().first_position >= position && frame.verify().is_ok()
                        }
                        _ => false,
                    },
                };
                if good {
                    return Ok(Some(candidate));
                }
                at = candidate + 1;
            }
            // A header may begin in the last bytes of the stretch.
            None if have < STEP => return Ok(None),
            None => at += (have - FRAME_HEADER_LEN + 1) as u64,
        }
    }
    Ok(None)
}
