//! The lost clear, and why it cannot happen here.
//!
//! ```text
//! cargo run --release --example lost_clear
//! ```
//!
//! A runtime archives a conversation: the old messages go to an archive, the live log is cleared, a count
//! drops. If the process dies between these steps, what was archived may be back as live context at the next
//! start, or a repair that compares counts may drop a message too many.
//!
//! Here a child process does just that and kills itself (SIGKILL) at a chosen moment. The parent opens the store
//! again and looks: what is live must be one of the two states that existed, before the archive or after it,
//! message for message, and after it if the child was told that it happened. Then it goes on with the session,
//! opens it once more, and looks again: a heal must survive the next start. After the chosen moments it does the
//! same at every single operation on the disk, before it, in the middle of it and after it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example speaks to its reader")]

use std::any::Any;
use std::error::Error;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sessionlog::fs::{Access, Dir, DiskFs, Entry, File, Fs, Ident, Map, Medium, Space, Stat};
use sessionlog::{Batch, ErrorKind, Finding, Keep, Messages, Store};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const SESSION: &str = "chat:42";
/// So many messages are live before the archive.
const LIVE: u64 = 100;

/// What message `i` says.
fn text(i: u64) -> String {
    format!("message {i}: {}", "lorem ipsum ".repeat((i % 50) as usize))
}

/// A moment to die at.
struct Moment {
    name: &'static str,
    /// The op during which it happens.
    during: Step,
    /// The operation on the disk: the first one of this kind on a name that contains `file`.
    op: Op,
    file: &'static str,
    cut: Cut,
}

/// The steps of the child. Each is acknowledged on its standard output when it returned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Step {
    Archive,
    Truncate,
    Remove,
}

const STEPS: [Step; 3] = [Step::Archive, Step::Truncate, Step::Remove];

/// Operations that change something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    Write,
    Sync,
    SetLen,
    Create,
    Rename,
    RemoveFile,
    RemoveDir,
    SyncDir,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cut {
    Before,
    Half,
    After,
}

/// Named after what a reader of the design would ask for.
const MOMENTS: [Moment; 12] = [
    at("before the intent is written", Step::Archive, Op::Write, ".log", Cut::Before),
    at("half of the intent is written", Step::Archive, Op::Write, ".log", Cut::Half),
    at("the intent is written, not synced", Step::Archive, Op::Sync, ".log", Cut::Before),
    at("the intent is durable, nobody told", Step::Archive, Op::Sync, ".log", Cut::After),
    at("before the clear begins", Step::Truncate, Op::Create, ".log", Cut::Before),
    at("in the middle of the new segment", Step::Truncate, Op::Write, ".tmp", Cut::Half),
    at("the new segment has no name yet", Step::Truncate, Op::Rename, ".log", Cut::Before),
    at("it has a name, not yet durable", Step::Truncate, Op::Rename, ".log", Cut::After),
    at("the new segment is durable", Step::Truncate, Op::SyncDir, "", Cut::After),
    at("before the archive's removal", Step::Remove, Op::Write, ".log", Cut::Before),
    at("before the old segment goes", Step::Remove, Op::RemoveFile, ".log", Cut::Before),
    at("the old segment is gone", Step::Remove, Op::RemoveFile, ".log", Cut::After),
];

const fn at(name: &'static str, during: Step, op: Op, file: &'static str, cut: Cut) -> Moment {
    Moment { name, during, op, file, cut }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        [] => parent(),
        ["--child", dir, keep, trap] => child(Path::new(dir), keep, trap).map(|()| true),
        _ => Err("this example takes no arguments".into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("lost_clear: {e}");
            ExitCode::FAILURE
        }
    }
}

// ---------------------------------------------------------------------------------------------------------
// The child

