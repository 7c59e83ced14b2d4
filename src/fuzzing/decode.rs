//! Arbitrary bytes for every decoder. What decodes must encode back to the same meaning.

use super::input::Input;
use crate::format::catalog::{self, CatalogEntry, Chain, Glance, Step};
use crate::format::{
    Entry, EntryMeta, Extras, Frame, FrameBuilder, FrameFault, FrameKind, Peek, RecordKind, Seed,
    SegmentHeader, Single, StoreFile, Successor, Table, peek, reseal,
};
use crate::ids::{BirthId, SessionId, is_session_dir, shard_of};
use crate::log::{parse_segment_name, segment_name};
use crate::state::{MessageFacts, Op, State};

/// The first byte selects the decoder; its highest bit puts the right checksums over the bytes before, so that the
/// checks of meaning are reached.
pub fn decode(data: &[u8]) {
    let mut input = Input::new(data);
    let selector = input.byte();
    let sealed = selector & 0x80 != 0;
    match selector & 0x0f {
        0 => store_file(input.rest(), sealed),
        1 => segment_header(input.rest(), sealed),
        2 => {
            let offset = u64::from(input.word());
            frame(input.rest(), offset, sealed);
        }
        3 => {
            let offset = input.long();
            frame(input.rest(), offset, sealed);
        }
        4 => extras(input.rest()),
        5 => op(input.rest()),
        6 => snapshot(input.rest()),
        7 => fold(input.rest()),
        8 => catalog_file(input.rest(), sealed),
        9 => drop(entry(input.rest())),
        10 => names(input.rest()),
        11 => drop(Successor::decode(input.rest()).map(|s| assert_eq!(s.encode(), input_of(data)))),
        12 => segment(input.rest(), sealed),
        _ => {}
    }
}

fn input_of(data: &[u8]) -> &[u8] {
    &data[1..]
}

fn store_file(bytes: &[u8], sealed: bool) {
    let mut bytes = bytes.to_vec();
    if sealed {
        reseal::store_file(&mut bytes);
    }
    match StoreFile::decode(&bytes) {
        Ok(file) => assert_eq!(file.encode(), bytes),
        Err(fault) => drop(fault.to_string()),
    }
}

fn segment_header(bytes: &[u8], sealed: bool) {
    let mut bytes = bytes.to_vec();
    if sealed {
        reseal::segment_header(&mut bytes);
    }
    match SegmentHeader::decode(&bytes) {
        Ok(header) => assert_eq!(header.encode(), bytes[..SegmentHeader::LEN]),
        Err(fault) => drop(fault.to_string()),
    }
}

const BIRTH: BirthId = BirthId(*b"the birth id 16!");

fn frame(bytes: &[u8], offset: u64, sealed: bool) {
    let seed = Seed::new(&BIRTH, 3, 0x1234_5678_9abc_def0);
    let mut bytes = bytes.to_vec();
    if sealed {
        let _ = reseal::frame(seed, offset, &mut bytes);
    }
    judge_frame(&bytes, offset, seed);
}

