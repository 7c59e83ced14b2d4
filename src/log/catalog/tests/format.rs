//! The bytes.

use super::*;
use crate::format::bin;
use crate::format::catalog::*;
use crate::format::spec_tests::{fields_of, listed};
use crate::limits;

fn header() -> Header {
    Header {
        store: StoreId(*b"0123456789abcdef"),
        salt: 0x1122_3344_5566_7788,
        instance: 0x99,
        generation: 3,
        pid: 42,
        host: "box".to_owned(),
        started: 77,
    }
}

#[test]
fn the_header_lies_where_the_specification_says() {
    let (bytes, chain) = header().encode();
    assert_eq!(bytes.len(), 128);
    assert_eq!(&bytes[..8], b"SLOGCATL");
    assert_eq!(bytes[8..16], [1, 0, 3, 0, 42, 0, 0, 0]);
    assert_eq!(&bytes[16..32], b"0123456789abcdef");
    assert_eq!(bytes[32..40], 0x1122_3344_5566_7788u64.to_le_bytes());
    assert_eq!(bytes[40..60], [0x99, 0, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(&bytes[60..64], b"box\0");
    assert_eq!(bytes[124..], crc32fast::hash(&bytes[..124]).to_le_bytes());
    assert_eq!(Header::decode(&bytes).unwrap(), (header(), chain));
    assert_eq!(chain.offset(), 1536);
}

#[test]
fn a_body_is_of_another_session_only_where_a_glance_says_so() {
    for len in [1, 2, 127, 128, 250, 251, 252, 300, 512] {
        let name = "i".repeat(len);
        for entry in [CatalogEntry::Open(open(&name, 2, 3)), closed(&name, 2, 300, 4), removed(&name, 2, 1)] {
            let mut body = Vec::new();
            entry.encode(&mut body).unwrap();
            assert_eq!(Glance::at(&body).unwrap().birth, birth(2));
            assert!(!Glance::is_of_another(&body, &birth(2)));
            // Whoever has a long id is looked at.
            assert_eq!(Glance::is_of_another(&body, &birth(3)), len < 251, "{len}");
            // What this does not know is looked at, too.
            for (at, byte) in [(0, 2), (1, 4), (2, 0)] {
                let mut other = body.clone();
                other[at] = byte;
                assert!(!Glance::is_of_another(&other, &birth(3)));
            }
            assert!(!Glance::is_of_another(&body[..2 + len.min(200)], &birth(3)));
        }
    }
}

/// A change of these numbers is a change of the format.
#[test]
fn the_bytes_of_version_one_stay_as_they_are() {
    let (mut bytes, mut chain) = header().encode();
    bytes.resize(FRAMES, 0);
    let mut all = summary("agent:main", 2, 3, 4);
    all.lineage = Some(Lineage { parent: id("p"), birth: birth(9), seq: 1000 });
    let entries = [
        CatalogEntry::Open(open("agent:main", 2, 3)),
        CatalogEntry::Closed(all),
        removed("agent:main", 2, 3),
        CatalogEntry::Doubt(open("s", 1, 1)),
    ];
    for entry in &entries {
        chain.push(entry, &mut bytes).unwrap();
    }
    bytes.extend_from_slice(&Mark { durable: 1536, index: 0, pid: 0 }.encode(1));
    assert_eq!((bytes.len(), crc32fast::hash(&bytes)), (1760, 3233994831));
    let mut read = Header::decode(&bytes).unwrap().1;
    for entry in entries {
        let Step::Frame(body) = read.step(&bytes) else { panic!("no frame") };
        let glance = Glance::at(body).unwrap();
        assert_eq!((glance.id, glance.birth), (entry.id().as_str(), entry.birth()));
        assert_eq!(glance.incarnation, entry.incarnation());
        assert!(!Glance::is_of_another(body, &entry.birth()) && Glance::is_of_another(body, &birth(77)));
        let place = match &entry {
            CatalogEntry::Open(m) | CatalogEntry::Doubt(m) => Some((m.segment, m.salt, None)),
            CatalogEntry::Closed(s) => Some((s.segment, s.salt, Some(s.position))),
            CatalogEntry::Removed { .. } => None,
        };
        assert_eq!(glance.place(), place);
        assert_eq!(CatalogEntry::decode(body).unwrap(), entry);
    }
    assert_eq!(read, chain);
}

/// Entries are written by bincode and read by hand: what the one writes the other reads, and where a byte is another,
/// both say the same (but of numbers that are written longer than they have to be, which no program does).
#[test]
fn entries_are_read_as_bincode_reads_them() {
    let numbers = [0, 1, 250, 251, 0xffff, 0x1_0000, 0xffff_ffff, 1 << 32, u64::MAX];
    let mut entries = vec![removed("r", 2, 3)];
    for (at, number) in numbers.into_iter().enumerate() {
        let name = "ü".repeat([1, 2, 124, 125, 126, 200, 255, 256, 3][at]);
        entries.push(CatalogEntry::Open(Open { salt: number, ..open(&name, 2, 3) }));
        entries.push(CatalogEntry::Doubt(Open { time: number, ..open("d", 2, 3) }));
        entries.push(CatalogEntry::Closed(Summary {
            position: number.min(limits::MAX_NUMBER),
            next: number.min(limits::MAX_NUMBER),
            base: 0,
            total_bytes: !number,
            modified: number,
            last_message: (at % 2 == 0).then_some(number),
            attributes: "é".repeat(number.min(300) as usize),
            attributes_omitted: at % 3 == 0,
            lineage: (at % 2 == 1).then(|| Lineage { parent: id("p"), birth: birth(9), seq: number }),
            ..summary(&name, 2, 3, 4)
        }));
    }
    let oracle = |body: &[u8]| match body {
        [1, entry @ ..] => bin::decode::<CatalogEntry>(entry).ok(),
        _ => None,
    };
    let encoded = |entry: &CatalogEntry| {
        let mut body = Vec::new();
        entry.encode(&mut body).unwrap();
        body
    };
    let (mut same, mut refused) = (0, 0);
    for entry in entries {
        let body = encoded(&entry);
        assert_eq!(CatalogEntry::decode(&body).as_ref(), Ok(&entry));
        assert_eq!(oracle(&body), Some(entry));
        for at in 0..body.len() {
            assert!(CatalogEntry::decode(&body[..at]).is_err(), "cut at {at}");
            for change in [1u8, 2, 3, 0x80, 0xff] {
                let mut other = body.clone();
                other[at] ^= change;
                let (read, wanted) = (CatalogEntry::decode(&other).ok(), oracle(&other));
                if read != wanted {
                    // A number, or an id, that is there in another form; or an id, or a number, that no session has.
                    let strange = |e: &CatalogEntry| {
                        let parent = match e {
                            CatalogEntry::Closed(summary) => summary.lineage.as_ref().map(|l| &l.parent),
                            _ => None,
                        };
                        let bad = |id: &SessionId| id.as_str().is_empty() || id.as_str().len() > 512;
                        encoded(e) != other || !e.is_possible() || bad(e.id()) || parent.is_some_and(bad)
                    };
                    assert!(read.is_none() && wanted.as_ref().is_some_and(strange), "{read:?} {wanted:?}");
                }
                let outcome = if read.is_some() { &mut same } else { &mut refused };
                *outcome += 1;
            }
        }
        let mut longer = body.clone();
        longer.push(0);
        assert!(CatalogEntry::decode(&longer).is_err());
    }
    assert!(same > 1_000 && refused > 1_000, "{same} {refused}");
}

#[test]
fn a_frame_counts_only_at_its_own_place_in_its_own_file() {
    let (mut bytes, start) = header().encode();
    bytes.resize(FRAMES, 0);
    let mut chain = start;
    chain.push(&closed("a", 1, 1, 1), &mut bytes).unwrap();
    let first = bytes[FRAMES..].to_vec();
    chain.push(&closed("b", 2, 1, 1), &mut bytes).unwrap();
    let second = bytes[FRAMES + first.len()..].to_vec();
    // In the place of another.
    let mut swapped = bytes[..FRAMES].to_vec();
    swapped.extend_from_slice(&second);
    assert!(matches!({ start }.step(&swapped), Step::Bad(_)));
    // Twice.
    let mut twice = bytes[..FRAMES + first.len()].to_vec();
    twice.extend_from_slice(&first);
    let mut read = start;
    assert!(matches!(read.step(&twice), Step::Frame(_)));
    assert!(matches!(read.step(&twice), Step::Bad(_)));
    // In another file.
    let other = Header { salt: 1, ..header() }.encode().1;
    assert!(matches!({ other }.step(&bytes), Step::Bad(_)));
}

#[test]
fn any_bytes_give_an_answer_and_no_panic() {
    let mut state = 1u64;
    for len in [0, 1, 7, 8, 127, 128, 1535, 1536, 1540, 4096] {
        for _ in 0..200 {
            let mut bytes = vec![0u8; len];
            for byte in &mut bytes {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *byte = (state >> 56) as u8;
            }
            let _ = Header::decode(&bytes);
            let _ = Mark::of(1, &bytes);
            let _ = CatalogEntry::decode(&bytes);
            let _ = Glance::at(&bytes).map(|g| g.place());
            let _ = header().encode().1.step(&bytes);
        }
    }
}

#[test]
fn long_things_are_cut_or_refused() {
    let long = Header { host: "é".repeat(40), ..header() };
    let (bytes, _) = long.encode();
    assert_eq!(Header::decode(&bytes).unwrap().0.host, "é".repeat(32));
    let mut big = summary("s", 1, 1, 1);
    big.attributes = "x".repeat(2 << 20);
    let (_, mut chain) = header().encode();
    let (before, mut out) = (chain, vec![1]);
    assert!(chain.push(&CatalogEntry::Closed(big), &mut out).is_err());
    assert_eq!((chain, out), (before, vec![1]));
}

#[test]
fn a_summary_has_the_fields_of_the_specification() {
    let summary = summary("s", 1, 1, 1);
    assert_eq!(listed("CLOSED, version 1, in this order\n", "```"), fields_of(&summary));
}
