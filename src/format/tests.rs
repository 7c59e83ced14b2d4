//! The rules of `FORMAT.md`, tried: what was written comes back, and nothing else is accepted.

use proptest::prelude::*;

use super::*;
use crate::ids::{BirthId, StoreId};
use crate::limits::MAX_NUMBER;

const BIRTH: BirthId = BirthId(*b"the birth id 16!");
const OFFSET: u64 = 4096;

fn seed() -> Seed {
    Seed::new(&BIRTH, 3, 0x1234_5678_9abc_def0)
}

fn header(kind: FrameKind) -> FrameHeader {
    FrameHeader {
        kind,
        prev_crc: 0xdead_beef,
        prev_len: 321,
        first_position: 1_000,
        time: 1_700_000_000_000_000,
        base: 40,
        mark: 990,
        span: 12,
        epoch: 2,
        archives: 1,
        journal: 9,
    }
}

const MESSAGE: EntryMeta = EntryMeta { kind: RecordKind::Message, flags: TURN_START, codec: 1 };

/// Two messages, one with extras and one without a payload, and a journal record.
fn sample() -> Vec<u8> {
    let mut builder = FrameBuilder::new();
    builder.begin(3, OFFSET, seed());
    builder.push(&MESSAGE, b"\x01\x04\x00user", b"hello");
    builder.push(&MESSAGE, b"", b"");
    let op = EntryMeta { kind: RecordKind::Op, flags: CRITICAL, codec: 0 };
    builder.push(&op, b"", &[7; 100]);
    let finished = builder.finish(&header(FrameKind::Commit));
    assert_eq!(finished.len as usize, builder.bytes().len());
    assert_eq!(finished.len as usize, frame_len(3, 7 + 5 + 100));
    builder.bytes().to_vec()
}

/// Parses and checks everything.
fn check(bytes: &[u8]) -> Result<(), FrameFault> {
    Frame::parse(seed(), OFFSET, bytes)?.verify()
}

