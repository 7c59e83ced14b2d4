//! The index of a catalog file that nobody writes any more: where in it the entries of a life of a session stand.
//!
//! Pages of 4 KiB, each with a checksum. The first says of which file it is; the others hold places in order of their births,
//! so that a few pages tell all that the file says of one.

use super::{array, placed_crc};
use crate::ids::BirthId;

/// The bytes of a page.
pub(crate) const PAGE: usize = 4096;
/// Where the checksum of a page stands: behind all else.
const CRC: usize = PAGE - 4;
/// The bytes of a place, and how many a page holds.
const PLACE: usize = 16;
const PLACES: usize = CRC / PLACE;
const MAGIC: [u8; 8] = *b"SLOGINDX";
const VERSION: u16 = 1;

/// Where an entry stands. In order: of births, then of offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Placed {
    /// The first half of the birth id, as a number.
    pub(crate) key: u64,
    /// The file offset of its frame.
    pub(crate) offset: u32,
    /// The checksum in front of it: of the frame before, or of the header.
    pub(crate) before: u32,
}

/// What the places of a life have in common; those of another perhaps too.
pub(crate) fn key_of(birth: &BirthId) -> u64 {
    array(&birth.0, 0).map_or(0, u64::from_le_bytes)
}

/// The first page of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Index {
    /// Of the catalog file.
    pub(crate) salt: u64,
    /// The length of the catalog file.
    pub(crate) len: u64,
    /// How many places there are.
    pub(crate) count: u32,
}

impl Index {
    /// The whole index, of as many `places`, which are put in order.
    pub(crate) fn encode(&self, places: &mut [Placed]) -> Vec<u8> {
        places.sort_unstable();
        let mut out = Vec::with_capacity((1 + self.pages()) * PAGE);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
        self.seal(&mut out, 0);
        for (i, page) in places.chunks(PLACES).enumerate() {
            for place in page {
                out.extend_from_slice(&place.key.to_le_bytes());
                out.extend_from_slice(&place.offset.to_le_bytes());
                out.extend_from_slice(&place.before.to_le_bytes());
            }
            self.seal(&mut out, i + 1);
        }
        out
    }

    /// Fills the page of this number up, and puts its checksum behind it.
    fn seal(&self, out: &mut Vec<u8>, number: usize) {
        out.resize(number * PAGE + CRC, 0);
        let crc = placed_crc(self.salt, number, out.get(number * PAGE..).unwrap_or_default());
        out.extend_from_slice(&crc.to_le_bytes());
    }

    /// Understands the first page of an index that should be of this file. `None` if it is of another, of a later version, or
    /// damaged.
    pub(crate) fn decode(page: &[u8; PAGE], salt: u64, len: u64) -> Option<Index> {
        let index = Index { salt, len, count: u32::from_le_bytes(array(page, 12)?) };
        let fits = array(page, 16) == Some(salt.to_le_bytes()) && array(page, 24) == Some(len.to_le_bytes());
        let known = page.starts_with(&MAGIC) && array(page, 8) == Some(VERSION.to_le_bytes());
        (fits && known && is_good(page, salt, 0)).then_some(index)
    }

    /// How many pages of places there are.
    pub(crate) fn pages(&self) -> usize {
        (self.count as usize).div_ceil(PLACES)
    }

    /// The places on the page of this number, from 1; `None` if it is damaged.
    pub(crate) fn places(&self, number: usize, page: &[u8; PAGE]) -> Option<Vec<Placed>> {
        let before = number.checked_sub(1)? * PLACES;
        let count = (self.count as usize).checked_sub(before)?.min(PLACES);
        let place = |bytes: &[u8]| {
            Some(Placed {
                key: u64::from_le_bytes(array(bytes, 0)?),
                offset: u32::from_le_bytes(array(bytes, 8)?),
                before: u32::from_le_bytes(array(bytes, 12)?),
            })
        };
        if !is_good(page, self.salt, number) {
            return None;
        }
        page.chunks_exact(PLACE).take(count).map(place).collect()
    }
}

fn is_good(page: &[u8; PAGE], salt: u64, number: usize) -> bool {
    let covered = page.get(..CRC).unwrap_or_default();
    array(page, CRC) == Some(placed_crc(salt, number, covered).to_le_bytes())
}
