//! The checksums of a frame, each computed in one place for writer and reader: CRC-32 (the one of zip and PNG),
//! started from the segment's [`Seed`].

use crc32fast::Hasher;

use super::frame::FRAME_HEADER_LEN;
use crate::ids::BirthId;

/// Where the checksums of one segment start: the CRC-32 of birth id, segment number and salt.
///
/// So bytes of another session, another segment, or of an earlier file in the same place do not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    /// Of no segment: stands where nothing has begun, or nothing is to come.
    pub(super) const NONE: Seed = Seed(0);

    pub(crate) fn new(birth: &BirthId, segment: u64, salt: u64) -> Seed {
        let mut hasher = Hasher::new();
        hasher.update(&birth.0);
        hasher.update(&segment.to_le_bytes());
        hasher.update(&salt.to_le_bytes());
        Seed(hasher.finalize())
    }

    /// The short check of a frame's header alone, before any length in it is believed: the upper half of the
    /// CRC-32, started at the frame's offset, over the header behind checksum and check.
    #[inline]
    pub(super) fn of_header(self, offset: u64, header: &[u8; FRAME_HEADER_LEN]) -> u16 {
        let [_, _, _, _, _, _, covered @ ..] = header;
        (started(self.0, offset, covered) >> 16) as u16
    }

    /// The checksum of a frame's header and table, which lie behind each other in `head`: over all of it but the checksum
    /// itself, started at the frame's offset.
    #[inline]
    pub(super) fn of_frame(self, offset: u64, head: &[u8]) -> u32 {
        started(self.0, offset, head.get(4..).unwrap_or_default())
    }

    /// The checksum of a record's body (extras, then payload), started at its offset. What its entry says is covered by
    /// the frame's checksum, and so is this one, which stands in the entry.
    #[inline]
    pub(super) fn of_body(self, offset: u64, body: &[u8]) -> u32 {
        started(self.0, offset, body)
    }
}

/// The CRC-32 of bytes that belong to this offset of a file, started from the value `from` and the offset: they do not pass
/// in another place.
#[inline]
pub(super) fn started(from: u32, offset: u64, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(from ^ offset as u32 ^ (offset >> 32) as u32);
    hasher.update(bytes);
    hasher.finalize()
}
