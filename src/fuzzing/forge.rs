//! Forged values under right checksums: segments taken apart into values, changed, and put together again.

use super::forge_values::{fresh, op, state};
use crate::format::{
    EntryMeta, Frame, FrameBuilder, FrameHeader, FrameKind, RecordKind, SegmentHeader, bin, reseal,
};
use crate::state::{MessageFacts, Op, State};

pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

pub(super) struct Rec {
    pub(super) meta: EntryMeta,
    pub(super) extras: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

pub(super) struct Part {
    pub(super) header: FrameHeader,
    pub(super) recs: Vec<Rec>,
}

/// A segment as values.
pub(super) struct Log {
    pub(super) header: SegmentHeader,
    pub(super) parts: Vec<Part>,
    tail: usize,
}

impl Log {
    pub(super) fn parse(bytes: &[u8]) -> Option<Log> {
        let header = SegmentHeader::decode(bytes).ok()?;
        let (mut at, mut parts) = (SegmentHeader::LEN, Vec::new());
        while let Ok(frame) = Frame::parse(header.seed(), at as u64, &bytes[at..]) {
            let rec = |r: crate::format::Record<'_>| Rec {
                meta: r.meta(),
                extras: r.extras.to_vec(),
                payload: r.payload.to_vec(),
            };
            parts.push(Part { header: frame.header(), recs: frame.records().map(rec).collect() });
            at += frame.len();
        }
        Some(Log { header, parts, tail: bytes.len() - at })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut header = self.header;
        let mut out = vec![0; SegmentHeader::LEN];
        let (mut builder, mut last, mut carry) = (FrameBuilder::new(), (0, 0), None);
        for part in &self.parts {
            if carry.is_none() && !matches!(part.header.kind, FrameKind::Snapshot | FrameKind::Carry) {
                carry = Some(out.len());
            }
            builder.begin(part.recs.len(), out.len() as u64, header.seed());
            part.recs.iter().for_each(|r| builder.push(&r.meta, &r.extras, &r.payload));
            let mark = part.header.mark.min(part.header.first_position);
            let done =
                builder.finish(&FrameHeader { prev_crc: last.0, prev_len: last.1, mark, ..part.header });
            last = (done.crc, done.len);
            out.extend_from_slice(builder.bytes());
        }
        header.carry_len = (carry.unwrap_or(out.len()) - SegmentHeader::LEN) as u32;
        out[..SegmentHeader::LEN].copy_from_slice(&header.encode());
        out.resize(out.len() + self.tail, 0);
        out
    }

    pub(super) fn state(&self) -> Option<State> {
        State::decode(&self.parts.first()?.recs.first()?.payload).ok()
    }

    pub(super) fn set_state(&mut self, state: &State) {
        self.parts[0].recs[0].payload = state.encode().unwrap();
    }

    pub(super) fn forge_state(&mut self, change: impl FnOnce(&mut State)) {
        let mut state = self.state().unwrap();
        change(&mut state);
        self.set_state(&state);
    }

    pub(super) fn forge_ops(&mut self, change: impl Fn(&mut Op)) {
        for rec in self.parts.iter_mut().flat_map(|p| &mut p.recs).filter(|r| r.meta.kind == RecordKind::Op) {
            let mut op = Op::decode(&rec.payload).unwrap();
            change(&mut op);
            rec.payload.clear();
            op.encode(&mut rec.payload).unwrap();
        }
    }

    /// Makes header and commits agree with the snapshot, as a writer would have written them.
    pub(super) fn follow(&mut self) {
        let mut state: State = {
            let bytes = &self.parts[0].recs[0].payload;
            match bin::decode(bytes.get(1..).unwrap_or_default()) {
                Ok(state) => state,
                Err(_) => return,
            }
        };
        let old = self.parts[0].header.first_position;
        self.header.first_position = state.position;
        for part in &mut self.parts {
            let h = &mut part.header;
            let delta = h.first_position.wrapping_sub(h.mark);
            match h.kind {
                FrameKind::Snapshot => h.first_position = state.position,
                FrameKind::Carry => {
                    h.first_position = h.first_position.wrapping_sub(old).wrapping_add(state.position);
                    continue;
                }
                FrameKind::Commit => {
                    let most = state.position.max(state.message_count);
                    if most.checked_add(part.recs.len() as u64).is_none() {
                        return;
                    }
                    h.first_position = state.position;
                    for r in &part.recs {
                        let (seq, time) = (state.next, h.time);
                        let _ = match (r.meta.kind, Op::decode(&r.payload)) {
                            (RecordKind::Message, _) if seq < u64::MAX => state.apply_message(MessageFacts {
                                seq,
                                bytes: r.payload.len() as u64,
                                tokens: 0,
                                time,
                            }),
                            (RecordKind::Op, Ok(op)) => state.apply_op(&op, time),
                            _ => {
                                state.apply_ignored();
                                Ok(())
                            }
                        };
                    }
                }
                FrameKind::Next => h.first_position = state.position,
            }
            h.mark = h.first_position.saturating_sub(delta);
            (h.base, h.epoch, h.archives, h.journal) =
                (state.base, state.epoch, state.archives_made, state.journal);
            h.span = u32::try_from(state.next.wrapping_sub(state.base)).unwrap_or(u32::MAX);
        }
    }
}

