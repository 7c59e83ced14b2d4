//! A serializer that checks what passes through it to the one within.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::Write;

use serde::ser::{self, Serialize, Serializer};

use super::fault::JsonFault;
use super::key::Key;
use crate::limits::MAX_JSON_DEPTH;

/// The most steps down (arrays, objects, newtypes, `Some`s) into a value. The latter two add no level of JSON,
/// and types may be nested in them without end; each costs stack all the same. Four per level are plenty.
const MAX_STEPS: usize = 4 * MAX_JSON_DEPTH;

/// How `serde_json` names the structs in which it hides a number or raw JSON from serializers, if the features
/// for that are on: they are not objects, so they are no level.
const SERDE_JSON_PRIVATE: &str = "$serde_json::private::";

/// Where in a value we are, and where a fault is noted: the inner serializer's errors carry text alone.
#[derive(Clone, Copy)]
pub(super) struct Place<'f> {
    /// Levels of arrays and objects around us.
    depth: usize,
    steps: usize,
    fault: &'f RefCell<Option<JsonFault>>,
}

impl<'f> Place<'f> {
    /// Notes the fault (the first counts), and makes the inner serializer's error of it.
    pub(super) fn refuse<E: ser::Error>(self, fault: JsonFault) -> E {
        let error = E::custom(&fault);
        self.fault.borrow_mut().get_or_insert(fault);
        error
    }

    /// The place within `levels` more levels of arrays or objects.
    fn down<E: ser::Error>(self, levels: usize) -> Result<Place<'f>, E> {
        let down = Place { depth: self.depth + levels, steps: self.steps + 1, fault: self.fault };
        if down.depth > MAX_JSON_DEPTH || down.steps > MAX_STEPS {
            return Err(self.refuse(JsonFault::TooDeep));
        }
        Ok(down)
    }
}

/// Something on its way through, with its place: a serializer, a value, or a compound that is being written.
pub(super) struct Checked<'f, T> {
    pub(super) inner: T,
    pub(super) place: Place<'f>,
}

impl<'f, S: Serializer> Checked<'f, S> {
    pub(super) fn top(inner: S, fault: &'f RefCell<Option<JsonFault>>) -> Self {
        Checked { inner, place: Place { depth: 0, steps: 0, fault } }
    }

    /// Opens `levels` arrays or objects.
    fn open<C>(
        self,
        levels: usize,
        begin: impl FnOnce(S) -> Result<C, S::Error>,
    ) -> Result<Checked<'f, C>, S::Error> {
        let place = self.place.down(levels)?;
        Ok(Checked { inner: begin(self.inner)?, place })
    }
}

impl<T: Serialize + ?Sized> Serialize for Checked<'_, &T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner.serialize(Checked { inner: serializer, place: self.place })
    }
}

/// Values that JSON holds as they are.
macro_rules! pass {
    ($($method:ident($($arg:ident: $type:ty),*);)*) => {
        $(fn $method(self, $($arg: $type),*) -> Result<S::Ok, S::Error> {
            self.inner.$method($($arg),*)
        })*
    };
}

