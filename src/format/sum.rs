//! The checksums of a frame, each computed in one place for writer and reader: CRC-32 (the one of zip and PNG),
//! started from the segment's [`Seed`].

use crc32fast::Hasher;

use super::layout::Fixed;
use crate::ids::BirthId;

/// Where the checksums of one segment start: the CRC-32 of birth id, segment number and salt.
///
/// So bytes of another session, another segment, or of an earlier file in the same place do not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    /// Of no segment: stands in a builder that has not begun.
    pub(super) const NONE: Seed = Seed(0);

    pub(crate) fn new(birth: &BirthId, segment: u64, salt: u64) -> Seed {
        let mut hasher = Hasher::new();
        hasher.update(&birth.0);
        hasher.update(&segment.to_le_bytes());
        hasher.update(&salt.to_le_bytes());
        Seed(hasher.finalize())
    }

    /// The short check of a frame's header alone, before any length in it is believed: the upper half of the
    /// CRC-32 over the file offset and the header without checksum and check.
    #[inline]
    pub(super) fn of_header(self, offset: u64, header: &[u8; 60]) -> u16 {
        let [_, _, _, _, before @ ..] = header;
        let [a, b, c, d, e, f, g, h, i, j, k, l, _, _, behind @ ..] = before;
        let before = [*a, *b, *c, *d, *e, *f, *g, *h, *i, *j, *k, *l];
        let mut hasher = Hasher::new_with_initial(self.0);
        let mut front = [0; 8 + 12 + 42];
        behind.put(before.put(offset.put(&mut front)));
        hasher.update(&front);
        (hasher.finalize() >> 16) as u16
    }

    /// The checksum of a frame's header and table: over the file offset, the header behind its checksum
    /// field, and the table.
    #[inline]
    pub(super) fn of_frame(self, offset: u64, header: &[u8; 60], table: &[u8]) -> u32 {
        const FRONT: usize = 8 + 56;
        let [_, _, _, _, covered @ ..] = header;
        let mut hasher = Hasher::new_with_initial(self.0);
        // In one piece: over this little, a call costs more than the bytes.
        let mut front = [0; FRONT + 32];
        let behind = covered.put(offset.put(&mut front));
        match <&[u8; 32]>::try_from(table) {
            Ok(one) => {
                one.put(behind);
                hasher.update(&front);
            }
            Err(_) => {
                hasher.update(front.get(..FRONT).unwrap_or_default());
                hasher.update(table);
            }
        }
        hasher.finalize()
    }

    /// The checksum of one record: over the file offset of its body, its entry without the checksum field,
    /// and the body (extras, then payload).
    #[inline]
    pub(super) fn of_body(self, offset: u64, entry: &[u8; 32], body: &[u8]) -> u32 {
        let [a, b, c, d, e, f, g, h, _, _, _, _, behind @ ..] = entry;
        let before = [*a, *b, *c, *d, *e, *f, *g, *h];
        let mut hasher = Hasher::new_with_initial(self.0);
        let mut front = [0; 8 + 8 + 20];
        behind.put(before.put(offset.put(&mut front)));
        hasher.update(&front);
        hasher.update(body);
        hasher.finalize()
    }
}
