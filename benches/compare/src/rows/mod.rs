//! The rows: what is measured. Each begins stores of its own, makes them ready, takes turns, and checks in the end
//! what is in them.

mod append;
mod read;
mod store;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Result;
use crate::peers::{Kind, OURS, Peer};
use crate::turns::{Limits, Measured};

/// What the ratios of a row are to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// What the operating system alone takes: in these words.
    Floor(&'static str),
    /// sessionlog: there is no floor.
    Ours,
    /// The bytes of the payloads: the values are multiples already.
    Payload,
}

/// The name of the floor among the sides.
pub(crate) const FLOOR: &str = "floor";

/// A row that was measured.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) title: String,
    pub(crate) base: Base,
    pub(crate) measured: Vec<Measured>,
}

/// How rows are measured in this run.
pub(crate) struct Plan {
    /// Where the stores are: a directory of this run alone.
    pub(crate) dir: PathBuf,
    pub(crate) quick: bool,
    pub(crate) kinds: Vec<&'static Kind>,
    /// The rows that are wanted; empty for all.
    pub(crate) only: Vec<String>,
}

/// The rows that are measured together, for they need the same stores.
pub(crate) struct Group {
    pub(crate) keys: &'static [&'static str],
    pub(crate) measure: fn(&Plan) -> Result<Vec<Row>>,
}

/// All rows, in the order of the table.
pub(crate) const GROUPS: &[Group] = &[
    Group { keys: &["append"], measure: append::one },
    Group { keys: &["threads-4"], measure: |plan| append::apart(plan, "threads-4", 4) },
    Group { keys: &["threads-16"], measure: |plan| append::apart(plan, "threads-16", 16) },
    Group { keys: &["threads-64"], measure: |plan| append::apart(plan, "threads-64", 64) },
    Group { keys: &["shared-16"], measure: append::shared },
    Group { keys: &["batch"], measure: append::batch },
    Group { keys: &["unsynced"], measure: append::unsynced },
    Group { keys: &["load", "tail", "anywhere"], measure: read::load_and_tail },
    Group { keys: &["archive"], measure: append::archive },
    Group { keys: &["open", "list"], measure: store::open_and_list },
    Group { keys: &["life"], measure: store::life },
    Group { keys: &["killed"], measure: store::killed },
    Group { keys: &["disk"], measure: store::disk },
];

pub(crate) use store::child;

impl Plan {
    pub(crate) fn wants(&self, key: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|o| o == key)
    }

    /// sessionlog and the peers of this run.
    fn kinds(&self) -> impl Iterator<Item = &'static Kind> {
        std::iter::once(&OURS).chain(self.kinds.iter().copied())
    }

    /// `quick` or the full number.
    fn of<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    fn limits(&self, pause: Duration) -> Limits {
        let (least, most, seconds) = self.of((3, 100, 5), (5, 400, 45));
        Limits { least, most, time: Duration::from_secs(seconds), pause }
    }

    /// A new directory for a side of a row.
    fn place(&self, row: &str, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(row).join(name);
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// A new store for each of `kinds`.
    fn stores(&self, row: &str) -> Result<Vec<Open>> {
        self.kinds()
            .map(|kind| {
                let dir = self.place(row, kind.name)?;
                Open::new(kind, &dir)
            })
            .collect()
    }

    /// Takes the directories of a row away again.
    fn clear(&self, row: &str) -> Result<()> {
        Ok(fs::remove_dir_all(self.dir.join(row))?)
    }
}

/// An open store and what it is.
struct Open {
    kind: &'static Kind,
    dir: PathBuf,
    peer: Box<dyn Peer>,
}

impl Open {
    fn new(kind: &'static Kind, dir: &Path) -> Result<Open> {
        let peer = (kind.open)(dir).map_err(|e| format!("{}: {e}", kind.name))?;
        Ok(Open { kind, dir: dir.to_owned(), peer })
    }

    fn close(self) -> Result<()> {
        self.peer.close().map_err(|e| format!("{}: {e}", self.kind.name).into())
    }

    /// Closed and opened again: what its filling left to be done is done.
    fn again(self) -> Result<Open> {
        let (kind, dir) = (self.kind, self.dir.clone());
        self.close()?;
        Open::new(kind, &dir)
    }
}

fn close_all(stores: Vec<Open>) -> Result<()> {
    stores.into_iter().try_for_each(Open::close)
}
