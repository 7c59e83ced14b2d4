//! Attributes: a JSON object that changes by merge patches (RFC 7396), so that keys nobody here knows survive.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::OnceLock;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::limits;

/// The attributes of a session, or of an archive: a JSON object.
///
/// It is read like the [`Map`] that it dereferences to. That is made at the first look, and kept as long as this value: whoever
/// lists many sessions, and looks at the attributes of few, pays for few. [`Attributes::into_map`] gives a map of one's own.
///
/// ```
/// # fn main() -> sessionlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = sessionlog::Store::open(dir.path().join("s"))?;
/// store.session("chat")?.patch_attributes(&serde_json::json!({"title": "Rain", "tags": ["a", "b"]}))?;
/// let info = &store.sessions()?.sessions[0];
/// assert_eq!(info.attributes["title"], "Rain");
/// assert!(info.attributes.get("user").is_none());
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Attributes {
    /// What was read as an object and not changed since; empty if that is.
    text: Option<Box<str>>,
    /// The same. If there is neither, there are none.
    map: OnceLock<Box<Map<String, Value>>>,
}

impl Attributes {
    /// From their text, which is checked, or from none.
    pub(crate) fn parse(text: impl Into<Box<str>>) -> Result<Attributes, String> {
        let mut text = text.into();
        if &*text == "{}" {
            text = Box::default();
        }
        if !text.is_empty() && skim(&text).is_err() {
            // Whatever the reason: what counts is whether it can be read.
            Attributes::read(&text)?;
        }
        Ok(Attributes { text: Some(text), map: OnceLock::new() })
    }

    /// The map of a text.
    pub(crate) fn read(text: &str) -> Result<Map<String, Value>, String> {
        if text.is_empty() { Ok(Map::new()) } else { serde_json::from_str(text).map_err(|e| e.to_string()) }
    }

    /// The text; empty if there are none.
    pub(crate) fn to_text(&self) -> Cow<'_, str> {
        match (&self.text, self.map.get()) {
            (Some(text), _) => Cow::Borrowed(text),
            (None, Some(map)) if !map.is_empty() => {
                Cow::Owned(serde_json::to_string(map).unwrap_or_default())
            }
            (None, _) => Cow::Borrowed(""),
        }
    }

    /// Merges a patch into them: a `null` removes its key, an object merges into the one that is there, anything else replaces.
    pub(crate) fn merge(&mut self, patch: &Map<String, Value>) {
        let mut map = std::mem::take(self).into_map();
        merge(&mut map, patch);
        *self = Attributes::from(map);
    }

    /// Keeps the text alone, which takes less memory, and time whenever they are looked at.
    pub(crate) fn pack(&mut self) {
        *self = Attributes { text: Some(self.to_text().into()), map: OnceLock::new() };
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
        Attributes::read(&text).map_err(|e| format!("the patch cannot be read back as JSON: {e}"))?;
        Ok(text)
    }

    /// Whether a key of the first level has this value. Makes no map: who looks through many for one looks once at each.
    pub(crate) fn has(&self, key: &str, value: &Value) -> bool {
        match (self.map.get(), &self.text) {
            (Some(map), _) => map.get(key) == Some(value),
            (None, Some(text)) if !text.is_empty() => {
                let mut json = serde_json::Deserializer::from_str(text);
                json.deserialize_map(Search { key, value }).unwrap_or_default()
            }
            (None, _) => false,
        }
    }

    /// They as a text of JSON: `{}` if there are none.
    pub fn to_json(&self) -> Cow<'_, str> {
        let text = self.to_text();
        if text.is_empty() { Cow::Borrowed("{}") } else { text }
    }

    /// The map, of one's own.
    pub fn into_map(mut self) -> Map<String, Value> {
        self.map.take().map_or_else(|| self.made(), |map| *map)
    }

    /// The map that was not made yet.
    fn made(&self) -> Map<String, Value> {
        // It was checked.
        self.text.as_deref().and_then(|text| Attributes::read(text).ok()).unwrap_or_default()
    }

    /// Shows the map, and does not keep it.
    fn shown<T>(&self, to: impl FnOnce(&Map<String, Value>) -> T) -> T {
        match self.map.get() {
            Some(map) => to(map),
            None => to(&self.made()),
        }
    }
}

