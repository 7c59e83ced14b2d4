//! sessionlog beside what else a session could be kept in: the same work for all, in turns.
//!
//! ```text
//! cargo run --release --manifest-path benches/compare/Cargo.toml -- [--quick] [--only <row>]... [--peer <name>]...
//!     [--dir <dir>] [--json] [--growth]
//! ```
//!
//! Without `--only` and `--peer` a table and a plot are written into `results/` beside the manifest, `quick.*` or
//! `full.*`. `--only` and `--peer` may be given several times. `<dir>` is where the stores are, by default under
//! `target/`: it must be a real disk, for syncs cost nothing in memory. With `--json` the numbers go to the standard
//! output as one object, and all else to the standard error.
//!
//! With `--growth` it measures the store alone instead: what an op costs while the session and the store grow, written
//! into `results/growth.*` (`growth-quick.*`).
//!
//! Each peer is a feature of the package (all are on by default): `--no-default-features --features sqlite,jsonl`,
//! say, on a machine that cannot build the others.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

#[cfg(not(unix))]
compile_error!("the comparison kills processes and counts blocks: it needs Unix");

mod growth;
mod payload;
mod peers;
#[path = "../../raw/mod.rs"]
#[allow(dead_code, reason = "the reads of the floor are others here: they compare what they read")]
mod raw;
mod report;
mod rows;
mod svg;
mod turns;

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use peers::{Kind, OTHERS};
use rows::{GROUPS, Plan, Row};

pub(crate) type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// What was asked for on the command line.
#[derive(Default)]
struct Arguments {
    quick: bool,
    json: bool,
    growth: bool,
    dir: Option<PathBuf>,
    only: Vec<String>,
    peers: Vec<String>,
    help: bool,
}

const USAGE: &str = "usage: [--quick] [--only <row>]... [--peer <name>]... [--dir <dir>] [--json] [--growth]";

impl Arguments {
    fn parse(mut from: impl Iterator<Item = String>) -> Result<Arguments> {
        let mut out = Arguments::default();
        while let Some(flag) = from.next() {
            let mut value = || from.next().ok_or(format!("{flag} needs a value; {USAGE}"));
            match flag.as_str() {
                "--quick" => out.quick = true,
                "--json" => out.json = true,
                "--growth" => out.growth = true,
                "--dir" => out.dir = Some(value()?.into()),
                "--only" => out.only.push(value()?),
                "--peer" => out.peers.push(value()?),
                "--help" | "-h" => out.help = true,
                _ => return Err(format!("{flag} is unknown; {USAGE}").into()),
            }
        }
        out.check()?;
        Ok(out)
    }

    fn check(&self) -> Result<()> {
        let keys: Vec<&str> = GROUPS.iter().flat_map(|g| g.keys.iter().copied()).collect();
        if let Some(row) = self.only.iter().find(|row| !keys.contains(&row.as_str())) {
            return Err(format!("there is no row {row}; there are {}", keys.join(", ")).into());
        }
        let names: Vec<&str> = OTHERS.iter().map(|k| k.name).collect();
        if let Some(peer) = self.peers.iter().find(|p| !names.iter().any(|n| n.eq_ignore_ascii_case(p))) {
            return Err(format!("there is no peer {peer}; there are {}", names.join(", ")).into());
        }
        Ok(())
    }

