//! Strict JSON for typed messages: what is accepted reads back exactly, what would not is refused.
//!
//! `serde_json` alone writes things that it does not read, or reads as something else: a float that is not
//! finite becomes `null`, a map key that is a number becomes text, a value that is nested deeply is written at
//! any depth and refused when read. A store learns of that years later. So values pass through
//! [a serializer that checks](check) on their way to `serde_json`'s.
//!
//! What no serializer can see is left to the caller's types: an attribute that skips a field without a default,
//! an untagged enum of which two variants look alike, `Some(())` and `Some(Value::Null)` (both `null`, which
//! reads as `None`), fields that collide when they are flattened. And if another crate of the build turns on
//! `serde_json`'s feature `arbitrary_precision`, floats within internally tagged enums and beside `flatten` are
//! written as ever and no longer read: a known limit of that feature, which nothing here can mend.

mod check;
mod fault;
mod key;

#[cfg(test)]
mod tests;

use std::cell::RefCell;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use fault::JsonFault;

/// Appends the value to `out` as one line of JSON.
///
/// # Errors
/// A [`JsonFault`] that says what about the value cannot be written, or would not read back. `out` is then as
/// it was.
pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), JsonFault> {
    let before = out.len();
    let fault = RefCell::new(None);
    let written = value.serialize(check::Checked::top(&mut serde_json::Serializer::new(&mut *out), &fault));
    // A type may swallow the error of one of its parts; the fault counts all the same.
    let result = match (fault.into_inner(), written) {
        (Some(fault), _) => Err(fault),
        (None, Err(error)) => Err(JsonFault::Refused(error.to_string())),
        (None, Ok(())) => Ok(()),
    };
    if result.is_err() {
        out.truncate(before);
    }
    result
}

/// Reads a value from all of `bytes`.
///
/// # Errors
/// [`JsonFault::Unreadable`] if they are not the JSON of one such value.
pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonFault> {
    serde_json::from_slice(bytes).map_err(|error| JsonFault::Unreadable(error.to_string()))
}