/// Puts the right checksum over header and table of a frame that a test has changed.
fn reseal(bytes: &mut [u8]) {
    let messages = u32::from_le_bytes(bytes[20..24].try_into().unwrap()) as usize;
    let others = u16::from_le_bytes(bytes[6..8].try_into().unwrap()) as usize;
    let table = (63 + (messages.min(1 << 20) + others) * 13).min(bytes.len());
    let check = seed().of_header(OFFSET, bytes[..63].try_into().unwrap());
    bytes[4..6].copy_from_slice(&check.to_le_bytes());
    let crc = seed().of_frame(OFFSET, &bytes[..table]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn bodies_beside_the_buffer_make_the_same_frame() {
    let whole = sample();
    let mut builder = FrameBuilder::new();
    let bodies: [&[u8]; 3] = [b"\x01\x04\x00userhello", b"", &[7; 100]];
    for _ in 0..2 {
        builder.begin(3, OFFSET, seed());
        builder.push_aside(&MESSAGE, 7, bodies[0]);
        builder.push_aside(&MESSAGE, 0, bodies[1]);
        builder.push_aside(&EntryMeta { kind: RecordKind::Op, flags: CRITICAL, codec: 0 }, 0, bodies[2]);
        let finished = builder.finish(&header(FrameKind::Commit));
        assert_eq!(finished.len as usize, whole.len());
        assert_eq!([builder.bytes(), &bodies.concat()].concat(), whole);
    }
}

#[test]
fn a_frame_comes_back() {
    let mut bytes = sample();
    let len = bytes.len();
    bytes.extend_from_slice(b"what follows is no part of it");
    let expected = header(FrameKind::Commit);
    assert_eq!(peek(seed(), OFFSET, &bytes), Peek::Frame { len, head_len: 63 + 3 * 13 });
    assert_eq!(peek(seed(), OFFSET, &bytes[..63]), Peek::Frame { len, head_len: 63 + 3 * 13 });
    let frame = Frame::parse(seed(), OFFSET, &bytes).unwrap();
    frame.verify().unwrap();
    assert_eq!(frame.header(), expected);
    assert_eq!((frame.len(), frame.count(), frame.end_position()), (len, 3, 1_003));
    assert_eq!(frame.crc().to_le_bytes(), bytes[..4]);
    let records: Vec<_> = frame.records().collect();
    assert_eq!(frame.records().len(), 3);
    assert_eq!(records[0].meta(), MESSAGE);
    assert_eq!((records[0].extras, records[0].payload), (&b"\x01\x04\x00user"[..], &b"hello"[..]));
    assert_eq!((records[1].seq, records[1].payload, records[1].position), (51, &b""[..], 1_001));
    // The sequence behind the frame is 52, and two messages are in it.
    assert_eq!((frame.first_seq(), records[0].seq, records[2].seq), (50, 50, 0));
    assert!(records.iter().all(|record| record.time == 1_700_000_000_000_000));
    let mut back: Vec<u64> = frame.entries().rev().map(|entry| entry.seq).collect();
    back.reverse();
    assert_eq!(back, [50, 51, 0]);
    assert_eq!((records[2].kind, records[2].flags, records[2].index), (RecordKind::Op, CRITICAL, 2));
    for record in &records {
        let at = (record.body_offset - OFFSET) as usize;
        assert_eq!(bytes[at..at + record.extras.len()], *record.extras);
        assert_eq!(bytes[at + record.extras.len()..][..record.payload.len()], *record.payload);
    }
}

#[test]
fn snapshot_and_witness_take_no_position() {
    for (kind, end) in [
        (FrameKind::Commit, 1_002),
        (FrameKind::Carry, 1_002),
        (FrameKind::Snapshot, 1_000),
        (FrameKind::Next, 1_000),
    ] {
        let mut builder = FrameBuilder::new();
        builder.begin(2, OFFSET, seed());
        builder.push(&MESSAGE, b"", b"a");
        builder.push(&MESSAGE, b"", b"b");
        builder.finish(&header(kind));
        let frame = Frame::parse(seed(), OFFSET, builder.bytes()).unwrap();
        assert_eq!(frame.end_position(), end, "{kind:?}");
        assert_eq!(frame.records().last().unwrap().position, end.saturating_sub(1).max(1_000));
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let good = sample();
    check(&good).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&bad).is_err(), "bit {bit}");
    }
}

#[test]
fn every_truncation_is_noticed() {
    let good = sample();
    for cut in 0..good.len() {
        let fault = check(&good[..cut]).unwrap_err();
        assert!(matches!(fault, FrameFault::Short { have, .. } if have == cut), "{cut}: {fault}");
        let mut zeroed = good.clone();
        zeroed[cut..].fill(0);
        assert!(zeroed == good || check(&zeroed).is_err(), "zeros from {cut}");
    }
}

#[test]
fn a_frame_from_elsewhere_does_not_pass() {
    let bytes = sample();
    let other = |seed, offset| Frame::parse(seed, offset, &bytes).map(|_| ()).unwrap_err();
    let salt = 0x1234_5678_9abc_def0;
    assert_eq!(other(seed(), OFFSET + 512), FrameFault::Checksum);
    assert_eq!(other(seed(), OFFSET | 1 << 63), FrameFault::Checksum);
    assert_eq!(other(Seed::new(&BIRTH, 3, salt ^ 1), OFFSET), FrameFault::Checksum);
    assert_eq!(other(Seed::new(&BIRTH, 4, salt), OFFSET), FrameFault::Checksum);
    assert_eq!(other(Seed::new(&BirthId([9; 16]), 3, salt), OFFSET), FrameFault::Checksum);
    assert_eq!(other(seed(), u64::MAX), FrameFault::Length);
}

