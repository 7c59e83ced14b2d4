//! Frames that no writer of this version writes, made by hand from what `FORMAT.md` says.

use crc32fast::Hasher;

const HEADER: usize = 63;
const ENTRY: usize = 13;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Adds a commit with one record behind the last frame of a segment that was closed in good order.
pub fn append(segment: &mut Vec<u8>, frame_kind: u8, record_kind: u8, flags: u8, payload: &[u8]) {
    // The seed: birth, number, salt.
    let mut seed = Hasher::new();
    seed.update(&segment[32..48]);
    seed.update(&segment[48..64]);
    let seed = seed.finalize();
    let mut last = 128;
    loop {
        let next = last + HEADER + u32_at(segment, last + 8) as usize;
        if next + HEADER > segment.len() || segment[next..next + HEADER].iter().all(|b| *b == 0) {
            segment.truncate(next);
            break;
        }
        last = next;
    }
    let offset = segment.len() as u64;
    let (crc, len) = (u32_at(segment, last), segment.len() - last);
    let records = u32_at(segment, last + 20) + u32::from(segment[last + 6]);
    let position = u64_at(segment, last + 24) + u64::from(records);

    let mut entry = [0; ENTRY];
    entry[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    entry[10] = record_kind;
    entry[11] = flags;
    let started = |at: u64| Hasher::new_with_initial(seed ^ at as u32 ^ (at >> 32) as u32);
    let mut sum = started(offset + (HEADER + ENTRY) as u64);
    sum.update(payload);
    entry[4..8].copy_from_slice(&sum.finalize().to_le_bytes());

    // The state after it is that of the frame before.
    let mut head = [0; HEADER];
    head.copy_from_slice(&segment[last..last + HEADER]);
    head[62] = frame_kind;
    head[8..12].copy_from_slice(&(ENTRY as u32 + payload.len() as u32).to_le_bytes());
    head[12..16].copy_from_slice(&crc.to_le_bytes());
    head[16..20].copy_from_slice(&(len as u32).to_le_bytes());
    let message = u32::from(record_kind == 1);
    head[6..8].copy_from_slice(&(1 - message as u16).to_le_bytes());
    head[20..24].copy_from_slice(&message.to_le_bytes());
    head[24..32].copy_from_slice(&position.to_le_bytes());
    head[40..48].copy_from_slice(&1_750_000_000_000_000u64.to_le_bytes());
    head[56..58].copy_from_slice(&0u16.to_le_bytes());
    let mut check = started(offset);
    check.update(&head[6..]);
    head[4..6].copy_from_slice(&((check.finalize() >> 16) as u16).to_le_bytes());
    let mut sum = started(offset);
    sum.update(&head[4..]);
    sum.update(&entry);
    head[0..4].copy_from_slice(&sum.finalize().to_le_bytes());

    segment.extend_from_slice(&head);
    segment.extend_from_slice(&entry);
    segment.extend_from_slice(payload);
}

/// Raises the version in a header of 128 bytes and makes its checksum right.
pub fn raise_version(file: &mut [u8], covered_behind: bool) {
    file[8] = 2;
    let mut sum = Hasher::new();
    sum.update(&file[..124]);
    if covered_behind {
        sum.update(&file[128..]);
    }
    let crc = sum.finalize().to_le_bytes();
    file[124..128].copy_from_slice(&crc);
}
