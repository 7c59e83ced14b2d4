//! `FORMAT.md` says what the code does: its boxes and its example are compared with it.

use std::fmt::Write;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::*;
use crate::ids::{BirthId, StoreId};

/// The segment that `FORMAT.md` shows.
fn worked_example() -> Vec<u8> {
    let number = |kind| EntryMeta { kind, flags: 0, codec: 0 };
    let segment = SegmentHeader {
        store: StoreId(*b"store-0123456789"),
        birth: BirthId(*b"birth-0123456789"),
        number: 1,
        salt: 0x1122_3344_5566_7788,
        first_position: 1,
        prev_number: 0,
        prev_end_position: 0,
        prev_end_offset: 0,
        prev_end_crc: 0,
        carry_len: frame_len(1, 5) as u32,
        incarnation: 1,
        created: 1_700_000_000_000_000,
    };
    let mut file = segment.encode().to_vec();
    let mut builder = FrameBuilder::new();
    let mut head = FrameHeader {
        kind: FrameKind::Snapshot,
        prev_crc: 0,
        prev_len: 0,
        first_position: 1,
        time: 1_700_000_000_000_000,
        base: 0,
        mark: 1,
        span: 0,
        epoch: 0,
        archives: 0,
        journal: 0,
    };
    let mut add = |head: &mut FrameHeader, meta: EntryMeta, extras: &[u8], payload: &[u8]| {
        builder.begin(1, file.len() as u64, segment.seed());
        builder.push(&meta, extras, payload);
        let finished = builder.finish(head);
        (head.prev_crc, head.prev_len) = (finished.crc, finished.len);
        file.extend_from_slice(builder.bytes());
    };
    add(&mut head, number(RecordKind::Snapshot), b"", b"STATE");
    let mut extras = vec![];
    Extras { tag: Some("user"), ..Extras::default() }.encode(&mut extras);
    let message = EntryMeta { flags: TURN_START, ..number(RecordKind::Message) };
    head = FrameHeader { kind: FrameKind::Commit, span: 1, ..head };
    add(&mut head, message, &extras, b"hello");
    head = FrameHeader { kind: FrameKind::Next, first_position: 2, time: 0, mark: 2, ..head };
    let successor = Successor { number: 2, salt: 0x99aa_bbcc_ddee_ff00 };
    add(&mut head, number(RecordKind::Next), b"", &successor.encode());
    assert_eq!(Successor::decode(&successor.encode()), Some(successor));
    assert_eq!(Successor::decode(&[0; 15]), None);
    file.resize(file.len().next_multiple_of(16), 0);
    file
}

fn hexdump(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (index, line) in bytes.chunks(16).enumerate() {
        write!(out, "{:08x} ", index * 16).unwrap();
        for (at, byte) in line.iter().enumerate() {
            write!(out, "{}{byte:02x}", if at == 8 { "  " } else { " " }).unwrap();
        }
        let text = line.iter().map(|b| if b.is_ascii_graphic() || *b == b' ' { *b as char } else { '.' });
        writeln!(out, "  |{}|", text.collect::<String>()).unwrap();
    }
    out
}

const FORMAT_MD: &str = include_str!("FORMAT.md");

#[test]
fn the_worked_example_in_the_specification_is_what_the_encoder_writes() {
    let expected = hexdump(&worked_example());
    let (_, block) = FORMAT_MD.split_once("```hexdump\n").expect("FORMAT.md has a block of hexdump");
    let (block, _) = block.split_once("```").unwrap();
    assert!(block == expected, "put this into the block `hexdump` of FORMAT.md:\n{expected}");
}

#[test]
fn the_layout_boxes_in_the_specification_are_those_of_the_code() {
    let [segment, successor] = segment::fields();
    for (title, fields) in [
        ("STORE", store::fields()),
        ("SEGMENT HEADER", segment),
        ("FRAME HEADER", frame::fields()),
        ("ENTRY", record::fields()),
        ("SUCCESSOR", successor),
    ] {
        let len: usize = fields.iter().map(|(_, size, _)| size).sum();
        let start = format!("{title}, {len} bytes\n");
        let (_, block) =
            FORMAT_MD.split_once(&start).unwrap_or_else(|| panic!("FORMAT.md has no box {start:?}"));
        let (block, _) = block.split_once("```").unwrap();
        let rows = block.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?))
        });
        let rows: Vec<(usize, usize, &str)> = rows.collect();
        assert_eq!(rows, fields, "the box {title} of FORMAT.md (left) is not what the code does (right)");
    }
}

/// The fields that the specification lists behind `start`, up to `end`, without their kinds.
pub(crate) fn listed(start: &str, end: &str) -> Vec<String> {
    let (_, rest) = FORMAT_MD.split_once(start).unwrap_or_else(|| panic!("FORMAT.md has no {start:?}"));
    let (list, _) = rest.split_once(end).unwrap_or_else(|| panic!("FORMAT.md has no {end:?} behind it"));
    let mut depth = 0;
    let mut flat = list.to_owned();
    flat.retain(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth == 0
    });
    flat.split(',').filter_map(|field| field.split_whitespace().next().map(str::to_owned)).collect()
}

/// The fields of a value in the order in which it has them on disk.
pub(crate) fn fields_of(value: &impl Serialize) -> Vec<String> {
    struct Names(Vec<String>);
    impl<'de> Deserialize<'de> for Names {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Names, D::Error> {
            from.deserialize_map(Names(Vec::new()))
        }
    }
    impl<'de> Visitor<'de> for Names {
        type Value = Names;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a struct")
        }
        fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<Names, M::Error> {
            while let Some((name, IgnoredAny)) = map.next_entry()? {
                self.0.push(name);
            }
            Ok(self)
        }
    }
    let text = serde_json::to_string(value).unwrap();
    serde_json::from_str::<Names>(&text).unwrap().0
}
