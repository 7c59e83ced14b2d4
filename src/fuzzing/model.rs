//! What a session should be: a plain model, and the comparison of everything a reader or a writer says with it.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Map, Value};

use crate::session::Messages;
use crate::{
    Archive, Attributes, ErrorKind, Keep, Message, NewMessage, Reader, Result, Session, SessionInfo,
};

/// A message; its bytes follow from its number, which no other one of the run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Msg {
    pub(super) number: u32,
    pub(super) len: u16,
    pub(super) tokens: u8,
    pub(super) turn: bool,
}

impl Msg {
    pub(super) fn payload(self) -> Vec<u8> {
        let mut x = u64::from(self.number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut out = Vec::with_capacity(usize::from(self.len) + 8);
        out.extend_from_slice(&self.number.to_le_bytes());
        while out.len() < usize::from(self.len) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            out.extend_from_slice(&x.to_le_bytes());
        }
        out.truncate(usize::from(self.len).max(4));
        out
    }

    pub(super) fn new_message(self) -> NewMessage<'static> {
        let message = NewMessage::from(self.payload()).tag(self.tag()).tokens(self.tokens.into());
        if self.turn { message.turn_start() } else { message }
    }

    fn tag(self) -> &'static str {
        ["user", "assistant", ""][self.number as usize % 3]
    }

    fn bytes(self) -> u64 {
        u64::from(self.len.max(4))
    }

    pub(super) fn is(self, message: &Message) -> bool {
        message.payload() == self.payload()
            && message.tokens() == Some(self.tokens.into())
            && message.is_turn_start() == self.turn
            && message.tag() == Some(self.tag())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Model {
    /// Every message ever appended; the place is the sequence.
    pub(super) all: Vec<Msg>,
    pub(super) base: usize,
    /// The sequences of each archive, and its attribute `v`.
    pub(super) archives: BTreeMap<u64, (Range<usize>, i64)>,
    pub(super) made: u64,
    pub(super) attributes: BTreeMap<String, i64>,
    /// What each idempotency key was used for.
    pub(super) keys: BTreeMap<u8, usize>,
}

impl Model {
    /// The sequence of the first message that stays.
    pub(super) fn cut(&self, keep: Keep) -> usize {
        let (mut sum, mut turns) = (0u64, 0);
        let mut cut = self.all.len();
        for (i, m) in self.all.iter().enumerate().skip(self.base).rev() {
            let (cost, room) = match keep {
                Keep::Messages(n) => (1, n),
                Keep::Bytes(n) => (m.bytes(), n),
                Keep::Tokens(n) => (m.tokens.into(), n),
                Keep::Turns(0) | Keep::Nothing => return self.all.len(),
                Keep::Turns(n) => {
                    turns += u64::from(m.turn);
                    if turns == n {
                        return i;
                    }
                    continue;
                }
            };
            sum += cost;
            if sum > room {
                return cut;
            }
            cut = i;
        }
        if matches!(keep, Keep::Turns(_)) { self.base } else { cut }
    }

    pub(super) fn archive(&mut self, keep: Keep, value: i64) -> Range<usize> {
        let cut = self.cut(keep);
        let range = self.base..cut;
        if !range.is_empty() {
            self.made += 1;
            self.archives.insert(self.made, (range.clone(), value));
            self.base = cut;
        }
        range
    }
}

/// What readers and writers have in common.
pub(super) trait Look {
    fn info(&self) -> Result<SessionInfo>;
    fn load(&self) -> Result<Messages>;
    fn tail(&self, n: u64) -> Result<Messages>;
    fn tail_bytes(&self, n: u64) -> Result<Messages>;
    fn tail_tokens(&self, n: u64) -> Result<Messages>;
    fn range(&self, range: Range<u64>) -> Result<Messages>;
    fn get(&self, seq: u64) -> Result<Option<Message>>;
    fn attributes(&self) -> Result<Attributes>;
    fn archives(&self) -> Result<Vec<Archive>>;
    fn archived(&self, number: u64) -> Result<Messages>;
    /// What was durable and is damaged or missing.
    fn damage(&self) -> Option<String>;
}

macro_rules! look {
    ($ty:ident, $whole:expr) => {
        impl Look for $ty {
            fn info(&self) -> Result<SessionInfo> {
                $ty::info(self)
            }
            fn load(&self) -> Result<Messages> {
                $ty::load(self)
            }
            fn tail(&self, n: u64) -> Result<Messages> {
                $ty::tail(self, n)
            }
            fn tail_bytes(&self, n: u64) -> Result<Messages> {
                $ty::tail_bytes(self, n)
            }
            fn tail_tokens(&self, n: u64) -> Result<Messages> {
                $ty::tail_tokens(self, n)
            }
            fn range(&self, range: Range<u64>) -> Result<Messages> {
                $ty::range(self, range)
            }
            fn get(&self, seq: u64) -> Result<Option<Message>> {
                $ty::get(self, seq)
            }
            fn attributes(&self) -> Result<Attributes> {
                $ty::attributes(self)
            }
            fn archives(&self) -> Result<Vec<Archive>> {
                $ty::archives(self)
            }
            fn archived(&self, number: u64) -> Result<Messages> {
                $ty::archived(self, number)
            }
            fn damage(&self) -> Option<String> {
                $whole(self)
            }
        }
    };
}

// Another process may have the lock of a session that this one has parked, or have written to it.
look!(Session, |s: &Session| match s.report() {
    Ok(report) => report.has_damage().then(|| format!("{report:?}")),
    Err(e) => (!matches!(e.kind(), ErrorKind::Locked | ErrorKind::Conflict)).then(|| e.to_string()),
});
look!(Reader, |r: &Reader| Some(r.report()).filter(|r| r.has_damage()).map(|r| format!("{r:?}")));

/// Why what is seen is not what the model says, if it is not.
pub(super) fn compare(seen: &dyn Look, model: &Model) -> std::result::Result<(), String> {
    let text = |e: crate::Error| format!("it cannot be read: {e}");
    let info = seen.info().map_err(text)?;
    same_info(&info, model)?;
    let (base, next) = (model.base, model.all.len());
    same("load", seen.load().map_err(text)?, model, base..next)?;
    if let Some(damage) = seen.damage() {
        return Err(format!("it is reported as damaged: {damage}"));
    }
    let archives = seen.archives().map_err(text)?;
    if !archives.iter().map(|a| a.number).eq(model.archives.keys().copied()) {
        return Err(format!("the archives are {archives:?}, not {:?}", model.archives));
    }
    for a in archives {
        let (range, value) = &model.archives[&a.number];
        if a.seqs != (range.start as u64..range.end as u64) || a.attributes["v"] != *value {
            return Err(format!("archive {a:?} should be {range:?} with {value}"));
        }
        let sums = sums(&model.all[range.clone()]);
        if (a.bytes, a.tokens) != sums {
            return Err(format!("the sums of archive {a:?} should be {sums:?}"));
        }
        same("archived", seen.archived(a.number).map_err(text)?, model, range.clone())?;
    }
    Ok(())
}

/// Other ways to the same messages, chosen by `dice`.
pub(super) fn compare_ways(seen: &dyn Look, model: &Model, dice: u64) -> std::result::Result<(), String> {
    let text = |e: crate::Error| format!("it cannot be read: {e}");
    let (base, next) = (model.base, model.all.len());
    let n = dice % 40;
    same("tail", seen.tail(n).map_err(text)?, model, model.cut(Keep::Messages(n))..next)?;
    let n = dice % 3_000;
    same("tail_bytes", seen.tail_bytes(n).map_err(text)?, model, model.cut(Keep::Bytes(n))..next)?;
    let n = dice % 300;
    same("tail_tokens", seen.tail_tokens(n).map_err(text)?, model, model.cut(Keep::Tokens(n))..next)?;
    let from = (dice % 97) as usize % (next + 2);
    let to = from + (dice % 31) as usize;
    let got = seen.range(from as u64..to as u64).map_err(text)?;
    let (from, to) = (from.max(base).min(next), to.min(next));
    same("range", got, model, from..to.max(from))?;
    let seq = (dice % 101) as usize % (next + 2);
    let want = (base..next).contains(&seq).then(|| model.all[seq]);
    match (seen.get(seq as u64).map_err(text)?, want) {
        (None, None) => {}
        (Some(m), Some(want)) if want.is(&m) && m.seq() == seq as u64 => {}
        (got, want) => return Err(format!("message {seq} is {got:?}, not {want:?}")),
    }
    let attributes = seen.attributes().map_err(text)?;
    same_attributes(&attributes, model)
}

pub(super) fn same_info(info: &SessionInfo, model: &Model) -> std::result::Result<(), String> {
    let (base, next) = (model.base, model.all.len());
    let (all, live) = (sums(&model.all), sums(&model.all[base..]));
    let want = (base as u64..next as u64, (next - base) as u64, next as u64, live, all, model.archives.len());
    let got = (
        info.live.clone(),
        info.message_count,
        info.total_messages,
        (info.live_bytes, info.live_tokens),
        (info.total_bytes, info.total_tokens),
        info.archives as usize,
    );
    if got != want {
        return Err(format!("the counts are {got:?}, not {want:?}"));
    }
    same_attributes(&info.attributes, model)
}

fn same_attributes(got: &Map<String, Value>, model: &Model) -> std::result::Result<(), String> {
    let want = model.attributes.iter().map(|(k, v)| (k.clone(), Value::from(*v)));
    if *got != want.collect::<Map<String, Value>>() {
        return Err(format!("the attributes are {got:?}, not {:?}", model.attributes));
    }
    Ok(())
}

fn sums(of: &[Msg]) -> (u64, u64) {
    (of.iter().map(|m| m.bytes()).sum(), of.iter().map(|m| u64::from(m.tokens)).sum())
}

fn same(how: &str, got: Messages, model: &Model, range: Range<usize>) -> std::result::Result<(), String> {
    let mut at = range.start;
    for message in got {
        let message = message.map_err(|e| format!("{how}: message {at} cannot be read: {e}"))?;
        if message.seq() != at as u64 || at >= range.end || !model.all[at].is(&message) {
            return Err(format!("{how}: {message:?} where message {at} of {range:?} was expected"));
        }
        at += 1;
    }
    if at == range.end { Ok(()) } else { Err(format!("{how}: it ends before {at}, not {}", range.end)) }
}