/// Archives, truncates and removes the archive, until the trap closes.
fn child(dir: &Path, keep: &str, trap: &str) -> Result<()> {
    let fs = Arc::new(TrapFs { disk: DiskFs::new(), trap: Arc::new(Trap::parse(trap)?) });
    let trap = fs.trap.clone();
    let store = Store::options().create(true).fs(fs).open(dir)?;
    let session = store.session(SESSION)?;
    let batch: Batch<'_> = (0..LIVE).map(text).map(String::into_bytes).collect();
    session.append_batch(&batch)?;

    for step in STEPS {
        trap.arm(step);
        match step {
            Step::Archive => session.archive(keep_of(keep)?).map(|_| ())?,
            Step::Truncate => session.truncate()?,
            Step::Remove => session.remove_archive(1)?,
        }
        trap.disarm();
        // The parent holds us to it.
        println!("{step:?}");
        io::stdout().flush()?;
    }
    // The trap was never sprung: say how many operations there were.
    println!("operations {}", trap.count.load(Ordering::Acquire));
    die()
}

fn keep_of(text: &str) -> Result<Keep> {
    let n: u64 = text.parse()?;
    Ok(if n == 0 { Keep::Nothing } else { Keep::Messages(n) })
}

/// The process ends here and now: nothing is dropped, closed or flushed. What the kernel has, it keeps.
fn die() -> ! {
    #[cfg(unix)]
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

/// When to die: at the first operation that fits, or at the so-manieth of all.
struct Trap {
    moment: Option<(Step, Op, String)>,
    number: Option<usize>,
    cut: Cut,
    armed: AtomicBool,
    step: Mutex<Option<Step>>,
    count: AtomicUsize,
}

impl Trap {
    /// `m<moment>` or `n<number>:<cut>`.
    fn parse(text: &str) -> Result<Trap> {
        let mut trap = Trap {
            moment: None,
            number: None,
            cut: Cut::Before,
            armed: AtomicBool::new(false),
            step: Mutex::new(None),
            count: AtomicUsize::new(0),
        };
        if let Some(moment) = text.strip_prefix('m') {
            let moment = MOMENTS.get(moment.parse::<usize>()?).ok_or("no such moment")?;
            trap.moment = Some((moment.during, moment.op, moment.file.to_owned()));
            trap.cut = moment.cut;
        } else if let Some((number, cut)) = text.strip_prefix('n').and_then(|t| t.split_once(':')) {
            trap.number = Some(number.parse()?);
            trap.cut = match cut {
                "half" => Cut::Half,
                "after" => Cut::After,
                _ => Cut::Before,
            };
        }
        Ok(trap)
    }

    fn arm(&self, step: Step) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = Some(step);
        self.armed.store(true, Ordering::Release);
    }

    fn disarm(&self) {
        self.armed.store(false, Ordering::Release);
    }

    /// Every operation that changes the disk comes through here.
    fn pass<T>(
        &self,
        op: Op,
        name: &str,
        half: impl FnOnce() -> io::Result<()>,
        whole: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        if !self.armed.load(Ordering::Acquire) {
            return whole();
        }
        let number = self.count.fetch_add(1, Ordering::AcqRel);
        let step = *self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = self.number == Some(number)
            || self.moment.as_ref().is_some_and(|(during, kind, file)| {
                step == Some(*during) && op == *kind && name.contains(file.as_str())
            });
        if !fits {
            return whole();
        }
        match self.cut {
            Cut::Before => {}
            Cut::Half => half()?,
            Cut::After => drop(whole()?),
        }
        die()
    }
}

/// The real disk, with a trap in it.
#[derive(Clone)]
struct TrapFs {
    disk: DiskFs,
    trap: Arc<Trap>,
}

impl std::fmt::Debug for TrapFs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TrapFs")
    }
}

#[derive(Debug)]
struct TrapDir {
    inner: Arc<dyn Dir>,
    fs: TrapFs,
}

#[derive(Debug)]
struct TrapFile {
    inner: Arc<dyn File>,
    name: String,
    fs: TrapFs,
}

