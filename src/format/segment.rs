//! The header of a segment, and the witness that a segment keeps of its successor.

pub(crate) use super::header::HeaderFault;
use super::header::{HEADER_LEN, Preamble};
use super::layout::layout;
use super::sum::Seed;
use crate::ids::{BirthId, StoreId};
use crate::limits::MAX_NUMBER;

const MAGIC: [u8; 8] = *b"SLOGSEG\x01";

layout! {
    struct Raw, 128 {
        0 magic: [u8; 8],
        8 version: u16,
        10 header_len: u16,
        12 features: u32,
        16 store_id: [u8; 16],
        32 birth: [u8; 16],
        48 number: u64,
        56 salt: u64,
        64 first_position: u64,
        72 prev_number: u64,
        80 prev_end_position: u64,
        88 prev_end_offset: u64,
        96 prev_end_crc: u32,
        100 carry_len: u32,
        104 incarnation: u64,
        112 created: u64,
        120 reserved: u32,
        124 crc: u32,
    }
}

const _: () = assert!(Raw::LEN == HEADER_LEN);

layout! {
    struct RawSuccessor, 16 {
        0 number: u64,
        8 salt: u64,
    }
}

/// What a segment says of itself and of the one before it. Immutable once the file has its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub store: StoreId,
    pub birth: BirthId,
    pub number: u64,
    pub salt: u64,
    /// The position of the first ordinary record, which is also the position behind everything carried.
    pub first_position: u64,
    /// The segment before it; 0 if there is none.
    pub prev_number: u64,
    /// Where the segment before it ends, and the checksum of its last trusted frame.
    pub prev_end_position: u64,
    pub prev_end_offset: u64,
    pub prev_end_crc: u32,
    /// The length of the carry block behind the header, in bytes.
    pub carry_len: u32,
    /// The number of the writer's incarnation.
    pub incarnation: u64,
    /// Microseconds since 1970.
    pub created: u64,
}

impl SegmentHeader {
    pub(crate) const LEN: usize = Raw::LEN;

    pub(crate) fn encode(&self) -> [u8; 128] {
        let Preamble { magic, version, header_len, features } = Preamble::of(MAGIC);
        let mut raw = Raw {
            magic,
            version,
            header_len,
            features,
            store_id: self.store.0,
            birth: self.birth.0,
            number: self.number,
            salt: self.salt,
            first_position: self.first_position,
            prev_number: self.prev_number,
            prev_end_position: self.prev_end_position,
            prev_end_offset: self.prev_end_offset,
            prev_end_crc: self.prev_end_crc,
            carry_len: self.carry_len,
            incarnation: self.incarnation,
            created: self.created,
            reserved: 0,
            crc: 0,
        };
        raw.crc = checksum(&raw.encode());
        raw.encode()
    }

    /// Takes the header with which `bytes` begin. More bytes may follow it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        let bytes = bytes.first_chunk::<{ Raw::LEN }>().ok_or(HeaderFault::Short)?;
        if super::frame::is_zero(bytes) {
            return Err(HeaderFault::Empty);
        }
        let raw = Raw::decode(bytes);
        let preamble = Preamble {
            magic: raw.magic,
            version: raw.version,
            header_len: raw.header_len,
            features: raw.features,
        };
        preamble.before_checksum(MAGIC)?;
        if checksum(bytes) != raw.crc {
            return Err(HeaderFault::Checksum);
        }
        preamble.after_checksum()?;
        if raw.reserved != 0 {
            return Err(HeaderFault::Field("reserved"));
        }
        if !(1..=MAX_NUMBER).contains(&raw.number) {
            return Err(HeaderFault::Field("number"));
        }
        if raw.first_position > MAX_NUMBER {
            return Err(HeaderFault::Field("first_position"));
        }
        if raw.prev_number >= raw.number {
            return Err(HeaderFault::Field("prev_number"));
        }
        Ok(SegmentHeader {
            store: StoreId(raw.store_id),
            birth: BirthId(raw.birth),
            number: raw.number,
            salt: raw.salt,
            first_position: raw.first_position,
            prev_number: raw.prev_number,
            prev_end_position: raw.prev_end_position,
            prev_end_offset: raw.prev_end_offset,
            prev_end_crc: raw.prev_end_crc,
            carry_len: raw.carry_len,
            incarnation: raw.incarnation,
            created: raw.created,
        })
    }

    /// Where what was carried into the segment ends, and its own commits begin.
    pub(crate) fn carry_end(&self) -> u64 {
        SegmentHeader::LEN as u64 + u64::from(self.carry_len)
    }

    /// Where the checksums of this segment's frames start.
    pub(crate) fn seed(&self) -> Seed {
        Seed::new(&self.birth, self.number, self.salt)
    }
}

/// Over everything but the checksum itself.
pub(super) fn checksum(header: &[u8; Raw::LEN]) -> u32 {
    let [covered @ .., _, _, _, _] = header;
    crc32fast::hash(covered)
}

/// The payload of a `Next` record: which segment follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Successor {
    pub number: u64,
    pub salt: u64,
}

impl Successor {
    pub(crate) fn encode(&self) -> [u8; 16] {
        RawSuccessor { number: self.number, salt: self.salt }.encode()
    }

    /// `None` if the payload has another length, or no segment has that number.
    pub(crate) fn decode(payload: &[u8]) -> Option<Successor> {
        let RawSuccessor { number, salt } = RawSuccessor::decode(payload.try_into().ok()?);
        (number <= MAX_NUMBER).then_some(Successor { number, salt })
    }
}

#[cfg(test)]
pub(super) fn fields() -> [Vec<(usize, usize, &'static str)>; 2] {
    [Raw::fields(), RawSuccessor::fields()]
}
