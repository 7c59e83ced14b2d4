//! Puts the right checksums over bytes that were changed, so that tests and fuzzers reach the checks behind them.
//! Not in a normal build. What is too short or too odd to have a checksum is left as it is.

use super::frame::{FRAME_HEADER_LEN, peek_lengths};
use super::header::HEADER_LEN;
use super::record::{ENTRY_LEN, body_len};
use super::{Seed, catalog, segment, store};

/// The checksum of a `STORE` file.
pub(crate) fn store_file(bytes: &mut [u8]) {
    if let Some((fixed, behind)) = bytes.split_first_chunk_mut::<HEADER_LEN>() {
        let crc = store::checksum(fixed, behind);
        fixed[HEADER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The checksum of a segment's header.
pub(crate) fn segment_header(bytes: &mut [u8]) {
    if let Some(fixed) = bytes.first_chunk_mut::<HEADER_LEN>() {
        let crc = segment::checksum(fixed);
        fixed[HEADER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
    }
}

/// All checksums of the frame with which `bytes` begin; its length if it is one, by its lengths.
pub(crate) fn frame(seed: Seed, offset: u64, bytes: &mut [u8]) -> Option<usize> {
    let (table_len, len) = peek_lengths(bytes)?;
    let frame = bytes.get_mut(..len)?;
    let mut at = FRAME_HEADER_LEN + table_len;
    for entry in 0..table_len / ENTRY_LEN {
        let place = FRAME_HEADER_LEN + entry * ENTRY_LEN;
        let entry: [u8; ENTRY_LEN] = frame[place..place + ENTRY_LEN].try_into().ok()?;
        let body_len = body_len(&entry);
        // What does not fit is left to the sum of lengths, which the header's checksum comes before.
        let Some(body) = frame.get(at..at + body_len) else { break };
        let crc = seed.of_body(offset.saturating_add(at as u64), body);
        frame[place + 4..place + 8].copy_from_slice(&crc.to_le_bytes());
        at += body_len;
    }
    let check = seed.of_header(offset, frame.first_chunk()?);
    let head = frame.get_mut(..FRAME_HEADER_LEN + table_len)?;
    head[4..6].copy_from_slice(&check.to_le_bytes());
    let crc = seed.of_frame(offset, head);
    head[..4].copy_from_slice(&crc.to_le_bytes());
    Some(len)
}

/// Header and all frames of a segment, one behind the other, each naming the one before it.
pub(crate) fn segment(bytes: &mut [u8]) {
    segment_header(bytes);
    let Ok(header) = super::SegmentHeader::decode(bytes) else { return };
    let seed = header.seed();
    let mut at = HEADER_LEN;
    let mut before = (0u32, 0u32);
    while let Some(rest) = bytes.get_mut(at..) {
        let Some((_, len)) = peek_lengths(rest) else { return };
        if len > rest.len() {
            return;
        }
        rest[12..16].copy_from_slice(&before.0.to_le_bytes());
        rest[16..20].copy_from_slice(&before.1.to_le_bytes());
        if frame(seed, at as u64, rest).is_none() {
            return;
        }
        before = (u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]), len as u32);
        at += len;
    }
}

/// Header, marks and chain of a catalog file.
pub(crate) fn catalog_file(bytes: &mut [u8]) {
    catalog::reseal(bytes);
}
