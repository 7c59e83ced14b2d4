use std::collections::BTreeMap;
use std::fmt::Debug;
use std::thread;

use proptest::prelude::*;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use super::{JsonFault, from_json, to_json};
use crate::limits::MAX_JSON_DEPTH;

fn written(value: &(impl Serialize + ?Sized)) -> Result<String, JsonFault> {
    let mut out = b"before".to_vec();
    let result = to_json(value, &mut out);
    assert!(out.starts_with(b"before"));
    assert!(result.is_ok() || out.len() == 6, "a refused value leaves nothing behind");
    result.map(|()| String::from_utf8(out.split_off(6)).unwrap())
}

#[track_caller]
fn comes_back<T>(value: &T)
where
    T: Serialize + for<'de> Deserialize<'de> + PartialEq + Debug,
{
    let text = written(value).unwrap();
    assert_eq!(text, serde_json::to_string(value).unwrap(), "checking changes no byte");
    assert_eq!(&from_json::<T>(text.as_bytes()).unwrap(), value);
}

#[track_caller]
fn refused(value: &(impl Serialize + ?Sized)) -> String {
    written(value).unwrap_err().to_string()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Message {
    User {
        text: String,
    },
    Assistant {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        content: Vec<Block>,
        #[serde(skip_serializing_if = "Option::is_none")]
        stop: Option<String>,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    },
    Tool(Call),
    Clear,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Call {
    name: String,
    input: Value,
    cost: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Block {
    Unit,
    New(Box<Option<Block>>),
    Pair(u8, char),
    Named { at: Option<(i64, u64)> },
}

#[test]
fn messages_of_agent_runtimes_come_back() {
    let call = Call { name: "run".into(), input: json!({"a": [1, null]}), cost: 0.1 };
    comes_back(&vec![
        Message::User { text: "line\nend \u{0} \u{2028} \"quoted\" ü 🦀".into() },
        Message::Assistant { content: vec![], stop: None, rest: BTreeMap::new() },
        Message::Assistant {
            content: vec![
                Block::Unit,
                Block::New(Box::new(Some(Block::Named { at: None }))),
                Block::New(Box::new(None)),
                Block::Pair(7, '\u{301}'),
                Block::Named { at: Some((i64::MIN, u64::MAX)) },
            ],
            stop: Some(String::new()),
            rest: BTreeMap::from([("x".into(), json!({"": {"deep": [[[1.5e300]]]}}))]),
        },
        Message::Tool(call),
        Message::Clear,
    ]);
    comes_back(&json!({"a": [1, -1, u64::MAX, i64::MIN, 0.1, -0.0, 1e16, "s", true, null, {}, []]}));
    comes_back(&(1u8, "text".to_owned(), [0.5f32; 3], (), Some(3i8), 'c', [0u8; 4]));
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Name {
    First,
    Second(u8),
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Wrapped<T>(T);

#[test]
fn keys_that_are_text_come_back() {
    comes_back(&BTreeMap::from([(String::new(), BTreeMap::from([("a".to_owned(), 1)]))]));
    comes_back(&BTreeMap::from([('ü', 1), ('"', 2)]));
    comes_back(&BTreeMap::from([(Name::First, 1)]));
    comes_back(&BTreeMap::from([(Wrapped(Wrapped("text".to_owned())), 1)]));
    comes_back(&BTreeMap::from([(Wrapped(Name::First), 1)]));
    comes_back(&BTreeMap::from([(std::net::Ipv4Addr::LOCALHOST, 1)]));
}

struct BytesKey;

impl Serialize for BytesKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(b"key")
    }
}

#[test]
fn keys_that_are_not_text_are_refused() {
    fn with_key(key: impl Serialize) -> String {
        struct Map<K>(K);
        impl<K: Serialize> Serialize for Map<K> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(&self.0, &1)?;
                map.end()
            }
        }
        refused(&vec![Map(key)])
    }

    let says = |found: &str| {
        format!(
            "a map key that is {found} cannot be written as JSON; keys must be strings, characters or unit \
             variants of an enum"
        )
    };
    for text in [with_key(1u8), with_key(-1i64), with_key(1u128), with_key(Wrapped(7u32))] {
        assert_eq!(text, says("an integer"));
    }
    assert_eq!(with_key(true), says("a boolean"));
    assert_eq!(with_key(1.5f64), says("a float"));
    assert_eq!(with_key(f32::NAN), says("a float"));
    assert_eq!(with_key(BytesKey), says("bytes"));
    assert_eq!(with_key(None::<String>), says("an `Option`"));
    assert_eq!(with_key(Some("text")), says("an `Option`"));
    assert_eq!(with_key(()), says("a unit"));
    assert_eq!(with_key(vec!["text"]), says("a sequence"));
    assert_eq!(with_key(("a", "b")), says("a tuple"));
    assert_eq!(with_key(BTreeMap::from([("a", 1)])), says("a map"));
    assert_eq!(with_key(Block::Named { at: None }), says("an enum variant with content"));
    assert_eq!(with_key(Block::Pair(1, 'c')), says("an enum variant with content"));
    assert_eq!(with_key(Name::Second(1)), says("an enum variant with content"));
}

#[test]
fn floats_that_are_not_finite_are_refused_wherever_they_stand() {
    let says = "a float that is not finite cannot be written as JSON; it would read back as null";
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(refused(&bad), says);
        assert_eq!(refused(&(bad as f32)), says);
        assert_eq!(refused(&vec![(1, Some(Wrapped(BTreeMap::from([("a", bad)]))))]), says);
        let call = Call { name: String::new(), input: Value::Null, cost: bad };
        assert_eq!(refused(&call), says);
        assert_eq!(refused(&Message::Tool(call)), says, "in an internally tagged enum");
        #[derive(Serialize)]
        struct Flat {
            #[serde(flatten)]
            map: BTreeMap<&'static str, f64>,
        }
        assert_eq!(refused(&Flat { map: BTreeMap::from([("a", bad)]) }), says, "in a flattened map");
    }
}