impl Deref for Attributes {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Map<String, Value> {
        self.map.get_or_init(|| Box::new(self.made()))
    }
}

impl From<Map<String, Value>> for Attributes {
    fn from(map: Map<String, Value>) -> Attributes {
        Attributes { text: None, map: OnceLock::from(Box::new(map)) }
    }
}

impl From<Attributes> for Map<String, Value> {
    fn from(attributes: Attributes) -> Map<String, Value> {
        attributes.into_map()
    }
}

impl From<Attributes> for Value {
    fn from(attributes: Attributes) -> Value {
        Value::Object(attributes.into_map())
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown(|map| fmt::Debug::fmt(map, f))
    }
}

impl Eq for Attributes {}

impl PartialEq for Attributes {
    fn eq(&self, other: &Attributes) -> bool {
        (self.text.is_some() && self.text == other.text) || self.shown(|map| *other == *map)
    }
}

impl PartialEq<Map<String, Value>> for Attributes {
    fn eq(&self, other: &Map<String, Value>) -> bool {
        self.shown(|map| map == other)
    }
}

impl<'a> IntoIterator for &'a Attributes {
    type Item = (&'a String, &'a Value);
    type IntoIter = serde_json::map::Iter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Attributes {
    type Item = (String, Value);
    type IntoIter = serde_json::map::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        self.into_map().into_iter()
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shown(|map| map.serialize(serializer))
    }
}

