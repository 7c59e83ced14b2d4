//! Journal records: everything that happens to a session besides its messages.

use serde::{Deserialize, Serialize};

use super::State;
use crate::format::bin;
use crate::ids::{BirthId, Incarnation};

/// The body of a journal record. The order of the variants is part of the format: new ones are added at
/// the end, and none is ever removed or changed (see `FORMAT.md`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Op {
    /// The first record of every writer, in the same commit as its first change.
    Opened { incarnation: Incarnation },
    /// The attributes of the session change by this merge patch (JSON text).
    Attributes { patch: String },
    /// The `count` messages right behind this record were appended under an idempotency key.
    Key { key: u128, digest: u128, count: u32 },
    /// The intent: messages `[base, upto)` are archive `number` from here on, with these attributes (JSON
    /// text). `at` is the position of message `upto`, or the end of the log if nothing is kept; `bytes` and
    /// `tokens` are the sums of what is archived.
    Archive { number: u64, base: u64, upto: u64, at: u64, bytes: u64, tokens: u64, attributes: String },
    /// The attributes of an archive change by this merge patch, all together.
    ArchiveAttributes { number: u64, patch: String },
    /// An archive is removed; its bytes go when nothing else reaches them.
    ArchiveRemoved { number: u64 },
    /// These segments hold nothing that the session still has: their absence is no damage.
    Released { segments: Vec<u64> },
    /// The writer closed in good order. A mark behind it says that what stands in front of it is durable.
    Close,
    /// The same, and the state behind this record.
    CloseWith(Box<Checkpoint>),
}

/// The state behind a close record, so that whoever opens the session next need not read what stands in front of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// The first position in the segment, carried ones included.
    pub(crate) low: u64,
    /// The sequence of the first message in the segment, carried ones included.
    pub(crate) low_seq: u64,
    pub(crate) state: State,
}

impl Checkpoint {
    /// Whether it is a good one of this life, and of this place: the state with this position behind it.
    pub(crate) fn check(&self, birth: BirthId, position: u64) -> Result<(), String> {
        if (self.state.birth, self.state.position) != (birth, position) {
            return Err("a checkpoint of another place".to_owned());
        }
        self.state.check()
    }
}

const VERSION: u8 = 1;

impl Op {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<(), String> {
        bin::encode(VERSION, self, out)
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Op, OpFault> {
        match bin::split(body).map_err(OpFault::Damaged)? {
            (VERSION, rest) => bin::decode(rest).map_err(OpFault::Damaged),
            (other, _) => Err(OpFault::Version(other)),
        }
    }
}

/// Why a journal record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OpFault {
    /// A newer program wrote it.
    Version(u8),
    /// It is not what its checksum says it is: a defect of the writer.
    Damaged(String),
}

/// Whether a newer program wrote the record, and what to say of it.
pub(crate) fn op_error(fault: &OpFault) -> (bool, String) {
    match fault {
        OpFault::Version(v) => {
            (true, format!("a journal record of version {v}, which this version does not know"))
        }
        OpFault::Damaged(what) => (false, format!("a journal record cannot be read: {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionId;

    fn state() -> State {
        State::new(SessionId::new("s").unwrap(), BirthId([9; 16]), 77)
    }

    #[test]
    fn every_op_comes_back() {
        let ops = [
            Op::Opened { incarnation: Incarnation { number: 3, nonce: 9 } },
            Op::Attributes { patch: "{\"a\":1}".into() },
            Op::Key { key: u128::MAX, digest: 7, count: 2 },
            Op::Archive {
                number: 1,
                base: 2,
                upto: 30,
                at: 44,
                bytes: 5,
                tokens: 6,
                attributes: String::new(),
            },
            Op::ArchiveAttributes { number: 1, patch: "{}".into() },
            Op::ArchiveRemoved { number: 1 },
            Op::Released { segments: vec![1, 2] },
            Op::Close,
            Op::CloseWith(Box::new(Checkpoint { low: 7, low_seq: 3, state: state() })),
        ];
        for op in ops {
            let mut body = Vec::new();
            op.encode(&mut body).unwrap();
            assert_eq!(Op::decode(&body).unwrap(), op);
        }
    }

    #[test]
    fn an_op_of_a_newer_version_is_told_from_damage() {
        assert_eq!(Op::decode(&[2, 0, 0]), Err(OpFault::Version(2)));
        assert!(matches!(Op::decode(&[1, 200]), Err(OpFault::Damaged(_))));
        assert!(matches!(Op::decode(&[]), Err(OpFault::Damaged(_))));
    }
}
