//! Brings JSONL transcripts into a store, and proves that nothing was lost or changed.
//!
//! ```text
//! cargo run --release --example import -- <dir or files> --store <dir>
//! cargo run --release --example import
//! ```
//!
//! One session per file (its id is the path relative to the given directory); a file in which every line has a
//! `session` and a `message` gives one session per value of that field. Every line is appended byte for byte,
//! all but the last 20 of each session are archived, the store is closed, and a second process reads
//! everything back and compares it with the source. Run it again, and what is there is skipped; what was half done
//! goes on where it stopped. Without arguments it writes some transcripts of its own and imports those.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks to its user")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::error::Error;
use std::fmt::{self, Write as _};
use std::fs;
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};
use sessionlog::{AppendOptions, Batch, ErrorKind, Keep, NewMessage, Session, Store, limits};
use xxhash_rust::xxh3::Xxh3;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// How many messages of each session stay live.
const KEEP: u64 = 20;
/// A batch (and so a sync) is so many lines, or so many bytes, whatever comes first.
const BATCH_LINES: usize = 256;
const BATCH_BYTES: usize = 1 << 20;

const USAGE: &str = "usage: import [<dir or files>...] [--store <dir>] [--json]

  <dir or files>  JSONL transcripts; of directories every *.jsonl below them.
                  None: a small set is written and imported.
  --store <dir>   the store to import into, created if it is not there.
                  None: a temporary one, removed at the end.
  --json          one JSON object instead of the table";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("import: {e}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Args {
    sources: Vec<PathBuf>,
    store: Option<PathBuf>,
    json: bool,
    verify: bool,
    help: bool,
}

fn parse_args() -> Result<Args> {
    let mut args = Args::default();
    let mut rest = std::env::args_os().skip(1);
    while let Some(arg) = rest.next() {
        match arg.to_str() {
            Some("--store") => args.store = Some(rest.next().ok_or("--store needs a directory")?.into()),
            Some("--json") => args.json = true,
            // For the second process that this program starts.
            Some("--verify") => args.verify = true,
            Some("--help" | "-h") => args.help = true,
            Some(flag) if flag.starts_with("--") => {
                return Err(format!("unknown option {flag}\n{USAGE}").into());
            }
            _ => args.sources.push(arg.into()),
        }
    }
    Ok(args)
}