#[test]
fn the_same_commit_behind_another_predecessor_has_another_checksum() {
    let build = |header: &FrameHeader| {
        let mut builder = FrameBuilder::new();
        builder.begin(1, OFFSET, seed());
        builder.push(&MESSAGE, b"", b"same");
        builder.finish(header);
        builder.bytes().to_vec()
    };
    let one = build(&header(FrameKind::Commit));
    let two = build(&FrameHeader { prev_crc: 1, ..header(FrameKind::Commit) });
    assert_ne!(one[..4], two[..4]);
    // Renaming the predecessor afterwards is a change like any other.
    let mut forged = one.clone();
    forged[12..16].copy_from_slice(&two[12..16]);
    assert_eq!(check(&forged), Err(FrameFault::Checksum));
}

#[test]
fn a_body_moved_or_swapped_within_its_frame_does_not_pass() {
    let mut builder = FrameBuilder::new();
    builder.begin(2, OFFSET, seed());
    builder.push(&MESSAGE, b"", b"aaaa");
    builder.push(&MESSAGE, b"", b"bbbb");
    builder.finish(&header(FrameKind::Commit));
    let mut bytes = builder.bytes().to_vec();
    bytes[89..].rotate_left(4);
    let frame = Frame::parse(seed(), OFFSET, &bytes).unwrap();
    assert_eq!(frame.verify(), Err(FrameFault::Body { index: 0, offset: OFFSET + 89 }));
    // Swapped with their entries, and header and table sealed again: still noticed, by the body's offset.
    bytes[63..89].rotate_left(13);
    reseal(&mut bytes);
    let frame = Frame::parse(seed(), OFFSET, &bytes).unwrap();
    assert!(frame.records().all(|record| record.verify().is_err()));
}

#[test]
fn nothing_but_zeros_is_told_from_damage() {
    for len in [0, 1, 62, 63, 64, 4096] {
        assert_eq!(peek(seed(), 0, &vec![0; len]), Peek::Zeros, "{len}");
    }
    assert!(Frame::parse(seed(), 0, &[0; 4096]).is_err());
    for at in 0..63 {
        let mut bytes = [0; 100];
        bytes[at] = 1;
        assert!(matches!(peek(seed(), OFFSET, &bytes), Peek::Fault(_)), "{at}");
    }
    assert_eq!(peek(seed(), 0, &[1; 10]), Peek::Fault(FrameFault::Short { need: 63, have: 10 }));
    for len in [0, 1, 255, 256, 257, 1000] {
        let mut bytes = vec![0; len];
        assert!(is_zero(&bytes));
        for at in 0..len {
            bytes[at] = 128;
            assert!(!is_zero(&bytes), "{at} of {len}");
            bytes[at] = 0;
        }
    }
}

#[test]
fn lengths_are_judged_before_anything_is_read() {
    let with = |at: usize, value: u32| {
        let mut bytes = sample();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        reseal(&mut bytes);
        (peek(seed(), OFFSET, &bytes), Frame::parse(seed(), OFFSET, &bytes).map(|_| ()))
    };
    for (at, value) in [(8, u32::MAX), (8, (256 << 20) - 62), (8, 38), (20, u32::MAX), (20, 1 << 20)] {
        let fault = FrameFault::Length;
        assert_eq!(with(at, value), (Peek::Fault(fault), Err(fault)), "{value} at {at}");
    }
    // Possible lengths, but not the ones of the records.
    assert_eq!(with(20, 1).1, Err(FrameFault::Length));
    assert!(matches!(with(8, (256 << 20) - 63).1, Err(FrameFault::Short { need: 0x1000_0000, .. })));
    // None at all; as many as there are, but not those that there are.
    let counts = |others: u16, messages: u32| {
        let mut bytes = sample();
        bytes[6..8].copy_from_slice(&others.to_le_bytes());
        bytes[20..24].copy_from_slice(&messages.to_le_bytes());
        reseal(&mut bytes);
        Frame::parse(seed(), OFFSET, &bytes).map(|_| ())
    };
    assert_eq!(counts(1, 2), Ok(()));
    for (others, messages) in [(0, 0), (0, 3), (2, 1), (3, 0)] {
        assert_eq!(counts(others, messages), Err(FrameFault::Length), "{others} and {messages}");
    }
}

