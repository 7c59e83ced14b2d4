//! What the tests with several processes share: children that are this very test binary, payloads that say
//! what they are, numbers in a file that all processes see, and a dog that barks when something hangs.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod mount;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sessionlog::Message;

/// The environment variable that makes the hidden test `child_process` do something.
const ROLE: &str = "SESSIONLOG_TEST_ROLE";

/// What a child is to do, and with which arguments; `None` in a run that nobody's test started.
pub(crate) fn role() -> Option<(String, Vec<String>)> {
    let text = std::env::var(ROLE).ok()?;
    let mut words = text.split('\u{1f}').map(str::to_owned);
    let parent = std::os::unix::process::parent_id();
    std::thread::spawn(move || {
        // A child whose test is gone (it hung, or was interrupted) goes, too.
        while std::os::unix::process::parent_id() == parent {
            std::thread::sleep(Duration::from_millis(100));
        }
        std::process::abort();
    });
    Some((words.next()?, words.collect()))
}

/// A child of this test; killed when it is dropped, so that a test that fails leaves nothing behind.
pub(crate) struct Kid(pub(crate) Child);

impl Kid {
    /// Starts this test binary anew, in the hidden test `child_process`.
    pub(crate) fn start(role: &str, arguments: &[&str]) -> Kid {
        let mut words = vec![role];
        words.extend(arguments);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "child_process", "--nocapture", "--test-threads=1"])
            .env(ROLE, words.join("\u{1f}"))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Kid(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// SIGKILL, and waits until the process is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// True if it ended without a panic.
    pub(crate) fn succeeds(&mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

impl Drop for Kid {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A small generator of numbers (splitmix64): the same seed gives the same run of decisions.
#[derive(Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// The seed of this run: from the environment, or the clock.
pub(crate) fn seed() -> u64 {
    number("SESSIONLOG_SEED").unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        since.as_nanos() as u64
    })
}

/// A number from the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The payload of item `index` of op `op` in session `session`: names all three, has a length that follows
/// from them, and is filled with bytes that follow from them.
pub(crate) fn payload(session: u64, op: u64, index: u32, longest: u64) -> Vec<u8> {
    let mut rng = Rng(session.wrapping_mul(0x1_0001) ^ op.rotate_left(20) ^ u64::from(index) << 50);
    // Most are short; one in forty is long, so that commits stretch over many pages.
    let extra =
        if longest > 400 && rng.below(40) == 0 { rng.below(longest) } else { rng.below(longest.min(400)) };
    let mut out = Vec::with_capacity(20 + extra as usize);
    out.extend_from_slice(&session.to_le_bytes());
    out.extend_from_slice(&op.to_le_bytes());
    out.extend_from_slice(&index.to_le_bytes());
    while (out.len() as u64) < 20 + extra {
        let word = rng.next().to_le_bytes();
        let room = (20 + extra) as usize - out.len();
        out.extend_from_slice(&word[..room.min(8)]);
    }
    out
}

/// What a payload says it is, checked to the last byte: op and index.
pub(crate) fn read_payload(session: u64, message: &Message, longest: u64) -> (u64, u32) {
    let bytes = message.payload();
    assert!(bytes.len() >= 20, "message {} of session {session} has {} bytes", message.seq(), bytes.len());
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let (s, op, index) = (word(0), word(8), u32::from_le_bytes(bytes[16..20].try_into().unwrap()));
    assert_eq!(s, session, "message {} belongs to another session", message.seq());
    assert!(
        bytes == payload(session, op, index, longest),
        "message {} of session {session} (op {op:x}, index {index}) is not what was appended",
        message.seq()
    );
    (op, index)
}

/// Numbers that several processes see, each with one writer.
pub(crate) struct Board(File);

impl Board {
    pub(crate) fn create(path: &Path, slots: u64) -> Board {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
        file.set_len(slots * 8).unwrap();
        Board(file)
    }

    pub(crate) fn open(path: &Path) -> Board {
        Board(OpenOptions::new().read(true).write(true).open(path).unwrap())
    }

    pub(crate) fn set(&self, slot: u64, value: u64) {
        self.0.write_all_at(&value.to_le_bytes(), slot * 8).unwrap();
    }

    pub(crate) fn get(&self, slot: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, slot * 8).unwrap();
        u64::from_le_bytes(bytes)
    }

    /// Waits until a slot has at least this value.
    pub(crate) fn wait(&self, slot: u64, value: u64) {
        let start = Instant::now();
        while self.get(slot) < value {
            assert!(start.elapsed() < Duration::from_secs(60), "waited for slot {slot} to become {value}");
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Ends the process with a message if it is not dropped in time: a hang must fail, not wait.
pub(crate) struct Watchdog(Arc<AtomicBool>);

impl Watchdog {
    pub(crate) fn new(what: &'static str, limit: Duration) -> Watchdog {
        let done = Arc::new(AtomicBool::new(false));
        let seen = done.clone();
        std::thread::spawn(move || {
            let start = Instant::now();
            while !seen.load(Ordering::Relaxed) {
                if start.elapsed() > limit {
                    use std::io::Write;
                    let _ = writeln!(std::io::stderr(), "HANG in process {}: {what}", std::process::id());
                    // Time for a debugger, if somebody asks for it.
                    std::thread::sleep(Duration::from_secs(number("SESSIONLOG_HANG_WAIT").unwrap_or(0)));
                    std::process::abort();
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Watchdog(done)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A place for a store and what lies beside it.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Keeps the directory for a look at it.
    pub(crate) fn keep(&mut self) -> PathBuf {
        self.dir.disable_cleanup(true);
        self.dir.path().to_path_buf()
    }
}

/// A path as an argument of a child.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
