//! The byte that names the codec of a payload.

use std::hash::{Hash, Hasher};

/// How a payload is to be read: one byte in the header of its message.
///
/// It is a label for readers. The store itself never looks into a payload, and a codec that it does not know
/// is as good as any other. Two codecs are equal if their bytes are.
#[derive(Debug, Clone, Copy, Default)]
pub enum Codec {
    /// Bytes with a meaning that the caller knows. The byte 0.
    #[default]
    Bytes,
    /// UTF-8 text of one JSON value. The byte 1.
    Json,
    /// A codec of the caller's own, or of a later version. 2 to 127 belong to this library, 128 to 255 to
    /// callers.
    Other(u8),
}

impl Codec {
    /// The codec with this byte.
    pub const fn from_u8(byte: u8) -> Codec {
        match byte {
            0 => Codec::Bytes,
            1 => Codec::Json,
            other => Codec::Other(other),
        }
    }

    /// Its byte.
    pub const fn to_u8(self) -> u8 {
        match self {
            Codec::Bytes => 0,
            Codec::Json => 1,
            Codec::Other(byte) => byte,
        }
    }
}

impl From<u8> for Codec {
    fn from(byte: u8) -> Codec {
        Codec::from_u8(byte)
    }
}

impl From<Codec> for u8 {
    fn from(codec: Codec) -> u8 {
        codec.to_u8()
    }
}

impl PartialEq for Codec {
    fn eq(&self, other: &Codec) -> bool {
        self.to_u8() == other.to_u8()
    }
}

impl Eq for Codec {}

impl Hash for Codec {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_u8().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        for byte in 0..=255 {
            assert_eq!(Codec::from_u8(byte).to_u8(), byte);
            assert_eq!(Codec::from_u8(byte), Codec::Other(byte));
        }
        assert!(matches!(Codec::from(0), Codec::Bytes));
        assert!(matches!(Codec::from(1), Codec::Json));
    }
}
