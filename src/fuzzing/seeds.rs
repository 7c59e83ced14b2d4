//! Valid encodings for the corpus. `SESSIONLOG_WRITE_SEEDS=1 cargo test --lib fuzzing` writes what is missing.

use crate::format::catalog::{CatalogEntry, FRAMES, Header, MARKS, Mark, Open, Summary};
use crate::format::{
    CRITICAL, EntryMeta, Extras, FrameBuilder, FrameHeader, FrameKind, RecordKind, Seed, SegmentHeader,
    StoreFile, Successor, TURN_START,
};
use crate::ids::{BirthId, Incarnation, SessionId, StoreId};
use crate::state::{Checkpoint, MessageFacts, Op, State};

type Seeds = Vec<(String, Vec<u8>)>;

const BIRTH: BirthId = BirthId(*b"the birth id 16!");
const SALT: u64 = 0x1234_5678_9abc_def0;

fn journal() -> Vec<Op> {
    let attributes = r#"{"title":"a","deep":{"x":[1,2.5,null]}}"#.to_owned();
    let archive = Op::Archive { number: 1, base: 0, upto: 2, at: 4, bytes: 10, tokens: 3, attributes };
    vec![
        Op::Opened { incarnation: Incarnation { number: 1, nonce: 77 } },
        Op::Attributes { patch: r#"{"a":1,"b":null}"#.to_owned() },
        Op::Key { key: u128::MAX - 5, digest: 7, count: 1 },
        archive,
        Op::ArchiveAttributes { number: 1, patch: r#"{"status":"done"}"#.to_owned() },
        Op::ArchiveRemoved { number: 1 },
        Op::Released { segments: vec![1, 2] },
        Op::Close,
        Op::CloseWith(Box::new(Checkpoint { low: 1, low_seq: 0, state: empty_state() })),
    ]
}

fn op_bytes(op: &Op) -> Vec<u8> {
    let mut out = Vec::new();
    op.encode(&mut out).unwrap();
    out
}

fn empty_state() -> State {
    State::new(SessionId::new("chat:1").unwrap(), BIRTH, 1_000)
}

fn state() -> State {
    let mut state = empty_state();
    let all = journal();
    state.apply_op(&all[0], 5).unwrap();
    for i in 0..4 {
        if i == 2 {
            state.apply_op(&all[2], 5).unwrap();
        }
        let seq = state.next;
        state.apply_message(MessageFacts { seq, bytes: 5, tokens: 1, time: 9 + i }).unwrap();
    }
    for op in [&all[1], &all[3], &all[4]] {
        state.apply_op(op, 20).unwrap();
    }
    state
}

fn header(kind: FrameKind, prev: (u32, u32), first_position: u64) -> FrameHeader {
    FrameHeader {
        kind,
        prev_crc: prev.0,
        prev_len: prev.1,
        first_position,
        time: 1_700_000_000_000_000,
        base: 0,
        mark: first_position,
        span: 2,
        epoch: 0,
        archives: 0,
        journal: 1,
    }
}

fn extras() -> Vec<u8> {
    let mut out = Vec::new();
    Extras { tag: Some("user"), tokens: Some(7), id: Some("m-1"), parent: Some(""), key: Some("k") }
        .encode(&mut out);
    out
}

fn meta(kind: RecordKind, flags: u8) -> EntryMeta {
    EntryMeta { kind, flags, codec: 1 }
}

fn frame(seed: Seed, offset: u64, kind: FrameKind, prev: (u32, u32), position: u64) -> (Vec<u8>, (u32, u32)) {
    let mut builder = FrameBuilder::new();
    match kind {
        FrameKind::Snapshot => {
            builder.begin(1, offset, seed);
            builder.push(&meta(RecordKind::Snapshot, CRITICAL), b"", &empty_state().encode().unwrap());
        }
        FrameKind::Next => {
            builder.begin(1, offset, seed);
            let next = Successor { number: 4, salt: 99 };
            builder.push(&meta(RecordKind::Next, CRITICAL), b"", &next.encode());
        }
        _ => {
            builder.begin(3, offset, seed);
            builder.push(&meta(RecordKind::Op, CRITICAL), b"", &op_bytes(&journal()[0]));
            builder.push(&meta(RecordKind::Message, TURN_START), &extras(), b"hello");
            builder.push(&meta(RecordKind::Message, 0), b"", b"");
        }
    }
    let done = builder.finish(&header(kind, prev, position));
    (builder.bytes().to_vec(), (done.crc, done.len))
}

fn segment_header(carry_len: usize) -> SegmentHeader {
    SegmentHeader {
        store: StoreId([7; 16]),
        birth: BIRTH,
        number: 3,
        salt: SALT,
        first_position: 1,
        prev_number: 2,
        prev_end_position: 1,
        prev_end_offset: 4096,
        prev_end_crc: 5,
        carry_len: carry_len as u32,
        incarnation: 1,
        created: 1_700_000_000_000_000,
    }
}

/// A whole segment: snapshot, commit, witness.
fn segment() -> Vec<u8> {
    let seed = Seed::new(&BIRTH, 3, SALT);
    let (carry, before) = frame(seed, 128, FrameKind::Snapshot, (0, 0), 1);
    let mut out = segment_header(carry.len()).encode().to_vec();
    out.extend(carry);
    let (commit, before) = frame(seed, out.len() as u64, FrameKind::Commit, before, 1);
    out.extend(commit);
    let (next, _) = frame(seed, out.len() as u64, FrameKind::Next, before, 4);
    out.extend(next);
    out
}

fn mark() -> Open {
    Open {
        id: SessionId::new("chat:1").unwrap(),
        birth: BIRTH,
        incarnation: Incarnation { number: 2, nonce: 3 },
        segment: 3,
        salt: SALT,
        time: 1_700_000_000_000_000,
    }
}

fn entries() -> Vec<CatalogEntry> {
    let Open { id, birth, incarnation, segment, salt, time } = mark();
    let summary = Summary {
        id: id.clone(),
        birth,
        incarnation,
        segment,
        salt,
        position: 12,
        message_count: 2,
        base: 2,
        next: 4,
        epoch: 0,
        total_messages: 4,
        live_bytes: 10,
        total_bytes: 20,
        live_tokens: 2,
        total_tokens: 4,
        archives: 1,
        log_bytes: 5_000,
        created: time,
        last_message: Some(time),
        modified: time,
        attributes: "{\"a\":1}".to_owned(),
        attributes_omitted: false,
        attributes_version: 7,
        lineage: Some(crate::Lineage { parent: id.clone(), birth, seq: 1 }),
    };
    vec![
        CatalogEntry::Open(mark()),
        CatalogEntry::Closed(summary),
        CatalogEntry::Removed { id, birth, incarnation },
        CatalogEntry::Doubt(mark()),
    ]
}

fn catalog_file() -> Vec<u8> {
    let header = Header {
        store: StoreId([7; 16]),
        salt: SALT,
        instance: 5,
        generation: 1,
        pid: 42,
        host: "host".to_owned(),
        started: 1_700_000_000_000_000,
    };
    let (mut out, mut chain) = header.encode();
    out.resize(chain.offset(), 0);
    let mut frames = Vec::new();
    for entry in entries() {
        chain.push(&entry, &mut frames).unwrap();
    }
    for (index, durable) in [chain.offset(), FRAMES].into_iter().enumerate() {
        let bytes = Mark { durable: durable as u64, index, pid: 1 }.encode(SALT);
        out[MARKS[index]..][..bytes.len()].copy_from_slice(&bytes);
    }
    out.extend(frames);
    out
}

/// Valid input for every decoder.
pub(super) fn decode() -> Seeds {
    let seed = Seed::new(&BIRTH, 3, SALT);
    let mut out = Vec::new();
    let mut add = |name: &str, head: &[u8], bytes: &[u8]| {
        out.push((name.to_owned(), [head, bytes].concat()));
    };
    let file = |lock_dir: Option<&str>| {
        StoreFile { id: StoreId([7; 16]), created: 5, lock_dir: lock_dir.map(str::to_owned) }.encode()
    };
    let header = segment_header(200).encode();
    let far = 1u64 << 40;
    for (seal, kind) in [(0, "plain"), (0x80, "sealed")] {
        add(&format!("store-{kind}"), &[seal], &file(None));
        add(&format!("store-lock-dir-{kind}"), &[seal], &file(Some("/run/locks")));
        add(&format!("header-{kind}"), &[seal | 1], &header);
        for (name, frame_kind) in [
            ("commit", FrameKind::Commit),
            ("carry", FrameKind::Carry),
            ("snapshot", FrameKind::Snapshot),
            ("next", FrameKind::Next),
        ] {
            let bytes = frame(seed, 0x1000, frame_kind, (9, 100), 1_000).0;
            add(&format!("frame-{name}-{kind}"), &[seal | 2, 0x00, 0x10], &bytes);
        }
        let bytes = frame(seed, far, FrameKind::Commit, (9, 100), 1_000).0;
        add(&format!("frame-far-{kind}"), &[&[seal | 3][..], &far.to_le_bytes()].concat(), &bytes);
        add(&format!("catalog-{kind}"), &[seal | 8], &catalog_file());
        add(&format!("segment-{kind}"), &[seal | 12], &segment());
    }
    add("extras", &[4], &extras());
    for (i, op) in journal().iter().enumerate() {
        add(&format!("op-{i}"), &[5], &op_bytes(op));
    }
    let snapshot = state().encode().unwrap();
    add("snapshot", &[6], &snapshot);
    add("snapshot-empty", &[6], &empty_state().encode().unwrap());
    let mut log = (snapshot.len() as u16).to_le_bytes().to_vec();
    log.extend(&snapshot);
    for op in &journal()[1..] {
        let body = op_bytes(op);
        log.extend([1, body.len() as u8]);
        log.extend(body);
        log.extend([0, 5, 0, 1, 0, 1, 0]);
        log.extend([3, 0]);
    }
    add("fold", &[7], &log);
    for (i, entry) in entries().iter().enumerate() {
        let mut body = Vec::new();
        entry.encode(&mut body).unwrap();
        add(&format!("entry-{i}"), &[9], &body);
    }
    for (i, name) in
        ["00000001.log", "chat-1~0123456789abcdef0123456789abcdef", "0123456789abcdef.cat", "lock"]
            .into_iter()
            .enumerate()
    {
        add(&format!("name-{i}"), &[10], name.as_bytes());
    }
    add("successor", &[11], &Successor { number: 4, salt: 99 }.encode());
    out
}

/// Each kind of damage once, to each of the stores.
pub(super) fn damage() -> Seeds {
    let mut out = Vec::new();
    for store in 0..5u8 {
        out.push((format!("whole-{store}"), vec![store]));
        for kind in (0..18u8).chain([0x45, 0x47, 0x80, 0x84, 0x85, 0x86, 0x8c]) {
            let (file, at) = (kind % 11 + store * 2, u32::from(kind) * 29 + 7);
            out.push((
                format!("{store}-{kind:02x}"),
                vec![store, kind, file, file / 2, at as u8, store, 40, 3, 1],
            ));
        }
    }
    out
}

/// Histories with everything in them, at several places in several sessions.
pub(super) fn ops() -> Seeds {
    let mut out = Vec::new();
    let append = |s: u8, len: u8| vec![s << 5 | 1, len, 9, 0];
    for kind in 0..32u8 {
        let mut bytes = vec![kind, kind % 5];
        for len in [10, 100, 255, 30] {
            bytes.extend(append(0, len));
        }
        bytes.extend([10, 0x83, 20, 4, 30, 5, 40, 6, 50, 7]);
        bytes.extend(append(1, 60));
        for (s, p) in [(0, 0u8), (0, 0x80), (1, 0), (0, 0), (2, 0x80)] {
            bytes.extend([p | s << 5 | kind, 40, 90, 17, 60, 1, 2]);
            bytes.extend(append(s, 80));
        }
        bytes.extend([24, 0, 18, 19, 0x80 | 31, 31, 3, 7]);
        out.push((format!("{kind:02}"), bytes));
    }
    out
}
