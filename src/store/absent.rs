//! A directory that is not there, for readers: nothing is in it.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::{Access, Dir, Entry, File, Ident, Medium, Space, Stat};

/// Stands for a part of a store that somebody removed, where nothing may be created.
#[derive(Debug)]
pub(crate) struct Absent(PathBuf);

impl Absent {
    pub(crate) fn at(path: PathBuf) -> Arc<dyn Dir> {
        Arc::new(Absent(path))
    }
}

fn none<T>() -> io::Result<T> {
    Err(io::ErrorKind::NotFound.into())
}

impl Dir for Absent {
    fn path(&self) -> &Path {
        &self.0
    }
    fn ident(&self) -> io::Result<Ident> {
        none()
    }
    fn open(&self, _: &str, _: Access) -> io::Result<Arc<dyn File>> {
        none()
    }
    fn create(&self, _: &str) -> io::Result<Arc<dyn File>> {
        none()
    }
    fn create_temp(&self, _: &str) -> io::Result<(String, Arc<dyn File>)> {
        none()
    }
    fn open_dir(&self, _: &str) -> io::Result<Arc<dyn Dir>> {
        none()
    }
    fn create_dir(&self, _: &str) -> io::Result<()> {
        none()
    }
    fn create_temp_dir(&self, _: &str) -> io::Result<String> {
        none()
    }
    fn list(&self) -> io::Result<Vec<Entry>> {
        Ok(Vec::new())
    }
    fn stat(&self, _: &str) -> io::Result<Stat> {
        none()
    }
    fn rename(&self, _: &str, _: &dyn Dir, _: &str) -> io::Result<()> {
        none()
    }
    fn remove_file(&self, _: &str) -> io::Result<()> {
        none()
    }
    fn remove_dir(&self, _: &str) -> io::Result<()> {
        none()
    }
    fn sync(&self) -> io::Result<()> {
        none()
    }
    fn space(&self) -> io::Result<Space> {
        none()
    }
    fn medium(&self) -> io::Result<Medium> {
        none()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
