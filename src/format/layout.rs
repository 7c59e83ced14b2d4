//! Fixed layouts, declared once: a table of offsets, names and types becomes the struct, its encoder, its
//! decoder and the compile-time proof that the offsets are what the table says.
//!
//! `FORMAT.md` shows the same tables to people; a test compares the two row by row.

/// A field of fixed width, little-endian on disk.
pub(super) trait Fixed: Sized {
    const SIZE: usize;

    /// The value, and the bytes behind it. Too few bytes read as zero: [`layout!`] proves that this cannot
    /// happen.
    fn take(bytes: &[u8]) -> (Self, &[u8]);

    /// Writes the value and gives the room behind it.
    fn put(self, room: &mut [u8]) -> &mut [u8];
}

macro_rules! integers {
    ($($ty:ty)*) => {$(
        impl Fixed for $ty {
            const SIZE: usize = size_of::<$ty>();

            #[inline(always)]
            fn take(bytes: &[u8]) -> ($ty, &[u8]) {
                match bytes.split_first_chunk() {
                    Some((chunk, rest)) => (<$ty>::from_le_bytes(*chunk), rest),
                    None => (0, &[]),
                }
            }

            #[inline(always)]
            fn put(self, room: &mut [u8]) -> &mut [u8] {
                self.to_le_bytes().put(room)
            }
        }
    )*};
}

integers!(u8 u16 u32 u64);

impl<const N: usize> Fixed for [u8; N] {
    const SIZE: usize = N;

    #[inline(always)]
    fn take(bytes: &[u8]) -> ([u8; N], &[u8]) {
        match bytes.split_first_chunk() {
            Some((chunk, rest)) => (*chunk, rest),
            None => ([0; N], &[]),
        }
    }

    #[inline(always)]
    fn put(self, room: &mut [u8]) -> &mut [u8] {
        match room.split_first_chunk_mut() {
            Some((chunk, rest)) => {
                *chunk = self;
                rest
            }
            None => &mut [],
        }
    }
}

/// Declares a layout: `struct Name, length { offset field: type, ... }`.
macro_rules! layout {
    ($(#[$meta:meta])* struct $name:ident, $len:literal { $($at:literal $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy)]
        struct $name {
            $($field: $ty,)*
        }

        const _: () = {
            let mut at = 0;
            $(
                assert!(at == $at, concat!("`", stringify!($field), "` is not at the offset that is stated"));
                at += <$ty as $crate::format::layout::Fixed>::SIZE;
            )*
            assert!(at == $name::LEN, "the fields do not add up to the length that is stated");
        };

        impl $name {
            const LEN: usize = $len;

            #[inline(always)]
            fn decode(bytes: &[u8; $len]) -> $name {
                let rest: &[u8] = bytes;
                $(let ($field, rest) = $crate::format::layout::Fixed::take(rest);)*
                let _ = rest;
                $name { $($field,)* }
            }

            #[inline(always)]
            fn encode(&self) -> [u8; $len] {
                let mut out = [0u8; $len];
                let room: &mut [u8] = &mut out;
                $(let room = $crate::format::layout::Fixed::put(self.$field, room);)*
                let _ = room;
                out
            }
        }

        #[cfg(test)]
        impl $name {
            /// Offset, size and name of every field, for the test that reads `FORMAT.md`.
            pub(super) fn fields() -> Vec<(usize, usize, &'static str)> {
                vec![$(($at, <$ty as $crate::format::layout::Fixed>::SIZE, stringify!($field)),)*]
            }
        }
    };
}

pub(super) use layout;
