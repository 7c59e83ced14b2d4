//! Reading all catalog files, while others write, adopt and compact them.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::file::{self, Source, Tail, Unreadable};
use super::index;
use super::report::Finding;
use crate::error::{Error, Result};
use crate::format::catalog::{HEADER, Header};
use crate::fs::{Access, Dir, Kind, read_exact_at};
use crate::ids::{BirthId, StoreId};

/// How often everything is read again because the directory changed meanwhile.
const ROUNDS: usize = 16;

/// What is in the directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) files: BTreeSet<String>,
    pub(super) indexes: BTreeSet<String>,
    pub(super) temporary: BTreeSet<String>,
    pub(super) unknown: BTreeSet<String>,
}

/// All files, read.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) sources: Vec<Arc<Source>>,
    pub(super) findings: Vec<Finding>,
    /// Something may be lost that could have named any session.
    pub(super) unreliable: bool,
}

/// Lists the directory.
pub(super) fn names(dir: &dyn Dir) -> Result<Names> {
    let list = dir.list().map_err(|e| Error::io("list the catalog", dir.path(), e))?;
    let mut names = Names::default();
    for entry in list {
        if entry.kind == Kind::File && file::salt_in(&entry.name).is_some() {
            names.files.insert(entry.name);
        } else if entry.kind == Kind::File
            && index::file_of(&entry.name).is_some_and(|file| file::salt_in(&file).is_some())
        {
            names.indexes.insert(entry.name);
        } else if entry.kind == Kind::File && entry.name.ends_with(".tmp") {
            names.temporary.insert(entry.name);
        } else {
            names.unknown.insert(entry.name);
        }
    }
    Ok(names)
}

/// Whether this is so of the header of a file, or the file is gone: not if it cannot be read.
pub(super) fn is_none_or(dir: &dyn Dir, name: &str, is: impl FnOnce(&Header) -> bool) -> bool {
    let mut head = [0; HEADER];
    match dir.open(name, Access::Read).and_then(|file| read_exact_at(&*file, &mut head, 0)) {
        Ok(()) => Header::decode(&head).is_ok_and(|(header, _)| is(&header)),
        Err(e) => e.kind() == io::ErrorKind::NotFound,
    }
}

/// Reads all files. Entries move from file to file when one is adopted or compacted, so what was read counts
/// only if the same files were there before and after; otherwise all are read again.
pub(super) fn read_all(dir: &dyn Dir, store: &StoreId) -> Result<Files> {
    read(dir, store, &[], None)
}

/// The same, of those that are `known` only what came since.
pub(super) fn read_since(dir: &dyn Dir, store: &StoreId, known: &[Arc<Source>]) -> Result<Files> {
    read(dir, store, known, None)
}

/// The same for what is said of these lives of sessions, and perhaps of others: of one it is a sixth of the work, and of few
/// far less where there are indexes.
pub(super) fn read_of(dir: &dyn Dir, store: &StoreId, births: &[BirthId]) -> Result<Files> {
    read(dir, store, &[], Some(births))
}

fn read(dir: &dyn Dir, store: &StoreId, known: &[Arc<Source>], only: Option<&[BirthId]>) -> Result<Files> {
    let mut before = names(dir)?;
    let mut rounds = 0;
    loop {
        rounds += 1;
        let mut files = Files::default();
        let complete = before.files.iter().all(|name| {
            match file::load(dir, name, store, known.iter().find(|source| source.name == *name), only) {
                Some(read) => {
                    files.add(name, read);
                    true
                }
                None => false,
            }
        });
        let after = names(dir)?;
        let settled = complete && after.files == before.files;
        if settled || rounds == ROUNDS {
            for name in &after.unknown {
                files.find(name, 0, "no file of the catalog is named like this; it was ignored");
            }
            if !settled {
                files.unreliable = true;
                files.find("", 0, "the catalog kept changing while it was read");
            }
            return Ok(files);
        }
        before = after;
    }
}

impl Files {
    /// What reading them took, in bytes: to look something up in an index takes as long as reading some more.
    pub(super) fn read(&self) -> u64 {
        const LOOKUP: u64 = 16 << 10;
        let one = |source: &Arc<Source>| match source.bytes.len() as u64 {
            whole if whole >= source.end => whole,
            found => found + LOOKUP,
        };
        self.sources.iter().map(one).sum()
    }

    /// How many there are in all the files.
    pub(super) fn total(&self) -> u64 {
        self.sources.iter().map(|source| source.end).sum()
    }

    pub(super) fn find(&mut self, file: &str, offset: u64, text: impl Into<String>) {
        self.findings.push(Finding { file: file.to_owned(), offset, text: text.into(), damage: false });
    }

    fn damaged(&mut self, file: &str, offset: u64, text: impl Into<String>) {
        self.findings.push(Finding { file: file.to_owned(), offset, text: text.into(), damage: true });
    }

    /// Takes in what was read from one file.
    pub(super) fn add(&mut self, name: &str, read: Result<Arc<Source>, Unreadable>) {
        let source = match read {
            Ok(source) => source,
            Err(why) => {
                self.unreliable |= !matches!(why, Unreadable::Foreign(_));
                return match why {
                    Unreadable::Damaged(_) => self.damaged(name, 0, why.text()),
                    _ => self.find(name, 0, why.text()),
                };
            }
        };
        match source.tail {
            Tail::Clean => {}
            Tail::Torn(what) => {
                self.find(name, source.end, format!("{what}; nothing that was acknowledged is missing"));
            }
            Tail::Damaged(what) => {
                self.unreliable = true;
                self.damaged(name, source.end, format!("{what}; what follows is lost"));
            }
        }
        if source.newer {
            self.unreliable = true;
            self.find(name, 0, "a newer version of the program wrote some of its entries");
        }
        self.sources.push(source);
    }
}

impl Unreadable {
    fn text(&self) -> String {
        match self {
            Unreadable::Damaged(what) => (*what).to_owned(),
            Unreadable::Newer(version) => {
                format!("version {version} of the file was written by a newer version of the program")
            }
            Unreadable::Foreign(store) => format!("it belongs to another store ({store}) and was ignored"),
            Unreadable::Io(what) => format!("it could not be read: {what}"),
        }
    }
}