/// True if all is well.
fn run() -> Result<bool> {
    let mut args = parse_args()?;
    if args.help {
        println!("{USAGE}");
        return Ok(true);
    }
    // Kept until the end: dropping it removes the directory.
    let temp =
        if args.sources.is_empty() || args.store.is_none() { Some(tempfile::tempdir()?) } else { None };
    if let Some(temp) = &temp {
        if args.sources.is_empty() {
            let dir = temp.path().join("transcripts");
            synthetic::write(&dir)?;
            args.sources.push(dir);
        }
        args.store.get_or_insert_with(|| temp.path().join("store"));
    }
    let store_dir = args.store.clone().ok_or("no store")?;
    let sources = find_sources(&args.sources)?;
    if args.verify {
        return verify(&store_dir, &sources);
    }

    let started = Instant::now();
    let mut progress = Progress::new(&sources);
    let store = Store::options().create(true).max_payload(limits::MAX_PAYLOAD).open(&store_dir)?;
    let mut folders: BTreeMap<String, Tally> = BTreeMap::new();
    let mut ids = HashMap::new();
    for source in &sources {
        let begun = Instant::now();
        let bytes = source.read()?;
        let tally = folders.entry(source.folder()).or_default();
        tally.files += 1;
        for plan in plan_sessions(source, &bytes) {
            if let Some(other) = ids.insert(plan.id.clone(), &source.path) {
                let (a, b) = (other.display(), source.path.display());
                return Err(format!("{a} and {b} both give the session {:?}", plan.id).into());
            }
            tally.sessions += 1;
            tally.messages += plan.lines.len() as u64;
            tally.bytes += plan.bytes();
            let done = import(&store, source, &plan)?;
            tally.skipped += u64::from(done == Done::Skipped);
            tally.continued += u64::from(done == Done::Continued);
            progress.step(&plan);
        }
        tally.time += begun.elapsed();
    }
    store.close()?;
    let imported_in = started.elapsed();
    progress.end("imported", imported_in);

    // What a new opening finds, as a listing tells it.
    let store = Store::options().open(&store_dir)?;
    let stats = store.stats()?;
    let listing = store.sessions()?;
    for (path, e) in &listing.unreadable {
        eprintln!("import: unreadable: {}: {e}", path.display());
    }
    let mut faults =
        Vec::from_iter(listing.unreadable.iter().map(|(path, e)| format!("{}: {e}", path.display())));
    for info in listing.sessions.iter().filter(|i| ids.contains_key(i.id.as_str())) {
        let lines = info.attributes.get("import").and_then(|i| i.get("lines")).and_then(Value::as_u64);
        if lines != Some(info.total_messages) || info.message_count != info.total_messages.min(KEEP) {
            faults.push(format!(
                "{}: the listing says {} messages, {} live, attributes say {lines:?}",
                info.id, info.total_messages, info.message_count
            ));
        }
    }
    let listed: HashSet<_> = listing.sessions.iter().map(|i| i.id.as_str()).collect();
    faults
        .extend(ids.keys().filter(|id| !listed.contains(id.as_str())).map(|id| format!("{id}: not listed")));
    store.close()?;

    let started = Instant::now();
    let verdict = verify_in_second_process(&args.sources, &store_dir)?;
    let verified_in = started.elapsed();
    faults.extend(verdict.faults.iter().cloned());

    let mut total = Tally::default();
    folders.values().for_each(|t| total.add(t));
    if verdict.messages != total.messages || verdict.bytes != total.bytes {
        faults.push(format!(
            "the second process compared {} messages, {} bytes; the import had {} and {}",
            verdict.messages, verdict.bytes, total.messages, total.bytes
        ));
    }
    for fault in &faults {
        eprintln!("import: MISMATCH: {fault}");
    }
    let ok = faults.is_empty();
    if args.json {
        println!(
            "{}",
            json!({
                "ok": ok,
                "mismatches": faults,
                "files": total.files,
                "sessions": total.sessions,
                "skipped": total.skipped,
                "continued": total.continued,
                "messages": total.messages,
                "bytes": total.bytes,
                "seconds": imported_in.as_secs_f64(),
                "verify_seconds": verified_in.as_secs_f64(),
                "archives": verdict.archives,
                "archived_messages": verdict.archived,
                "live_messages": verdict.live,
                "store_bytes": stats.bytes + stats.catalog_bytes,
                "store_allocated_bytes": stats.allocated_bytes,
                "segments": stats.segments,
            })
        );
        return Ok(ok);
    }
    print_table(&folders, &total);
    let rate = |bytes: u64, time: Duration| human(bytes as f64 / time.as_secs_f64().max(1e-9));
    println!();
    if total.skipped + total.continued > 0 {
        println!("  there already  {} sessions skipped, {} continued", total.skipped, total.continued);
    }
    println!(
        "  imported in    {:.2?} ({:.0} messages/s, {}/s), closing included",
        imported_in,
        total.messages as f64 / imported_in.as_secs_f64().max(1e-9),
        rate(total.bytes, imported_in)
    );
    println!(
        "  store size     {} in {} segments, {} allocated ({:.2} x the payload)",
        human((stats.bytes + stats.catalog_bytes) as f64),
        stats.segments,
        human(stats.allocated_bytes as f64),
        stats.allocated_bytes as f64 / total.bytes.max(1) as f64
    );
    println!(
        "  archives       {} with {} messages; {} messages live",
        verdict.archives, verdict.archived, verdict.live
    );
    println!(
        "  second process {} messages read and compared in {:.2?} ({}/s)",
        verdict.messages,
        verified_in,
        rate(verdict.bytes, verified_in)
    );
    if ok {
        println!("  verdict        OK: every byte came back, and counts, archives and attributes agree");
    } else {
        println!("  verdict        FAILED: {} mismatches, see above", faults.len());
    }
    Ok(ok)
}

// ---------------------------------------------------------------------------------------------------------
// Sources

/// One transcript file, and the name it goes by.
struct Source {
    path: PathBuf,
    id: String,
    len: u64,
}

