//! bincode, in its one place: the bodies of journal records, snapshots and catalog entries.
//!
//! bincode has no field evolution and no integrity of its own, so it is never used bare: every body stands
//! behind a checksum (of its frame) and a version byte, which selects the type to decode; the length is
//! bounded by the bytes that are there, and all of them must be consumed.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits;

/// Appends `version` and the encoded value.
pub(crate) fn encode<T: Serialize>(version: u8, value: &T, out: &mut Vec<u8>) -> Result<(), String> {
    out.push(version);
    bincode::serde::encode_into_std_write(value, out, bincode::config::standard())
        .map(|_| ())
        .map_err(|e| e.to_string())
}

/// The version byte and the encoded bytes behind it.
pub(crate) fn split(body: &[u8]) -> Result<(u8, &[u8]), String> {
    body.split_first().map(|(v, rest)| (*v, rest)).ok_or_else(|| "an empty body".to_owned())
}

/// Decodes a value from all of `bytes` (without the version byte).
///
/// bincode takes memory for a string by its stated length before it looks whether the bytes are there, so the limit
/// follows the length of the body. A byte on disk counts for at most 16 of them (a `u128` of one byte).
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bytes.len() {
        0..=0x40 => within::<T, { 1 << 10 }>(bytes),
        0x41..=0x400 => within::<T, { 16 << 10 }>(bytes),
        0x401..=0x4000 => within::<T, { 256 << 10 }>(bytes),
        0x4001..=0x4_0000 => within::<T, { 4 << 20 }>(bytes),
        0x4_0001..=0x40_0000 => within::<T, { 64 << 20 }>(bytes),
        0x40_0001..=limits::MAX_SNAPSHOT => within::<T, { limits::MAX_SNAPSHOT * 16 }>(bytes),
        len => Err(format!("a body of {len} bytes; the limit is {}", limits::MAX_SNAPSHOT)),
    }
}

fn within<T: DeserializeOwned, const LIMIT: usize>(bytes: &[u8]) -> Result<T, String> {
    let config = bincode::config::standard().with_limit::<LIMIT>();
    match bincode::serde::decode_from_slice::<T, _>(bytes, config) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => Err(format!("{} bytes left over behind the value", bytes.len() - used)),
        Err(e) => Err(e.to_string()),
    }
}

/// Reads the same bytes value by value and borrows what it can: a twentieth of the work where many bodies are decoded at
/// once. `None` where the bytes end, or are none of the value that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Values<'a>(pub(crate) &'a [u8]);

impl<'a> Values<'a> {
    /// An array of bytes.
    #[inline]
    pub(crate) fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (value, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*value)
    }

    /// A number: one byte below 251, or a byte that says how many follow.
    #[inline]
    pub(crate) fn u64(&mut self) -> Option<u64> {
        match self.bytes()? {
            [byte @ 0..=250] => Some(byte.into()),
            [251] => self.bytes().map(u16::from_le_bytes).map(u64::from),
            [252] => self.bytes().map(u32::from_le_bytes).map(u64::from),
            [253] => self.bytes().map(u64::from_le_bytes),
            [_] => None,
        }
    }

    /// A text, behind its length.
    #[inline]
    pub(crate) fn str(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.u64()?).ok()?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    /// `true` or `false`; also, whether an optional value follows.
    #[inline]
    pub(crate) fn bool(&mut self) -> Option<bool> {
        match self.bytes()? {
            [0] => Some(false),
            [1] => Some(true),
            [_] => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_comes_back_and_nothing_else_is_accepted() {
        let value = (7u64, "text".to_owned(), vec![1u8, 2, 3]);
        let mut out = Vec::new();
        encode(1, &value, &mut out).unwrap();
        let (version, body) = split(&out).unwrap();
        assert_eq!(version, 1);
        assert_eq!(decode::<(u64, String, Vec<u8>)>(body).unwrap(), value);
        assert!(decode::<(u64, String, Vec<u8>)>(&body[..body.len() - 1]).is_err());
        let mut longer = body.to_vec();
        longer.push(0);
        assert!(decode::<(u64, String, Vec<u8>)>(&longer).is_err());
    }

    #[test]
    fn some_bytes_cannot_ask_for_a_gigabyte() {
        let bomb = [252u8, 0, 0, 0, 0x40];
        assert!(decode::<Vec<u8>>(&bomb).is_err());
        assert!(decode::<String>(&bomb).is_err());
        // Where no length is as large, bincode takes what is left of it.
        #[cfg(target_pointer_width = "64")]
        assert!(decode::<Vec<u8>>(&[253u8, 0, 0, 0, 0, 0, 1, 0, 0]).is_err());
    }

    /// A fuzzer found this one: 11 bytes of a catalog entry made the decoder take (and clear) 62 MiB for an id that
    /// was not there, because the limit was the same for bodies of all lengths.
    #[test]
    fn a_short_body_cannot_ask_for_as_much_as_a_long_one() {
        // Stated lengths: 1,000 in a byte string of 3; 63 MiB.
        let modest = [251u8, 232, 3];
        let greedy = [252u8, 0, 0, 0xf0, 3];
        assert!(decode::<String>(&modest).unwrap_err().contains("UnexpectedEnd"));
        let what = decode::<String>(&greedy).unwrap_err();
        assert!(what.contains("LimitExceeded"), "{what}");
    }

    /// The decoder counts eight bytes for a number that takes one on disk. With 64 MiB for all, a snapshot of 9 MiB
    /// could be written, and never be read again.
    #[test]
    fn what_may_be_written_may_be_read() {
        let many = vec![7u64; 9 << 20];
        let mut out = Vec::new();
        encode(1, &many, &mut out).unwrap();
        assert!(out.len() < limits::MAX_SNAPSHOT);
        assert_eq!(decode::<Vec<u64>>(&out[1..]).unwrap().len(), many.len());
    }

    #[test]
    fn the_limit_never_stands_in_the_way_of_what_is_there() {
        for len in [1usize, 3, 4, 60, 63, 64, 65, 1_000, 1_023, 1_024, 16_000, 16_384, 20_000, 262_145] {
            let small = vec![1u128; len];
            let text = "x".repeat(len);
            let mut out = Vec::new();
            encode(1, &small, &mut out).unwrap();
            assert_eq!(decode::<Vec<u128>>(&out[1..]).unwrap(), small, "{len}");
            out.clear();
            encode(1, &text, &mut out).unwrap();
            assert_eq!(decode::<String>(&out[1..]).unwrap(), text, "{len}");
        }
    }
}
