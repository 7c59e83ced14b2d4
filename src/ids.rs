//! The names of things: sessions, stores, lives, positions and sequences.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// The caller's name for a session: any UTF-8 text of 1 to 512 bytes.
///
/// Colons, slashes, upper and lower case, emoji and line ends are all allowed: an id never becomes a
/// file name by itself. Two ids that differ in one byte are two sessions,
/// on case-insensitive file systems too.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// Checks the length and wraps the text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidId`] if the text is empty or longer than 512 bytes.
    pub fn new(id: impl AsRef<str>) -> Result<SessionId> {
        let id = id.as_ref();
        if id.is_empty() {
            return Err(Error::new(ErrorKind::InvalidId, "check a session id")
                .hint("the id is empty; a session id has 1 to 512 bytes of UTF-8"));
        }
        if id.len() > limits::MAX_SESSION_ID {
            return Err(Error::new(ErrorKind::InvalidId, "check a session id").hint(format!(
                "the id has {} bytes; a session id has 1 to {} bytes of UTF-8",
                id.len(),
                limits::MAX_SESSION_ID
            )));
        }
        Ok(SessionId(Arc::from(id)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the directory in which the session's directory lies: its shard.
    pub(crate) fn shard(&self) -> &'static str {
        shard_of_hash(xxh3_128(self.0.as_bytes()))
    }

    /// `<slug>~<hash>`: a readable slug of the id (lower case, at most 40 bytes of `a-z 0-9 . _ -`, never
    /// starting with a dot), and the 128-bit XXH3 of the whole id in hexadecimal.
    pub(crate) fn dir_name(&self) -> String {
        let mut name = String::with_capacity(MAX_SLUG + 1 + HASH);
        slug(&self.0, |c| name.push(char::from(c)));
        name.push('~');
        let hash = xxh3_128(self.0.as_bytes());
        // A listing asks for many: `format!` takes most of a microsecond.
        let digit = |nibble: u8| char::from(if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble });
        name.extend((0..32).rev().map(|place| digit((hash >> (4 * place)) as u8 & 15)));
        name
    }

    /// Whether this is [`SessionId::dir_name`], of a name that ends in the hash of this id.
    pub(crate) fn has_slug_of(&self, dir_name: &str) -> bool {
        let mut rest = dir_name.bytes();
        let mut same = true;
        slug(&self.0, |c| same &= rest.next() == Some(c));
        same && rest.next() == Some(b'~') && rest.len() == HASH
    }
}

/// The longest slug, in bytes.
const MAX_SLUG: usize = 40;
/// The hexadecimal digits of a hash.
const HASH: usize = 32;

/// Gives the bytes of the slug of an id, one after the other.
fn slug(id: &str, mut push: impl FnMut(u8)) {
    let (mut len, mut last) = (0, 0);
    for c in id.chars() {
        if len >= MAX_SLUG {
            break;
        }
        let c = c.to_ascii_lowercase();
        let keep = c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.';
        let c = if keep { c as u8 } else { b'-' };
        if c == b'-' && last == b'-' || c == b'.' && len == 0 {
            continue;
        }
        push(c);
        (len, last) = (len + 1, c);
    }
}

/// The hash of the session id that ends the name of its directory, `<slug>~<32 hexadecimal digits>`; `None` if no
/// session's directory is named like this.
pub(crate) fn hash_in(dir_name: &str) -> Option<u128> {
    let (_, [b'~', digits @ ..]) = dir_name.as_bytes().split_last_chunk::<{ 1 + HASH }>()? else {
        return None;
    };
    let digit = |half: u64, digit: &u8| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(half << 4 | u64::from(nibble))
    };
    // In words of the processor: a listing asks for many.
    let (high, low) = digits.split_at(HASH / 2);
    let [high, low] = [high, low].map(|half| half.iter().try_fold(0, digit));
    Some(u128::from(high?) << 64 | u128::from(low?))
}

/// Whether a session's directory is named like this.
pub(crate) fn is_session_dir(name: &str) -> bool {
    hash_in(name).is_some()
}

/// The shard of the session whose directory has this name: the first digit of the hash. Empty, which is no name, if no
/// session's directory is named like this.
pub(crate) fn shard_of(dir_name: &str) -> &'static str {
    hash_in(dir_name).map(shard_of_hash).unwrap_or_default()
}

