//! A store as bytes: the files of a simulated disk, taken and put back.

use std::collections::BTreeMap;
use std::path::Path;

use crate::fs::{Access, Dir, Fs, Kind, SimFs, read_exact_at, write_all_at};

pub(super) const STORE: &str = "/store";

/// The files of a store by their paths in it; `None` is a directory. In order, so that a place is a number.
pub(super) type Files = BTreeMap<String, Option<Vec<u8>>>;

/// All files as processes see them. Zeros that were allocated ahead are cut to a sector, as any length of them is
/// as good as any other, and how many there are depends on the pace of a thread.
pub(super) fn take(fs: &SimFs) -> Files {
    let mut out = Files::new();
    let mut todo = vec![(String::new(), fs.open_root(Path::new(STORE)).unwrap())];
    while let Some((prefix, dir)) = todo.pop() {
        for entry in dir.list().unwrap() {
            let name = format!("{prefix}{}", entry.name);
            if entry.kind == Kind::Dir {
                todo.push((format!("{name}/"), dir.open_dir(&entry.name).unwrap()));
                out.insert(name, None);
            } else {
                let file = dir.open(&entry.name, Access::Read).unwrap();
                let mut bytes = vec![0; file.len().unwrap() as usize];
                read_exact_at(&*file, &mut bytes, 0).unwrap();
                let used = bytes.len() - bytes.iter().rev().take_while(|b| **b == 0).count();
                bytes.truncate(used.next_multiple_of(512).min(bytes.len()));
                out.insert(name, Some(bytes));
            }
        }
    }
    out
}

/// A disk with these files, all of them durable.
pub(super) fn put(files: &Files, seed: u64) -> SimFs {
    let fs = SimFs::new(seed);
    let root = fs.create_root(Path::new(STORE)).unwrap();
    for (path, bytes) in files {
        let (dir, name) = match path.rsplit_once('/') {
            Some((dir, name)) => (walk(&*root, dir), name),
            None => (root.clone(), path.as_str()),
        };
        match bytes {
            None => dir.create_dir(name).unwrap(),
            Some(bytes) => {
                let file = dir.create(name).unwrap();
                write_all_at(&*file, bytes, 0).unwrap();
                file.sync().unwrap();
            }
        }
        dir.sync().unwrap();
    }
    fs
}

fn walk(root: &dyn Dir, path: &str) -> std::sync::Arc<dyn Dir> {
    let mut names = path.split('/');
    let first = root.open_dir(names.next().unwrap()).unwrap();
    names.fold(first, |dir, name| dir.open_dir(name).unwrap())
}
