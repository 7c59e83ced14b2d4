//! Finding the next good frame behind bytes that are none.

use std::io;

use super::window::{At, BLOCK, Found, Window};
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

/// What is looked for, and where.
pub(crate) struct Search<'a> {
    pub(crate) file: &'a dyn File,
    pub(crate) seed: Seed,
    /// Nothing at or behind it is looked at.
    pub(crate) limit: u64,
    /// The least first position.
    pub(crate) position: u64,
    pub(crate) wanted: Wanted,
    /// So many blocks that cannot be read are passed over; one more is an error.
    pub(crate) unreadable: u32,
}

impl Search<'_> {
    /// The offset of the next such frame behind `offset`.
    ///
    /// A frame's checksum covers its own offset and the salt of its segment, so bytes that were copied here from
    /// another place, or a payload that looks like a frame, cannot pass.
    pub(crate) fn behind(mut self, offset: u64) -> io::Result<Option<u64>> {
        let (mut window, mut parse) = (Window::new(), Window::new());
        let mut at = offset + 1;
        while at < self.limit {
            let next_block = (at / BLOCK + 1) * BLOCK;
            let rest = (next_block - at) as usize;
            // A header may reach into the next block.
            let across = rest < FRAME_HEADER_LEN;
            let need = if across { rest + BLOCK as usize } else { rest };
            let bytes = match window.raw_ahead(self.file, at, need, self.limit) {
                Ok(bytes) => bytes,
                Err(e) if self.unreadable == 0 => return Err(e),
                Err(_) => {
                    // If it was the next block, that is met again.
                    self.unreadable -= u32::from(!across);
                    at = next_block;
                    continue;
                }
            };
            match find_header(self.seed, at, bytes) {
                Some(ahead) => {
                    let candidate = at + ahead as u64;
                    match self.is_good(&mut parse, candidate) {
                        Ok(true) => return Ok(Some(candidate)),
                        Err(e) if self.unreadable == 0 => return Err(e),
                        _ => at = candidate + 1,
                    }
                }
                None if at + bytes.len() as u64 >= self.limit || bytes.len() < FRAME_HEADER_LEN => {
                    return Ok(None);
                }
                // A header may begin in the last bytes of the stretch.
                None => at += (bytes.len() - FRAME_HEADER_LEN + 1) as u64,
            }
        }
        Ok(None)
    }

    fn is_good(&self, window: &mut Window, candidate: u64) -> io::Result<bool> {
        let &Search { file, seed, limit, position, .. } = self;
        Ok(match self.wanted {
            Wanted::Head => match window.find(file, seed, candidate, limit)? {
                Found::Frame { head_len, .. } => window
                    .table(seed, candidate, head_len)
                    .is_ok_and(|table| table.header().first_position >= position),
                _ => false,
            },
            Wanted::Whole => match window.at(file, seed, candidate, limit)? {
                At::Frame(frame) => frame.header().first_position >= position && frame.verify().is_ok(),
                _ => false,
            },
        })
    }
}
