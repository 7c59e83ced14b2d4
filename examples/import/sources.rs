//! Which transcripts there are, and the sessions that are in them.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use sessionlog::limits;
use xxhash_rust::xxh3::Xxh3;

use crate::Result;

/// One transcript file, and the name it goes by.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) id: String,
    pub(crate) len: u64,
}

impl Source {
    pub(crate) fn read(&self) -> Result<Vec<u8>> {
        fs::read(&self.path).map_err(|e| format!("cannot read {}: {e}", self.path.display()).into())
    }

    /// The first part of its path: one row of the table.
    pub(crate) fn folder(&self) -> String {
        self.id.split_once('/').map_or("(files)", |(folder, _)| folder).to_owned()
    }
}

pub(crate) fn find_sources(given: &[PathBuf]) -> Result<Vec<Source>> {
    let mut found = Vec::new();
    for path in given {
        let kind = fs::metadata(path).map_err(|e| format!("cannot look at {}: {e}", path.display()))?;
        if kind.is_dir() {
            walk(path, path, &mut found)?;
        } else {
            let name = path.file_name().ok_or_else(|| format!("{} is no file", path.display()))?;
            found.push(Source { path: path.clone(), id: name_of(Path::new(name))?, len: kind.len() });
        }
    }
    if found.is_empty() {
        return Err("no *.jsonl files there".into());
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

fn walk(root: &Path, dir: &Path, found: &mut Vec<Source>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(|e| format!("cannot list {}: {e}", dir.display()))? {
        let entry = entry?;
        let path = entry.path();
        // Links to directories are not followed: they may lead in a circle.
        if entry.file_type()?.is_dir() {
            walk(root, &path, found)?;
        } else if path.extension().is_some_and(|e| e == "jsonl") && path.is_file() {
            let id = name_of(path.strip_prefix(root)?)?;
            found.push(Source { len: fs::metadata(&path)?.len(), path, id });
        }
    }
    Ok(())
}

/// The parts of a relative path with slashes between them, on every system.
fn name_of(path: &Path) -> Result<String> {
    let parts: Option<Vec<_>> = path.components().map(|c| c.as_os_str().to_str()).collect();
    parts
        .map(|p| p.join("/"))
        .ok_or_else(|| format!("{} is no UTF-8, and a session id must be", path.display()).into())
}

/// What one session is to hold.
pub(crate) struct Plan<'a> {
    pub(crate) id: String,
    pub(crate) lines: Vec<Line<'a>>,
}

pub(crate) struct Line<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) tag: Option<String>,
    pub(crate) turn_start: bool,
}

impl Plan<'_> {
    pub(crate) fn bytes(&self) -> u64 {
        self.lines.iter().map(|l| l.bytes.len() as u64).sum()
    }

    pub(crate) fn digest(&self) -> String {
        let mut hash = Xxh3::new();
        for line in &self.lines {
            hash.update(line.bytes);
            hash.update(b"\n");
        }
        format!("xxh3-128:{:032x}", hash.digest128())
    }
}

/// The sessions of one file: itself, or one for each value of `session`, in order of first appearance.
pub(crate) fn plan_sessions<'a>(source: &Source, bytes: &'a [u8]) -> Vec<Plan<'a>> {
    let mut lines = Vec::new();
    let mut owners = Vec::new();
    // At line feeds alone: a carriage return, U+2028 and the like belong to the line.
    for bytes in bytes.split_inclusive(|b| *b == b'\n') {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let peek: Peek = serde_json::from_slice(bytes).unwrap_or_default();
        let inner = peek.message.as_deref();
        let role = inner.and_then(|m| m.role.clone()).or(peek.role);
        owners.push(inner.and(peek.session));
        let turn_start = role.as_deref() == Some("user");
        let tag = role.or(peek.kind).filter(|t| !t.is_empty() && t.len() <= limits::MAX_LABEL);
        lines.push(Line { bytes, tag, turn_start });
    }
    if lines.is_empty() || owners.iter().any(Option::is_none) {
        return vec![Plan { id: source.id.clone(), lines }];
    }
    let mut plans: Vec<Plan<'_>> = Vec::new();
    let mut places = HashMap::new();
    for (line, owner) in lines.into_iter().zip(owners.into_iter().flatten()) {
        let at = *places.entry(owner).or_insert_with_key(|owner| {
            plans.push(Plan { id: format!("{}#{owner}", source.id), lines: Vec::new() });
            plans.len() - 1
        });
        if let Some(plan) = plans.get_mut(at) {
            plan.lines.push(line);
        }
    }
    plans
}

/// What can be told of a line without taking it apart: a few fields of the first level, and the `role` of the
/// message in it. Whatever has another shape is passed over.
#[derive(Default)]
pub(crate) struct Peek {
    text: Option<String>,
    session: Option<String>,
    role: Option<String>,
    kind: Option<String>,
    message: Option<Box<Peek>>,
}

impl<'de> Deserialize<'de> for Peek {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Peek, D::Error> {
        struct Anything;
        impl<'de> Visitor<'de> for Anything {
            type Value = Peek;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_str<E>(self, text: &str) -> Result<Peek, E> {
                // A label is short; of a long text nobody wants a copy.
                let text = (text.len() <= limits::MAX_SESSION_ID).then(|| text.to_owned());
                Ok(Peek { text, ..Peek::default() })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Peek, A::Error> {
                let mut peek = Peek::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "session" => peek.session = map.next_value::<Peek>()?.text,
                        "role" => peek.role = map.next_value::<Peek>()?.text,
                        "type" | "kind" if peek.kind.is_none() => peek.kind = map.next_value::<Peek>()?.text,
                        "message" | "payload" => peek.message = Some(Box::new(map.next_value()?)),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(peek)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Peek, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Peek::default())
            }
            fn visit_bool<E>(self, _: bool) -> Result<Peek, E> {
                Ok(Peek::default())
            }
            fn visit_i64<E>(self, _: i64) -> Result<Peek, E> {
                Ok(Peek::default())
            }
            fn visit_u64<E>(self, _: u64) -> Result<Peek, E> {
                Ok(Peek::default())
            }
            fn visit_f64<E>(self, _: f64) -> Result<Peek, E> {
                Ok(Peek::default())
            }
            fn visit_unit<E>(self) -> Result<Peek, E> {
                Ok(Peek::default())
            }
        }
        deserializer.deserialize_any(Anything)
    }
}

/// A rough estimate: four bytes to the token.
pub(crate) fn tokens(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len() / 4).unwrap_or(u32::MAX)
}
