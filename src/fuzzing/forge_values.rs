//! One value of a state, a journal record, a catalog file, an index or a `STORE` file is changed; what it was.

use serde_json::json;

use super::forge::{Rng, extreme, one_of};
use crate::format::catalog::{self, CatalogEntry, Step};
use crate::format::reseal;
use crate::state::{ArchiveState, Attributes, Checkpoint, Extent, Hole, Op, SegmentInfo, State};

fn of_extent<'a>(names: [&'static str; 4], e: &'a mut Extent) -> [(&'static str, &'a mut u64); 4] {
    let [a, b, c, d] = names;
    [(a, &mut e.seq), (b, &mut e.count), (c, &mut e.from), (d, &mut e.to)]
}

fn of_segment(s: &mut SegmentInfo) -> Vec<(&'static str, &mut u64)> {
    vec![
        ("segment.number", &mut s.number),
        ("segment.salt", &mut s.salt),
        ("segment.low", &mut s.low),
        ("segment.first", &mut s.first),
        ("segment.end", &mut s.end),
        ("segment.end_offset", &mut s.end_offset),
        ("segment.low_seq", &mut s.low_seq),
    ]
}

fn of_archive(a: &mut ArchiveState) -> Vec<(&'static str, &mut u64)> {
    let mut out = vec![
        ("archive.number", &mut a.number),
        ("archive.base", &mut a.base),
        ("archive.upto", &mut a.upto),
        ("archive.bytes", &mut a.sums.bytes),
        ("archive.tokens", &mut a.sums.tokens),
        ("archive.created", &mut a.created),
        ("archive.modified", &mut a.modified),
    ];
    let names = ["archive.extent.seq", "archive.extent.count", "archive.extent.from", "archive.extent.to"];
    out.extend(a.extents.iter_mut().flat_map(|e| of_extent(names, e)));
    out
}

fn list<T: Clone>(rng: &mut Rng, name: &str, list: &mut Vec<T>) -> String {
    if list.is_empty() {
        return format!("{name} empty");
    }
    let (a, b) = (rng.below(list.len()), rng.below(list.len()));
    match rng.below(6) {
        0 => drop(list.remove(a)),
        1 => list.insert(b, list[a].clone()),
        2 => list.swap(a, b),
        3 => list.reverse(),
        4 => list.clear(),
        _ => {
            let one = list[a].clone();
            list.extend(vec![one; [3, 100, 3000][rng.below(3)]]);
        }
    }
    format!("list {name}, now {}", list.len())
}

fn small(rng: &mut Rng) -> u64 {
    [0, 1, 2, 3, 5, 9, 20, 40, u64::MAX][rng.below(9)]
}

fn text(rng: &mut Rng) -> String {
    match rng.below(9) {
        0 => "not json".into(),
        1 => "[1]".into(),
        2 => format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)),
        3 => format!("{{\"a\":\"{}\"}}", "x".repeat(300 << 10)),
        4 => "{\"a\":1e999}".into(),
        5 => "{\"a\":1,\"a\":2}".into(),
        6 => "{}".into(),
        7 => format!("{}1{}", "{\"a\":".repeat(126), "}".repeat(126)),
        _ => "\u{0}".into(),
    }
}