#[test]
fn values_that_no_writer_writes_are_refused_even_under_a_good_checksum() {
    let with = |at: usize, new: &[u8]| {
        let mut bytes = sample();
        bytes[at..at + new.len()].copy_from_slice(new);
        reseal(&mut bytes);
        Frame::parse(seed(), OFFSET, &bytes).map(|_| ()).unwrap_err()
    };
    assert_eq!(with(62, &[9]), FrameFault::Kind(9));
    assert_eq!(with(24, &[255; 8]), FrameFault::Field("first_position"));
    assert_eq!(with(32, &[255; 8]), FrameFault::Field("base"));
    assert_eq!(with(56, &1_001u16.to_le_bytes()), FrameFault::Field("mark_delta"));
    assert_eq!(with(63 + 10, &[0]), FrameFault::Field("kind"));
    // Fewer sequences than messages.
    let few = [&0u64.to_le_bytes()[..], &[0; 8], &1u32.to_le_bytes()].concat();
    assert_eq!(with(32, &few), FrameFault::Field("base"));
}

#[test]
fn a_mark_too_far_back_to_say_promises_nothing() {
    let far = u64::from(u16::MAX);
    for (first_position, mark, read) in
        [(5, 5, 5), (5, 0, 0), (far - 1, 0, 0), (far + 9, 10, 10), (far + 9, 9, 0), (MAX_NUMBER - 9, 7, 0)]
    {
        let mut builder = FrameBuilder::new();
        builder.begin(1, OFFSET, seed());
        builder.push(&MESSAGE, b"", b"");
        builder.finish(&FrameHeader { first_position, mark, base: 0, span: 1, ..header(FrameKind::Commit) });
        let frame = Frame::parse(seed(), OFFSET, builder.bytes()).unwrap();
        assert_eq!(frame.header().mark, read, "{mark} of {first_position}");
        assert!(read <= mark);
    }
}

#[test]
fn an_unknown_kind_of_record_is_handed_on_with_its_flags() {
    let mut builder = FrameBuilder::new();
    builder.begin(1, OFFSET, seed());
    builder.push(&EntryMeta { kind: RecordKind::Unknown(77), flags: CRITICAL, ..MESSAGE }, b"", b"?");
    builder.finish(&header(FrameKind::Commit));
    let frame = Frame::parse(seed(), OFFSET, builder.bytes()).unwrap();
    let record = frame.records().next().unwrap();
    assert_eq!((record.kind, record.flags), (RecordKind::Unknown(77), CRITICAL));
    for number in 0..=255 {
        assert_eq!(RecordKind::from_number(number).number(), number);
    }
}

#[test]
fn the_builder_is_used_again_and_gives_memory_back() {
    let mut builder = FrameBuilder::new();
    for round in 0..3u8 {
        builder.begin(1, OFFSET, seed());
        builder.push(&MESSAGE, b"", &vec![round; 100_000]);
        builder.finish(&header(FrameKind::Commit));
        check(builder.bytes()).unwrap();
    }
    builder.shrink(1000);
    assert!(builder.bytes().is_empty());
    builder.begin(1, OFFSET, seed());
    builder.push(&MESSAGE, b"", b"small");
    builder.finish(&header(FrameKind::Commit));
    check(builder.bytes()).unwrap();
}

fn segment_header() -> SegmentHeader {
    SegmentHeader {
        store: StoreId([1; 16]),
        birth: BIRTH,
        number: 7,
        salt: 0x0102_0304_0506_0708,
        first_position: 500,
        prev_number: 6,
        prev_end_position: 499,
        prev_end_offset: 65_536,
        prev_end_crc: 0xc0ff_ee00,
        carry_len: 4_000,
        incarnation: 3,
        created: 1_700_000_000_000_000,
    }
}

