//! The JSONL way: a file of lines for each session, and a small file of meta data that is replaced whole.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use super::meta::{Meta, Shared, lock};
use super::{Ack, Each, Kind, Peer, Session};
use crate::Result;

pub(crate) const KIND: Kind = Kind {
    name: "JSONL",
    package: None,
    begin_apart: true,
    notes: &[
        "A file of lines for each session: append, fdatasync; then its meta file: write a new one, fsync, rename, \
         fsync the directory. An archive writes the tail to a new file, and renames twice. The end is read from the \
         back.",
        "Line and count are two steps: a crash between them leaves them apart (the file decides here). Payloads are \
         text, and no checksum covers them. A batch that a crash cuts is there in part.",
    ],
    open: |dir| {
        let open = Arc::default();
        Ok(Box::new(Jsonl(Parts { dir: dir.to_owned(), open })) as Box<dyn Peer>)
    },
};

/// The end of a file is read in such pieces.
const PIECE: u64 = 64 << 10;

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    seq: u64,
    #[serde(borrow)]
    payload: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct MetaFile {
    message_count: u64,
    next: u64,
    archives: u64,
}

#[derive(Clone)]
struct Parts {
    dir: PathBuf,
    open: Arc<Shared<State>>,
}

/// What the threads of a session share.
struct State {
    meta: Meta,
    file: File,
}

struct Jsonl(Parts);

struct Handle {
    parts: Parts,
    id: u64,
    state: Option<Arc<Mutex<State>>>,
}

impl Parts {
    fn live(&self, id: u64) -> PathBuf {
        self.dir.join(format!("{id}.jsonl"))
    }

    fn meta_file(&self, id: u64) -> PathBuf {
        self.dir.join(format!("{id}.meta.json"))
    }

    fn temp(&self, id: u64) -> PathBuf {
        self.dir.join(format!("{id}.temp"))
    }

    fn sync_dir(&self) -> Result<()> {
        Ok(File::open(&self.dir)?.sync_all()?)
    }

    fn read_meta(&self, path: &Path) -> Result<Option<Meta>> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let MetaFile { message_count, next, archives } = serde_json::from_slice(&text)?;
        Ok(Some(Meta { base: next - message_count, next, archives }))
    }

    fn write_meta(&self, id: u64, meta: Meta, ack: Ack) -> Result<()> {
        let temp = self.temp(id);
        let text = MetaFile { message_count: meta.count(), next: meta.next, archives: meta.archives };
        let mut file = File::create(&temp)?;
        file.write_all(&serde_json::to_vec(&text)?)?;
        if ack == Ack::Durable {
            file.sync_all()?;
        }
        fs::rename(&temp, self.meta_file(id))?;
        if ack == Ack::Durable {
            self.sync_dir()?;
        }
        Ok(())
    }

    /// The session for appending, which makes its file.
    fn begin(&self, id: u64) -> Result<State> {
        let path = self.live(id);
        let there = path.exists();
        let file = File::options().append(true).create(true).open(path)?;
        if !there {
            self.sync_dir()?;
        }
        Ok(State { meta: self.read_meta(&self.meta_file(id))?.unwrap_or_default(), file })
    }
}

fn line(seq: u64, payload: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let payload = Cow::Borrowed(std::str::from_utf8(payload)?);
    serde_json::to_writer(&mut *out, &Line { seq, payload })?;
    out.push(b'\n');
    Ok(())
}

fn give(bytes: &[u8], each: Each<'_>) -> Result<()> {
    let line: Line<'_> = serde_json::from_slice(bytes)?;
    each(line.seq, line.payload.as_bytes())
}

/// The last `n` lines of a file: it is read from its end until they are all there.
fn last_lines(path: &Path, n: u64) -> Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut from = file.metadata()?.len();
    let mut bytes = Vec::new();
    loop {
        let ends: Vec<usize> =
            bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at).collect();
        // The end of the line before them shows where the first begins.
        if let Some(before) = ends.len().checked_sub(n as usize + 1) {
            let begin = ends.get(before).map_or(0, |end| end + 1);
            return Ok(bytes.split_off(begin));
        }
        if from == 0 {
            return Ok(bytes);
        }
        let len = from.min(PIECE);
        from -= len;
        file.seek(SeekFrom::Start(from))?;
        let mut piece = vec![0; len as usize];
        file.read_exact(&mut piece)?;
        piece.append(&mut bytes);
        bytes = piece;
    }
}

