//! Random ops against a model of what a session is: everything that is acknowledged is there, once, in
//! order, after any number of segment changes, closings and power cuts.

mod common;

use std::collections::BTreeMap;
use std::ops::Range;

use common::{Rng, SIM, sim_options};
use serde_json::json;
use sessionlog::fs::SimFs;
use sessionlog::{AppendOptions, Batch, Durability, Keep, NewMessage, Session, Store};

#[derive(Clone, Default)]
struct Model {
    /// Every message ever appended: text, tokens, whether it starts a turn.
    all: Vec<(String, u32, bool)>,
    base: usize,
    archives: BTreeMap<u64, (Range<usize>, i64)>,
    made: u64,
    attributes: BTreeMap<String, i64>,
    keys: Vec<(String, Range<usize>)>,
}

impl Model {
    fn cut(&self, keep: Keep) -> usize {
        let (mut n, mut bytes, mut tokens, mut turns) = (0, 0, 0, 0);
        let mut cut = self.all.len();
        let mut turn_cut = None;
        for (i, (text, t, turn)) in self.all.iter().enumerate().skip(self.base).rev() {
            n += 1;
            bytes += text.len() as u64;
            tokens += u64::from(*t);
            let fits = match keep {
                Keep::Messages(k) => n <= k,
                Keep::Bytes(k) => bytes <= k,
                Keep::Tokens(k) => tokens <= k,
                Keep::Turns(k) => {
                    if *turn {
                        turns += 1;
                        if turns == k {
                            turn_cut = Some(i);
                        }
                    }
                    true
                }
                _ => false,
            };
            if !fits {
                break;
            }
            cut = i;
        }
        match keep {
            Keep::Turns(0) => self.all.len(),
            Keep::Turns(_) => turn_cut.unwrap_or(self.base),
            _ => cut,
        }
    }
}

struct Run {
    fs: SimFs,
    store: Store,
    session: Session,
    model: Model,
    /// What it was since the last op that is surely on disk: a power cut leaves one of these.
    possible: Vec<Model>,
    segment: u64,
    after: u64,
    /// Something was written since the session was opened.
    wrote: bool,
}

fn options(fs: &SimFs, segment: u64, after: u64) -> sessionlog::Options {
    sim_options(fs.clone()).segment_size(segment).truncate_after(after)
}

impl Run {
    fn new(seed: u64, segment: u64, after: u64) -> Run {
        let fs = SimFs::new(seed);
        let store = options(&fs, segment, after).open(SIM).unwrap();
        let session = store.session("s").unwrap();
        Run {
            fs,
            store,
            session,
            model: Model::default(),
            possible: vec![Model::default()],
            segment,
            after,
            wrote: false,
        }
    }

    fn reopen(&mut self) {
        self.store = options(&self.fs, self.segment, self.after).open(SIM).unwrap();
        self.session = self.store.session("s").unwrap();
        let report = self.session.report().unwrap();
        assert!(!report.has_damage(), "{report:?}");
    }