fn store_file(lock_dir: Option<&str>) -> StoreFile {
    StoreFile { id: StoreId([2; 16]), created: 5, lock_dir: lock_dir.map(str::to_owned) }
}

/// Changes a header and puts the right checksum over it.
fn changed(mut bytes: Vec<u8>, at: usize, new: &[u8]) -> Vec<u8> {
    bytes[at..at + new.len()].copy_from_slice(new);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..124]);
    hasher.update(&bytes[128..]);
    bytes[124..128].copy_from_slice(&hasher.finalize().to_le_bytes());
    bytes
}

#[test]
fn headers_come_back_and_every_flipped_bit_is_noticed() {
    let header = segment_header();
    let bytes = header.encode();
    assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
    assert_eq!(SegmentHeader::decode(&[&bytes[..], b"more"].concat()), Ok(header));
    assert_eq!(header.seed(), Seed::new(&header.birth, 7, header.salt));
    for file in [store_file(None), store_file(Some("/run/locks/日本"))] {
        assert_eq!(StoreFile::decode(&file.encode()), Ok(file.clone()));
        assert!(file.encode().len() <= StoreFile::MAX_LEN);
        assert!(StoreFile::decode(&[&file.encode()[..], b"\0"].concat()).is_err());
        for cut in 0..file.encode().len() {
            assert!(StoreFile::decode(&file.encode()[..cut]).is_err(), "{cut}");
        }
    }
    let store = store_file(Some("/locks")).encode();
    for bit in 0..store.len() * 8 {
        let flip = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        let expected = if bit < 64 { HeaderFault::Magic } else { HeaderFault::Checksum };
        assert_eq!(StoreFile::decode(&flip(&store)), Err(expected), "bit {bit}");
        if bit < 128 * 8 {
            assert_eq!(SegmentHeader::decode(&flip(&bytes)), Err(expected), "bit {bit}");
        }
    }
    for cut in 0..128 {
        assert_eq!(SegmentHeader::decode(&bytes[..cut]), Err(HeaderFault::Short));
    }
    assert_eq!(SegmentHeader::decode(&[0; 4096]), Err(HeaderFault::Empty));
    assert_eq!(StoreFile::decode(&[0; 128]), Err(HeaderFault::Empty));
    assert_eq!(StoreFile::decode(&bytes), Err(HeaderFault::Magic));
}

#[test]
fn a_later_version_is_told_from_damage() {
    let later = |bytes: Vec<u8>, check: &dyn Fn(&[u8]) -> HeaderFault| {
        // Same length: the checksum stands where it always did, and is right.
        assert_eq!(check(&changed(bytes.clone(), 8, &[2, 0])), HeaderFault::Version(2));
        assert_eq!(check(&changed(bytes.clone(), 8, &[0, 0])), HeaderFault::Field("version"));
        assert_eq!(check(&changed(bytes.clone(), 12, &[0, 1, 0, 0])), HeaderFault::Features(256));
        // Another length: the checksum may be anywhere.
        let mut moved = bytes.clone();
        moved[8..12].copy_from_slice(&[3, 0, 0, 1]);
        assert_eq!(check(&moved), HeaderFault::Version(3));
        // Another length without a later version, or one out of reason, is damage.
        for bad in [[1, 0, 0, 1], [3, 0, 1, 1], [3, 0, 0, 64], [0, 3, 0, 1]] {
            moved[8..12].copy_from_slice(&bad);
            assert_eq!(check(&moved), HeaderFault::Checksum, "{bad:?}");
        }
    };
    later(segment_header().encode().to_vec(), &|bytes| SegmentHeader::decode(bytes).unwrap_err());
    later(store_file(None).encode(), &|bytes| StoreFile::decode(bytes).unwrap_err());
    assert!(HeaderFault::Version(2).is_unsupported() && !HeaderFault::Checksum.is_unsupported());
}

