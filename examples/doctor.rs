//! Looks after a store: finds damage, repairs what can be repaired, and shows what stands in a segment.
//!
//! ```text
//! cargo run --release --example doctor -- check <store> [--json] [--session <id>]
//! cargo run --release --example doctor -- repair <store> [--dry-run] [--json] [--session <id>]
//! cargo run --release --example doctor -- dump <segment file>
//! ```
//!
//! Exit code 0: all is well, or is now. 1: something was found (infos are nothing), or is left after the repair; of a
//! dry run: there is something to do. 2: it could not be done.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks to its user")]

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sessionlog::doctor::{self, CheckOptions, Checkup, Repair, RepairOptions};

const USAGE: &str = "usage: doctor check <store> [--json] [--session <id>]
       doctor repair <store> [--dry-run] [--json] [--session <id>]
       doctor dump <segment file>";

struct Args {
    verb: String,
    path: PathBuf,
    session: Option<String>,
    json: bool,
    dry_run: bool,
}

fn args() -> Result<Args, Box<dyn Error>> {
    let (mut words, mut session, mut json, mut dry_run) = (Vec::new(), None, false, false);
    let mut rest = std::env::args_os().skip(1);
    while let Some(arg) = rest.next() {
        match arg.to_str() {
            Some("--json") => json = true,
            Some("--dry-run") => dry_run = true,
            Some("--session") => {
                let id = rest.next().and_then(|id| id.into_string().ok());
                session = Some(id.ok_or("--session needs an id")?);
            }
            Some(flag) if flag.starts_with("--") => {
                return Err(format!("unknown option {flag}\n{USAGE}").into());
            }
            _ => words.push(arg),
        }
    }
    let [verb, path] = words.try_into().map_err(|_| USAGE)?;
    let verb = verb.into_string().map_err(|_| USAGE)?;
    Ok(Args { verb, path: path.into(), session, json, dry_run })
}

fn main() -> ExitCode {
    if std::env::args_os().skip(1).any(|arg| arg == "--help" || arg == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match args().and_then(|args| run(&args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("doctor: {e}");
            ExitCode::from(2)
        }
    }
}

/// True if all is well.
fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    match args.verb.as_str() {
        "check" => {
            let checkup = check(&args.path, args)?;
            if args.json {
                println!("{}", serde_json::to_string_pretty(&checkup)?);
            } else {
                show_check(&checkup);
            }
            Ok(checkup.is_well())
        }
        "repair" => {
            let mut options = RepairOptions::new().dry_run(args.dry_run);
            if let Some(id) = &args.session {
                options = options.session(id)?;
            }
            let repair = doctor::repair(&args.path, &options)?;
            if args.json {
                println!("{}", serde_json::to_string_pretty(&repair)?);
            } else {
                show_repair(&repair);
            }
            Ok(match args.dry_run {
                true => repair.steps.is_empty() && repair.skipped.is_empty(),
                false => check(&args.path, args)?.is_well(),
            })
        }
        "dump" => {
            let mut text = Vec::new();
            doctor::dump(&args.path, &CheckOptions::new(), &mut text)?;
            match io::stdout().write_all(&text) {
                // Whoever reads has seen enough.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
                done => done?,
            }
            Ok(true)
        }
        _ => Err(USAGE.into()),
    }
}

fn check(path: &Path, args: &Args) -> sessionlog::Result<Checkup> {
    let mut options = CheckOptions::new();
    if let Some(id) = &args.session {
        options = options.session(id)?;
    }
    doctor::check(path, &options)
}

fn show_check(checkup: &Checkup) {
    for finding in &checkup.findings {
        println!("{:7} {finding}\n        -> {}", finding.severity, finding.remedy);
    }
    println!(
        "{} findings in {} sessions, {} segments, {} bytes: {}",
        checkup.findings.len(),
        checkup.sessions,
        checkup.segments,
        checkup.bytes,
        match (checkup.is_well(), checkup.has_damage()) {
            (true, _) => "all is well",
            (_, true) => "there is damage",
            _ => "nothing is lost, but look at the warnings",
        }
    );
}

fn show_repair(repair: &Repair) {
    for step in &repair.steps {
        println!("{}{step}", if repair.dry_run { "would " } else { "" });
    }
    for left in &repair.skipped {
        println!("left alone: {}: {}", left.file, left.why);
    }
    println!("{} steps, {} left alone", repair.steps.len(), repair.skipped.len());
}