impl Handle {
    fn state(&mut self) -> Result<Arc<Mutex<State>>> {
        if let Some(state) = &self.state {
            return Ok(state.clone());
        }
        let state = self.parts.open.of(self.id, || self.parts.begin(self.id))?;
        self.state = Some(state.clone());
        Ok(state)
    }

    fn write(&self, mut state: MutexGuard<'_, State>, lines: &[u8], count: u64, ack: Ack) -> Result<()> {
        state.file.write_all(lines)?;
        if ack == Ack::Durable {
            state.file.sync_data()?;
        }
        state.meta.next += count;
        self.parts.write_meta(self.id, state.meta, ack)
    }
}

impl Peer for Jsonl {
    fn session(&self, id: u64) -> Result<Box<dyn Session>> {
        Ok(Box::new(Handle { parts: self.0.clone(), id, state: None }))
    }

    fn list(&self) -> Result<Vec<(u64, u64)>> {
        let mut out = Vec::new();
        for entry in fs::read_dir(&self.0.dir)? {
            let name = entry?.file_name();
            let Some(id) = name.to_str().and_then(|n| n.strip_suffix(".meta.json")) else { continue };
            if let Some(meta) = self.0.read_meta(&self.0.dir.join(&name))? {
                out.push((id.parse()?, meta.count()));
            }
        }
        Ok(out)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Session for Handle {
    fn append(&mut self, payload: &[u8], ack: Ack) -> Result<()> {
        let state = self.state()?;
        let state = lock(&state);
        let mut lines = Vec::with_capacity(payload.len() + 64);
        line(state.meta.next, payload, &mut lines)?;
        self.write(state, &lines, 1, ack)
    }

    fn append_batch(&mut self, payloads: &[Vec<u8>], ack: Ack) -> Result<()> {
        let state = self.state()?;
        let state = lock(&state);
        let mut lines = Vec::new();
        for (seq, payload) in (state.meta.next..).zip(payloads) {
            line(seq, payload, &mut lines)?;
        }
        self.write(state, &lines, payloads.len() as u64, ack)
    }

    fn load(&mut self, each: Each<'_>) -> Result<()> {
        let mut file = BufReader::with_capacity(PIECE as usize, File::open(self.parts.live(self.id))?);
        let mut bytes = Vec::new();
        while file.read_until(b'\n', &mut bytes)? > 0 {
            // A line that a crash cut was acknowledged to nobody.
            if bytes.last() == Some(&b'\n') {
                give(&bytes, each)?;
            }
            bytes.clear();
        }
        Ok(())
    }

    fn tail(&mut self, n: u64, each: Each<'_>) -> Result<()> {
        let bytes = last_lines(&self.parts.live(self.id), n)?;
        bytes.split_inclusive(|b| *b == b'\n').try_for_each(|line| give(line, each))
    }

    fn range(&mut self, from: u64, n: u64, each: Each<'_>) -> Result<()> {
        let mut file = BufReader::with_capacity(PIECE as usize, File::open(self.parts.live(self.id))?);
        let mut bytes = Vec::new();
        let mut left = None;
        while file.read_until(b'\n', &mut bytes)? > 0 && bytes.last() == Some(&b'\n') {
            // How many lines are passed over the first one says.
            let (passed, given) = match left {
                Some(left) => left,
                None => (from.saturating_sub(serde_json::from_slice::<Line<'_>>(&bytes)?.seq), n),
            };
            match (passed, given) {
                (_, 0) => break,
                (0, _) => give(&bytes, each)?,
                _ => {}
            }
            left = Some((passed.saturating_sub(1), given - u64::from(passed == 0)));
            bytes.clear();
        }
        Ok(())
    }

    fn archive(&mut self, keep: u64) -> Result<()> {
        let state = self.state()?;
        let mut state = lock(&state);
        let (parts, id) = (&self.parts, self.id);
        let (after, _) = state.meta.archived(keep);
        let (live, temp) = (parts.live(id), parts.temp(id));
        let mut file = File::create(&temp)?;
        file.write_all(&last_lines(&live, after.count())?)?;
        file.sync_all()?;
        fs::rename(&live, parts.dir.join(format!("{id}.archive.{}.jsonl", after.archives)))?;
        fs::rename(&temp, &live)?;
        parts.sync_dir()?;
        parts.write_meta(id, after, Ack::Durable)?;
        *state = State { meta: after, file: File::options().append(true).open(&live)? };
        Ok(())
    }
}
