//! The `STORE` file: which store this is, and where its locks lie.

use super::header::{HEADER_LEN, HeaderFault, Preamble};
use super::layout::layout;
use crate::ids::StoreId;

const MAGIC: [u8; 8] = *b"SLOGSTOR";

layout! {
    struct Raw, 128 {
        0 magic: [u8; 8],
        8 version: u16,
        10 header_len: u16,
        12 features: u32,
        16 store_id: [u8; 16],
        32 created: u64,
        40 flags: u32,
        44 lock_dir_len: u16,
        46 reserved: [u8; 78],
        124 crc: u32,
    }
}

const _: () = assert!(Raw::LEN == HEADER_LEN && StoreFile::MAX_LOCK_DIR <= u16::MAX as usize);

/// Written once, when the store is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreFile {
    pub id: StoreId,
    /// Microseconds since 1970.
    pub created: u64,
    /// Where the locks lie; `None`: beside the logs.
    pub lock_dir: Option<String>,
}

impl StoreFile {
    /// The longest path of a lock directory, in bytes. What is longer is refused at the call.
    pub(crate) const MAX_LOCK_DIR: usize = 4096;
    /// The longest file that can be one of this version, in bytes: nobody needs to read more.
    pub(crate) const MAX_LEN: usize = Raw::LEN + StoreFile::MAX_LOCK_DIR;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let path = self.lock_dir.as_deref().unwrap_or_default();
        assert!(path.len() <= StoreFile::MAX_LOCK_DIR, "a lock directory of {} bytes", path.len());
        let Preamble { magic, version, header_len, features } = Preamble::of(MAGIC);
        let mut raw = Raw {
            magic,
            version,
            header_len,
            features,
            store_id: self.id.0,
            created: self.created,
            flags: 0,
            lock_dir_len: path.len() as u16,
            reserved: [0; 78],
            crc: 0,
        };
        raw.crc = checksum(&raw.encode(), path.as_bytes());
        let mut out = raw.encode().to_vec();
        out.extend_from_slice(path.as_bytes());
        out
    }

    /// Takes the content of the whole file: nothing may follow.
    pub(crate) fn decode(bytes: &[u8]) -> Result<StoreFile, HeaderFault> {
        let (fixed, path) = bytes.split_first_chunk::<{ Raw::LEN }>().ok_or(HeaderFault::Short)?;
        if super::frame::is_zero(bytes) {
            return Err(HeaderFault::Empty);
        }
        let raw = Raw::decode(fixed);
        let preamble = Preamble {
            magic: raw.magic,
            version: raw.version,
            header_len: raw.header_len,
            features: raw.features,
        };
        preamble.before_checksum(MAGIC)?;
        // Over all that is there, whatever length is stated: a later version may have more behind the path,
        // and what is cut off or added is noticed too.
        if checksum(fixed, path) != raw.crc {
            return Err(HeaderFault::Checksum);
        }
        preamble.after_checksum()?;
        if raw.flags != 0 {
            return Err(HeaderFault::Field("flags"));
        }
        if raw.reserved != [0; 78] {
            return Err(HeaderFault::Field("reserved"));
        }
        let stated = usize::from(raw.lock_dir_len);
        if stated != path.len() || stated > StoreFile::MAX_LOCK_DIR {
            return Err(HeaderFault::Field("lock_dir_len"));
        }
        let lock_dir = match str::from_utf8(path) {
            Ok("") => None,
            Ok(path) => Some(path.to_owned()),
            Err(_) => return Err(HeaderFault::Field("lock_dir")),
        };
        Ok(StoreFile { id: StoreId(raw.store_id), created: raw.created, lock_dir })
    }
}

/// Over the fixed part without the checksum itself, then everything behind it.
pub(super) fn checksum(fixed: &[u8; Raw::LEN], behind: &[u8]) -> u32 {
    let [covered @ .., _, _, _, _] = fixed;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(covered);
    hasher.update(behind);
    hasher.finalize()
}

#[cfg(test)]
pub(super) fn fields() -> Vec<(usize, usize, &'static str)> {
    Raw::fields()
}