impl Source {
    fn read(&self) -> Result<Vec<u8>> {
        fs::read(&self.path).map_err(|e| format!("cannot read {}: {e}", self.path.display()).into())
    }

    /// The first part of its path: one row of the table.
    fn folder(&self) -> String {
        self.id.split_once('/').map_or("(files)", |(folder, _)| folder).to_owned()
    }
}

fn find_sources(given: &[PathBuf]) -> Result<Vec<Source>> {
    let mut found = Vec::new();
    for path in given {
        let kind = fs::metadata(path).map_err(|e| format!("cannot look at {}: {e}", path.display()))?;
        if kind.is_dir() {
            walk(path, path, &mut found)?;
        } else {
            let name = path.file_name().ok_or_else(|| format!("{} is no file", path.display()))?;
            found.push(Source { path: path.clone(), id: name_of(Path::new(name))?, len: kind.len() });
        }
    }
    if found.is_empty() {
        return Err("no *.jsonl files there".into());
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

fn walk(root: &Path, dir: &Path, found: &mut Vec<Source>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(|e| format!("cannot list {}: {e}", dir.display()))? {
        let entry = entry?;
        let path = entry.path();
        // Links to directories are not followed: they may lead in a circle.
        if entry.file_type()?.is_dir() {
            walk(root, &path, found)?;
        } else if path.extension().is_some_and(|e| e == "jsonl") && path.is_file() {
            let id = name_of(path.strip_prefix(root)?)?;
            found.push(Source { len: fs::metadata(&path)?.len(), path, id });
        }
    }
    Ok(())
}

/// The parts of a relative path with slashes between them, on every system.
fn name_of(path: &Path) -> Result<String> {
    let parts: Option<Vec<_>> = path.components().map(|c| c.as_os_str().to_str()).collect();
    parts
        .map(|p| p.join("/"))
        .ok_or_else(|| format!("{} is no UTF-8, and a session id must be", path.display()).into())
}

/// What one session is to hold.
struct Plan<'a> {
    id: String,
    lines: Vec<Line<'a>>,
}

struct Line<'a> {
    bytes: &'a [u8],
    tag: Option<String>,
    turn_start: bool,
}

impl Plan<'_> {
    fn bytes(&self) -> u64 {
        self.lines.iter().map(|l| l.bytes.len() as u64).sum()
    }

    fn digest(&self) -> String {
        let mut hash = Xxh3::new();
        for line in &self.lines {
            hash.update(line.bytes);
            hash.update(b"\n");
        }
        format!("xxh3-128:{:032x}", hash.digest128())
    }
}

/// The sessions of one file: itself, or one for each value of `session`, in order of first appearance.
fn plan_sessions<'a>(source: &Source, bytes: &'a [u8]) -> Vec<Plan<'a>> {
    let mut lines = Vec::new();
    let mut owners = Vec::new();
    // At line feeds alone: a carriage return, U+2028 and the like belong to the line.
    for bytes in bytes.split_inclusive(|b| *b == b'\n') {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let peek: Peek = serde_json::from_slice(bytes).unwrap_or_default();
        let inner = peek.message.as_deref();
        let role = inner.and_then(|m| m.role.clone()).or(peek.role);
        owners.push(inner.and(peek.session));
        let turn_start = role.as_deref() == Some("user");
        let tag = role.or(peek.kind).filter(|t| !t.is_empty() && t.len() <= limits::MAX_LABEL);
        lines.push(Line { bytes, tag, turn_start });
    }
    if lines.is_empty() || owners.iter().any(Option::is_none) {
        return vec![Plan { id: source.id.clone(), lines }];
    }
    let mut plans: Vec<Plan<'_>> = Vec::new();
    let mut places = HashMap::new();
    for (line, owner) in lines.into_iter().zip(owners.into_iter().flatten()) {
        let at = *places.entry(owner).or_insert_with_key(|owner| {
            plans.push(Plan { id: format!("{}#{owner}", source.id), lines: Vec::new() });
            plans.len() - 1
        });
        if let Some(plan) = plans.get_mut(at) {
            plan.lines.push(line);
        }
    }
    plans
}