#[test]
fn integers_of_128_bits_are_refused_because_they_do_not_always_read_back() {
    // What this rests on. If it ever fails, the refusal can be weakened.
    #[derive(Debug, Deserialize)]
    #[serde(tag = "type")]
    enum Tagged {
        Plain {
            #[expect(dead_code, reason = "it is never read, which is the point")]
            long: u128,
        },
    }
    let error = from_json::<Tagged>(br#"{"type": "Plain", "long": 1}"#).unwrap_err().to_string();
    assert!(error.contains("u128 is not supported"), "{error}");
    let long = serde_json::to_string(&(u128::from(u64::MAX) + 1)).unwrap();
    assert!(from_json::<Value>(long.as_bytes()).unwrap().is_f64());

    let says = "a 128-bit integer cannot be written as JSON; it would not read back from within a tagged or \
                flattened type (write it as 64 bits or as a string)";
    assert_eq!(refused(&1u128), says);
    assert_eq!(refused(&[Some(-1i128)]), says);
    assert_eq!(refused(&u128::MAX), says);
}

/// Every way down, each with what it adds in levels.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Deep {
    End,
    Array(Vec<Deep>),
    Object(BTreeMap<String, Deep>),
    New(Box<Deep>),
    Tuple(Box<Deep>, u8),
    Named { within: Box<Deep>, more: Option<u8> },
}

fn nested(levels: usize, wrap: impl Fn(Deep) -> Deep, each: usize, end: Deep) -> Deep {
    assert_eq!(levels % each, 0);
    (0..levels / each).fold(end, |within, _| wrap(within))
}

#[test]
fn what_is_nested_as_deep_as_allowed_reads_back_and_one_level_more_is_refused() {
    fn boundary(name: &str, each: usize, wrap: impl Fn(Deep) -> Deep + Copy) {
        // The levels may not divide the limit: newtype variants (one level each) make up the rest.
        let fill = |deep, levels| nested(levels, |within| Deep::New(Box::new(within)), 1, deep);
        let whole = MAX_JSON_DEPTH / each * each;
        comes_back(&fill(nested(whole, wrap, each, Deep::End), MAX_JSON_DEPTH - whole));
        let deeper = fill(nested(whole, wrap, each, Deep::End), MAX_JSON_DEPTH - whole + 1);
        assert_eq!(written(&deeper), Err(JsonFault::TooDeep), "{name}");
        let text = serde_json::to_string(&deeper).unwrap();
        assert!(from_json::<Deep>(text.as_bytes()).is_err(), "{name}: the limit is no lower than it must be");
    }

    boundary("newtype variant", 1, |within| Deep::New(Box::new(within)));
    boundary("array in a variant", 2, |within| Deep::Array(vec![Deep::End, within]));
    boundary("object in a variant", 2, |within| Deep::Object(BTreeMap::from([("k".to_owned(), within)])));
    boundary("tuple variant", 2, |within| Deep::Tuple(Box::new(within), 1));
    boundary("struct variant", 2, |within| Deep::Named { within: Box::new(within), more: None });

    let arrays = |levels| (1..levels).fold(json!([]), |within, _| json!([within]));
    let objects = |levels| (1..levels).fold(json!({}), |within, _| json!({"k": within}));
    for deepest in [arrays(MAX_JSON_DEPTH), objects(MAX_JSON_DEPTH)] {
        comes_back(&deepest);
        comes_back(&Some(Wrapped(deepest.clone())));
        assert_eq!(written(&[&deepest]), Err(JsonFault::TooDeep));
        assert!(from_json::<Value>(format!("[{deepest}]").as_bytes()).is_err());
    }
    assert_eq!(
        refused(&arrays(MAX_JSON_DEPTH + 1)),
        "a value nested deeper than 127 levels cannot be written as JSON; it could not be read back"
    );
}