#[test]
fn header_values_that_no_writer_writes_are_refused() {
    let segment = |at, new: &[u8]| {
        SegmentHeader::decode(&changed(segment_header().encode().to_vec(), at, new)).unwrap_err()
    };
    assert_eq!(segment(48, &[0]), HeaderFault::Field("number"));
    assert_eq!(segment(72, &[7]), HeaderFault::Field("prev_number"));
    assert_eq!(segment(120, &[1]), HeaderFault::Field("reserved"));
    let store = |at, new: &[u8]| {
        StoreFile::decode(&changed(store_file(Some("/locks")).encode(), at, new)).unwrap_err()
    };
    assert_eq!(store(40, &[1]), HeaderFault::Field("flags"));
    assert_eq!(store(44, &[5]), HeaderFault::Field("lock_dir_len"));
    assert_eq!(store(60, &[1]), HeaderFault::Field("reserved"));
    assert_eq!(store(130, &[0xff]), HeaderFault::Field("lock_dir"));
}

/// A seeded workload; if its bytes change, the format has changed, and `FORMAT.md` needs a new version.
#[test]
fn the_bytes_of_a_seeded_workload_are_what_they_always_were() {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut all = xxhash_rust::xxh3::Xxh3::new();
    let mut builder = FrameBuilder::new();
    for round in 0..200 {
        let count = 1 + (next() % 9) as usize;
        builder.begin(count, next(), Seed::new(&BIRTH, round, next()));
        for _ in 0..count {
            let payload: Vec<u8> = (0..next() % 300).map(|_| next() as u8).collect();
            let kind = RecordKind::from_number(1 + (next() % 6) as u8);
            let meta = EntryMeta { kind, flags: next() as u8, codec: next() as u8 };
            builder.push(&meta, &payload[..payload.len() / 4], &payload);
        }
        let kind =
            [FrameKind::Commit, FrameKind::Snapshot, FrameKind::Carry, FrameKind::Next][round as usize % 4];
        builder.finish(&FrameHeader {
            first_position: next(),
            mark: 0,
            time: next(),
            base: next(),
            ..header(kind)
        });
        all.update(builder.bytes());
    }
    assert_eq!(all.digest(), 3_749_028_526_394_186_440);
}

#[test]
fn the_places_of_an_index_come_back_and_every_flipped_bit_is_noticed() {
    use catalog::index::{Index, PAGE, Placed};
    for count in [0u32, 1, 254, 255, 256, 1_000] {
        let place =
            |n: u32| Placed { key: u64::from(n / 2).wrapping_mul(1 << 61 | 7), offset: n, before: !n };
        let mut places: Vec<Placed> = (0..count).map(place).collect();
        let index = Index { salt: 7, len: 1 << 33, count };
        let bytes = index.encode(&mut places);
        assert!(places.is_sorted());
        let (pages, rest) = bytes.as_chunks::<PAGE>();
        assert!(rest.is_empty() && pages.len() == 1 + index.pages());
        assert_eq!(Index::decode(&pages[0], 7, 1 << 33), Some(index));
        assert_eq!(Index::decode(&pages[0], 8, 1 << 33), None);
        assert_eq!(Index::decode(&pages[0], 7, 1 << 32), None);
        let read = |number| index.places(number, &pages[number]).unwrap();
        assert_eq!((1..pages.len()).flat_map(read).collect::<Vec<_>>(), places);
        // A page in the place of another, or of another file.
        assert!((1..pages.len()).all(|n| index.places(n + 1, &pages[n]).is_none()));
        assert!((1..pages.len()).all(|n| Index { salt: 8, ..index }.places(n, &pages[n]).is_none()));
        for (number, page) in pages.iter().enumerate().take(3) {
            for bit in (0..PAGE * 8).step_by(5) {
                let mut bad = *page;
                bad[bit / 8] ^= 1 << (bit % 8);
                match number {
                    0 => assert_eq!(Index::decode(&bad, 7, 1 << 33), None, "bit {bit}"),
                    _ => assert_eq!(index.places(number, &bad), None, "bit {bit} of page {number}"),
                }
            }
        }
    }
}

