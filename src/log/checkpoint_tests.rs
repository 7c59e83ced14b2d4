//! A session is the same whether it is opened from a checkpoint or by all of its last segment.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::parse_segment_name;
use super::scan::{Ending, Tail};
use super::segment::{Owner, Segment};
use super::window::{At, Window};
use crate::format::{SegmentHeader, reseal};
use crate::fs::{Access, Dir, Fs, SimFs, read_exact_at, write_all_at};
use crate::state::{Checkpoint, Op};
use crate::{AppendOptions, Batch, Keep, NewMessage, Options};

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

fn options(fs: &SimFs) -> Options {
    Options::new().create(true).fs(Arc::new(fs.clone()))
}

fn session_dir(fs: &SimFs) -> Arc<dyn Dir> {
    let sessions = fs.open_root(Path::new("/store/sessions")).unwrap();
    let shard = sessions.open_dir(&sessions.list().unwrap()[0].name).unwrap();
    let name = shard.list().unwrap().into_iter().find(|e| e.name.contains('~')).unwrap().name;
    shard.open_dir(&name).unwrap()
}

fn content(dir: &dyn Dir, name: &str) -> Vec<u8> {
    let file = dir.open(name, Access::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    read_exact_at(&*file, &mut bytes, 0).unwrap();
    bytes
}

fn put(dir: &dyn Dir, name: &str, bytes: &[u8]) {
    let file = dir.open(name, Access::Write).unwrap();
    write_all_at(&*file, bytes, 0).unwrap();
}

fn segment(dir: &Arc<dyn Dir>, name: &str) -> Option<Arc<Segment>> {
    let bytes = content(&**dir, name);
    let header = SegmentHeader::decode(bytes.get(..SegmentHeader::LEN)?).ok()?;
    let owner = Owner { store: header.store, birth: None };
    Some(Arc::new(Segment::open(dir, parse_segment_name(name)?, owner).ok()?))
}

fn same(short: &Tail, full: &Tail, what: &str) {
    let all =
        |t: &Tail| (t.low, t.low_seq, t.offset, t.last_crc, t.last_len, t.mark, t.trusted, t.checkpoint);
    assert_eq!(short.state, full.state, "{what}");
    assert_eq!(all(short), all(full), "{what}");
    assert_eq!(
        (&short.above, short.ending, short.torn, short.next),
        (&full.above, full.ending, full.torn, full.next)
    );
    assert!(short.damage.is_empty(), "{what}");
}

/// Compares all segments as they are, and with some bits flipped in front of the last checkpoint.
fn compare(fs: &SimFs, rng: &mut Rng, met: &mut [u64; 3], what: &str) {
    let dir = session_dir(fs);
    for name in dir.list().unwrap().into_iter().map(|e| e.name).filter(|n| parse_segment_name(n).is_some()) {
        let Some(segment_here) = segment(&dir, &name) else { continue };
        let full = Tail::open(segment_here.clone());
        let Some(short) = Tail::from_checkpoint(&segment_here) else {
            // What a clean close cuts off may come back with a power cut.
            let cut = |t: &Tail| t.segment.file.len().unwrap() < t.offset + 4096 && t.next.is_none();
            let late = |t: &Tail| t.ending == Ending::Clean && t.offset - t.checkpoint < 128 << 10 && cut(t);
            met[2] += u64::from(
                full.is_ok_and(|full| late(&full) && full.checkpoint > full.segment.header.carry_end()),
            );
            continue;
        };
        let full = full.unwrap_or_else(|e| panic!("{what}: {e}"));
        same(&short, &full, what);
        assert!(full.damage.is_empty(), "{what}: {:?}", full.damage);
        met[0] += 1;
        let good = content(&*dir, &name);
        for _ in 0..3 {
            let mut bad = good.clone();
            let from = segment_here.header.carry_end();
            for _ in 0..=rng.below(2) {
                let at = from + rng.below(short.checkpoint - from - u64::from(full.trusted.len));
                bad[at as usize] ^= 1 << rng.below(8);
            }
            put(&*dir, &name, &bad);
            let harmed = segment(&dir, &name).unwrap();
            if let Some(short) = Tail::from_checkpoint(&harmed) {
                let full = Tail::open(harmed).unwrap();
                same(&short, &full, what);
                assert!(!full.uncertain(), "{what}: {:?}", full.damage);
                met[1] += u64::from(!full.damage.is_empty());
            }
        }
        put(&*dir, &name, &good);
    }
}

#[test]
fn a_checkpoint_is_what_the_whole_segment_leads_to() {
    let mut met = [0; 3];
    for seed in 0..50 {
        let (mut rng, mut fs) = (Rng(seed), SimFs::new(seed));
        for round in 0..8 {
            let what = format!("seed {seed}, round {round}");
            let size = [128 << 10, 256 << 10, 1 << 20, 4 << 20][rng.below(4) as usize];
            let truncate = [1 << 10, 100 << 10, u64::MAX][rng.below(3) as usize];
            let store = options(&fs).segment_size(size).truncate_after(truncate).open("/store").unwrap();
            let session = store.session("s").unwrap();
            session.append("one").unwrap();
            assert!(!session.report().unwrap().has_damage(), "{what}: {:?}", session.report());
            for step in 0..1 + rng.below(14) {
                let len = match rng.below(6) {
                    0 => 130_000 + rng.below(100_000),
                    1 => 30_000 + rng.below(40_000),
                    2 => 0,
                    _ => rng.below(3000),
                };
                let payload = vec![step as u8; len as usize];
                let archive = session.archives().unwrap().first().map(|a| a.number);
                match (rng.below(12), archive) {
                    (0, _) => session.patch_attributes(&json!({format!("k{}", rng.below(5)): step})).unwrap(),
                    (1, _) => drop(session.archive(Keep::Messages(rng.below(5))).unwrap()),
                    (2, Some(number)) => session.patch_archive(number, &json!({"x": step})).unwrap(),
                    (3, Some(number)) => session.remove_archive(number).unwrap(),
                    (4, _) => session.truncate().unwrap(),
                    (5, _) => {
                        let (key, message) =
                            (format!("{what} {step}"), NewMessage::new(&payload[..]).tokens(7));
                        session.append_with(message, &AppendOptions::new().key(&key)).unwrap();
                    }
                    (6, _) => {
                        let batch = Batch::new().message(&payload[..]).message("q").message(&payload[..]);
                        session.append_batch(&batch.attributes(json!({"z": step}))).unwrap();
                    }
                    _ => drop(session.append(&payload).unwrap()),
                }
            }
            match rng.below(5) {
                0 => {
                    fs.kill();
                    drop((session, store));
                    fs = fs.process_new();
                }
                1 => fs = fs.crash(),
                _ => {
                    session.close().unwrap();
                    store.close().unwrap();
                    fs = fs.process_new();
                }
            }
            compare(&fs, &mut rng, &mut met, &what);
        }
    }
    assert!(met[0] > 80 && met[1] > 150 && met[2] == 0, "{met:?}");
}

/// A closed segment whose checkpoint was changed, with good checksums all over it.
fn forged(change: impl FnOnce(&mut Checkpoint)) -> Arc<Segment> {
    const NAME: &str = "00000001.log";
    let fs = SimFs::new(3);
    let store = options(&fs).open("/store").unwrap();
    let session = store.session("s").unwrap();
    session.append(vec![b'x'; 150_000]).unwrap();
    session.append("m").unwrap();
    store.close().unwrap();
    let dir = session_dir(&fs);
    let mut bytes = content(&*dir, NAME);
    let good = segment(&dir, NAME).unwrap();
    let tail = Tail::open(good.clone()).unwrap();
    let end = tail.offset as usize - tail.last_len as usize;
    let mut window = Window::new();
    let frame_at = |window: &mut Window, at: usize| match window.at(
        &*good.file,
        good.seed,
        at as u64,
        bytes.len() as u64,
    ) {
        Ok(At::Frame(frame)) => {
            (frame.header().prev_len as usize, frame.records().last().unwrap().payload.to_vec())
        }
        _ => panic!("no frame at {at}"),
    };
    let (len, _) = frame_at(&mut window, end);
    let (_, body) = frame_at(&mut window, end - len);
    let Ok(Op::CloseWith(mut checkpoint)) = Op::decode(&body) else { panic!("no checkpoint") };
    change(&mut checkpoint);
    let mut new = Vec::new();
    Op::CloseWith(checkpoint).encode(&mut new).unwrap();
    assert_eq!(new.len(), body.len());
    bytes[end - body.len()..end].copy_from_slice(&new);
    reseal::segment(&mut bytes);
    put(&*dir, NAME, &bytes);
    segment(&dir, NAME).unwrap()
}

#[test]
fn a_checkpoint_that_states_something_else_is_damage() {
    let both = |segment: Arc<Segment>| {
        (Tail::from_checkpoint(&segment).is_some(), Tail::open(segment).unwrap().uncertain())
    };
    assert_eq!(both(forged(|_| {})), (true, false));
    // What cannot be is not taken; of the rest only who reads everything can tell.
    assert_eq!(both(forged(|c| c.state.base = 200)), (false, true));
    assert_eq!(both(forged(|c| c.state.position += 1)), (false, true));
    assert_eq!(both(forged(|c| c.state.birth.0[3] ^= 1)), (false, true));
    assert_eq!(both(forged(|c| c.state.archives_made = 7)), (false, true));
    assert_eq!(both(forged(|c| c.low = 200)), (false, true));
    assert_eq!(both(forged(|c| c.low_seq = 1)), (true, true));
    assert_eq!(both(forged(|c| c.state.attributes_version = 1)), (true, true));
}