    fn step(&mut self, rng: &mut Rng) -> String {
        let m = &mut self.model;
        match rng.below(100) {
            0..=7 => {
                let text = format!("{}:buffered", m.all.len());
                let options = AppendOptions::new().durability(Durability::Buffered);
                assert_eq!(self.session.append_with(&text, &options).unwrap().seq(), m.all.len() as u64);
                m.all.push((text, 0, false));
                "buffered".into()
            }
            8..=34 => {
                let size = if rng.chance(3) { rng.below(30_000) } else { rng.below(900) };
                let text = format!("{}:{}", m.all.len(), "x".repeat(size as usize));
                let (tokens, turn) = (rng.below(50) as u32, rng.chance(30));
                let mut message = NewMessage::from(&text).tokens(tokens);
                if turn {
                    message = message.turn_start();
                }
                let key = format!("k{}", m.all.len());
                let mut options = AppendOptions::new();
                if rng.chance(30) {
                    options = options.key(&key);
                }
                let done = self.session.append_with(message, &options).unwrap();
                assert_eq!((done.seq(), done.repeated), (m.all.len() as u64, false));
                if rng.chance(30) {
                    // A repeat below; only keys of single messages are kept here.
                    m.keys.push((key, m.all.len()..m.all.len() + 1));
                    let again = AppendOptions::new().key(&m.keys.last().unwrap().0);
                    let mut message = NewMessage::from(&text).tokens(tokens);
                    if turn {
                        message = message.turn_start();
                    }
                    m.all.push((text.clone(), tokens, turn));
                    let first = self.session.append_with(message, &again).unwrap();
                    if first.repeated {
                        assert_eq!(first.seqs, done.seqs);
                    } else {
                        m.all.push((text.clone(), tokens, turn));
                    }
                    return "append twice".into();
                }
                m.all.push((text, tokens, turn));
                "append".into()
            }
            35..=44 => {
                let texts: Vec<String> =
                    (0..1 + rng.below(60)).map(|i| format!("{}", m.all.len() as u64 + i)).collect();
                let value = rng.below(1000) as i64;
                let mut batch: Batch<'_> = texts.iter().collect();
                let with = rng.chance(50);
                if with {
                    batch = batch.attributes(json!({"batch": value}));
                    m.attributes.insert("batch".into(), value);
                }
                let done = self.session.append_batch(&batch).unwrap();
                assert_eq!(done.seqs, m.all.len() as u64..(m.all.len() + texts.len()) as u64);
                m.all.extend(texts.into_iter().map(|t| (t, 0, false)));
                format!("batch, attributes {with}")
            }
            45..=56 => {
                if m.all.is_empty() {
                    return "nothing".into();
                }
                let keep = match rng.below(8) {
                    0 => Keep::Nothing,
                    1..=3 => Keep::Messages(rng.below(40)),
                    4 => Keep::Turns(rng.below(4)),
                    5 => Keep::Tokens(rng.below(400)),
                    _ => Keep::Bytes(rng.below(8000)),
                };
                let cut = m.cut(keep);
                let value = rng.below(1000) as i64;
                let done = self.session.archive_with(keep, &json!({"v": value})).unwrap();
                assert_eq!(done.archived, m.base as u64..cut as u64, "{keep:?}");
                assert_eq!(done.live, cut as u64..m.all.len() as u64, "{keep:?}");
                assert_eq!(done.archive.is_some(), cut > m.base);
                if cut > m.base {
                    m.made += 1;
                    assert_eq!(done.archive, Some(m.made));
                    m.archives.insert(m.made, (m.base..cut, value));
                    m.base = cut;
                }
                format!("archive {keep:?}")
            }
            57..=62 => {
                if let Some(number) = m.archives.keys().nth(rng.below(4) as usize).copied() {
                    let value = rng.below(1000) as i64;
                    self.session.patch_archive(number, &json!({"v": value})).unwrap();
                    m.archives.get_mut(&number).unwrap().1 = value;
                }
                "patch an archive".into()
            }
            63..=67 => {
                if let Some(number) = m.archives.keys().nth(rng.below(4) as usize).copied() {
                    self.session.remove_archive(number).unwrap();
                    m.archives.remove(&number);
                }
                "remove an archive".into()
            }
            68..=73 => {
                if !m.all.is_empty() {
                    self.session.truncate().unwrap();
                }
                "truncate".into()
            }
            74..=79 => {
                let (key, value) = (format!("a{}", rng.below(5)), rng.below(1000) as i64);
                self.session.patch_attributes(&json!({ &key: value })).unwrap();
                m.attributes.insert(key, value);
                "attributes".into()
            }
            80..=86 => {
                self.store.close().unwrap();
                self.reopen();
                let report = self.session.report().unwrap();
                // What was opened and not written is left as it was found.
                assert!(!self.wrote || report.is_clean(), "{report:?}");
                self.wrote = false;
                "close and reopen".into()
            }
            87..=91 => {
                self.fs = self.fs.crash();
                self.reopen();
                self.wrote = false;
                let facts = self.session.info().ok().map(|i| (i.total_messages, i.live.start));
                let of = |m: &Model| (m.all.len() as u64, m.base as u64);
                let found = self.possible.iter().rfind(|m| match facts {
                    Some(facts) => of(m) == facts,
                    None => m.all.is_empty(),
                });
                self.model = found
                    .unwrap_or_else(|| {
                        panic!("{facts:?} never was: {:?}", self.possible.iter().map(of).collect::<Vec<_>>())
                    })
                    .clone();
                self.possible = vec![self.model.clone()];
                "power cut".into()
            }
            92..=95 => {
                self.fs.kill();
                self.fs = self.fs.process_new();
                self.reopen();
                self.wrote = false;
                "kill".into()
            }
            _ => {
                self.session.clone().close().unwrap();
                "close the session".into()
            }
        }
    }

