//! What the catalog promises, on the simulated disk, on a spy that fails on command, and on the real one.

mod adoption;
mod current;
mod damage;
mod failures;
mod format;
mod group;
mod index;
mod inherit;
mod listing;
mod precedence;
mod scale;
mod spy;

use std::path::Path;
use std::sync::Arc;

use super::report::Merged;
use super::{Catalog, Known};
use crate::format::catalog::{CatalogEntry, MARKS, Mark, Open, Summary};
use crate::fs::{Access, Dir, Fs, SimFs, read_exact_at, write_all_at};
use crate::ids::{BirthId, Incarnation, SessionId, StoreId};

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Catalog>()
};

const STORE: StoreId = StoreId([7; 16]);

fn id(name: &str) -> SessionId {
    SessionId::new(name).unwrap()
}

fn birth(n: u8) -> BirthId {
    BirthId([n; 16])
}

fn writer(number: u64) -> Incarnation {
    Incarnation { number, nonce: number * 1000 }
}

fn open(name: &str, b: u8, number: u64) -> Open {
    Open { id: id(name), birth: birth(b), incarnation: writer(number), segment: number, salt: 9, time: 5 }
}

fn summary(name: &str, b: u8, number: u64, message_count: u64) -> Summary {
    Summary {
        id: id(name),
        birth: birth(b),
        incarnation: writer(number),
        segment: number,
        salt: 9,
        position: message_count + 10,
        message_count,
        base: 0,
        next: message_count,
        total_messages: message_count,
        live_bytes: 1,
        total_bytes: 1,
        live_tokens: 1,
        total_tokens: 1,
        archives: 0,
        log_bytes: 4096,
        created: 1,
        last_message: Some(2),
        modified: 3,
        attributes: "{}".to_owned(),
        attributes_omitted: false,
        epoch: 0,
        attributes_version: 0,
        lineage: None,
    }
}

fn closed(name: &str, b: u8, number: u64, message_count: u64) -> CatalogEntry {
    CatalogEntry::Closed(summary(name, b, number, message_count))
}

fn removed(name: &str, b: u8, number: u64) -> CatalogEntry {
    CatalogEntry::Removed { id: id(name), birth: birth(b), incarnation: writer(number) }
}

/// A directory for a catalog, durable.
fn directory(fs: &dyn Fs) -> Arc<dyn Dir> {
    fs.create_root(Path::new("/store/catalog")).unwrap()
}

fn catalog(fs: &SimFs) -> Catalog {
    on(fs.clone())
}

fn on(fs: impl Fs) -> Catalog {
    let dir = directory(&fs);
    Catalog::new(Arc::new(fs), dir, STORE, false)
}

/// What is known of a session, in a word; the count if it is closed.
fn word(merged: &Merged, name: &str) -> String {
    match merged.get(&id(name).dir_name()) {
        None => "none".to_owned(),
        Some(Known::Open) => "open".to_owned(),
        Some(Known::Doubt) => "doubt".to_owned(),
        Some(Known::Closed(summary)) => summary.message_count.to_string(),
    }
}

fn seen(fs: &SimFs, name: &str) -> String {
    word(&catalog(fs).merged().unwrap(), name)
}

/// The catalog files.
fn files(fs: &dyn Fs) -> Vec<String> {
    let mut names: Vec<_> = directory(fs).list().unwrap().into_iter().map(|e| e.name).collect();
    names.retain(|name| name.ends_with(".cat"));
    names.sort();
    names
}

fn bytes(fs: &dyn Fs, name: &str) -> Vec<u8> {
    let file = directory(fs).open(name, Access::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    read_exact_at(&*file, &mut bytes, 0).unwrap();
    bytes
}

/// Where the frames of a file end.
fn end(fs: &dyn Fs, name: &str) -> usize {
    super::file::decode(name, &STORE, bytes(fs, name), None).unwrap().end as usize
}

/// Puts a mark into the bytes of a file.
fn put_mark(bytes: &mut [u8], salt: u64, index: usize, durable: usize) {
    let mark = Mark { durable: durable as u64, index, pid: 0 }.encode(salt);
    bytes[MARKS[index]..][..mark.len()].copy_from_slice(&mark);
}

/// Puts other bytes under a name, as bit rot or a careless hand would.
fn put(fs: &dyn Fs, name: &str, bytes: &[u8]) {
    let dir = directory(fs);
    let file = match dir.create(name) {
        Ok(file) => file,
        Err(_) => dir.open(name, Access::Write).unwrap(),
    };
    file.set_len(0).unwrap();
    write_all_at(&*file, bytes, 0).unwrap();
    file.sync().unwrap();
    dir.sync().unwrap();
}

/// Lets one instance say something and close; returns the name of its file.
fn say(fs: &SimFs, entries: Vec<CatalogEntry>) -> String {
    let before = files(fs);
    let catalog = catalog(fs);
    for entry in entries {
        catalog.record(entry).unwrap();
    }
    catalog.close().unwrap();
    files(fs).into_iter().find(|name| !before.contains(name)).unwrap()
}