/// What can be told of a line without taking it apart: a few fields of the first level, and the `role` of the
/// message in it. Whatever has another shape is passed over.
#[derive(Default)]
struct Peek {
    text: Option<String>,
    session: Option<String>,
    role: Option<String>,
    kind: Option<String>,
    message: Option<Box<Peek>>,
}

impl<'de> Deserialize<'de> for Peek {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Peek, D::Error> {
        struct Anything;
        impl<'de> Visitor<'de> for Anything {
            type Value = Peek;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_str<E>(self, text: &str) -> Result<Peek, E> {
                // A label is short; of a long text nobody wants a copy.
                let text = (text.len() <= limits::MAX_SESSION_ID).then(|| text.to_owned());
                Ok(Peek { text, ..Peek::default() })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Peek, A::Error> {
                let mut peek = Peek::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "session" => peek.session = map.next_value::<Peek>()?.text,
                        "role" => peek.role = map.next_value::<Peek>()?.text,
                        "type" | "kind" if peek.kind.is_none() => peek.kind = map.next_value::<Peek>()?.text,
                        "message" | "payload" => peek.message = Some(Box::new(map.next_value()?)),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(peek)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Peek, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Peek::default())
            }
            fn visit_bool<E>(self, _: bool) -> Result<Peek, E> {
                Ok(Peek::default())
            }
            fn visit_i64<E>(self, _: i64) -> Result<Peek, E> {
                Ok(Peek::default())
            }
            fn visit_u64<E>(self, _: u64) -> Result<Peek, E> {
                Ok(Peek::default())
            }
            fn visit_f64<E>(self, _: f64) -> Result<Peek, E> {
                Ok(Peek::default())
            }
            fn visit_unit<E>(self) -> Result<Peek, E> {
                Ok(Peek::default())
            }
        }
        deserializer.deserialize_any(Anything)
    }
}

/// A rough estimate: four bytes to the token.
fn tokens(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len() / 4).unwrap_or(u32::MAX)
}

// ---------------------------------------------------------------------------------------------------------
// Import

#[derive(PartialEq)]
enum Done {
    New,
    Continued,
    Skipped,
}

fn import(store: &Store, source: &Source, plan: &Plan<'_>) -> Result<Done> {
    let of = |e: sessionlog::Error| format!("{:?}: {e}", plan.id);
    let lines = plan.lines.len() as u64;
    let digest = plan.digest();
    let (session, existed) = match store.open_session(&plan.id) {
        Ok(session) => (session, true),
        Err(e) if e.kind() == ErrorKind::NotFound => (store.create_session(&plan.id).map_err(of)?, false),
        Err(e) => return Err(of(e).into()),
    };
    let known = session.attributes().map_err(of)?.remove("import").unwrap_or_default();
    let same = known.get("digest").and_then(Value::as_str) == Some(digest.as_str());
    if same && known.get("done") == Some(&Value::Bool(true)) {
        return Ok(Done::Skipped);
    }
    let mut next = if existed { session.info().map_err(of)?.live.end } else { 0 };
    if next > 0 && !same {
        // The source has other lines than when it was imported. If it only grew, the import goes on.
        check_prefix(&session, plan, next)?;
    }

    let about = |done: bool| {
        json!({"import": {
            "source": source.path.display().to_string(), "lines": lines, "digest": digest, "done": done,
        }})
    };
    while let Some(rest) = plan.lines.get(next as usize..).filter(|rest| !rest.is_empty()) {
        let mut bytes = 0;
        let fits = |line: &&Line<'_>| {
            let first = bytes == 0;
            bytes += line.bytes.len() + 1;
            first || bytes <= BATCH_BYTES
        };
        let mut batch: Batch<'_> = rest.iter().take(BATCH_LINES).take_while(fits).map(message).collect();
        if !same {
            // With the first messages, in the same commit: whoever finds those knows where they come from.
            batch = batch.attributes(about(false));
        }
        // Should anybody else append to this session, the import must not go on blindly.
        let options = AppendOptions::new().expect_next(next);
        next = session.append_batch_with(&batch, &options).map_err(of)?.seqs.end;
    }
    if lines > 0 {
        session.archive(Keep::Messages(KEEP)).map_err(of)?;
    }
    session.patch_attributes(&about(true)).map_err(of)?;
    Ok(if existed { Done::Continued } else { Done::New })
}