impl TrapFs {
    fn dir(&self, inner: Arc<dyn Dir>) -> Arc<dyn Dir> {
        Arc::new(TrapDir { inner, fs: self.clone() })
    }

    fn file(&self, name: &str, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(TrapFile { inner, name: name.to_owned(), fs: self.clone() })
    }
}

fn nothing() -> io::Result<()> {
    Ok(())
}

impl Fs for TrapFs {
    fn open_root(&self, path: &Path) -> io::Result<Arc<dyn Dir>> {
        Ok(self.dir(self.disk.open_root(path)?))
    }
    fn create_root(&self, path: &Path) -> io::Result<Arc<dyn Dir>> {
        Ok(self.dir(self.disk.create_root(path)?))
    }
    fn now(&self) -> u64 {
        self.disk.now()
    }
    fn random(&self, buf: &mut [u8]) -> io::Result<()> {
        self.disk.random(buf)
    }
    fn process(&self) -> u32 {
        self.disk.process()
    }
}

impl Dir for TrapDir {
    fn path(&self) -> &Path {
        self.inner.path()
    }
    fn ident(&self) -> io::Result<Ident> {
        self.inner.ident()
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        Ok(self.fs.file(name, self.inner.open(name, access)?))
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = self.fs.trap.pass(Op::Create, name, nothing, || self.inner.create(name))?;
        Ok(self.fs.file(name, file))
    }
    fn create_temp(&self, prefix: &str) -> io::Result<(String, Arc<dyn File>)> {
        let made = self.fs.trap.pass(Op::Create, prefix, nothing, || self.inner.create_temp(prefix));
        let (name, file) = made?;
        let file = self.fs.file(&name, file);
        Ok((name, file))
    }
    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Dir>> {
        Ok(self.fs.dir(self.inner.open_dir(name)?))
    }
    fn create_dir(&self, name: &str) -> io::Result<()> {
        self.fs.trap.pass(Op::Create, name, nothing, || self.inner.create_dir(name))
    }
    fn create_temp_dir(&self, prefix: &str) -> io::Result<String> {
        self.fs.trap.pass(Op::Create, prefix, nothing, || self.inner.create_temp_dir(prefix))
    }
    fn list(&self) -> io::Result<Vec<Entry>> {
        self.inner.list()
    }
    fn stat(&self, name: &str) -> io::Result<Stat> {
        self.inner.stat(name)
    }
    fn rename(&self, from: &str, to: &dyn Dir, name: &str) -> io::Result<()> {
        // The disk knows its own directories alone.
        let to = to.as_any().downcast_ref::<TrapDir>().map_or(to, |dir| &*dir.inner);
        self.fs.trap.pass(Op::Rename, name, nothing, || self.inner.rename(from, to, name))
    }
    fn remove_file(&self, name: &str) -> io::Result<()> {
        self.fs.trap.pass(Op::RemoveFile, name, nothing, || self.inner.remove_file(name))
    }
    fn remove_dir(&self, name: &str) -> io::Result<()> {
        self.fs.trap.pass(Op::RemoveDir, name, nothing, || self.inner.remove_dir(name))
    }
    fn sync(&self) -> io::Result<()> {
        self.fs.trap.pass(Op::SyncDir, "", nothing, || self.inner.sync())
    }
    fn space(&self) -> io::Result<Space> {
        self.inner.space()
    }
    fn medium(&self) -> io::Result<Medium> {
        self.inner.medium()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl File for TrapFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let half = || self.inner.write_at(buf.get(..buf.len() / 2).unwrap_or(buf), offset).map(drop);
        self.fs.trap.pass(Op::Write, &self.name, half, || self.inner.write_at(buf, offset))
    }
    fn sync(&self) -> io::Result<()> {
        self.fs.trap.pass(Op::Sync, &self.name, nothing, || self.inner.sync())
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fs.trap.pass(Op::SetLen, &self.name, nothing, || self.inner.set_len(len))
    }
    fn ident(&self) -> io::Result<Ident> {
        self.inner.ident()
    }
    fn try_lock(&self) -> io::Result<bool> {
        self.inner.try_lock()
    }
    fn unlock(&self) -> io::Result<()> {
        self.inner.unlock()
    }
    fn map(&self, len: usize) -> io::Result<Option<Map>> {
        self.inner.map(len)
    }
}