/// On disk they are their text: bincode could write a `Value`, but not read it back.
pub(crate) mod text {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(a: &Attributes, serializer: S) -> Result<S::Ok, S::Error> {
        a.to_text().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Attributes, D::Error> {
        Attributes::parse(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Whether a text can be read as a map. An error where that is left open.
fn skim(text: &str) -> Result<(), serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_map(Skim).and_then(|_| json.end())
}

/// Reads past JSON as one would who keeps it, with the same errors, and keeps nothing.
struct Skim;

/// How keys begin that mean something else to `serde_json` with some of its features, which any crate of a program can turn on.
const PRIVATE: &str = "$serde_json::private::";

impl<'de> Deserialize<'de> for Skim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Skim, D::Error> {
        deserializer.deserialize_any(Skim)
    }
}

impl<'de> Visitor<'de> for Skim {
    type Value = Skim;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Skim, E> {
        Ok(Skim)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Skim, E> {
        Ok(Skim)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Skim, E> {
        Ok(Skim)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Skim, E> {
        Ok(Skim)
    }

    fn visit_str<E>(self, _: &str) -> Result<Skim, E> {
        Ok(Skim)
    }

    fn visit_unit<E>(self) -> Result<Skim, E> {
        Ok(Skim)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Skim, A::Error> {
        while seq.next_element::<Skim>()?.is_some() {}
        Ok(Skim)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Skim, A::Error> {
        while let Some(private) = map.next_key_seed(Key(|key: &str| key.starts_with(PRIVATE)))? {
            if private {
                return Err(serde::de::Error::custom("it depends on who reads it"));
            }
            map.next_value::<Skim>()?;
        }
        Ok(Skim)
    }
}

/// Looks for a key that has a value. Of keys that are there twice the last one counts, as it does in a map.
struct Search<'a> {
    key: &'a str,
    value: &'a Value,
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(same) = map.next_key_seed(Key(|key: &str| key == self.key))? {
            if same {
                found = map.next_value::<Value>()? == *self.value;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// What is asked about a key.
struct Key<F>(F);

impl<'de, F: FnOnce(&str) -> bool> DeserializeSeed<'de> for Key<F> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<F: FnOnce(&str) -> bool> Visitor<'_> for Key<F> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(self.0(key))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(start: Value, patch: Value) -> Value {
        let mut attributes = Attributes::parse(start.to_string()).unwrap();
        attributes.merge(patch.as_object().unwrap());
        attributes.into()
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

    /// What is looked at later is checked when it is read: whoever looks gets what was written, or there is an error before.
    #[test]
    fn a_text_is_accepted_if_and_only_if_it_can_be_read_later() {
        let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        let texts = [
            "{}",
            "{ }",
            r#"{"a":[1,-2,3.5,true,false,null,"x",{"b":{}}]}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"\u0041\n":"\ud83d\ude00"}"#,
            r#" {"a" : 1} "#,
            "null",
            "1",
            "[]",
            "\"a\"",
            "{",
            "{}x",
            r#"{"a":1e999}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":01}"#,
            r#"{1:2}"#,
            r#"{"a":{"$serde_json::private::RawValue":"not json"}}"#,
            r#"{"\u0024serde_json::private::Number":5}"#,
            r#"{"a":1,}"#,
            "{\"a\":\"\n\"}",
            &deep(120),
            &deep(127),
            &deep(128),
            &deep(10_000),
        ];
        let mut read = 0;
        for text in texts {
            let wanted = serde_json::from_str::<Map<String, Value>>(text);
            match (Attributes::parse(text), wanted) {
                (Ok(attributes), Ok(wanted)) => {
                    assert_eq!(attributes, wanted, "{text}");
                    assert_eq!(attributes.into_map(), wanted, "{text}");
                    read += 1;
                }
                (Err(ours), Err(theirs)) => assert_eq!(ours, theirs.to_string(), "{text}"),
                (ours, theirs) => panic!("{text}: {ours:?}, {theirs:?}"),
            }
        }
        assert_eq!(read, 10);
    }

    #[test]
    fn what_is_looked_for_is_found_with_and_without_a_map() {
        let texts = [
            r#"{"a":1,"b":{"a":2},"c":[1],"d":null,"e":"x","\u0066":1.5,"a":3}"#,
            r#"{"a":3}"#,
            r#"{"":""}"#,
            "{}",
            "",
        ];
        let keys = ["a", "b", "c", "d", "e", "f", "g", ""];
        let values = json!([1, 2, 3, {"a": 2}, [1], null, "x", 1.5, "", {}, 3.0]);
        let mut found = 0;
        for (text, key) in texts.into_iter().flat_map(|text| keys.map(|key| (text, key))) {
            let (fresh, made) = (Attributes::parse(text).unwrap(), Attributes::parse(text).unwrap());
            let held = made.get(key);
            for value in values.as_array().unwrap() {
                let wanted = held == Some(value);
                assert_eq!(
                    (fresh.has(key, value), made.has(key, value)),
                    (wanted, wanted),
                    "{text} {key} {value}"
                );
                assert!(fresh.map.get().is_none());
                found += usize::from(wanted);
            }
        }
        assert_eq!(found, 8);
    }

    #[test]
    fn none_are_no_text_however_they_came_about() {
        let empty = [
            Attributes::default(),
            Attributes::parse("").unwrap(),
            Attributes::parse("{}").unwrap(),
            Attributes::from(Map::new()),
        ];
        for empty in empty {
            assert_eq!((&*empty.to_text(), &*empty.to_json(), empty.len()), ("", "{}", 0));
        }
        let one = Attributes::parse(r#"{"a":1}"#).unwrap();
        let mut none = one.clone();
        none.merge(json!({"a": null}).as_object().unwrap());
        assert_eq!(none.to_text(), "");
        none.pack();
        assert_eq!((none.text.as_deref(), &none), (Some(""), &Attributes::default()));
        assert_eq!(one, Attributes::parse(r#" {"a" : 1}"#).unwrap());
        assert_eq!(one, Attributes::from(json!({"a": 1}).as_object().unwrap().clone()));
        assert_ne!(one, Attributes::default());
        assert_eq!(
            (serde_json::to_string(&one).unwrap(), format!("{one:?}")),
            (r#"{"a":1}"#.into(), format!("{:?}", json!({"a": 1}).as_object().unwrap()))
        );
        assert!(one.map.get().is_none(), "to show a map is not to keep it");
        assert_eq!(one.into_iter().collect::<Vec<_>>(), [("a".to_owned(), json!(1))]);
    }
}
