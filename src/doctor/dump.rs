//! The frames of a segment file, as text.

use std::io::{self, Write};
use std::path::Path;

use super::options::{CheckOptions, reach};
use super::walk::{Met, is_there, walk};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    CRITICAL, Extras, Frame, FrameKind, Record, RecordKind, SegmentHeader, Successor, TURN_START,
};
use crate::fs::{Access, File, read_up_to_at};
use crate::state::{Op, State, op_error};

/// Writes what stands in a segment file: its header, every frame with offset, positions and the state it claims, every
/// record with its size and whether its checksum is right, journal records in words. Goes on past damage. Payloads are not
/// shown, only their lengths; session id, attributes, tags and the caller's ids are.
///
/// The text is the same for the same bytes, and so fit for tests. For reading by people: its form may change.
///
/// Returns whether the file is a segment in which everything is what was written. A commit that was torn before anybody was
/// told of it is not, though [`check`](super::check()), which sees more than one file, calls it no damage.
///
/// # Errors
/// `Io` and `NotFound` of the file; `Io` of the output, which names no file; `InvalidInput` for a path that ends in no name, or
/// in one that is not UTF-8. Damage is part of the text.
///
/// ```
/// # fn main() -> sessionlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = sessionlog::Store::open(dir.path().join("s"))?;
/// # store.session("chat")?.append("hello")?;
/// # let id = walk(&dir.path().join("s/sessions")).unwrap();
/// # fn walk(p: &std::path::Path) -> Option<std::path::PathBuf> {
/// #     std::fs::read_dir(p).ok()?.find_map(|e| { let p = e.ok()?.path();
/// #         if p.is_dir() { walk(&p) } else if p.extension()? == "log" { Some(p) } else { None } })
/// # }
/// let mut text = Vec::new();
/// assert!(sessionlog::doctor::dump(&id, &sessionlog::doctor::CheckOptions::new(), &mut text)?);
/// assert!(String::from_utf8(text).unwrap().contains("message 0"));
/// # Ok(()) }
/// ```
pub fn dump(path: impl AsRef<Path>, options: &CheckOptions, out: &mut impl Write) -> Result<bool> {
    let path = path.as_ref();
    let (fs, _) = reach(&options.store);
    let io = |e| Error::io("read a segment", path, e);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Err(Error::new(ErrorKind::InvalidInput, "read a segment")
            .path(path)
            .hint("it does not end in the name of a file, or that is not UTF-8"));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let file = fs.open_root(parent).and_then(|dir| dir.open(name, Access::Read)).map_err(io)?;
    let mut out = Output { out, failed: false };
    write_all(&*file, name, &mut out).map_err(|e| match out.failed {
        true => Error::new(ErrorKind::Io, "write what a segment holds").with_source(e),
        false => io(e),
    })
}

/// The output, which is not to be taken for the segment when it fails.
struct Output<'a, W> {
    out: &'a mut W,
    failed: bool,
}

impl<W: Write> Write for Output<'_, W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let done = self.out.write(buf);
        self.failed |= match &done {
            Ok(n) => *n == 0,
            Err(e) => e.kind() != io::ErrorKind::Interrupted,
        };
        done
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn write_all(file: &dyn File, name: &str, out: &mut impl Write) -> io::Result<bool> {
    let len = file.len()?;
    writeln!(out, "{name}: {len} bytes")?;
    let mut bytes = [0; SegmentHeader::LEN];
    let have = read_up_to_at(file, &mut bytes, 0)?;
    let header = match SegmentHeader::decode(bytes.get(..have).unwrap_or_default()) {
        Ok(header) => header,
        Err(fault) => {
            writeln!(out, "0 header: BAD: {fault}")?;
            writeln!(out, "nothing behind it can be checked without its salt")?;
            return Ok(false);
        }
    };
    writeln!(
        out,
        "0 header: segment {} salt {:016x} store {} birth {} writer {} created {}",
        header.number, header.salt, header.store, header.birth, header.incarnation, header.created
    )?;
    writeln!(
        out,
        "    first position {}, carry block {} bytes, before it: segment {} up to position {} byte {} crc {:08x}",
        header.first_position,
        header.carry_len,
        header.prev_number,
        header.prev_end_position,
        header.prev_end_offset,
        header.prev_end_crc
    )?;
    let (mut good, mut failed) = (true, None);
    let mut before = (0, 0);
    walk(file, header.seed(), SegmentHeader::LEN as u64, len, &mut |met| {
        let written = match met {
            Met::Zeros { offset, until } => {
                writeln!(out, "{offset} zeros: {} bytes", until - offset).map(|()| true)
            }
            Met::Fault { offset, until, fault } => {
                writeln!(out, "{offset} BAD: {} bytes: {fault}", until - offset).map(|()| false)
            }
            Met::Frame(offset, frame) => {
                let told = (frame.header().prev_crc, frame.header().prev_len);
                let linked = told == before;
                before = (frame.crc(), frame.len() as u32);
                write_frame(offset, &frame, linked, len, out)
            }
        };
        match written {
            Ok(as_written) => good &= as_written,
            Err(e) => _ = failed.get_or_insert(e),
        }
    })?;
    failed.map_or(Ok(good), Err)
}