fn message<'a>(line: &'a Line<'_>) -> NewMessage<'a> {
    let mut message = NewMessage::from(line.bytes).tokens(tokens(line.bytes));
    if let Some(tag) = &line.tag {
        message = message.tag(tag);
    }
    if line.turn_start { message.turn_start() } else { message }
}

fn check_prefix(session: &Session, plan: &Plan<'_>, next: u64) -> Result<()> {
    let mut stored = Vec::new();
    for archive in session.archives()? {
        stored.extend(session.archived(archive.number)?);
    }
    stored.extend(session.load()?);
    let same = stored.len() as u64 == next
        && plan.lines.len() >= stored.len()
        && stored.iter().zip(&plan.lines).all(|(m, l)| m.as_ref().is_ok_and(|m| m.payload() == l.bytes));
    if same {
        return Ok(());
    }
    Err(format!(
        "{:?} is in the store with other content than the source has; choose another --store",
        plan.id
    )
    .into())
}

// ---------------------------------------------------------------------------------------------------------
// Verification, in a process of its own

#[derive(Default)]
struct Verdict {
    messages: u64,
    bytes: u64,
    archives: u64,
    archived: u64,
    live: u64,
    faults: Vec<String>,
}

fn verify_in_second_process(sources: &[PathBuf], store: &Path) -> Result<Verdict> {
    let output = Command::new(std::env::current_exe()?)
        .arg("--verify")
        .arg("--store")
        .arg(store)
        .args(sources)
        .stderr(Stdio::inherit())
        .output()?;
    let answer: Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("the second process ended without an answer: {}", output.status))?;
    let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
    let faults = answer.get("faults").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut verdict = Verdict {
        messages: number("messages"),
        bytes: number("bytes"),
        archives: number("archives"),
        archived: number("archived"),
        live: number("live"),
        faults: faults.iter().filter_map(|f| f.as_str().map(str::to_owned)).collect(),
    };
    if !output.status.success() && verdict.faults.is_empty() {
        verdict.faults.push(format!("the second process failed: {}", output.status));
    }
    Ok(verdict)
}

fn verify(store_dir: &Path, sources: &[Source]) -> Result<bool> {
    let store = Store::options().read_only(true).max_payload(limits::MAX_PAYLOAD).open(store_dir)?;
    let mut v = Verdict::default();
    for source in sources {
        let bytes = source.read()?;
        for plan in plan_sessions(source, &bytes) {
            if let Err(e) = verify_session(&store, source, &plan, &mut v) {
                v.faults.push(format!("{}: {e}", plan.id));
            }
        }
    }
    println!(
        "{}",
        json!({
            "messages": v.messages, "bytes": v.bytes, "archives": v.archives, "archived": v.archived,
            "live": v.live, "faults": v.faults,
        })
    );
    Ok(v.faults.is_empty())
}