#[test]
fn bytes_are_an_array_and_count_as_one_level() {
    struct Bytes(usize);
    impl Serialize for Bytes {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if self.0 == 1 {
                return serializer.serialize_bytes(&[1, 2]);
            }
            let mut seq = serializer.serialize_seq(Some(1))?;
            seq.serialize_element(&Bytes(self.0 - 1))?;
            seq.end()
        }
    }
    let text = written(&Bytes(MAX_JSON_DEPTH)).unwrap();
    assert!(text.contains("[1,2]") && from_json::<Value>(text.as_bytes()).is_ok());
    assert_eq!(written(&Bytes(MAX_JSON_DEPTH + 1)), Err(JsonFault::TooDeep));
}

/// A value without a bottom, by each way down that a type can repeat.
enum Endless {
    Seq,
    Map,
    Some,
    NewStruct,
    NewVariant,
}

impl Serialize for Endless {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Endless::Seq => {
                let mut seq = serializer.serialize_seq(None)?;
                seq.serialize_element(self)?;
                seq.end()
            }
            Endless::Map => {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("k", self)?;
                map.end()
            }
            Endless::Some => serializer.serialize_some(self),
            Endless::NewStruct => serializer.serialize_newtype_struct("N", self),
            Endless::NewVariant => serializer.serialize_newtype_variant("E", 0, "V", self),
        }
    }
}

#[test]
fn a_value_without_a_bottom_is_refused_before_the_stack_ends() {
    let small = thread::Builder::new().stack_size(1 << 20).spawn(|| {
        for endless in [Endless::Seq, Endless::Map, Endless::Some, Endless::NewStruct, Endless::NewVariant] {
            assert_eq!(written(&endless), Err(JsonFault::TooDeep));
        }
    });
    small.unwrap().join().unwrap();
}

#[test]
fn a_fault_counts_even_if_a_type_swallows_it() {
    struct Swallows;
    impl Serialize for Swallows {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut seq = serializer.serialize_seq(None)?;
            let _ = seq.serialize_element(&f64::NAN);
            seq.end()
        }
    }
    assert_eq!(written(&Swallows), Err(JsonFault::NotFinite));
}

#[test]
fn what_a_type_says_of_itself_is_passed_on() {
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no such path"))
        }
    }
    assert_eq!(refused(&[Refuses]), "the value cannot be written as JSON: no such path");
    let unreadable = from_json::<u8>(b"[1]").unwrap_err().to_string();
    assert!(unreadable.starts_with("the payload cannot be read as this type: invalid type"), "{unreadable}");
    for bytes in [&b""[..], b"1 2", b"nul", b"\xff", b"256"] {
        assert!(matches!(from_json::<u8>(bytes), Err(JsonFault::Unreadable(_))));
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "t")]
enum Tagged {
    Floats { long: f64, short: f32 },
}

#[track_caller]
fn floats_come_back(long: f64, short: f32) {
    let text = written(&(long, short, Tagged::Floats { long, short })).unwrap();
    let (l, s, Tagged::Floats { long: tl, short: ts }) =
        from_json::<(f64, f32, Tagged)>(text.as_bytes()).unwrap();
    assert_eq!((l.to_bits(), s.to_bits()), (long.to_bits(), short.to_bits()));
    assert_eq!((tl.to_bits(), ts.to_bits()), (long.to_bits(), short.to_bits()));
    let value: Value = from_json(written(&long).unwrap().as_bytes()).unwrap();
    assert_eq!(value.as_f64().unwrap().to_bits(), long.to_bits());
}

#[test]
fn floats_at_the_edges_come_back_to_the_last_bit() {
    let long = [0.0, -0.0, 0.1, 1.0, 1e15, 1e16, 1e21, f64::MIN, f64::MAX, f64::MIN_POSITIVE, 5e-324];
    let short = [0.0, -0.0, 0.1, 1.0, 1e15, 1e16, 1e21, f32::MIN, f32::MAX, f32::MIN_POSITIVE, 1e-45];
    for (long, short) in long.into_iter().zip(short) {
        floats_come_back(long, short);
    }
    // By way of an `f64` its shortest text would be rounded twice, and give another.
    floats_come_back(0.0, f32::from_bits(0x15ae_43fd));
    assert_eq!(written(&0.1f32).unwrap(), "0.1", "the others keep their short text");
}

proptest! {
    #[test]
    fn every_finite_float_comes_back_to_the_last_bit(long: u64, short: u32) {
        let (long, short) = (f64::from_bits(long), f32::from_bits(short));
        if long.is_finite() && short.is_finite() {
            floats_come_back(long, short);
        } else {
            prop_assert_eq!(written(&(long, short)), Err(JsonFault::NotFinite));
        }
    }
}
