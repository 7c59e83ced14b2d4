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

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write as _;
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

fn parse(args: &[OsString]) -> Result<Args, Box<dyn Error>> {
    let (mut words, mut session, mut json, mut dry_run) = (Vec::new(), None, false, false);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.to_str() {
            Some("--json") => json = true,
            Some("--dry-run") => dry_run = true,
            Some("--session") => {
                let id = rest.next().and_then(|id| id.to_str());
                session = Some(id.ok_or("--session needs an id")?.to_owned());
            }
            Some(flag) if flag.starts_with("--") => {
                return Err(format!("unknown option {flag}\n{USAGE}").into());
            }
            _ => words.push(arg),
        }
    }
    let [verb, path] = words.try_into().map_err(|_| USAGE)?;
    let verb = verb.to_str().ok_or(USAGE)?.to_owned();
    Ok(Args { verb, path: path.into(), session, json, dry_run })
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    ExitCode::from(tool(&args, &mut io::stdout(), &mut io::stderr()))
}

/// Does what the arguments say; the exit code.
pub(crate) fn tool(args: &[OsString], out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let help = args.iter().any(|arg| arg == "--help" || arg == "-h");
    let done = match help {
        true => Ok((format!("{USAGE}\n"), true)),
        false => parse(args).and_then(|args| run(&args)),
    };
    // All is done before anything is shown: whoever reads may go away meanwhile.
    let shown = done.and_then(|(text, well)| {
        show(&text, out)?;
        Ok(well)
    });
    match shown {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(e) => {
            // There is nowhere to say that this failed.
            let _ = show(&format!("doctor: {e}\n"), err);
            2
        }
    }
}

fn show(text: &str, out: &mut dyn Write) -> io::Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// What is to be shown, and whether all is well.
fn run(args: &Args) -> Result<(String, bool), Box<dyn Error>> {
    match args.verb.as_str() {
        "check" => {
            let checkup = check(&args.path, args)?;
            let text = match args.json {
                true => serde_json::to_string_pretty(&checkup)? + "\n",
                false => show_check(&checkup)?,
            };
            Ok((text, checkup.is_well()))
        }
        "repair" => {
            let mut options = RepairOptions::new().dry_run(args.dry_run);
            if let Some(id) = &args.session {
                options = options.session(id)?;
            }
            let repair = doctor::repair(&args.path, &options)?;
            let text = match args.json {
                true => serde_json::to_string_pretty(&repair)? + "\n",
                false => show_repair(&repair)?,
            };
            let well = match args.dry_run {
                true => repair.steps.is_empty() && repair.skipped.is_empty(),
                false => check(&args.path, args)?.is_well(),
            };
            Ok((text, well))
        }
        "dump" => {
            let mut text = Vec::new();
            doctor::dump(&args.path, &CheckOptions::new(), &mut text)?;
            Ok((String::from_utf8(text)?, true))
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

fn show_check(checkup: &Checkup) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    for finding in &checkup.findings {
        writeln!(text, "{:7} {finding}\n        -> {}", finding.severity, finding.remedy)?;
    }
    writeln!(
        text,
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
    )?;
    Ok(text)
}

fn show_repair(repair: &Repair) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    for step in &repair.steps {
        writeln!(text, "{}{step}", if repair.dry_run { "would " } else { "" })?;
    }
    for left in &repair.skipped {
        writeln!(text, "left alone: {}: {}", left.file, left.why)?;
    }
    writeln!(text, "{} steps, {} left alone", repair.steps.len(), repair.skipped.len())?;
    Ok(text)
}