/// The shard of the session whose id has this hash.
pub(crate) fn shard_of_hash(hash: u128) -> &'static str {
    SHARDS.get(shard_number(hash)).copied().unwrap_or_default()
}

/// And its number among all.
pub(crate) fn shard_number(hash: u128) -> usize {
    (hash >> 124) as usize
}

/// The names of all shards.
pub(crate) const SHARDS: [&str; 16] =
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f"];

/// Whether a shard is named like this.
pub(crate) fn is_shard(name: &str) -> bool {
    SHARDS.contains(&name)
}

/// What is no id is an error here too.
impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SessionId, D::Error> {
        SessionId::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for SessionId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for byte in self.0 {
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

random_id! {
    /// The random id of one life of a session: one that is removed and created again has another.
    BirthId
}
random_id! {
    /// The random id of a store, written once into its `STORE` file.
    StoreId
}

/// One writer's term of office in a session: rises with each process that opens it for writing.
///
/// Durable before that writer's first acknowledgement, and so the token by which an older writer can be
/// told from a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(crate) struct Incarnation {
    /// Counts the writers of this session, from 1.
    pub(crate) number: u64,
    /// Random, so that two writers which took the same number by accident still differ.
    pub(crate) nonce: u64,
}

impl Incarnation {
    /// The term behind that of this number.
    pub(crate) fn after(number: u64, nonce: u64) -> Result<Incarnation> {
        if number >= limits::MAX_NUMBER {
            let full = Error::new(ErrorKind::TooLarge, "write to a session");
            return Err(full.hint("there are no numbers left for its writers"));
        }
        Ok(Incarnation { number: number + 1, nonce })
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.number, self.nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_short_whatever_the_id() {
        for id in [
            "a/b",
            "..",
            "C:\\x",
            "agent:main:telegram:group:-100",
            "日本語",
            "A",
            "a",
            &"x".repeat(512),
            "\0",
            "CON",
        ] {
            let id = SessionId::new(id).unwrap();
            let name = id.dir_name();
            assert!(name.len() <= 73, "{name}");
            assert!(!name.starts_with('.'), "{name}");
            assert!(
                name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-~".contains(c)),
                "{name}"
            );
            assert!(is_session_dir(&name) && is_shard(id.shard()), "{name}");
            assert_eq!(hash_in(&name), Some(xxh3_128(id.as_str().as_bytes())), "{name}");
            assert_eq!(id.shard(), &name[name.len() - 32..][..1], "{name}");
            assert_eq!(id.shard(), shard_of(&name));
            assert!(id.has_slug_of(&name), "{name}");
            let hash = &name[name.len() - 32..];
            let slug = &name[..name.len() - 33];
            for other in [format!("{slug}x~{hash}"), format!("x{slug}~{hash}"), format!("~{hash}")] {
                assert!(!id.has_slug_of(&other) || other == name, "{other}");
            }
        }
        assert_ne!(SessionId::new("A").unwrap().dir_name(), SessionId::new("a").unwrap().dir_name());
    }

    #[test]
    fn other_names_are_no_sessions_and_have_no_shard() {
        let hash = "0123456789abcdef0123456789abcdef";
        assert_eq!(shard_of(&format!("x~{hash}")), "0");
        for name in [
            "",
            "~",
            hash,
            &format!("x~{hash}0"),
            &format!("x~{}", &hash[1..]),
            &format!("x~{}", hash.to_uppercase()),
        ] {
            assert!(!is_session_dir(name) && shard_of(name).is_empty() && hash_in(name).is_none(), "{name}");
        }
        assert!(is_shard("0") && is_shard("f") && !["", "g", "A", "00", "é"].into_iter().any(is_shard));
    }

    #[test]
    fn empty_and_overlong_ids_are_refused() {
        assert_eq!(SessionId::new("").unwrap_err().kind(), ErrorKind::InvalidId);
        assert_eq!(SessionId::new("x".repeat(513)).unwrap_err().kind(), ErrorKind::InvalidId);
        assert!(SessionId::new("x".repeat(512)).is_ok());
        for id in ["", "a", "\0日", &"x".repeat(512), &"x".repeat(513)] {
            let read = serde_json::from_value::<SessionId>(id.into());
            assert_eq!(read.ok(), SessionId::new(id).ok(), "{id}");
        }
    }
}