    fn check(&self, rng: &mut Rng, deep: bool) {
        let m = &self.model;
        if m.all.is_empty() && m.attributes.is_empty() {
            return;
        }
        let info = self.session.info().unwrap();
        let (base, next) = (m.base as u64, m.all.len() as u64);
        assert_eq!(info.live, base..next);
        assert_eq!(info.message_count, next - base);
        assert_eq!(info.total_messages, next);
        let live = &m.all[m.base..];
        let bytes = |of: &[(String, u32, bool)]| of.iter().map(|x| x.0.len() as u64).sum::<u64>();
        let tokens = |of: &[(String, u32, bool)]| of.iter().map(|x| u64::from(x.1)).sum::<u64>();
        assert_eq!((info.live_bytes, info.live_tokens), (bytes(live), tokens(live)));
        assert_eq!((info.total_bytes, info.total_tokens), (bytes(&m.all), tokens(&m.all)));
        let attributes: BTreeMap<String, i64> =
            info.attributes.iter().map(|(k, v)| (k.clone(), v.as_i64().unwrap())).collect();
        assert_eq!(attributes, m.attributes);

        let seq = rng.below(next + 2);
        let got = self.session.get(seq).unwrap();
        assert_eq!(
            got.map(|g| String::from_utf8(g.payload().to_vec()).unwrap()),
            (seq >= base && seq < next).then(|| m.all[seq as usize].0.clone())
        );
        let n = rng.below(30);
        let same = |got: sessionlog::Messages, range: Range<usize>| {
            let mut count = 0;
            for (seq, (message, want)) in (range.start as u64..).zip(got.zip(&m.all[range.clone()])) {
                let message = message.unwrap();
                assert_eq!(message.seq(), seq);
                assert_eq!(String::from_utf8_lossy(message.payload()), want.0);
                assert_eq!(message.tokens().unwrap_or(0), want.1);
                assert_eq!(message.is_turn_start(), want.2);
                count += 1;
            }
            assert_eq!(count, range.len());
        };
        same(self.session.tail(n).unwrap(), m.all.len().saturating_sub(n as usize).max(m.base)..m.all.len());
        let from = base + rng.below(next - base + 1);
        let to = from + rng.below(next - from + 1);
        same(self.session.range(from..to).unwrap(), from as usize..to as usize);
        assert_eq!(self.session.range(from..to).unwrap().count() as u64, to - from);
        if deep {
            same(self.session.load().unwrap(), m.base..m.all.len());
            assert_eq!(self.session.load().unwrap().count(), live.len());
            let archives = self.session.archives().unwrap();
            assert_eq!(
                archives.iter().map(|a| a.number).collect::<Vec<_>>(),
                m.archives.keys().copied().collect::<Vec<_>>()
            );
            for a in archives {
                let (range, value) = &m.archives[&a.number];
                assert_eq!(a.seqs, range.start as u64..range.end as u64);
                assert_eq!(
                    (a.bytes, a.tokens),
                    (bytes(&m.all[range.clone()]), tokens(&m.all[range.clone()]))
                );
                assert_eq!(a.attributes["v"], *value);
                same(self.session.archived(a.number).unwrap(), range.clone());
                assert_eq!(self.session.archived(a.number).unwrap().count(), range.len());
            }
            let reader = self.store.reader("s").unwrap();
            same(reader.load().unwrap(), m.base..m.all.len());
            let listed = self.store.sessions().unwrap();
            assert!(listed.unreadable.is_empty(), "{:?}", listed.unreadable);
            assert_eq!(listed.sessions.len(), 1);
            assert_eq!(listed.sessions[0].message_count, next - base);
            assert_eq!(listed.sessions[0].live, base..next);
        }
    }
}

fn run(seed: u64, segment: u64, after: u64, steps: u64) {
    let mut rng = Rng::new(seed);
    let mut run = Run::new(seed, segment, after);
    let mut trace = Vec::new();
    for i in 0..steps {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let wrote = run.wrote;
            let what = run.step(&mut rng);
            run.wrote |= ["append", "batch", "buffered"].iter().any(|w| what.starts_with(w));
            let closed = what.starts_with("close") && wrote;
            if closed || ["append", "batch"].iter().any(|w| what.starts_with(w)) {
                // A writer that wrote closed, or synced: what a killed one left above its mark is confirmed too.
                run.possible.clear();
            }
            run.possible.push(run.model.clone());
            run.check(&mut rng, i % 7 == 0 || i + 1 == steps);
            what
        }));
        match done {
            Ok(what) => trace.push(what),
            Err(panic) => {
                let last = trace.len().saturating_sub(12);
                let what = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                panic!(
                    "{what}\nseed {seed}, segment {segment}, after {after}, step {i}; before it: {:#?}",
                    &trace[last..]
                );
            }
        }
    }
}

#[test]
fn any_history_in_small_segments_reads_back_as_the_model_says() {
    for seed in 0..8 {
        run(seed, 16 << 10, 4 << 10, 150);
    }
}

#[test]
fn any_history_without_background_truncation_reads_back_as_the_model_says() {
    for seed in 100..106 {
        run(seed, 32 << 10, u64::MAX, 150);
    }
}

#[test]
fn any_history_in_one_large_segment_reads_back_as_the_model_says() {
    for seed in 200..204 {
        run(seed, 8 << 20, 1 << 20, 150);
    }
}