fn any_record() -> impl Strategy<Value = (EntryMeta, Vec<u8>, Vec<u8>)> {
    let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
    (1u8.., any::<u8>(), any::<u8>(), bytes(40), bytes(400)).prop_map(
        |(kind, flags, codec, extras, payload)| {
            (EntryMeta { kind: RecordKind::from_number(kind), flags, codec }, extras, payload)
        },
    )
}

proptest! {
    #[test]
    fn any_frame_comes_back_and_any_change_to_it_is_noticed(
        records in proptest::collection::vec(any_record(), 1..20),
        offset in 0..u64::MAX / 2,
        salt in any::<u64>(),
        numbers in any::<(u32, u32, u32, u16, u16, u64)>(),
        (base, span) in (0..MAX_NUMBER / 2, 20..u32::MAX),
        ahead in 0..u64::from(u16::MAX),
        change in any::<(prop::sample::Index, u8)>(),
    ) {
        let (prev_crc, prev_len, archives, epoch, journal, time) = numbers;
        let kind = FrameKind::Commit;
        let mark = base + u64::from(span);
        let first_position = mark + ahead;
        let header = FrameHeader {
            kind, prev_crc, prev_len, first_position, time, base, mark, span, archives, epoch, journal
        };
        let seed = Seed::new(&BIRTH, 1, salt);
        let mut builder = FrameBuilder::new();
        builder.begin(records.len(), offset, seed);
        for (meta, extras, payload) in &records {
            builder.push(meta, extras, payload);
        }
        let finished = builder.finish(&header);
        let frame = Frame::parse(seed, offset, builder.bytes()).unwrap();
        prop_assert_eq!(frame.verify(), Ok(()));
        prop_assert_eq!((frame.crc(), frame.len()), (finished.crc, finished.len as usize));
        prop_assert_eq!(frame.header(), header);
        let read = frame.records().map(|r| (r.meta(), r.extras.to_vec(), r.payload.to_vec()));
        prop_assert_eq!(read.collect::<Vec<_>>(), records);

        let mut bytes = builder.bytes().to_vec();
        let (place, xor) = change;
        let place = place.index(bytes.len());
        bytes[place] ^= xor.max(1);
        prop_assert!(Frame::parse(seed, offset, &bytes).and_then(|frame| frame.verify()).is_err());
    }

    /// Random bytes never get past the checksum, so it is made right: what lies behind must not panic either.
    #[test]
    fn any_bytes_are_judged_without_a_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 63..400),
        (messages, others) in (0u32..4, 0u16..3),
        offset in any::<u64>(),
    ) {
        let _ = (SegmentHeader::decode(&bytes), StoreFile::decode(&bytes), peek(seed(), OFFSET, &bytes));
        bytes[4..6].copy_from_slice(&0x5EC1u16.to_le_bytes());
        let body_len = bytes.len() as u32 - 63;
        bytes[8..12].copy_from_slice(&body_len.to_le_bytes());
        bytes[62] %= 5;
        bytes[6..8].copy_from_slice(&others.to_le_bytes());
        bytes[20..24].copy_from_slice(&messages.to_le_bytes());
        bytes[27..32].fill(0);
        bytes[35..40].fill(0);
        reseal(&mut bytes);
        let _ = peek(seed(), OFFSET, &bytes);
        let _ = Frame::parse(seed(), offset, &bytes);
        if let Ok(frame) = Frame::parse(seed(), OFFSET, &bytes) {
            let _ = frame.verify();
            prop_assert_eq!(frame.records().count(), messages as usize + usize::from(others));
        }
    }
}
