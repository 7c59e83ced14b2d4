//! The index beside a long catalog file that nobody writes any more: what the file says of one life of a session is found
//! without reading all of it. Who opens one session of a large store needs no more.
//!
//! An index is written once, by the owner of the file when it closes it, or by who finds that the owner is gone. It is not
//! synced, and nothing depends on it: where it is missing, damaged, or not of this very file, the file is read whole.

use std::io;

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
    if len < LONG || open(dir, &source.name, salt, len).is_some() {
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

/// Where the entries with the key of this life stand in the catalog file of this name, salt and length, in the order in which
/// they were written. `None` if there is no good index.
pub(super) fn find(dir: &dyn Dir, name: &str, salt: u64, len: u64, birth: &BirthId) -> Option<Vec<Placed>> {
    let (file, index) = open(dir, name, salt, len)?;
    let key = key_of(birth);
    let places = |number| index.places(number, &page(&*file, number)?);
    // The last page that begins in front of the key: on it, or behind it, the key's places begin.
    let (mut first, mut behind) = (1, index.pages() + 1);
    while behind - first > 1 {
        let middle = first.midpoint(behind);
        match places(middle)?.first()?.key < key {
            true => first = middle,
            false => behind = middle,
        }
    }
    let mut found = Vec::new();
    for number in first..=index.pages() {
        let places = places(number)?;
        found.extend(places.iter().filter(|place| place.key == key));
        if places.last()?.key > key {
            break;
        }
    }
    Some(found)
}

/// The index of the file of this name, salt and length, if it is there and has all its pages.
fn open(dir: &dyn Dir, name: &str, salt: u64, len: u64) -> Option<(std::sync::Arc<dyn File>, Index)> {
    let file = dir.open(&name_of(name), Access::Read).ok()?;
    let index = Index::decode(&page(&*file, 0)?, salt, len)?;
    let whole = file.len().ok()? == ((1 + index.pages()) * PAGE) as u64;
    whole.then_some((file, index))
}

fn page(file: &dyn File, number: usize) -> Option<[u8; PAGE]> {
    let mut page = [0; PAGE];
    read_exact_at(file, &mut page, (number * PAGE) as u64).ok()?;
    Some(page)
}