/// The length of the frame, if it is one.
fn judge_frame(bytes: &[u8], offset: u64, seed: Seed) -> Option<usize> {
    let peeked = peek(seed, offset, bytes);
    let single = Single::parse(seed, offset, bytes);
    let frame = match Frame::parse(seed, offset, bytes) {
        Ok(frame) => frame,
        Err(fault) => {
            assert!(single.is_none());
            drop(fault.to_string());
            return None;
        }
    };
    // What passes is what the header said.
    if let Peek::Frame { len, head_len } = peeked {
        assert_eq!((len, head_len), (frame.len(), frame.head_len()));
        // The table alone says the same, from either end.
        let head = Table::parse(seed, offset, bytes.get(..head_len).unwrap_or_default());
        let places = |e: Entry| (e.index, e.position, e.body_offset, e.body_len());
        let mut back: Vec<_> = head.map(|t| t.entries().rev().map(places).collect()).unwrap_or_default();
        back.reverse();
        assert!(frame.entries().map(places).eq(back));
    }
    // Neither does whoever goes over it record by record say anything else, nor who takes it for a single message.
    let mut cursor = frame.cursor();
    let all = |e: Entry| (e.meta(), e.position, e.body_offset, e.extras_len, e.len, e.crc);
    for entry in frame.entries() {
        let at = (cursor.entry_offset() - offset) as usize;
        assert_eq!(cursor.next(bytes.get(at..).unwrap_or_default()).map(all), Some(all(entry)));
    }
    assert_eq!(cursor.left(), 0);
    let alone = frame.count() == 1 && matches!(frame.header().kind, FrameKind::Commit | FrameKind::Carry);
    let message = frame.entries().next().filter(|e| alone && e.kind == RecordKind::Message);
    assert_eq!(single.as_ref().map(|s| all(s.entry)), message.map(all));
    if let (Some(single), Some(record)) = (single, frame.records().next()) {
        assert_eq!(
            (single.len, single.body),
            (frame.len(), [record.extras, record.payload].concat().as_slice())
        );
    }
    assert_ne!(peeked, Peek::Zeros);
    assert_eq!(frame.records().count(), frame.count());
    assert!(frame.end_position() >= frame.header().first_position);
    let _ = frame.header().next();
    let mut good = Ok(());
    for record in frame.records() {
        good = good.and(record.verify());
        extras(record.extras);
        match record.kind {
            RecordKind::Op => op(record.payload),
            RecordKind::Snapshot => snapshot(record.payload),
            RecordKind::Next => drop(Successor::decode(record.payload)),
            _ => {}
        }
    }
    assert_eq!(frame.verify(), good);
    if let Err(fault) = good {
        assert!(matches!(fault, FrameFault::Body { .. }));
        return None;
    }
    let mut builder = FrameBuilder::new();
    builder.begin(frame.count(), offset, seed);
    for record in frame.records() {
        let meta: EntryMeta = record.meta();
        builder.push(&meta, record.extras, record.payload);
    }
    builder.finish(&frame.header());
    let again = Frame::parse(seed, offset, builder.bytes()).unwrap();
    assert_eq!(again.header(), frame.header());
    for (a, b) in again.records().zip(frame.records()) {
        assert_eq!((a.meta(), a.extras, a.payload), (b.meta(), b.extras, b.payload));
        assert_eq!((a.position, a.body_offset, a.crc), (b.position, b.body_offset, b.crc));
    }
    Some(frame.len())
}

/// A whole segment, as a dump would walk it.
fn segment(bytes: &[u8], sealed: bool) {
    let mut bytes = bytes.to_vec();
    if sealed {
        reseal::segment(&mut bytes);
    }
    let Ok(header) = SegmentHeader::decode(&bytes) else { return };
    let mut at = SegmentHeader::LEN;
    while let Some(len) = judge_frame(&bytes[at..], at as u64, header.seed()) {
        at += len;
    }
}

fn extras(bytes: &[u8]) {
    if let Ok(extras) = Extras::decode(bytes) {
        let mut out = Vec::new();
        extras.encode(&mut out);
        assert_eq!(Extras::decode(&out), Ok(extras));
        assert!(out.len() <= bytes.len());
    }
}

fn op(bytes: &[u8]) {
    if let Ok(op) = Op::decode(bytes) {
        let mut out = Vec::new();
        op.encode(&mut out).unwrap();
        assert_eq!(Op::decode(&out), Ok(op));
    }
}

fn snapshot(bytes: &[u8]) {
    if let Ok(state) = State::decode(bytes) {
        judge_state(&state);
    }
}

/// The invariants that everybody above relies on, and the way there and back.
fn judge_state(state: &State) {
    assert!(state.base <= state.next);
    let given_up = state.next - state.base - state.message_count;
    assert!(given_up <= state.holes.iter().fold(0, |all, hole| hole.count.saturating_add(all)));
    assert_eq!(state.live.iter().map(|e| e.count).sum::<u64>(), state.message_count);
    assert!(state.truncated <= state.base);
    assert_eq!(State::decode(&state.encode().unwrap()).as_ref(), Ok(state));
    let _ = state.unreachable(state.position);
    let _ = state.archive(1);
    let _ = state.clock(0);
}