/// Archives in order, then the live range: together they must be the source, line for line.
fn verify_session(store: &Store, source: &Source, plan: &Plan<'_>, v: &mut Verdict) -> Result<()> {
    let reader = store.reader(&plan.id)?;
    let mut next = 0u64;
    let mut compare = |messages: sessionlog::Messages| -> Result<u64> {
        let first = next;
        for message in messages {
            let message = message?;
            let line = usize::try_from(next).ok().and_then(|i| plan.lines.get(i));
            let line =
                line.ok_or_else(|| format!("more than the {} lines of the source", plan.lines.len()))?;
            if message.payload() != line.bytes {
                return Err(format!("line {} came back changed", next + 1).into());
            }
            let header = (message.seq(), message.tag(), message.tokens(), message.is_turn_start());
            if header != (next, line.tag.as_deref(), Some(tokens(line.bytes)), line.turn_start) {
                return Err(format!("line {} came back with another header: {message:?}", next + 1).into());
            }
            v.bytes += line.bytes.len() as u64;
            next += 1;
        }
        Ok(next - first)
    };
    let archives = reader.archives()?;
    let mut archived = 0;
    for archive in &archives {
        let count = compare(reader.archived(archive.number)?)?;
        if archive.seqs != (archived..archived + count) {
            return Err(format!(
                "archive {} says {:?}, and has {count} messages",
                archive.number, archive.seqs
            )
            .into());
        }
        archived += count;
    }
    let live = compare(reader.load()?)?;
    let lines = plan.lines.len() as u64;
    if next != lines {
        return Err(format!("{next} messages came back of {lines} lines").into());
    }
    let info = reader.info()?;
    if (live, info.message_count) != (lines.min(KEEP), lines.min(KEEP)) {
        return Err(format!("{live} messages are live, message_count is {}", info.message_count).into());
    }
    let sums = (info.live.clone(), info.total_messages, info.total_bytes, info.archives);
    if sums != (archived..lines, lines, plan.bytes(), archives.len() as u64) {
        return Err(format!("the summary does not agree: {info:?}").into());
    }
    let about = json!({
        "source": source.path.display().to_string(), "lines": lines, "digest": plan.digest(), "done": true,
    });
    let kept = reader.attributes()?.remove("import").unwrap_or_default();
    // Where the source lies may have changed since; what is in it may not.
    for key in ["lines", "digest", "done"] {
        if kept.get(key) != about.get(key) {
            return Err(format!("the attributes came back as {kept}, not {about}").into());
        }
    }
    if reader.report().has_damage() {
        return Err(format!("{:?}", reader.report().findings).into());
    }
    v.messages += lines;
    v.archives += archives.len() as u64;
    v.archived += archived;
    v.live += live;
    Ok(())
}

// ---------------------------------------------------------------------------------------------------------
// What the user sees

#[derive(Default)]
struct Tally {
    files: u64,
    sessions: u64,
    messages: u64,
    bytes: u64,
    skipped: u64,
    continued: u64,
    time: Duration,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.files += other.files;
        self.sessions += other.sessions;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.skipped += other.skipped;
        self.continued += other.continued;
        self.time += other.time;
    }
}

fn print_table(folders: &BTreeMap<String, Tally>, total: &Tally) {
    let width = folders.keys().map(|k| k.chars().count()).max().unwrap_or(0).max(5);
    let mut out = String::new();
    let heads = ("files", "sessions", "messages", "bytes", "time", "messages/s", "rate");
    let _ = writeln!(
        out,
        "{:width$}  {:>5}  {:>8}  {:>8}  {:>10}  {:>9}  {:>10}  {:>11}",
        "", heads.0, heads.1, heads.2, heads.3, heads.4, heads.5, heads.6
    );
    for (name, t) in folders.iter().map(|(n, t)| (n.as_str(), t)).chain([("total", total)]) {
        let seconds = t.time.as_secs_f64().max(1e-9);
        let _ = writeln!(
            out,
            "{name:width$}  {:>5}  {:>8}  {:>8}  {:>10}  {:>9}  {:>10.0}  {:>11}",
            t.files,
            t.sessions,
            t.messages,
            t.bytes,
            format!("{:.1} ms", seconds * 1e3),
            t.messages as f64 / seconds,
            format!("{}/s", human(t.bytes as f64 / seconds)),
        );
    }
    print!("{out}");
}

fn human(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{value:.0} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} GiB")
}

/// On a terminal one line that moves; elsewhere a line now and then.
struct Progress {
    terminal: bool,
    total: u64,
    done: u64,
    sessions: u64,
    shown: Instant,
}

impl Progress {
    fn new(sources: &[Source]) -> Progress {
        let total = sources.iter().map(|s| s.len).sum();
        let terminal = std::io::stderr().is_terminal();
        if !terminal {
            eprintln!("importing {} files, {}", sources.len(), human(total as f64));
        }
        Progress { terminal, total, done: 0, sessions: 0, shown: Instant::now() }
    }

    fn step(&mut self, plan: &Plan<'_>) {
        self.sessions += 1;
        self.done += plan.bytes() + plan.lines.len() as u64;
        let pause = Duration::from_millis(if self.terminal { 50 } else { 5_000 });
        if self.shown.elapsed() >= pause {
            self.shown = Instant::now();
            self.show();
        }
    }