impl<'f, S: Serializer> Serializer for Checked<'f, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Checked<'f, S::SerializeSeq>;
    type SerializeTuple = Checked<'f, S::SerializeTuple>;
    type SerializeTupleStruct = Checked<'f, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Checked<'f, S::SerializeTupleVariant>;
    type SerializeMap = Checked<'f, S::SerializeMap>;
    type SerializeStruct = Checked<'f, S::SerializeStruct>;
    type SerializeStructVariant = Checked<'f, S::SerializeStructVariant>;

    pass! {
        serialize_bool(v: bool);
        serialize_i8(v: i8);
        serialize_i16(v: i16);
        serialize_i32(v: i32);
        serialize_i64(v: i64);
        serialize_u8(v: u8);
        serialize_u16(v: u16);
        serialize_u32(v: u32);
        serialize_u64(v: u64);
        serialize_char(v: char);
        serialize_str(v: &str);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    // Where serde buffers what it reads (within internally tagged and untagged enums, beside `flatten`) it reads
    // no 128-bit integer at all, and through a `Value` a long one becomes a rounded float. What stands around
    // the integer is not known here, and a refusal that depended on its value would come in production first.
    fn serialize_i128(self, _: i128) -> Result<S::Ok, S::Error> {
        Err(self.place.refuse(JsonFault::LongInteger))
    }

    fn serialize_u128(self, _: u128) -> Result<S::Ok, S::Error> {
        Err(self.place.refuse(JsonFault::LongInteger))
    }

    fn serialize_f32(self, v: f32) -> Result<S::Ok, S::Error> {
        if !v.is_finite() {
            return Err(self.place.refuse(JsonFault::NotFinite));
        }
        // Where serde buffers what it reads it reads an `f64`: a text that gives the `f32` alone may be rounded twice there.
        match gives_back(v) {
            true => self.inner.serialize_f32(v),
            false => self.inner.serialize_f64(f64::from(v)),
        }
    }

    fn serialize_f64(self, v: f64) -> Result<S::Ok, S::Error> {
        if !v.is_finite() {
            return Err(self.place.refuse(JsonFault::NotFinite));
        }
        self.inner.serialize_f64(v)
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<S::Ok, S::Error> {
        self.place.down(1)?; // It becomes an array of numbers.
        self.inner.serialize_bytes(v)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let place = self.place.down(0)?;
        self.inner.serialize_some(&Checked { inner: value, place })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let place = self.place.down(0)?;
        self.inner.serialize_newtype_struct(name, &Checked { inner: value, place })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let place = self.place.down(1)?;
        self.inner.serialize_newtype_variant(name, index, variant, &Checked { inner: value, place })
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.open(1, |inner| inner.serialize_seq(len))
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.open(1, |inner| inner.serialize_tuple(len))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.open(1, |inner| inner.serialize_tuple_struct(name, len))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.open(2, |inner| inner.serialize_tuple_variant(name, index, variant, len))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.open(1, |inner| inner.serialize_map(len))
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        let levels = usize::from(!name.starts_with(SERDE_JSON_PRIVATE));
        self.open(levels, |inner| inner.serialize_struct(name, len))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.open(2, |inner| inner.serialize_struct_variant(name, index, variant, len))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Compounds without names: each element is checked.
macro_rules! elements {
    ($($trait:ident::$method:ident;)*) => {
        $(impl<C: ser::$trait> ser::$trait for Checked<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                self.inner.$method(&Checked { inner: value, place: self.place })
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        })*
    };
}

elements! {
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
    SerializeTupleVariant::serialize_field;
}

/// Compounds with names: each field is checked.
macro_rules! fields {
    ($($trait:ident;)*) => {
        $(impl<C: ser::$trait> ser::$trait for Checked<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn serialize_field<T>(&mut self, name: &'static str, value: &T) -> Result<(), C::Error>
            where
                T: Serialize + ?Sized,
            {
                self.inner.serialize_field(name, &Checked { inner: value, place: self.place })
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), C::Error> {
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        })*
    };
}

fields! {
    SerializeStruct;
    SerializeStructVariant;
}

impl<C: ser::SerializeMap> ser::SerializeMap for Checked<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.inner.serialize_key(&Key(Checked { inner: key, place: self.place }))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.inner.serialize_value(&Checked { inner: value, place: self.place })
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}

/// Whether the shortest text of a number gives it back by way of an `f64` as well.
fn gives_back(v: f32) -> bool {
    let mut text = [0; 32];
    let mut rest = text.as_mut_slice();
    let written = write!(rest, "{v:e}").is_ok();
    let len = 32 - rest.len();
    let read = text.get(..len).and_then(|text| str::from_utf8(text).ok()?.parse::<f64>().ok());
    written && read.is_some_and(|read| read as f32 == v)
}
