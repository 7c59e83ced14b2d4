//! What the headers of all files have in common: how they begin, and what can be wrong with them.

use std::fmt;

/// The first and only version so far.
pub(super) const VERSION: u16 = 1;
/// The length of the fixed part of every header, in bytes.
pub(super) const HEADER_LEN: usize = 128;
/// A header that claims to be longer than this is not one of a later version, but damage.
const MAX_HEADER_LEN: u16 = 4096;
/// The feature bits that this version knows: none.
const KNOWN_FEATURES: u32 = 0;

/// Why bytes are not the header of a file that can be read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Fewer bytes than a header has, or than it says it has.
    Short,
    /// Nothing but zeros.
    Empty,
    /// Not a file of this kind.
    Magic,
    /// A later version.
    Version(u16),
    /// Features that this version does not know: the unknown bits.
    Features(u32),
    /// Not what was written.
    Checksum,
    /// A field has a value that no writer of this version writes.
    Field(&'static str),
}

impl HeaderFault {
    /// True if a later version of the library may read the file: it is whole, or looks so.
    pub(crate) fn is_unsupported(&self) -> bool {
        matches!(self, HeaderFault::Version(_) | HeaderFault::Features(_))
    }
}

/// How every header begins: magic, version, its own length, features.
pub(super) struct Preamble {
    pub(super) magic: [u8; 8],
    pub(super) version: u16,
    pub(super) header_len: u16,
    pub(super) features: u32,
}

impl Preamble {
    pub(super) fn of(magic: [u8; 8]) -> Preamble {
        Preamble { magic, version: VERSION, header_len: HEADER_LEN as u16, features: 0 }
    }

    /// What can be said without the checksum: is this our kind of file, and is the checksum where this
    /// version has it?
    ///
    /// A later version that keeps the length of 128 keeps the checksum too, so there the checksum decides
    /// first, and a flipped bit in the version is damage. One that moves the checksum changes the length
    /// with the version: two fields at once, both within reason, which one flipped bit cannot do.
    pub(super) fn before_checksum(&self, magic: [u8; 8]) -> Result<(), HeaderFault> {
        if self.magic != magic {
            return Err(HeaderFault::Magic);
        }
        if usize::from(self.header_len) == HEADER_LEN {
            return Ok(());
        }
        let plausible = self.header_len.is_multiple_of(8) && (64..=MAX_HEADER_LEN).contains(&self.header_len);
        match self.version > VERSION && self.version < 256 && plausible {
            true => Err(HeaderFault::Version(self.version)),
            false => Err(HeaderFault::Checksum),
        }
    }

    /// What is left to judge once the checksum is right.
    pub(super) fn after_checksum(&self) -> Result<(), HeaderFault> {
        if self.version == 0 {
            return Err(HeaderFault::Field("version"));
        }
        if self.version > VERSION {
            return Err(HeaderFault::Version(self.version));
        }
        match self.features & !KNOWN_FEATURES {
            0 => Ok(()),
            unknown => Err(HeaderFault::Features(unknown)),
        }
    }
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderFault::Short => f.write_str("the file is shorter than its header"),
            HeaderFault::Empty => f.write_str("the header is nothing but zeros"),
            HeaderFault::Magic => f.write_str("the file does not begin like a file of this kind"),
            HeaderFault::Version(version) => {
                write!(f, "the file has format version {version}; this library reads up to version {VERSION}")
            }
            HeaderFault::Features(bits) => {
                write!(f, "the file uses features ({bits:#x}) that this version of the library does not know")
            }
            HeaderFault::Checksum => f.write_str("the checksum of the header does not match: it was changed"),
            HeaderFault::Field(name) => write!(f, "the field `{name}` of the header has an impossible value"),
        }
    }
}

impl std::error::Error for HeaderFault {}
