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
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let config = bincode::config::standard().with_limit::<{ limits::MAX_SNAPSHOT }>();
    match bincode::serde::decode_from_slice::<T, _>(bytes, config) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => Err(format!("{} bytes left over behind the value", bytes.len() - used)),
        Err(e) => Err(e.to_string()),
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
    fn nine_bytes_cannot_ask_for_a_terabyte() {
        let bomb = [253u8, 0, 0, 0, 0, 0, 1, 0, 0];
        assert!(decode::<Vec<u8>>(&bomb).is_err());
        assert!(decode::<String>(&bomb).is_err());
    }
}