/// A value near a border, or near what is there.
pub(super) fn extreme(rng: &mut Rng, old: u64) -> u64 {
    const ALL: [u64; 18] = [
        0,
        1,
        2,
        7,
        u8::MAX as u64,
        u16::MAX as u64,
        u16::MAX as u64 + 1,
        u32::MAX as u64 - 1,
        u32::MAX as u64,
        u32::MAX as u64 + 1,
        1 << 40,
        (1 << 53) + 1,
        i64::MAX as u64 - 1,
        i64::MAX as u64,
        i64::MAX as u64 + 1,
        u64::MAX - 2,
        u64::MAX - 1,
        u64::MAX,
    ];
    match rng.below(30) {
        n @ 0..=17 => ALL[n],
        18..=20 => old.wrapping_add(1),
        21..=23 => old.wrapping_sub(1),
        24 => old.wrapping_mul(2),
        25 => old / 2,
        26 => old.wrapping_add(1 << 32),
        27 => u64::MAX - rng.below(40) as u64,
        28 => old.wrapping_add(rng.below(20) as u64),
        _ => old.wrapping_sub(rng.below(20) as u64),
    }
}

pub(super) fn one_of(rng: &mut Rng, numbers: &mut [(&'static str, &mut u64)]) -> String {
    if numbers.is_empty() {
        return "nothing".into();
    }
    let at = rng.below(numbers.len());
    let (name, number) = &mut numbers[at];
    let new = extreme(rng, **number);
    let what = format!("{name} {number} -> {new}");
    **number = new;
    what
}

/// One change to a segment's values or bytes.
pub(super) fn segment(rng: &mut Rng, bytes: &mut Vec<u8>) -> String {
    let Some(mut log) = Log::parse(bytes) else { return "no segment".into() };
    if log.parts.is_empty() {
        return "nothing in it".into();
    }
    let follow = rng.below(3) > 0;
    let mut what = match rng.below(13) {
        0..=3 => {
            let Some(mut s) = log.state() else { return "no state".into() };
            let mut what = state(rng, &mut s);
            if rng.below(5) == 0 {
                what += ", ";
                what += &state(rng, &mut s);
            }
            log.set_state(&s);
            what
        }
        4 | 5 => {
            let at: Vec<_> = log
                .parts
                .iter()
                .enumerate()
                .flat_map(|(i, p)| (0..p.recs.len()).map(move |j| (i, j)))
                .filter(|(i, j)| log.parts[*i].recs[*j].meta.kind == RecordKind::Op)
                .collect();
            if at.is_empty() {
                return "no op".into();
            }
            let (i, j) = at[rng.below(at.len())];
            let rec = &mut log.parts[i].recs[j];
            let Ok(mut value) = Op::decode(&rec.payload) else { return "no op".into() };
            let what = op(rng, &mut value);
            rec.payload.clear();
            value.encode(&mut rec.payload).unwrap();
            what
        }
        6 => {
            // A record more, or less, or twice, or another's.
            let (i, k) = (rng.below(log.parts.len()), rng.below(log.parts.len()));
            let j = rng.below(log.parts[i].recs.len());
            let mut rec = Rec {
                meta: EntryMeta { kind: RecordKind::Op, flags: 2, codec: 0 },
                extras: Vec::new(),
                payload: Vec::new(),
            };
            let value = fresh(rng);
            value.encode(&mut rec.payload).unwrap();
            match rng.below(4) {
                0 => {
                    log.parts[i].recs.insert(j, rec);
                    format!("a record more in {i}: {value:?}").chars().take(90).collect()
                }
                1 if log.parts[i].recs.len() > 1 => {
                    log.parts[i].recs.remove(j);
                    "a record less".into()
                }
                2 => {
                    log.parts[i].recs.swap(0, j);
                    "records swapped".into()
                }
                _ => {
                    log.parts.swap(i, k);
                    format!("parts {i} and {k} swapped")
                }
            }
        }
        7 => {
            let i = rng.below(log.parts.len());
            match rng.below(3) {
                0 => {
                    log.parts.remove(i);
                    format!("part {i} removed")
                }
                1 => {
                    let kinds = [FrameKind::Commit, FrameKind::Snapshot, FrameKind::Carry, FrameKind::Next];
                    log.parts[i].header.kind = kinds[rng.below(4)];
                    format!("part {i} is {:?}", log.parts[i].header.kind)
                }
                _ => {
                    let j = rng.below(log.parts[i].recs.len());
                    let rec = &mut log.parts[i].recs[j];
                    let kind = RecordKind::from_number(rng.below(8) as u8);
                    rec.meta.kind = kind;
                    rec.meta.flags = rng.below(4) as u8;
                    format!("record {i}.{j} is {kind:?}")
                }
            }
        }
        8 => {
            let h = &mut log.header;
            let (mut number, mut prev) = (h.number, h.prev_number);
            let what = one_of(
                rng,
                &mut [
                    ("header.first_position", &mut h.first_position),
                    ("header.number", &mut number),
                    ("header.salt", &mut h.salt),
                    ("header.prev_number", &mut prev),
                    ("header.prev_end_position", &mut h.prev_end_position),
                    ("header.prev_end_offset", &mut h.prev_end_offset),
                    ("header.incarnation", &mut h.incarnation),
                    ("header.created", &mut h.created),
                ],
            );
            (h.number, h.prev_number) = (number, prev);
            *bytes = log.encode();
            return what;
        }
        9 | 10 => {
            let i = rng.below(log.parts.len());
            let h = &mut log.parts[i].header;
            let (mut span, mut archives) = (u64::from(h.span), u64::from(h.archives));
            let (mut epoch, mut journal) = (u64::from(h.epoch), u64::from(h.journal));
            let what = one_of(
                rng,
                &mut [
                    ("frame.first_position", &mut h.first_position),
                    ("frame.time", &mut h.time),
                    ("frame.base", &mut h.base),
                    ("frame.mark", &mut h.mark),
                    ("frame.span", &mut span),
                    ("frame.archives", &mut archives),
                    ("frame.epoch", &mut epoch),
                    ("frame.journal", &mut journal),
                ],
            );
            (h.span, h.archives, h.epoch, h.journal) =
                (span as u32, archives as u32, epoch as u16, journal as u16);
            *bytes = log.encode();
            return format!("part {i} {:?}: {what}", log.parts[i].header.kind);
        }
        11 => {
            // Bytes of a payload: of a message or of bincode.
            let i = rng.below(log.parts.len());
            let j = rng.below(log.parts[i].recs.len());
            let rec = &mut log.parts[i].recs[j];
            let body = if rng.below(3) == 0 { &mut rec.extras } else { &mut rec.payload };
            if body.is_empty() {
                body.push(3);
            }
            let at = rng.below(body.len());
            match rng.below(4) {
                0 => body[at] = [0, 1, 250, 251, 252, 253, 254, 255][rng.below(8)],
                1 => {
                    let bomb = [253, 255, 255, 255, 255, 255, 255, 255, 127];
                    body.splice(at..at + 1, bomb);
                }
                2 => body.truncate(at),
                _ => body.extend([0xff; 9]),
            }
            format!("bytes of {i}.{j} at {at}")
        }
        _ => {
            // The bytes of a frame's head, as they are.
            let mut at = SegmentHeader::LEN;
            let i = rng.below(log.parts.len());
            for p in &log.parts[..i] {
                at += 63 + p.recs.iter().map(|r| 13 + r.extras.len() + r.payload.len()).sum::<usize>();
            }
            let (place, len) =
                [(6, 2), (8, 4), (20, 4), (24, 8), (32, 8), (48, 4), (56, 2), (62, 1), (63, 4), (71, 2)]
                    [rng.below(10)];
            let mut old = [0; 8];
            let Some(field) = bytes.get_mut(at + place..at + place + len) else { return "short".into() };
            old[..len].copy_from_slice(field);
            let new = extreme(rng, u64::from_le_bytes(old));
            field.copy_from_slice(&new.to_le_bytes()[..len]);
            reseal::segment(bytes);
            return format!("raw frame {i} byte {place}: {new}");
        }
    };
    if follow {
        what += " (followed)";
        if log.parts.first().is_some_and(|p| p.header.kind == FrameKind::Snapshot) {
            log.follow();
        }
    }
    *bytes = log.encode();
    what
}
