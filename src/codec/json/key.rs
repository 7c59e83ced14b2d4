//! The keys of maps, which must be text.

use std::fmt::Display;

use serde::ser::{Impossible, Serialize, Serializer};

use super::check::Checked;
use super::fault::JsonFault;

/// A key on its way through, or the serializer that takes it.
///
/// `serde_json` writes numbers and booleans as text too, and reads them back where a map stands by itself, but
/// not where serde buffers what it reads (within tagged enums, beside `flatten`).
pub(super) struct Key<'f, T>(pub(super) Checked<'f, T>);

impl<T: Serialize + ?Sized> Serialize for Key<'_, &T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.inner.serialize(Key(Checked { inner: serializer, place: self.0.place }))
    }
}

impl<S: Serializer> Key<'_, S> {
    fn refuse<T>(self, found: &'static str) -> Result<T, S::Error> {
        Err(self.0.place.refuse(JsonFault::KeyNotText(found)))
    }
}

macro_rules! refuse {
    ($($method:ident($($type:ty),*) -> $result:ty, $found:literal;)*) => {
        $(fn $method(self, $(_: $type),*) -> Result<$result, S::Error> {
            self.refuse($found)
        })*
    };
}

impl<'f, S: Serializer> Serializer for Key<'f, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Impossible<S::Ok, S::Error>;
    type SerializeTuple = Impossible<S::Ok, S::Error>;
    type SerializeTupleStruct = Impossible<S::Ok, S::Error>;
    type SerializeTupleVariant = Impossible<S::Ok, S::Error>;
    type SerializeMap = Impossible<S::Ok, S::Error>;
    type SerializeStruct = Impossible<S::Ok, S::Error>;
    type SerializeStructVariant = Impossible<S::Ok, S::Error>;

    refuse! {
        serialize_bool(bool) -> S::Ok, "a boolean";
        serialize_i8(i8) -> S::Ok, "an integer";
        serialize_i16(i16) -> S::Ok, "an integer";
        serialize_i32(i32) -> S::Ok, "an integer";
        serialize_i64(i64) -> S::Ok, "an integer";
        serialize_i128(i128) -> S::Ok, "an integer";
        serialize_u8(u8) -> S::Ok, "an integer";
        serialize_u16(u16) -> S::Ok, "an integer";
        serialize_u32(u32) -> S::Ok, "an integer";
        serialize_u64(u64) -> S::Ok, "an integer";
        serialize_u128(u128) -> S::Ok, "an integer";
        serialize_f32(f32) -> S::Ok, "a float";
        serialize_f64(f64) -> S::Ok, "a float";
        serialize_bytes(&[u8]) -> S::Ok, "bytes";
        serialize_none() -> S::Ok, "an `Option`";
        serialize_unit() -> S::Ok, "a unit";
        serialize_unit_struct(&'static str) -> S::Ok, "a unit";
        serialize_seq(Option<usize>) -> Self::SerializeSeq, "a sequence";
        serialize_tuple(usize) -> Self::SerializeTuple, "a tuple";
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct, "a tuple";
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant,
            "an enum variant with content";
        serialize_map(Option<usize>) -> Self::SerializeMap, "a map";
        serialize_struct(&'static str, usize) -> Self::SerializeStruct, "a struct";
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant,
            "an enum variant with content";
    }

    fn serialize_char(self, v: char) -> Result<S::Ok, S::Error> {
        self.0.inner.serialize_char(v)
    }

    fn serialize_str(self, v: &str) -> Result<S::Ok, S::Error> {
        self.0.inner.serialize_str(v)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.0.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.inner.serialize_newtype_struct(name, &Key(Checked { inner: value, place: self.0.place }))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<S::Ok, S::Error> {
        self.refuse("an `Option`")
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<S::Ok, S::Error> {
        self.refuse("an enum variant with content")
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.0.inner.is_human_readable()
    }
}
