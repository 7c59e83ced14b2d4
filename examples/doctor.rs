//! Looks after a store: finds damage, repairs what can be repaired, and shows what stands in a segment.
//!
//! ```text
//! cargo run --release --example doctor -- check <store> [--json] [--session <id>]
//! cargo run --release --example doctor -- repair <store> [--dry-run] [--json] [--session <id>]
//! cargo run --release --example doctor -- dump <segment file>
//! ```
//!
//! Exit code 0: all is well, or is now. 1: something was found (infos are nothing), or is left after the repair; of a
//! dry run: there is something to do; of a dump: it is no segment, or not all of it is what was written. 2: it could not be done.
//!
//! With `--json` there is one object on standard output, whatever happens. If it could not be done, that has a field `error` and
//! no other. Else it has what was found or done, and a field `verdict`: `healthy`, `warnings` or `damaged`, of a repair what a check
//! behind it says; of a dry run `something-to-do` or `nothing-to-do`.

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use sessionlog::doctor::{self, CheckOptions, Checkup, Repair, RepairOptions};

const USAGE: &str = "usage: doctor check <store> [--json] [--session <id>]
       doctor repair <store> [--dry-run] [--json] [--session <id>]
       doctor dump <segment file>
exit code: 0 all is well, 1 something is not, or is to be done, 2 it could not be done
--json: one object with `verdict` (healthy, warnings, damaged; of a dry run something-to-do, nothing-to-do) or `error`
--: no option stands behind it";

/// The subcommands, and which options each has.
const VERBS: &[(&str, &[&str])] =
    &[("check", &["--json", "--session"]), ("repair", &["--json", "--session", "--dry-run"]), ("dump", &[])];

struct Args {
    verb: &'static str,
    path: PathBuf,
    session: Option<String>,
    json: bool,
    dry_run: bool,
}

/// `None` if help is wanted.
fn parse(args: &[OsString]) -> Result<Option<Args>, Box<dyn Error>> {
    let (mut words, mut options, mut session) = (Vec::new(), Vec::new(), None);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.to_str() {
            Some("--") => words.extend(rest.by_ref()),
            Some("--help" | "-h") => return Ok(None),
            Some(option) if option.starts_with("--") => {
                if option == "--session" {
                    let id = rest.next().and_then(|id| id.to_str());
                    session = Some(id.ok_or("--session needs an id")?.to_owned());
                }
                options.push(option);
            }
            _ => words.push(arg),
        }
    }
    let [verb, path] = words.try_into().map_err(|_| USAGE)?;
    let (verb, known) = VERBS.iter().find(|(name, _)| verb == name).ok_or(USAGE)?;
    if let Some(other) = options.iter().find(|o| !known.contains(o)) {
        return Err(format!("{verb} has no option {other}\n{USAGE}").into());
    }
    let (json, dry_run) = (options.contains(&"--json"), options.contains(&"--dry-run"));
    Ok(Some(Args { verb, path: path.into(), session, json, dry_run }))
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    ExitCode::from(tool(&args, &mut io::stdout(), &mut io::stderr()))
}

/// Does what the arguments say; the exit code.
pub(crate) fn tool(args: &[OsString], out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let json = args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json");
    let done = parse(args).and_then(|args| match args {
        None => Ok((format!("{USAGE}\n"), true)),
        Some(args) => run(&args),
    });
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
            let _ = match json {
                true => show(&format!("{:#}\n", serde_json::json!({ "error": e.to_string() })), out),
                false => show(&format!("doctor: {e}\n"), err),
            };
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
    match args.verb {
        "check" => {
            let checkup = check(args)?;
            let text = match args.json {
                true => json(verdict(&checkup), &checkup)?,
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
            let (verdict, well) = match args.dry_run {
                true if repair.steps.is_empty() && repair.skipped.is_empty() => ("nothing-to-do", true),
                true => ("something-to-do", false),
                false => check(args).map(|left| (verdict(&left), left.is_well()))?,
            };
            let text = match args.json {
                true => json(verdict, &repair)?,
                false => show_repair(&repair)?,
            };
            Ok((text, well))
        }
        _ => {
            let mut text = Vec::new();
            let good = doctor::dump(&args.path, &CheckOptions::new(), &mut text)?;
            Ok((String::from_utf8(text)?, good))
        }
    }
}

fn verdict(checkup: &Checkup) -> &'static str {
    match (checkup.is_well(), checkup.has_damage()) {
        (true, _) => "healthy",
        (_, true) => "damaged",
        _ => "warnings",
    }
}

/// The verdict beside the fields of what was found or done.
fn json(verdict: &str, told: &impl Serialize) -> Result<String, Box<dyn Error>> {
    #[derive(Serialize)]
    struct Told<'a, T> {
        verdict: &'a str,
        #[serde(flatten)]
        told: &'a T,
    }
    Ok(serde_json::to_string_pretty(&Told { verdict, told })? + "\n")
}

fn check(args: &Args) -> sessionlog::Result<Checkup> {
    let mut options = CheckOptions::new();
    if let Some(id) = &args.session {
        options = options.session(id)?;
    }
    doctor::check(&args.path, &options)
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
            _ if checkup.findings.iter().any(|f| f.code.may_be_loss()) =>
                "no damage was found, but something may be lost: look at the warnings",
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
    match (repair.steps.len(), repair.skipped.len()) {
        (0, 0) => writeln!(text, "nothing to repair")?,
        (steps, left) => writeln!(text, "{steps} steps, {left} left alone though something is wrong")?,
    }
    Ok(text)
}