/// Of a frame in a file that ends at `end`. Whether it is what was written.
fn write_frame(
    offset: u64,
    frame: &Frame<'_>,
    linked: bool,
    end: u64,
    out: &mut impl Write,
) -> io::Result<bool> {
    let h = frame.header();
    let kind = match h.kind {
        FrameKind::Commit => "commit",
        FrameKind::Snapshot => "snapshot",
        FrameKind::Carry => "carry",
        FrameKind::Next => "next",
    };
    let link = if linked { "" } else { " NOT LINKED to the frame before it" };
    writeln!(
        out,
        "{offset} {kind}: {} bytes, crc {:08x}, time {}, positions {}..{}, mark {}, base {}, span {}, epoch {}, \
         archives {}, journal {}{link}",
        frame.len(),
        frame.crc(),
        h.time,
        h.first_position,
        frame.end_position(),
        h.mark,
        h.base,
        h.span,
        h.epoch,
        h.archives,
        h.journal
    )?;
    let mut good = linked;
    for record in frame.records() {
        good &= write_record(&record, end, out)?;
    }
    Ok(good)
}

fn write_record(r: &Record<'_>, end: u64, out: &mut impl Write) -> io::Result<bool> {
    let state = match is_there(r, end) {
        true => r.verify().err().map(|fault| fault.to_string()),
        false => Some("the file ends before it".to_owned()),
    };
    let mut good = state.is_none();
    let ok = if state.is_some() { "BAD" } else { "ok" };
    write!(out, "    {} {ok} {} + {} bytes: ", r.position, r.extras.len(), r.payload.len())?;
    if let Some(fault) = &state {
        write!(out, "[{fault}] ")?;
    }
    match r.kind {
        RecordKind::Message => {
            write!(out, "message {} codec {}", r.seq, r.codec)?;
            if r.flags & TURN_START != 0 {
                write!(out, " turn start")?;
            }
            match Extras::decode(r.extras) {
                Ok(e) if state.is_none() => {
                    let labels = [("tag", e.tag), ("id", e.id), ("parent", e.parent), ("key", e.key)];
                    for (name, value) in labels {
                        if let Some(value) = value {
                            write!(out, " {name} {value:?}")?;
                        }
                    }
                    if let Some(tokens) = e.tokens {
                        write!(out, " tokens {tokens}")?;
                    }
                }
                Ok(_) => {}
                Err(what) => {
                    good = false;
                    write!(out, " BAD extras: {what}")?;
                }
            }
        }
        RecordKind::Op => match Op::decode(r.payload) {
            Ok(op) => write!(out, "{op:?}")?,
            Err(e) => {
                let (newer, what) = op_error(&e);
                good &= newer;
                write!(out, "op that cannot be read: {what}")?;
            }
        },
        RecordKind::Snapshot => match State::decode(r.payload) {
            Ok(s) => write_state(&s, out)?,
            Err(Ok(version)) => write!(out, "state of version {version}")?,
            Err(Err(what)) => {
                good = false;
                write!(out, "state that cannot be read: {what}")?;
            }
        },
        RecordKind::Next => match Successor::decode(r.payload) {
            Some(s) => write!(out, "segment {} follows, salt {:016x}", s.number, s.salt)?,
            None => {
                good = false;
                write!(out, "a successor that cannot be read")?;
            }
        },
        RecordKind::Mark => write!(out, "mark")?,
        RecordKind::Unknown(kind) if r.flags & CRITICAL != 0 => {
            write!(out, "critical, of unknown kind {kind}")?
        }
        RecordKind::Unknown(kind) => write!(out, "of unknown kind {kind}")?,
    }
    writeln!(out)?;
    Ok(good)
}

fn write_state(s: &State, out: &mut impl Write) -> io::Result<()> {
    write!(
        out,
        "session {:?} position {} epoch {} live {}..{} count {} archives {} of {} attributes {} segments {:?} released \
         {:?}",
        s.id.as_str(),
        s.position,
        s.epoch,
        s.base,
        s.next,
        s.message_count,
        s.archives.len(),
        s.archives_made,
        s.attributes.to_text(),
        s.segments.iter().map(|i| i.number).collect::<Vec<_>>(),
        s.released
    )?;
    for h in &s.holes {
        write!(out, " hole {}..{} at {}..{}", h.seq, h.seq + h.count, h.from, h.to)?;
    }
    Ok(())
}