    fn kinds(&self) -> Vec<&'static Kind> {
        let wanted = |kind: &&Kind| {
            self.peers.is_empty() || self.peers.iter().any(|p| p.eq_ignore_ascii_case(kind.name))
        };
        OTHERS.iter().filter(wanted).collect()
    }

    /// True if a row or a peer was left out.
    fn is_part(&self) -> bool {
        !self.only.is_empty() || !self.peers.is_empty()
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut from = std::env::args().skip(1).peekable();
    if from.next_if_eq("--child").is_some() {
        // The process that a row kills: not for people.
        let (name, dir) = (from.next().ok_or(USAGE)?, from.next().ok_or(USAGE)?);
        return rows::child(&name, Path::new(&dir));
    }
    let arguments = Arguments::parse(from)?;
    if arguments.help {
        println!("{USAGE}");
        return Ok(());
    }
    allow_files();
    let begun = Instant::now();
    let dir = arguments.dir.clone().map_or_else(beside_the_program, Ok)?;
    fs::create_dir_all(&dir)?;
    let temp = tempfile::Builder::new().prefix("compare-").tempdir_in(&dir)?;
    if report::file_system(temp.path()) == "tmpfs" {
        return Err(
            "the directory is in memory, where syncs cost nothing: name one on a disk with --dir".into()
        );
    }
    let machine = report::machine(temp.path());
    if arguments.growth {
        let curves = growth::measure(temp.path(), arguments.quick)?;
        temp.close()?;
        let (name, how) =
            if arguments.quick { ("growth-quick", "A quick run") } else { ("growth", "A full run") };
        let footer = format!("Marks are medians over the turns, lines their quartiles. {how}: {machine}.");
        let table = growth::markdown(&curves, &machine, how);
        println!("{table}");
        write_to(name, &table, &svg::growth(&curves, &footer))?;
        println!("took {} s", begun.elapsed().as_secs());
        return Ok(());
    }
    let plan = Plan {
        dir: temp.path().to_owned(),
        quick: arguments.quick,
        kinds: arguments.kinds(),
        only: arguments.only.clone(),
    };
    let rows = measure(&plan)?;
    temp.close()?;

    if arguments.json {
        println!("{}", report::json(&rows, &machine));
        eprintln!("{}", report::sentence(&rows));
        return Ok(());
    }
    println!("\n{}", report::plain(&rows));
    if !arguments.is_part() {
        write_results(&rows, &machine, arguments.quick)?;
    }
    println!("took {} s", begun.elapsed().as_secs());
    println!("{}", report::sentence(&rows));
    Ok(())
}

/// All stores of a row are open at once, some with a file for each session: as many files as may be.
fn allow_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If it fails, a row that needs more files says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// `target/<profile>/compare`, wherever the target directory is.
fn beside_the_program() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().ok_or("the program has no directory")?.join("compare"))
}

/// Measures the rows that are wanted, and says which.
fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let groups: Vec<_> = GROUPS.iter().filter(|g| g.keys.iter().any(|key| plan.wants(key))).collect();
    let mut out = Vec::new();
    let mut progress = std::io::stderr();
    for (at, group) in groups.iter().enumerate() {
        let begun = Instant::now();
        write!(progress, "[{}/{}] {} ... ", at + 1, groups.len(), group.keys.join(" and "))?;
        progress.flush()?;
        let rows = (group.measure)(plan).map_err(|e| format!("{}: {e}", group.keys.join(" and ")))?;
        let turns = rows.iter().flat_map(|r| &r.measured).map(|m| m.values.len()).max().unwrap_or(0);
        writeln!(progress, "{turns} turns, {:.1} s", begun.elapsed().as_secs_f64())?;
        out.extend(rows);
    }
    Ok(out)
}

fn write_results(rows: &[Row], machine: &str, quick: bool) -> Result<()> {
    let (name, how) = if quick { ("quick", "A quick run") } else { ("full", "A full run") };
    let footer = format!("Marks are medians over the turns, lines their quartiles. {how}: {machine}.");
    write_to(name, &report::markdown(rows, machine, how), &svg::draw(rows, &footer))
}

/// A table and a plot, beside the manifest.
fn write_to(name: &str, table: &str, plot: &str) -> Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join(name).with_extension("md"), table)?;
    fs::write(dir.join(name).with_extension("svg"), plot)?;
    println!("written: results/{name}.md and results/{name}.svg, beside the manifest");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments> {
        Arguments::parse(words.iter().map(|w| (*w).to_owned()))
    }

    #[test]
    fn what_is_not_there_cannot_be_asked_for() {
        assert!(parse(&["--quick", "--only", "append", "--only", "tail"]).is_ok());
        assert!(parse(&["--only", "nothing"]).is_err());
        assert!(parse(&["--peer", "nobody"]).is_err());
        assert!(parse(&["--dir"]).is_err());
        assert!(parse(&["--fast"]).is_err());
    }

    #[test]
    fn a_part_is_not_taken_for_the_whole() {
        assert!(!parse(&["--quick"]).unwrap().is_part());
        assert!(parse(&["--only", "append"]).unwrap().is_part());
    }
}
