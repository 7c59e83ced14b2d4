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

mod session;
mod show;
mod sources;
mod synthetic;
mod verify;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sessionlog::{Store, limits};

use session::{Done, import};
use show::{Progress, Tally, human, print_table};
use sources::{find_sources, plan_sessions};
use verify::{verify, verify_in_second_process};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// How many messages of each session stay live.
const KEEP: u64 = 20;

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
            if done != Done::Skipped {
                tally.new_messages += plan.lines.len() as u64;
                tally.new_bytes += plan.bytes();
            }
            tally.continued += u64::from(done == Done::Continued);
            progress.step(&plan);
        }
        tally.time += begun.elapsed();
    }
    store.close()?;
    let imported_in = started.elapsed();
    let mut total = Tally::default();
    folders.values().for_each(|t| total.add(t));
    progress.end(&total, imported_in);

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
                "imported_messages": total.new_messages,
                "imported_bytes": total.new_bytes,
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
    if total.new_messages > 0 {
        println!(
            "  imported in    {:.2?} ({:.0} messages/s, {}/s), closing included",
            imported_in,
            total.new_messages as f64 / imported_in.as_secs_f64().max(1e-9),
            rate(total.new_bytes, imported_in)
        );
    }
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
