//! What the user sees.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use crate::sources::{Plan, Source};

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) files: u64,
    pub(crate) sessions: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Sessions that were there already.
    pub(crate) skipped: u64,
    pub(crate) continued: u64,
    /// Of the sessions that were not.
    pub(crate) new_messages: u64,
    pub(crate) new_bytes: u64,
    pub(crate) time: Duration,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Tally) {
        self.files += other.files;
        self.sessions += other.sessions;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.skipped += other.skipped;
        self.continued += other.continued;
        self.new_messages += other.new_messages;
        self.new_bytes += other.new_bytes;
        self.time += other.time;
    }
}

pub(crate) fn print_table(folders: &BTreeMap<String, Tally>, total: &Tally) {
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
            t.new_messages as f64 / seconds,
            format!("{}/s", human(t.new_bytes as f64 / seconds)),
        );
    }
    print!("{out}");
}

pub(crate) fn human(bytes: f64) -> String {
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
pub(crate) struct Progress {
    terminal: bool,
    total: u64,
    done: u64,
    sessions: u64,
    shown: Instant,
}

/// What was done, in a line.
fn ended(all: &Tally, time: Duration) -> String {
    let new = format!("{} sessions, {}", all.sessions - all.skipped, human(all.new_bytes as f64));
    let old = format!("{} sessions, {}", all.skipped, human((all.bytes - all.new_bytes) as f64));
    match (all.sessions - all.skipped, all.skipped) {
        (_, 0) => format!("imported {new} in {time:.2?}"),
        (0, _) => format!("skipped {old}, which were there already, in {time:.2?}"),
        _ => format!("imported {new} in {time:.2?}; skipped {old}, which were there already"),
    }
}

impl Progress {
    pub(crate) fn new(sources: &[Source]) -> Progress {
        let total = sources.iter().map(|s| s.len).sum();
        let terminal = std::io::stderr().is_terminal();
        if !terminal {
            eprintln!("importing {} files, {}", sources.len(), human(total as f64));
        }
        Progress { terminal, total, done: 0, sessions: 0, shown: Instant::now() }
    }

    pub(crate) fn step(&mut self, plan: &Plan<'_>) {
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

    pub(crate) fn end(&self, all: &Tally, time: Duration) {
        let line = ended(all, time);
        if self.terminal { eprintln!("\r{line:<70}") } else { eprintln!("{line}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_already_was_not_imported() {
        let all = Tally {
            sessions: 3,
            messages: 30,
            bytes: 300,
            new_messages: 30,
            new_bytes: 300,
            ..Tally::default()
        };
        let time = Duration::from_secs(2);
        assert_eq!(ended(&all, time), "imported 3 sessions, 300 B in 2.00s");
        let some = Tally { skipped: 1, new_messages: 20, new_bytes: 200, ..all };
        assert_eq!(
            ended(&some, time),
            "imported 2 sessions, 200 B in 2.00s; skipped 1 sessions, 100 B, which were there already"
        );
        let none = Tally { skipped: 3, new_messages: 0, new_bytes: 0, ..some };
        assert_eq!(ended(&none, time), "skipped 3 sessions, 300 B, which were there already, in 2.00s");
    }
}
