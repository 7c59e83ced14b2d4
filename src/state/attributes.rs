//! Attributes: a JSON object that changes by merge patches (RFC 7396), so that keys nobody here knows survive.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::limits;

/// A JSON object. On disk it is its text: bincode could write a `Value` but not read it back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Attributes(pub(crate) Map<String, Value>);

impl Attributes {
    pub(crate) fn to_json(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    pub(crate) fn parse(text: &str) -> Result<Attributes, String> {
        if text.is_empty() {
            return Ok(Attributes::default());
        }
        serde_json::from_str(text).map(Attributes).map_err(|e| e.to_string())
    }

    /// Merges a patch into this object: a `null` removes its key, an object merges into the one that is
    /// there, anything else replaces.
    pub(crate) fn merge(&mut self, patch: &Map<String, Value>) {
        merge(&mut self.0, patch);
    }

    /// The text of a patch, if it is one: an object, readable again, within the limit.
    pub(crate) fn check_patch(patch: &Value) -> Result<String, String> {
        let Value::Object(_) = patch else {
            return Err("a merge patch for attributes is a JSON object".to_owned());
        };
        let text = serde_json::to_string(patch).map_err(|e| e.to_string())?;
        if text.len() > limits::MAX_ATTRIBUTES {
            return Err(format!(
                "the patch has {} bytes of JSON; the limit is {}",
                text.len(),
                limits::MAX_ATTRIBUTES
            ));
        }
        serde_json::from_str::<Value>(&text)
            .map_err(|e| format!("the patch cannot be read back as JSON: {e}"))?;
        Ok(text)
    }
}

fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.remove(key);
            }
            Value::Object(inner) => {
                let slot = target.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(map) = slot {
                    merge(map, inner);
                }
            }
            other => {
                target.insert(key.clone(), other.clone());
            }
        }
    }
}

impl From<Attributes> for String {
    fn from(a: Attributes) -> String {
        a.to_json()
    }
}

impl TryFrom<String> for Attributes {
    type Error = String;
    fn try_from(text: String) -> Result<Attributes, String> {
        Attributes::parse(&text)
    }
}

/// Attributes as their text, for what is many and seldom looked at. On disk it is the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Packed(Box<str>);

impl Packed {
    /// The length of the text, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn unpack(&self) -> Attributes {
        // It was made from attributes, or read as such.
        Attributes::parse(&self.0).unwrap_or_default()
    }
}

impl From<&Attributes> for Packed {
    fn from(a: &Attributes) -> Packed {
        Packed(a.to_json().into())
    }
}

impl From<Packed> for String {
    fn from(p: Packed) -> String {
        p.0.into()
    }
}

impl TryFrom<String> for Packed {
    type Error = String;
    fn try_from(text: String) -> Result<Packed, String> {
        Attributes::parse(&text).map(|a| Packed::from(&a))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(start: Value, patch: Value) -> Value {
        let Value::Object(map) = start else { panic!("not an object") };
        let mut a = Attributes(map);
        a.merge(patch.as_object().unwrap());
        Value::Object(a.0)
    }

    #[test]
    fn the_examples_of_rfc_7396_hold() {
        assert_eq!(patched(json!({"a":"b"}), json!({"a":"c"})), json!({"a":"c"}));
        assert_eq!(patched(json!({"a":"b"}), json!({"b":"c"})), json!({"a":"b","b":"c"}));
        assert_eq!(patched(json!({"a":"b","b":"c"}), json!({"a":null})), json!({"b":"c"}));
        assert_eq!(patched(json!({"a":["b"]}), json!({"a":"c"})), json!({"a":"c"}));
        assert_eq!(patched(json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}})), json!({"a":{"b":"d"}}));
        assert_eq!(patched(json!({"a":[{"b":"c"}]}), json!({"a":[1]})), json!({"a":[1]}));
        assert_eq!(patched(json!({}), json!({"a":{"bb":{"ccc":null}}})), json!({"a":{"bb":{}}}));
    }

    #[test]
    fn unknown_keys_survive_a_patch_of_others() {
        assert_eq!(
            patched(json!({"worktree":"/x","title":"a"}), json!({"title":"b"})),
            json!({"worktree":"/x","title":"b"})
        );
    }
}