/// A snapshot, then messages and journal records that follow it: `[length, snapshot] [kind, length, bytes]...`
fn fold(bytes: &[u8]) {
    let Some((len, rest)) = bytes.split_first_chunk::<2>() else { return };
    let Some((body, mut rest)) = rest.split_at_checked(u16::from_le_bytes(*len).into()) else { return };
    let Ok(mut state) = State::decode(body) else { return };
    while let Some(([kind, len], behind)) = rest.split_first_chunk::<2>() {
        let Some((body, behind)) = behind.split_at_checked((*len).into()) else { return };
        rest = behind;
        let mut input = Input::new(body);
        let done = match kind % 4 {
            0 => {
                let seq = state.next.wrapping_add(u64::from(input.byte()) / 128);
                let (bytes, tokens, time) = (input.word().into(), input.word().into(), input.long());
                state.apply_message(MessageFacts { seq, bytes, tokens, time })
            }
            1 | 2 => match Op::decode(body) {
                Ok(op) => state.apply_op(&op, u64::from(*kind)),
                Err(_) => return,
            },
            _ => {
                state.apply_ignored();
                Ok(())
            }
        };
        // After a contradiction nobody goes on with this state.
        if done.is_err() {
            return;
        }
        let _ = state.unreachable(state.position);
    }
    let pending = state.pending_key.take();
    judge_state(&state);
    state.pending_key = pending;
}

fn catalog_file(bytes: &[u8], sealed: bool) {
    let mut bytes = bytes.to_vec();
    if sealed {
        reseal::catalog_file(&mut bytes);
    }
    let Ok((header, mut chain)) = catalog::Header::decode(&bytes) else { return };
    let (out, mut copy) = header.encode();
    let (again, _) = catalog::Header::decode(&out).unwrap();
    if header.host.len() <= catalog::MAX_HOST {
        assert_eq!(again, header);
    }
    let _ = catalog::decode_marks(header.salt, &bytes);
    let mut before = chain.offset();
    while let Step::Frame(body) = chain.step(&bytes) {
        assert!(chain.offset() > before && body.len() < bytes.len());
        before = chain.offset();
        if let Some(entry) = entry(body) {
            push(&mut copy, &entry);
        }
    }
}

fn push(chain: &mut Chain, entry: &CatalogEntry) {
    // An entry that came out of a file goes into one.
    let mut out = Vec::new();
    chain.push(entry, &mut out).unwrap();
}

fn entry(bytes: &[u8]) -> Option<CatalogEntry> {
    let glance = Glance::at(bytes);
    if let Ok(glance) = &glance {
        let _ = glance.place();
    }
    let entry = CatalogEntry::decode(bytes).ok()?;
    // The glance sees what the whole says.
    let glance = glance.unwrap();
    assert_eq!(glance.id, entry.id().as_str());
    assert_eq!((glance.birth, glance.incarnation), (entry.birth(), entry.incarnation()));
    match &entry {
        CatalogEntry::Closed(s) => {
            assert_eq!(glance.place(), Some((s.segment, s.salt, Some(s.position))));
            let _ = s.place();
        }
        CatalogEntry::Open(m) | CatalogEntry::Doubt(m) => {
            assert_eq!(glance.place(), Some((m.segment, m.salt, None)));
        }
        CatalogEntry::Removed { .. } => assert_eq!(glance.place(), None),
    }
    let mut out = Vec::new();
    entry.encode(&mut out).unwrap();
    assert_eq!(CatalogEntry::decode(&out).as_ref(), Ok(&entry));
    let _ = entry.clone().bounded();
    Some(entry)
}

fn names(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(number) = parse_segment_name(&text) {
        assert_eq!(segment_name(number), text);
    }
    let _ = is_session_dir(&text);
    let _ = crate::log::catalog::salt_in(&text);
    if let Ok(id) = SessionId::new(&*text) {
        let name = id.dir_name();
        assert!(is_session_dir(&name) && name.len() <= 73 && id.shard() == shard_of(&name));
        assert!(parse_segment_name(&name).is_none());
    }
}
