//! The index beside a long catalog file that nobody writes any more: what the file says of one life of a session is found
//! without reading all of it. Who opens one session of a large store needs no more.
//!
//! An index is written once, by the owner of the file when it closes it, or by who finds that the owner is gone. It is not
//! synced, and nothing depends on it: where it is missing, damaged, or not of this very file, the file is read whole.

use std::io;
use std::sync::Arc;

use super::file::Source;
use crate::format::catalog::index::{Index, PAGE, Placed, key_of};
use crate::fs::{Access, Dir, File, read_exact_at, write_all_at};
use crate::ids::BirthId;

/// A shorter catalog file (64 KiB) is as soon read whole.
pub(super) const LONG: u64 = 64 << 10;

/// The name of the index of the catalog file of this name.
pub(super) fn name_of(file: &str) -> String {
    format!("{}.idx", file.trim_end_matches(".cat"))
}

/// The name of the catalog file whose index would have this name.
pub(super) fn file_of(name: &str) -> Option<String> {
    name.strip_suffix(".idx").map(|stem| format!("{stem}.cat"))
}

/// Writes the index of a file with this content, unless that is short, or not all of it is good, or there is one. The caller
/// holds the lock on the file, which has this length.
pub(super) fn write(dir: &dyn Dir, source: &Source, len: u64) -> io::Result<()> {
    let (name, salt) = (name_of(&source.name), source.header.salt);
    if len < LONG || Reader::open(dir, &source.name, salt, len).is_some() {
        return Ok(());
    }
    let Some(mut places) = source.places() else { return Ok(()) };
    match dir.remove_file(&name) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let count = u32::try_from(places.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let bytes = Index { salt, len, count }.encode(&mut places);
    let written = dir.create(&name).and_then(|file| write_all_at(&*file, &bytes, 0));
    if written.is_err() {
        // Half of one is none, but takes room.
        let _ = dir.remove_file(&name);
    }
    written
}

/// An index that is there and has all its pages.
pub(super) struct Reader {
    file: Arc<dyn File>,
    index: Index,
}

impl Reader {
    /// That of the catalog file of this name, salt and length.
    pub(super) fn open(dir: &dyn Dir, name: &str, salt: u64, len: u64) -> Option<Reader> {
        let file = dir.open(&name_of(name), Access::Read).ok()?;
        let index = Index::decode(&page(&*file, 0)?, salt, len)?;
        let whole = file.len().ok()? == ((1 + index.pages()) * PAGE) as u64;
        whole.then_some(Reader { file, index })
    }

    /// Where the entries of these lives stand, and perhaps some that have their keys: of each in the order in which they were
    /// written. `None` if a page is damaged.
    pub(super) fn find_all(&self, births: &[BirthId]) -> Option<Vec<(BirthId, Placed)>> {
        let mut found = Vec::new();
        for birth in births {
            found.extend(self.find(birth)?.into_iter().map(|place| (*birth, place)));
        }
        Some(found)
    }

    fn find(&self, birth: &BirthId) -> Option<Vec<Placed>> {
        let (key, pages) = (key_of(birth), self.index.pages());
        // The last page that begins in front of the key: on it, or behind it, the key's places begin. Births are random, so it is
        // the one where it would be if they were spread evenly, or close by.
        let (mut first, mut behind) = (1, pages + 1);
        let mut near = 1 + ((u128::from(key) * pages as u128) >> 64) as usize;
        let mut looks = 0;
        while behind - first > 1 {
            looks += 1;
            let middle = if looks < 4 { near.clamp(first + 1, behind - 1) } else { first.midpoint(behind) };
            match self.places(middle)?.first()?.key < key {
                true => (first, near) = (middle, middle + 1),
                false => (behind, near) = (middle, middle - 1),
            }
        }
        let mut found = Vec::new();
        for number in first..=pages {
            let places = self.places(number)?;
            found.extend(places.iter().filter(|place| place.key == key));
            if places.last()?.key > key {
                break;
            }
        }
        Some(found)
    }

    fn places(&self, number: usize) -> Option<Vec<Placed>> {
        self.index.places(number, &page(&*self.file, number)?)
    }
}

fn page(file: &dyn File, number: usize) -> Option<[u8; PAGE]> {
    let mut page = [0; PAGE];
    read_exact_at(file, &mut page, (number * PAGE) as u64).ok()?;
    Some(page)
}
