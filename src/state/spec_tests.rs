//! What `FORMAT.md` says of the state is what is written of it.

use super::{ArchiveState, Attributes, Extent, Hole, KeyEntry, SegmentInfo, State, Sums};
use crate::format::spec_tests::{fields_of, listed};
use crate::ids::{BirthId, SessionId};

#[test]
fn a_snapshot_has_the_fields_of_the_specification() {
    let state = State::new(SessionId::new("s").unwrap(), BirthId([1; 16]), 7);
    assert_eq!(listed("SNAPSHOT, version 1, in this order\n", "EXTENT "), fields_of(&state));
    let sums = Sums { bytes: 1, tokens: 1 };
    let archive = ArchiveState {
        number: 1,
        base: 0,
        upto: 1,
        extents: Vec::new(),
        sums,
        created: 1,
        modified: 1,
        attributes: Attributes::default(),
    };
    let segment = SegmentInfo {
        number: 1,
        salt: 1,
        low: 1,
        first: 1,
        end: 2,
        end_offset: 300,
        end_len: 100,
        low_seq: 0,
    };
    let key = KeyEntry { key: 1, digest: 1, position: 1, seq: 0, count: 1, epoch: 0 };
    assert_eq!(listed("\nEXTENT   ", "   "), fields_of(&Extent { seq: 0, count: 1, from: 1, to: 2 }));
    assert_eq!(listed("\nARCHIVE  ", "\n"), fields_of(&archive));
    assert_eq!(listed("\nHOLE     ", "   "), fields_of(&Hole { seq: 0, count: 1, from: 1, to: 2 }));
    assert_eq!(listed("\nSEGMENT  ", "\n"), fields_of(&segment));
    assert_eq!(listed("\nKEY      ", "\n"), fields_of(&key));
}
