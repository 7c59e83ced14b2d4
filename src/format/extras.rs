//! What a message may carry besides its payload: tag, token count, ids, idempotency key. Each that is present is
//! one item of tag, length and bytes, so that absent ones cost nothing and later versions can add some.

use crate::limits::MAX_LABEL;

const TAG: u8 = 1;
const TOKENS: u8 = 2;
const ID: u8 = 3;
const PARENT: u8 = 4;
const KEY: u8 = 5;

/// Tag (one byte) and length (two) in front of each item.
const ITEM_HEADER_LEN: usize = 1 + 2;

/// All labels and the token count of a message fit into the length field of an entry.
const _: () = assert!(4 * (ITEM_HEADER_LEN + MAX_LABEL) + ITEM_HEADER_LEN + 4 <= u16::MAX as usize);

/// The small things that go with a message. Borrowed: nothing is copied to read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extras<'a> {
    /// The caller's tag, such as a role.
    pub tag: Option<&'a str>,
    /// The caller's estimate of tokens.
    pub tokens: Option<u32>,
    /// The caller's id of the message.
    pub id: Option<&'a str>,
    /// The caller's id of the parent message.
    pub parent: Option<&'a str>,
    /// The idempotency key.
    pub key: Option<&'a str>,
}

impl<'a> Extras<'a> {
    /// Reads all of `bytes`. Items with an unknown tag are passed over; whoever copies a message copies the
    /// bytes, and so keeps them.
    ///
    /// # Errors
    /// What is wrong, in words: an item that is cut off, stands twice, has an impossible length, or is no text.
    #[inline]
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Extras<'a>, &'static str> {
        let mut extras = Extras::default();
        let mut rest = bytes;
        while let Some((header, behind)) = rest.split_first_chunk::<ITEM_HEADER_LEN>() {
            let [tag, low, high] = *header;
            let len = u16::from_le_bytes([low, high]);
            let (value, behind) =
                behind.split_at_checked(len.into()).ok_or("an item of the extras is cut off")?;
            rest = behind;
            match tag {
                0 => return Err("an item of the extras has the tag 0"),
                TAG => once(&mut extras.tag, label(value)?)?,
                TOKENS => {
                    let value = value.try_into().map_err(|_| "the token count does not have four bytes")?;
                    once(&mut extras.tokens, u32::from_le_bytes(value))?;
                }
                ID => once(&mut extras.id, label(value)?)?,
                PARENT => once(&mut extras.parent, label(value)?)?,
                KEY => once(&mut extras.key, label(value)?)?,
                _ => {}
            }
        }
        match rest {
            [] => Ok(extras),
            _ => Err("an item of the extras is cut off"),
        }
    }

    /// Appends the bytes to `out`: the items in the order of their tags.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut item = |tag: u8, value: &[u8]| {
            // Labels are checked at the call that a user makes; no reader would accept a longer one.
            assert!(value.len() <= MAX_LABEL, "a label of {} bytes", value.len());
            out.push(tag);
            out.extend_from_slice(&(value.len() as u16).to_le_bytes());
            out.extend_from_slice(value);
        };
        if let Some(tag) = self.tag {
            item(TAG, tag.as_bytes());
        }
        if let Some(tokens) = self.tokens {
            item(TOKENS, &tokens.to_le_bytes());
        }
        if let Some(id) = self.id {
            item(ID, id.as_bytes());
        }
        if let Some(parent) = self.parent {
            item(PARENT, parent.as_bytes());
        }
        if let Some(key) = self.key {
            item(KEY, key.as_bytes());
        }
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), &'static str> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err("an item of the extras stands twice"),
    }
}

fn label(value: &[u8]) -> Result<&str, &'static str> {
    if value.len() > MAX_LABEL {
        return Err("a label in the extras is over the limit");
    }
    str::from_utf8(value).map_err(|_| "a label in the extras is not UTF-8")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: Extras<'_> =
        Extras { tag: Some("user"), tokens: Some(7), id: Some("m-1"), parent: Some(""), key: Some("k") };

    fn encoded(extras: &Extras<'_>) -> Vec<u8> {
        let mut out = vec![];
        extras.encode(&mut out);
        out
    }

    #[test]
    fn the_bytes_are_what_they_always_were() {
        let bytes = b"\x01\x04\x00user\x02\x04\x00\x07\x00\x00\x00\x03\x03\x00m-1\x04\x00\x00\x05\x01\x00k";
        assert_eq!(encoded(&FULL), bytes);
        assert_eq!(encoded(&Extras::default()), b"");
    }

    #[test]
    fn an_unknown_item_is_passed_over() {
        let mut bytes = encoded(&FULL);
        bytes.extend_from_slice(b"\xc8\x02\x00??");
        bytes.extend_from_slice(b"\xc8\x00\x00");
        assert_eq!(Extras::decode(&bytes), Ok(FULL));
    }

    #[test]
    fn a_cut_off_item_is_a_fault() {
        let bytes = b"\x01\x04\x00user";
        for cut in 1..bytes.len() {
            assert!(Extras::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        assert_eq!(Extras::decode(b""), Ok(Extras::default()));
    }

    #[test]
    fn doubles_wrong_lengths_and_bad_text_are_faults() {
        let bad: [&[u8]; 5] = [
            b"\x05\x01\x00k\x05\x01\x00k",
            b"\x02\x03\x00\x07\x00\x00",
            b"\x03\x01\x00\xff",
            b"\x00\x00\x00",
            &[&[TAG, 1, 1][..], &[b'x'; 257]].concat(),
        ];
        for bytes in bad {
            assert!(Extras::decode(bytes).is_err(), "{bytes:?}");
        }
        let long = "x".repeat(MAX_LABEL);
        let longest = Extras { tag: Some(&long), ..FULL };
        assert_eq!(Extras::decode(&encoded(&longest)), Ok(longest));
    }

    proptest! {
        #[test]
        fn extras_come_back(
            tag in proptest::option::of(".{0,60}"),
            tokens in any::<Option<u32>>(),
            id in proptest::option::of(".{0,60}"),
            parent in proptest::option::of(".{0,60}"),
            key in proptest::option::of(".{0,60}"),
        ) {
            let extras = Extras {
                tag: tag.as_deref(),
                tokens,
                id: id.as_deref(),
                parent: parent.as_deref(),
                key: key.as_deref(),
            };
            let bytes = encoded(&extras);
            prop_assert_eq!(Extras::decode(&bytes), Ok(extras));
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(0u8..8, 0..40)) {
            let _ = Extras::decode(&bytes);
        }
    }
}
