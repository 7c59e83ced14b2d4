//! Why a value was refused.

use std::fmt;

use crate::limits::MAX_JSON_DEPTH;

/// Why a value cannot be written as JSON, or bytes cannot be read as one. Its text is a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JsonFault {
    /// NaN or an infinity.
    NotFinite,
    /// A map key that is not text; what it is instead.
    KeyNotText(&'static str),
    /// More levels of arrays and objects than can be read back.
    TooDeep,
    /// An `i128` or `u128`.
    LongInteger,
    /// The value's own `Serialize` failed.
    Refused(String),
    /// The bytes are not JSON, or not of this type.
    Unreadable(String),
}

impl fmt::Display for JsonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JsonFault::NotFinite => f.write_str(
                "a float that is not finite cannot be written as JSON; it would read back as null",
            ),
            JsonFault::KeyNotText(found) => write!(
                f,
                "a map key that is {found} cannot be written as JSON; keys must be strings, characters or \
                 unit variants of an enum"
            ),
            JsonFault::TooDeep => write!(
                f,
                "a value nested deeper than {MAX_JSON_DEPTH} levels cannot be written as JSON; it could \
                 not be read back"
            ),
            JsonFault::LongInteger => f.write_str(
                "a 128-bit integer cannot be written as JSON; it would not read back from within a tagged or \
                 flattened type (write it as 64 bits or as a string)",
            ),
            JsonFault::Refused(why) => write!(f, "the value cannot be written as JSON: {why}"),
            JsonFault::Unreadable(why) => write!(f, "the payload cannot be read as this type: {why}"),
        }
    }
}

impl std::error::Error for JsonFault {}