/// Changes one thing of a state; what it was.
pub(super) fn state(rng: &mut Rng, s: &mut State) -> String {
    let mut archives_made = u64::from(s.archives_made);
    let (mut epoch, mut journal, mut last) =
        (u64::from(s.epoch), u64::from(s.journal), s.last_message.unwrap_or(0));
    let what = match rng.below(12) {
        0..=4 => one_of(
            rng,
            &mut [
                ("created", &mut s.created),
                ("incarnation", &mut s.incarnation.number),
                ("nonce", &mut s.incarnation.nonce),
                ("position", &mut s.position),
                ("epoch", &mut epoch),
                ("base", &mut s.base),
                ("next", &mut s.next),
                ("message_count", &mut s.message_count),
                ("live.bytes", &mut s.live_sums.bytes),
                ("live.tokens", &mut s.live_sums.tokens),
                ("total_messages", &mut s.total_messages),
                ("total.bytes", &mut s.total_sums.bytes),
                ("total.tokens", &mut s.total_sums.tokens),
                ("archives_made", &mut archives_made),
                ("attributes_version", &mut s.attributes_version),
                ("modified", &mut s.modified),
                ("last_message", &mut last),
                ("journal", &mut journal),
                ("truncated", &mut s.truncated),
                ("dead_bytes", &mut s.dead_bytes),
            ],
        ),
        5 => {
            let names = ["live.seq", "live.count", "live.from", "live.to"];
            let mut all: Vec<_> = s.live.iter_mut().flat_map(|e| of_extent(names, e)).collect();
            one_of(rng, &mut all)
        }
        6 => {
            let mut all: Vec<_> = s.segments.iter_mut().flat_map(of_segment).collect();
            one_of(rng, &mut all)
        }
        7 => {
            let mut all: Vec<_> = s.archives.iter_mut().flat_map(of_archive).collect();
            one_of(rng, &mut all)
        }
        8 => match rng.below(5) {
            0 => list(rng, "live", &mut s.live),
            1 => list(rng, "archives", &mut s.archives),
            2 => list(rng, "segments", &mut s.segments),
            3 => {
                let n = s.segments.iter().map(|i| i.number).collect::<Vec<_>>();
                s.released.extend(n);
                s.released.extend([0, 1, 2, 3, u64::MAX]);
                "released everything".into()
            }
            _ => list(rng, "released", &mut s.released),
        },
        9 => {
            let hole = Hole { seq: small(rng), count: small(rng), from: small(rng), to: small(rng) };
            s.holes.extend(vec![hole; 1 + rng.below(2)]);
            if rng.below(2) == 0 {
                s.holes.push(Hole { seq: small(rng), count: small(rng), from: small(rng), to: small(rng) });
            }
            format!("holes {:?}", s.holes)
        }
        10 => consistent(rng, s),
        _ => match rng.below(3) {
            0 => {
                // The text is not checked on its way out.
                let mut body = Vec::new();
                let text = text(rng);
                serde_json::from_str::<serde_json::Map<_, _>>(&text)
                    .map(|m| s.attributes = Attributes::from(m))
                    .unwrap_or_else(|_| body.push(0));
                format!("attributes {}", &text[..text.len().min(30)])
            }
            1 => {
                if let Some(a) = s.archives.first_mut() {
                    a.attributes =
                        Attributes::from(json!({"v": "y".repeat(300 << 10)}).as_object().unwrap().clone());
                }
                "long attributes of an archive".into()
            }
            _ => {
                let at = small(rng);
                s.segments.push(SegmentInfo {
                    number: small(rng),
                    salt: 1,
                    low: at,
                    first: at,
                    end: small(rng),
                    end_offset: [0, 128, 5000, u64::MAX][rng.below(4)],
                    end_len: [0, 1, 128, 30_000, u32::MAX][rng.below(5)],
                    low_seq: small(rng),
                });
                format!("a segment more: {:?}", s.segments.last())
            }
        },
    };
    s.archives_made = archives_made as u32;
    (s.epoch, s.journal) = (epoch as u16, journal as u16);
    s.last_message = s.last_message.map(|_| last);
    what
}

/// Values that no check of the snapshot alone refuses.
fn consistent(rng: &mut Rng, s: &mut State) -> String {
    let near = [0, 1, 2, 3, 5, 10, 60][rng.below(7)];
    match rng.below(7) {
        0 => {
            s.position = u64::MAX - near;
            if let Some(last) = s.live.last_mut() {
                last.to = last.to.min(s.position);
            }
            format!("position at the end, less {near}")
        }
        1 => {
            let by = (u64::MAX - near) - s.next;
            for e in &mut s.live {
                e.seq += by;
            }
            (s.base, s.next) = (s.base + by, s.next + by);
            format!("sequences at the end, less {near}")
        }
        2 => {
            // More messages than a header can say.
            let many = 1u64 << [32, 33, 62, 63][rng.below(4)];
            s.position = s.position.saturating_add(many);
            let e = Extent { seq: s.next, count: many, from: s.position - many, to: s.position };
            s.live.push(e);
            (s.next, s.message_count) = (s.next + many, s.message_count + many);
            format!("{many} messages more")
        }
        3 => {
            let (seq, count) = (s.next, small(rng).min(u64::MAX - s.next));
            s.next += count;
            s.holes.push(Hole { seq, count, from: 0, to: s.position });
            format!("a hole of {count} at the end")
        }
        4 => {
            s.archives_made = u32::MAX;
            s.incarnation.number = u64::MAX;
            "archives and incarnation at the end".into()
        }
        5 => {
            let keys = (0..5000u64).map(|i| crate::state::KeyEntry {
                key: xxhash_rust::xxh3::xxh3_128(b"key"),
                digest: u128::from(i),
                position: u64::MAX,
                seq: u64::MAX - near,
                count: u32::MAX,
                epoch: 9,
            });
            keys.for_each(|k| s.keys.push(k));
            "keys".into()
        }
        _ => {
            for a in &mut s.archives {
                a.upto = u64::MAX;
                a.extents = vec![Extent { seq: 0, count: u64::MAX, from: 0, to: u64::MAX }; 3];
            }
            "archives of everything".into()
        }
    }
}