// ---------------------------------------------------------------------------------------------------------
// The parent

/// What the child got done, and what is there after it.
struct Seen {
    acknowledged: Vec<Step>,
    /// How many operations there were, if the child lived through them all.
    operations: Option<usize>,
    after: Found,
    findings: Vec<Finding>,
}

/// The session as a process finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    live: std::ops::Range<u64>,
    /// Whether archive 1 is there, with all its messages.
    archive: bool,
}

fn parent() -> Result<bool> {
    println!(
        "{LIVE} messages are live. A child process archives them and is killed; then we look what is live.\n"
    );
    println!(
        "{:<35} {:>4}  {:<10} {:<13} {:<10} {:<7} found at the next start",
        "the child dies", "keep", "live then", "acknowledged", "live now", "state"
    );
    let mut good = true;
    let (mut before, mut after) = (0, 0);
    for keep in [20, 0] {
        for (index, moment) in MOMENTS.iter().enumerate() {
            let checked = run(keep, &format!("m{index}")).and_then(|seen| {
                if seen.operations.is_some() {
                    return Err("the child lived: the moment never came".into());
                }
                Ok((judge(keep, &seen)?, seen))
            });
            match checked {
                Ok((state, seen)) => {
                    if state == "before" {
                        before += 1
                    } else {
                        after += 1
                    }
                    print_row(moment, keep, state, &seen);
                }
                Err(e) => {
                    good = false;
                    println!("{:<35} {keep:>4}  WRONG: {e}", moment.name);
                }
            }
        }
    }
    println!("\n{before} times the state before the archive, {after} times the state after it.");
    println!(
        "(A kill leaves the kernel's cache, so a record that was written and not synced is there. Nobody was"
    );
    println!("told, so either state would be right.)");

    // And now without choosing.
    let mut kills = 0;
    for keep in [20, 0] {
        let all = run(keep, "none")?;
        let count = all.operations.ok_or("the child did not come to its end")?;
        for number in 0..count {
            for cut in ["before", "half", "after"] {
                kills += 1;
                if let Err(e) = run(keep, &format!("n{number}:{cut}")).and_then(|seen| judge(keep, &seen)) {
                    good = false;
                    println!("killed {cut} operation {number} (keep {keep}): WRONG: {e}");
                }
            }
        }
    }
    if good {
        println!(
            "Killed before, in and after every operation on the disk, {kills} times: always one of the two."
        );
    } else {
        println!("FAILED: there was a state that never existed, see above.");
    }
    Ok(good)
}