    fn show(&self) {
        let percent = self.done.min(self.total) * 100 / self.total.max(1);
        let (done, total) = (human(self.done as f64), human(self.total as f64));
        let line = format!("{percent:3} %  {done} of {total}, {} sessions", self.sessions);
        if self.terminal {
            eprint!("\r{line:<70}");
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }

    fn end(&self, what: &str, time: Duration) {
        let line = format!("{what} {} sessions, {} in {time:.2?}", self.sessions, human(self.done as f64));
        if self.terminal { eprintln!("\r{line:<70}") } else { eprintln!("{line}") }
    }
}

// ---------------------------------------------------------------------------------------------------------
// Transcripts for those who have none

mod synthetic {
    use std::fs;
    use std::path::Path;

    use serde_json::json;

    /// Numbers that look random and are the same everywhere.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % n.max(1)
        }

        fn text(&mut self, words: u64) -> String {
            const WORDS: [&str; 16] = [
                "the",
                "flight",
                "file",
                "größe",
                "naïve",
                "日本語",
                "🦀",
                "\u{2028}",
                "\u{2029}",
                "line\nbreak",
                "\"quoted\"",
                "\\",
                "tab\t",
                "e\u{301}",
                "\u{feff}",
                "zero\u{0}",
            ];
            let pick =
                |n: &mut Numbers| WORDS.get(n.below(WORDS.len() as u64) as usize).copied().unwrap_or("");
            (0..words).map(|_| pick(self)).collect::<Vec<_>>().join(" ")
        }

        fn message(&mut self, i: u64) -> serde_json::Value {
            let words = 1 + self.below(60);
            match i % 4 {
                0 => json!({"role": "user", "content": self.text(words)}),
                1 => json!({"role": "assistant", "content": null, "tool_calls": [
                    {"id": format!("call_{i}"), "function": {"name": "search", "arguments": self.text(5)}}]}),
                2 => {
                    json!({"role": "tool", "tool_call_id": format!("call_{}", i - 1), "content": self.text(words * 4)})
                }
                _ => json!({"role": "assistant", "content": self.text(words)}),
            }
        }
    }

    pub(crate) fn write(dir: &Path) -> std::io::Result<()> {
        let mut n = Numbers(42);
        fs::create_dir_all(dir.join("chats"))?;
        fs::create_dir_all(dir.join("agents/sub"))?;
        for i in 0..30 {
            // From a single message to some hundreds.
            let count = 1 + n.below(4 << (i % 8));
            let lines: String = (0..count).map(|m| format!("{}\n", n.message(m))).collect();
            fs::write(dir.join(format!("chats/{i:02}.jsonl")), lines)?;
        }
        let typed = |n: &mut Numbers, i: u64| {
            let message = n.message(i);
            json!({"type": message["role"], "uuid": format!("{i:08x}"), "message": message})
        };
        // U+2028 as itself inside a line, line ends as Windows writes them, and a last line without any.
        let lines: String = (0..50).map(|i| format!("{}\r\n", typed(&mut n, i))).collect();
        fs::write(dir.join("agents/windows.jsonl"), lines)?;
        fs::write(
            dir.join("agents/sub/unfinished.jsonl"),
            "{\"role\":\"user\",\"content\":\"a\u{2028}b\"}\n{\"role\":\"assis",
        )?;
        fs::write(dir.join("agents/empty.jsonl"), "")?;
        fs::write(dir.join("agents/blank lines.jsonl"), "\n\n{\"type\":\"summary\"}\n\n")?;
        let mut lines: String = (0..25).map(|i| format!("{}\n", typed(&mut n, i))).collect();
        lines += &format!("{}\n", json!({"role": "tool", "content": "x".repeat(1_000_000)}));
        lines += &format!("{}\n", typed(&mut n, 4));
        fs::write(dir.join("agents/sub/large.jsonl"), lines)?;
        let lines: String = (0..3_000).map(|i| format!("{{\"type\":\"delta\",\"n\":{i}}}\n")).collect();
        fs::write(dir.join("agents/deltas.jsonl"), lines)?;
        // Many sessions in one file, their lines mixed.
        let lines: String = (0..200)
            .map(|i| {
                format!(
                    "{}\n",
                    json!({"session": format!("task-{}", i % 7), "seq": i / 7, "message": n.message(i)})
                )
            })
            .collect();
        fs::write(dir.join("benchmark.jsonl"), lines)
    }
}