/// Changes a journal record.
pub(super) fn op(rng: &mut Rng, op: &mut Op) -> String {
    match op {
        Op::Opened { incarnation } => one_of(
            rng,
            &mut [("op.incarnation", &mut incarnation.number), ("op.nonce", &mut incarnation.nonce)],
        ),
        Op::Attributes { patch } => {
            *patch = text(rng);
            format!("op.patch {}", &patch[..patch.len().min(30)])
        }
        Op::Key { count, digest, .. } => {
            *count = extreme(rng, u64::from(*count)) as u32;
            *digest ^= u128::from(rng.below(2) as u64);
            format!("op.key {count}")
        }
        Op::Archive { number, base, upto, at, bytes, tokens, attributes } => {
            if rng.below(8) == 0 {
                *attributes = text(rng);
                return "op.archive text".into();
            }
            one_of(
                rng,
                &mut [
                    ("op.archive.number", number),
                    ("op.archive.base", base),
                    ("op.archive.upto", upto),
                    ("op.archive.at", at),
                    ("op.archive.bytes", bytes),
                    ("op.archive.tokens", tokens),
                ],
            )
        }
        Op::ArchiveAttributes { number, patch } => {
            if rng.below(2) == 0 {
                *patch = text(rng);
                return "op.archive patch".into();
            }
            one_of(rng, &mut [("op.attributes.number", number)])
        }
        Op::ArchiveRemoved { number } => one_of(rng, &mut [("op.removed.number", number)]),
        Op::Released { segments } => {
            segments.extend([0, 1, 2, 3, 4, u64::MAX]);
            "op.released".into()
        }
        Op::Close => {
            *op = fresh(rng);
            format!("op.close -> {op:?}").chars().take(80).collect()
        }
        Op::CloseWith(c) => {
            let Checkpoint { low, low_seq, state: s } = &mut **c;
            match rng.below(3) {
                0 => one_of(rng, &mut [("checkpoint.low", low), ("checkpoint.low_seq", low_seq)]),
                _ => format!("checkpoint.{}", state(rng, s)),
            }
        }
    }
}

pub(super) fn fresh(rng: &mut Rng) -> Op {
    let n = small(rng);
    match rng.below(7) {
        0 => Op::Opened { incarnation: crate::ids::Incarnation { number: small(rng), nonce: n } },
        1 => Op::Attributes { patch: text(rng) },
        2 => Op::Key { key: xxhash_rust::xxh3::xxh3_128(b"key"), digest: 0, count: n as u32 },
        3 => Op::Archive {
            number: small(rng),
            base: small(rng),
            upto: small(rng),
            at: small(rng),
            bytes: small(rng),
            tokens: n,
            attributes: String::new(),
        },
        4 => Op::ArchiveAttributes { number: n, patch: text(rng) },
        5 => Op::ArchiveRemoved { number: n },
        _ => Op::Released { segments: vec![n, small(rng), small(rng)] },
    }
}

/// A file with these entries, all of them durable.
fn file(header: &catalog::Header, entries: &[CatalogEntry]) -> Vec<u8> {
    let (mut out, mut chain) = header.encode();
    out.resize(catalog::FRAMES, 0);
    for entry in entries {
        chain.push(entry, &mut out).unwrap();
    }
    let mark = catalog::Mark { durable: out.len() as u64, index: 0, pid: 0 };
    out[catalog::MARKS[0]..][..catalog::MARK].copy_from_slice(&mark.encode(header.salt));
    out
}

pub(super) fn every_entry(bytes: &mut Vec<u8>, change: impl Fn(&mut CatalogEntry)) {
    let (header, mut chain) = catalog::Header::decode(bytes).unwrap();
    let mut entries = Vec::new();
    while let Step::Frame(body) = chain.step(bytes) {
        entries.push(CatalogEntry::decode(body).unwrap());
    }
    entries.iter_mut().for_each(change);
    *bytes = file(&header, &entries);
}

