//! The power goes while a process writes, on real file systems: below them lies a disk whose cache is lost in part.
//!
//! `-- --rounds 40 --seed 1` says how many cuts of each file system, `--only xfs` of which, `--lies 3` makes every third
//! flush of the disk do nothing (then something must be lost). Needs root, `/dev/fuse`, loop devices, and the tools that make the
//! file systems; what is missing is said. Exit code 77 if nothing could be tried.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fuser::BackgroundSession;
use sessionlog::Durability;
use sessionlog::doctor::{self, CheckOptions};

#[path = "../../kill/check.rs"]
mod check;
mod disk;
#[path = "../../kill/journal.rs"]
mod journal;
mod kinds;
#[path = "../../kill/load.rs"]
mod load;
#[path = "../../kill/model.rs"]
mod model;
#[path = "../../support/mod.rs"]
mod support;

use check::{check, write_retries};
use disk::{Disk, Loss, NAME};
use journal::Journal;
use kinds::{KINDS, Kind};
use load::SESSIONS;
use model::Model;
use support::mount::Mount;
use support::{Kid, Place, Rng, Watchdog, role, text};

/// What XFS wants at least, and something.
const SIZE: u64 = 320 << 20;
/// So many cuts for one store, and it never fills that.
const PER_STORE: u64 = 20;

struct Settings {
    rounds: u64,
    seed: u64,
    only: Option<String>,
    lies: Option<u64>,
}

fn settings() -> Result<Settings, String> {
    let mut settings = Settings { rounds: 40, seed: support::seed(), only: None, lies: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|e| format!("{word} {value}: {e}"));
        match &*word {
            "--rounds" => settings.rounds = number()?,
            "--seed" => settings.seed = number()?,
            "--lies" => settings.lies = Some(number()?.max(1)),
            "--only" if KINDS.iter().all(|k| k.name != value) => {
                return Err(format!("no such file system: {value}"));
            }
            "--only" => settings.only = Some(value),
            _ => return Err(format!("unknown: {word}")),
        }
    }
    Ok(settings)
}

fn main() -> ExitCode {
    if let Some((role, arguments)) = role() {
        assert_eq!(role, "sync");
        let value = |at: usize| arguments[at].parse::<u64>().unwrap();
        load::run(Path::new(&arguments[0]), value(1), value(2), Durability::Sync);
        return ExitCode::SUCCESS;
    }
    let settings = match settings() {
        Ok(settings) => settings,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    println!("seed {}", settings.seed);
    let chosen = KINDS.iter().filter(|k| settings.only.as_ref().is_none_or(|only| *only == k.name));
    let (mut held, mut failed) = (0, 0);
    for kind in chosen {
        let _dog = Watchdog::new("the power cuts", Duration::from_secs(60 + 5 * settings.rounds));
        match catch_unwind(AssertUnwindSafe(|| cut_again_and_again(kind, &settings))) {
            Ok(Ok(())) => held += 1,
            Ok(Err(why)) => println!("{}: skipped, {why}", kind.name),
            Err(_) => {
                println!("{}: FAILED, --seed {}", kind.name, settings.seed);
                failed += 1;
            }
        }
    }
    println!("{held} file systems held, {failed} failed");
    match (held, failed) {
        (0, 0) => ExitCode::from(77),
        (_, 0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Or why it cannot be tried here.
fn cut_again_and_again(kind: &'static Kind, settings: &Settings) -> Result<(), String> {
    for first in (0..settings.rounds).step_by(PER_STORE as usize) {
        let rounds = PER_STORE.min(settings.rounds - first);
        let rig = Rig::new(kind, settings);
        // What could be had once can be had again.
        let rig = if first == 0 { rig? } else { rig.unwrap() };
        rig.run(rounds, settings.seed.wrapping_add(first));
    }
    Ok(())
}

/// A store alone on a file system, on a disk whose power can be cut. Fields are dropped in their order.
struct Rig {
    kind: &'static Kind,
    mounted: Option<Mount>,
    _shown: BackgroundSession,
    disk: Arc<Disk>,
    place: Place,
}

impl Rig {
    /// Or why it cannot be had here.
    fn new(kind: &'static Kind, settings: &Settings) -> Result<Rig, String> {
        let place = Place::new();
        let io = |e: std::io::Error| e.to_string();
        let below = place.file("below");
        fs::create_dir(&below).map_err(io)?;
        fs::create_dir(place.store()).map_err(io)?;
        let file = tempfile::tempfile_in(place.dir.path()).map_err(io)?;
        let disk = Disk::new(file, SIZE, settings.lies).map_err(io)?;
        let shown = disk.show(&below).map_err(|e| format!("no file system in user space: {e}"))?;
        kind.make(&below.join(NAME))?;
        let mounted = Some(kind.mount(&below.join(NAME), &place.store())?);
        Ok(Rig { kind, mounted, _shown: shown, disk, place })
    }

    /// One life of a process, to the end of the power, and until it is back: how many writes were at stake.
    fn cut(&mut self, round: u64, seed: u64, rng: &mut Rng) -> usize {
        let mut kid =
            Kid::start("sync", &[text(self.place.dir.path()), &round.to_string(), &seed.to_string()]);
        thread::sleep(Duration::from_millis(20 + rng.below(600)));
        // From here on nothing can be acknowledged that is not durable already. When a flush ends, nobody is there any more.
        self.disk.hold();
        thread::sleep(Duration::from_millis(rng.below(20)));
        kid.0.kill().unwrap();
        self.disk.off();
        assert_eq!(kid.0.wait().unwrap().code(), None, "it ended by itself");
        if let Some(mounted) = self.mounted.take() {
            // On one that lives on nothing would be lost.
            mounted.end().unwrap();
        }
        let loss = Loss::ALL[rng.below(Loss::ALL.len() as u64) as usize];
        let (writes, whole) = self.disk.on(loss, rng).unwrap();
        println!("{} {round}: {whole} of {writes} writes there ({loss:?})", self.kind.name);
        let image = self.place.file("below").join(NAME);
        self.mounted = Some(self.kind.mount(&image, &self.place.store()).unwrap());
        writes
    }

    fn run(mut self, rounds: u64, seed: u64) {
        let mut models: Vec<Model> = (0..SESSIONS).map(Model::new).collect();
        let mut rng = Rng(seed);
        let (mut acknowledged, mut at_stake) = (0, 0);
        for round in 1..=rounds {
            at_stake += self.cut(round, seed, &mut rng);
            let dir = self.place.dir.path();
            let journal = Journal::read(dir, round);
            assert!(journal.failures.is_empty(), "ops failed: {:#?}", journal.failures);
            acknowledged += journal.answered();
            let full = round % 10 == 0 || round == rounds;
            check(dir, Durability::Sync, &mut models, &journal, round % 2 == 0, full);
            let found = doctor::check(self.place.store(), &CheckOptions::new()).unwrap();
            assert!(found.is_well(), "{found:#?}");
            write_retries(dir, &journal);
        }
        let (flushes, lies) = self.disk.flushes();
        println!(
            "{}: {} cuts, {acknowledged} acknowledged ops, {at_stake} writes at stake, {flushes} flushes ({lies} lies)",
            self.kind.name, rounds
        );
        assert!(acknowledged as u64 > rounds && at_stake > 0, "nearly nothing happened between the cuts");
    }
}
