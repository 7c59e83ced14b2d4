//! What is appended, and what must be read again.
//!
//! A payload names its writer and its number and goes on with a piece of a pool that both choose, so whoever reads
//! it knows every byte that must be there. It is text that needs no escape in JSON, and pieces that lie near each
//! other share nothing, so that compression gains as little as on text that was compressed before.

use std::sync::LazyLock;

use crate::Result;

pub(crate) const KIB: usize = 1024;
/// The bytes that name writer and number.
const NAME: usize = 32;
const POOL: usize = 1 << 20;

static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        LETTERS[(state >> 33) as usize % LETTERS.len()]
    };
    (0..POOL).map(|_| next()).collect()
});

fn name(writer: u64, number: u64) -> [u8; NAME] {
    let mut out = [0; NAME];
    for (at, byte) in out.iter_mut().enumerate() {
        let word = if at < 16 { writer } else { number };
        *byte = b"0123456789abcdef"[(word >> (60 - 4 * (at % 16))) as usize & 15];
    }
    out
}

fn piece(writer: u64, number: u64, len: usize) -> &'static [u8] {
    let from = (writer.wrapping_mul(7_919).wrapping_add(number.wrapping_mul(1_031)) as usize) % (POOL - len);
    &BYTES[from..from + len]
}

/// The payload `number` of `writer`. `len` is at least 32.
pub(crate) fn make(writer: u64, number: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len);
    out.extend_from_slice(&name(writer, number));
    out.extend_from_slice(piece(writer, number, len - NAME));
    out
}

/// `count` payloads of `writer`, from `first` on.
pub(crate) fn many(writer: u64, first: u64, count: u64, len: usize) -> Vec<Vec<u8>> {
    (first..first + count).map(|number| make(writer, number, len)).collect()
}

/// Compares every byte with what must be there.
pub(crate) fn check(writer: u64, number: u64, len: usize, found: &[u8]) -> Result<()> {
    let right = found.len() == len
        && found.starts_with(&name(writer, number))
        && found.get(NAME..) == Some(piece(writer, number, len - NAME));
    if right {
        return Ok(());
    }
    Err(format!("payload {number} of {writer} is not what was appended: {} bytes", found.len()).into())
}

/// The writer and number that a payload names; `None` if it is none, or not whole.
pub(crate) fn read_name(found: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(found.get(..NAME)?).ok()?;
    let (writer, number) = text.split_at(16);
    let name = (u64::from_str_radix(writer, 16).ok()?, u64::from_str_radix(number, 16).ok()?);
    check(name.0, name.1, found.len(), found).ok().map(|()| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_known_by_every_byte() {
        let payload = make(3, 70_000, KIB);
        assert_eq!(payload.len(), KIB);
        assert!(check(3, 70_000, KIB, &payload).is_ok());
        assert_eq!(read_name(&payload), Some((3, 70_000)));
        for at in 0..payload.len() {
            let mut other = payload.clone();
            other[at] ^= 1;
            assert!(check(3, 70_000, KIB, &other).is_err(), "byte {at}");
        }
        assert!(check(3, 70_001, KIB, &payload).is_err());
        assert!(check(3, 70_000, KIB, &payload[1..]).is_err());
    }
}