pub(super) fn catalog(rng: &mut Rng, bytes: &mut Vec<u8>) -> String {
    let Ok((mut header, mut chain)) = catalog::Header::decode(bytes) else { return "none".into() };
    if rng.below(4) == 0 {
        let (place, len) =
            [(10, 2), (40, 8), (48, 8), (56, 4), (512, 8), (1024, 8), (1540, 4), (32, 8), (12, 4)]
                [rng.below(9)];
        let mut old = [0; 8];
        old[..len].copy_from_slice(&bytes[place..place + len]);
        let new = extreme(rng, u64::from_le_bytes(old));
        bytes[place..place + len].copy_from_slice(&new.to_le_bytes()[..len]);
        reseal::catalog_file(bytes);
        return format!("catalog byte {place}: {new}");
    }
    let mut entries = Vec::new();
    while let Step::Frame(body) = chain.step(bytes) {
        entries.push(CatalogEntry::decode(body).unwrap());
    }
    if entries.is_empty() {
        return "no entries".into();
    }
    let at = rng.below(entries.len());
    let other = entries[rng.below(entries.len())].clone();
    let what = match rng.below(8) {
        0 => {
            entries.push(other.clone());
            format!("again {other:?}")
        }
        1 => {
            entries.remove(at);
            "removed".into()
        }
        2 => {
            if let CatalogEntry::Closed(s) = &mut entries[at] {
                s.attributes = ["", "nope", "[]", "{\"a\":1e999}"][rng.below(4)].into();
                s.attributes_omitted = rng.below(2) == 0;
            }
            "attributes".into()
        }
        3 => {
            header.generation = extreme(rng, header.generation.into()) as u32;
            header.started = extreme(rng, header.started);
            "header".into()
        }
        _ => match &mut entries[at] {
            CatalogEntry::Open(m) | CatalogEntry::Doubt(m) => one_of(
                rng,
                &mut [
                    ("open.incarnation", &mut m.incarnation.number),
                    ("open.nonce", &mut m.incarnation.nonce),
                    ("open.segment", &mut m.segment),
                    ("open.salt", &mut m.salt),
                    ("open.time", &mut m.time),
                ],
            ),
            CatalogEntry::Closed(s) => {
                let mut last = s.last_message.unwrap_or(0);
                let what = one_of(
                    rng,
                    &mut [
                        ("sum.incarnation", &mut s.incarnation.number),
                        ("sum.nonce", &mut s.incarnation.nonce),
                        ("sum.segment", &mut s.segment),
                        ("sum.salt", &mut s.salt),
                        ("sum.position", &mut s.position),
                        ("sum.message_count", &mut s.message_count),
                        ("sum.base", &mut s.base),
                        ("sum.next", &mut s.next),
                        ("sum.epoch", &mut s.epoch),
                        ("sum.total_messages", &mut s.total_messages),
                        ("sum.live_bytes", &mut s.live_bytes),
                        ("sum.total_bytes", &mut s.total_bytes),
                        ("sum.live_tokens", &mut s.live_tokens),
                        ("sum.total_tokens", &mut s.total_tokens),
                        ("sum.archives", &mut s.archives),
                        ("sum.log_bytes", &mut s.log_bytes),
                        ("sum.created", &mut s.created),
                        ("sum.modified", &mut s.modified),
                        ("sum.attributes_version", &mut s.attributes_version),
                        ("sum.last", &mut last),
                    ],
                );
                s.last_message = Some(last);
                what
            }
            CatalogEntry::Removed { incarnation, .. } => {
                one_of(rng, &mut [("removed.incarnation", &mut incarnation.number)])
            }
        },
    };
    *bytes = file(&header, &entries);
    what.chars().take(150).collect()
}

pub(super) fn index(rng: &mut Rng, bytes: &mut [u8]) -> String {
    let salt: [u8; 8] = bytes[16..24].try_into().unwrap();
    let page = rng.below(bytes.len() / 4096);
    let at = page * 4096
        + if page == 0 { [8, 12, 24][rng.below(3)] } else { rng.below(255) * 16 + [0, 8, 12][rng.below(3)] };
    let old = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let new = extreme(rng, old);
    let len = if rng.below(2) == 0 { 4 } else { 8 };
    bytes[at..at + len].copy_from_slice(&new.to_le_bytes()[..len]);
    let mut h = crc32fast::Hasher::new();
    h.update(&salt);
    h.update(&(page as u64).to_le_bytes());
    h.update(&bytes[page * 4096..page * 4096 + 4092]);
    let crc = h.finalize();
    bytes[page * 4096 + 4092..page * 4096 + 4096].copy_from_slice(&crc.to_le_bytes());
    format!("index {at}: {new}")
}

pub(super) fn store(rng: &mut Rng, bytes: &mut Vec<u8>) -> String {
    let (place, len) = [(8, 2), (10, 2), (12, 4), (16, 8), (32, 8), (40, 4), (44, 2), (46, 1)][rng.below(8)];
    let mut old = [0; 8];
    old[..len].copy_from_slice(&bytes[place..place + len]);
    let new = extreme(rng, u64::from_le_bytes(old));
    bytes[place..place + len].copy_from_slice(&new.to_le_bytes()[..len]);
    if rng.below(2) == 0 {
        bytes.extend(b"/locks\xff");
    }
    reseal::store_file(bytes);
    format!("STORE byte {place}: {new}")
}
