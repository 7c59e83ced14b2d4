//! Finding the next good frame behind bytes that are none.

use std::io;

use super::window::{At, Window};
use crate::format::{FRAME_HEADER_LEN, Seed, find_header};
use crate::fs::File;

/// The offset of the next frame behind `offset` and before `limit` that is whole (header, table and every
/// body) and whose first position is at least `position`.
///
/// A frame's checksum covers its own offset and the salt of its segment, so bytes that were copied here from
/// another place, or a payload that looks like a frame, cannot pass.
pub(crate) fn next_frame(
    file: &dyn File,
    seed: Seed,
    offset: u64,
    limit: u64,
    position: u64,
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
                if let At::Frame(frame) = parse.at(file, seed, candidate, limit)?
                    && frame.header().first_position >= position
                    && frame.verify().is_ok()
                {
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
