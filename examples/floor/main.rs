//! What the store costs, as multiples of what the operating system alone takes for the same bytes.
//!
//! ```text
//! cargo run --release --example floor [-- --quick] [--only <group>] [<dir>]
//! ```
//!
//! Times on a shared machine mean little; ratios between neighbours do. So the store and its floor take turns in
//! short bursts. Two ratios are printed. "p50": each turn gives one (of the medians of its bursts), and this is
//! the median over the turns. "p10": of the fastest tenth of all ops of either side, which is what counts on a busy
//! machine: there a sync's wake-up waits for a neighbour's time slice (some milliseconds) more often than not, and
//! the medians of both sides are that slice. `<dir>` is where it writes, by default under `target/`: it must be a
//! real disk, for syncs cost nothing in memory. The groups: append, batch, buffered, threads, load, typed, archive, create,
//! many (stores of many sessions).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example speaks to its reader")]

mod alone;
mod append;
#[path = "../../benches/raw/mod.rs"]
mod raw;
mod read;
mod row;
mod store;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use sessionlog::Store;

type Group<'a> = &'a dyn Fn() -> Result<()>;
type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const KIB: usize = 1024;
/// How many threads "many" are.
const THREADS: usize = 16;

fn main() -> Result<()> {
    let mut quick = false;
    let mut dir: Option<PathBuf> = None;
    let mut only = String::new();
    let mut args = std::env::args_os().skip(1);
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--quick") => quick = true,
            Some("--only") => only = args.next().and_then(|a| a.into_string().ok()).ok_or("--only what?")?,
            _ => dir = Some(arg.into()),
        }
    }
    let dir = match dir {
        Some(dir) => dir,
        None => beside_the_program()?,
    };
    fs::create_dir_all(&dir)?;
    let temp = tempfile::Builder::new().prefix("floor-").tempdir_in(&dir)?;
    let dir = temp.path();
    let turns = if quick { 15 } else { 101 };
    println!("{turns} turns; cost as a multiple of the floor, lower is better\n");
    println!("{:<44} {:>7} {:>7} {:>10} {:>10}  the floor", "", "p10", "p50", "here p10", "floor p10");

    let store = Store::open(dir.join("store"))?;
    let groups: [(&str, Group); 9] = [
        ("append", &|| append::single(&store, dir, turns)),
        ("batch", &|| append::batches(&store, dir, turns)),
        ("buffered", &|| append::buffered(&store, dir, turns)),
        ("threads", &|| append::threads(&store, dir, turns)),
        ("load", &|| read::load_and_tail(&store, dir, turns.min(31), if quick { 10_000 } else { 100_000 })),
        ("typed", &|| read::typed(&store, turns.min(31))),
        ("archive", &|| store::archive(&store, dir, turns.min(51))),
        ("create", &|| store::create(&store, dir, turns.min(51))),
        ("many", &|| store::many(dir, turns.min(31), if quick { 1_000 } else { 10_000 })),
    ];
    for (name, run) in groups {
        if only.is_empty() || name == only {
            run()?;
        }
    }
    store.close()?;
    Ok(())
}

/// `target/<profile>/floor`, wherever the target directory is.
fn beside_the_program() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let profile = program.parent().and_then(Path::parent).ok_or("the program has no directory")?;
    Ok(profile.join("floor"))
}