/// Lets a child run into the trap, and looks at what is there after it, twice.
fn run(keep: u64, trap: &str) -> Result<Seen> {
    let temp = tempfile::tempdir()?;
    let dir = temp.path().join("store");
    let output = Command::new(std::env::current_exe()?)
        .arg("--child")
        .arg(&dir)
        .args([&keep.to_string(), trap])
        .stderr(Stdio::inherit())
        .output()?;
    if output.status.code().is_some() {
        return Err(format!("the child was to be killed, and ended with {}", output.status).into());
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let acknowledged = STEPS.into_iter().filter(|s| said.lines().any(|l| l == format!("{s:?}"))).collect();
    let operations = said.lines().find_map(|l| l.strip_prefix("operations ")?.parse().ok());

    let store = Store::open(&dir)?;
    let session = store.open_session(SESSION)?;
    let findings = session.report()?.findings;
    let after = look(&session)?;
    // Life goes on: the next message, a clear, a clean close, and another start.
    let next = session.append(text(LIVE).into_bytes())?;
    if next.seqs != (LIVE..LIVE + 1) {
        return Err(format!("the next message became {:?}, not {LIVE}", next.seqs).into());
    }
    session.truncate()?;
    store.close()?;
    let store = Store::open(&dir)?;
    let session = store.open_session(SESSION)?;
    let again = look(&session)?;
    let grown = Found { live: after.live.start..LIVE + 1, ..after.clone() };
    if again != grown {
        return Err(format!("the state did not survive the next start: {after:?} became {again:?}").into());
    }
    if !session.report()?.is_clean() {
        return Err(format!("after a clean close: {:?}", session.report()?.findings).into());
    }
    store.close()?;
    Ok(Seen { acknowledged, operations, after, findings })
}

/// Reads everything, and compares each message with what was appended.
fn look(session: &sessionlog::Session) -> Result<Found> {
    let count = session.message_count()?;
    let live = session.info()?.live;
    if count != live.end - live.start {
        return Err(format!("message_count is {count}, and live are {live:?}").into());
    }
    compare(session.load()?, live.clone())?;
    let archives = session.archives()?;
    let archive = match session.archived(1) {
        Ok(messages) => {
            compare(messages, 0..live.start)?;
            true
        }
        Err(e) if e.kind() == ErrorKind::NotFound => false,
        Err(e) => return Err(e.into()),
    };
    if archives.len() != usize::from(archive) {
        return Err(format!("the archives are {archives:?}").into());
    }
    Ok(Found { live, archive })
}

fn compare(messages: Messages, seqs: std::ops::Range<u64>) -> Result<()> {
    let mut next = seqs.start;
    for message in messages {
        let message = message?;
        if message.seq() != next || message.payload() != text(next).as_bytes() {
            return Err(format!("message {next} came back as {message:?}").into());
        }
        next += 1;
    }
    if next != seqs.end {
        return Err(format!("messages {seqs:?} should be there; the last is {next}").into());
    }
    Ok(())
}

/// Which of the states that existed this is.
fn judge(keep: u64, seen: &Seen) -> Result<&'static str> {
    let told = |step| seen.acknowledged.contains(&step);
    let (cleared, archive) = (LIVE - keep..LIVE, seen.after.archive);
    let before = seen.after.live == (0..LIVE) && !archive && !told(Step::Archive);
    let after = seen.after.live == cleared && archive && !told(Step::Remove);
    // The archive may be gone only if its removal had begun: everything before it was acknowledged.
    let removed = seen.after.live == cleared && !archive && told(Step::Truncate);
    match (before, after, removed) {
        (true, ..) => Ok("before"),
        (_, true, _) => Ok("after"),
        (.., true) => Ok("removed"),
        _ => Err(format!("{:?}, with {:?} acknowledged", seen.after, seen.acknowledged).into()),
    }
}

fn print_row(moment: &Moment, keep: u64, state: &str, seen: &Seen) {
    // What was live when the child died, as far as anybody was told.
    let then = if seen.acknowledged.contains(&Step::Archive) { LIVE - keep..LIVE } else { 0..LIVE };
    let told = match seen.acknowledged.last() {
        None => "-",
        Some(Step::Archive) => "archive",
        Some(Step::Truncate) => "truncate",
        Some(Step::Remove) => "remove",
    };
    let mut findings = Vec::new();
    for finding in &seen.findings {
        findings.push(match finding {
            Finding::StalePrefix { range } => format!("stale prefix {range:?}"),
            Finding::UncleanEnd { .. } => "unclean end".to_owned(),
            Finding::TornTail { .. } => "torn tail".to_owned(),
            Finding::Leftover { .. } => "leftover file".to_owned(),
            Finding::Released { segment } => format!("old segment {segment}"),
            other => other.to_string(),
        });
    }
    println!(
        "{:<35} {keep:>4}  {:<10} {told:<13} {:<10} {state:<7} {}",
        moment.name,
        format!("{then:?}"),
        format!("{:?}", seen.after.live),
        findings.join(", ")
    );
}
