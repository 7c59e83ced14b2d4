//! A disk by paths alone, for systems that are not Unix.
//!
//! **Untested** where it would be used: the suite runs it on Unix. It is weaker than its sibling:
//! - An open directory is a path: when that is renamed, the handle points at nothing.
//! - Whether a name is a regular file and no link is looked up before it is opened, in two steps.
//! - Identity is a hash of the path, so a file that was replaced under its name goes unnoticed.
//! - A rename that replaces nothing takes two steps: for files a second name first, for directories a look.
//! - A directory that the system does not open (Windows) is not synced: NTFS journals names by itself.
//! - Modes are the system's defaults, and every medium counts as local.
#![cfg_attr(unix, allow(unreachable_pub, reason = "on Unix it is compiled for its tests alone"))]

use std::any::Any;
use std::fs::{self, OpenOptions, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::temp;
use crate::fs::name::check;
use crate::fs::{Access, Dir, Entry, File, Fs, Ident, Kind, Map, Medium, Space, Stat};

/// The real disk, by paths: untested outside of Unix.
#[derive(Debug, Clone, Default)]
pub struct PortableFs(());

impl PortableFs {
    /// The file system of this machine.
    pub fn new() -> PortableFs {
        PortableFs(())
    }
}

impl Fs for PortableFs {
    fn open_root(&self, path: &Path) -> io::Result<Arc<dyn Dir>> {
        if !fs::metadata(path)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        // What the path means must not depend on the working directory, which may change.
        Ok(Arc::new(PortableDir { path: std::path::absolute(path)? }))
    }

    fn create_root(&self, path: &Path) -> io::Result<Arc<dyn Dir>> {
        let path = std::path::absolute(path)?;
        let missing: Vec<&Path> = path.ancestors().take_while(|p| !p.exists()).collect();
        match fs::create_dir_all(&path) {
            // Something is there that is no directory; opening it below says so.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            done => done?,
        }
        for made in missing.iter().rev() {
            if let Some(Err(e)) = made.parent().map(sync_dir) {
                // The next attempt must not find it: its sync might say success without a reason.
                let _ = missing.iter().try_for_each(fs::remove_dir);
                return Err(e);
            }
        }
        self.open_root(&path)
    }

    fn now(&self) -> u64 {
        temp::now()
    }

    fn random(&self, buf: &mut [u8]) -> io::Result<()> {
        temp::random(buf)
    }

    fn process(&self) -> u32 {
        std::process::id()
    }
}

#[derive(Debug)]
struct PortableDir {
    path: PathBuf,
}

impl PortableDir {
    fn child(&self, name: &str) -> io::Result<PathBuf> {
        check(name)?;
        Ok(self.path.join(name))
    }

    fn create_file(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let path = self.child(name)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        Ok(Arc::new(PortableFile { file, ident: ident(&path), cursor: Mutex::new(()) }))
    }
}

impl Dir for PortableDir {
    fn path(&self) -> &Path {
        &self.path
    }

    fn ident(&self) -> io::Result<Ident> {
        Ok(ident(&self.path))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let path = self.child(name)?;
        if !fs::symlink_metadata(&path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = OpenOptions::new().read(true).write(access == Access::Write).open(&path)?;
        Ok(Arc::new(PortableFile { file, ident: ident(&path), cursor: Mutex::new(()) }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.create_file(name)
    }

    fn create_temp(&self, prefix: &str) -> io::Result<(String, Arc<dyn File>)> {
        temp::unique(prefix, |name| self.create_file(name))
    }

    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Dir>> {
        let path = self.child(name)?;
        if !fs::symlink_metadata(&path)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Arc::new(PortableDir { path }))
    }

    fn create_dir(&self, name: &str) -> io::Result<()> {
        fs::create_dir(self.child(name)?)
    }

    fn create_temp_dir(&self, prefix: &str) -> io::Result<String> {
        Ok(temp::unique(prefix, |name| self.create_dir(name))?.0)
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        let entry = |entry: io::Result<fs::DirEntry>| {
            let entry = entry?;
            Ok(Entry {
                name: entry.file_name().to_string_lossy().into_owned(),
                kind: kind(entry.file_type()?),
            })
        };
        fs::read_dir(&self.path)?.map(entry).collect()
    }

    fn stat(&self, name: &str) -> io::Result<Stat> {
        let path = self.child(name)?;
        let meta = fs::symlink_metadata(&path)?;
        Ok(Stat { kind: kind(meta.file_type()), len: meta.len(), allocated: meta.len(), ident: ident(&path) })
    }

    fn rename(&self, from: &str, to: &dyn Dir, name: &str) -> io::Result<()> {
        let to: &PortableDir = to.as_any().downcast_ref().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the target is a directory of another file system")
        })?;
        let (from, to) = (self.child(from)?, to.child(name)?);
        if fs::symlink_metadata(&from)?.is_dir() {
            return match fs::symlink_metadata(&to) {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
                Err(e) => Err(e),
            };
        }
        fs::hard_link(&from, &to)?;
        fs::remove_file(&from).inspect_err(|_| {
            let _ = fs::remove_file(&to);
        })
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.child(name)?)
    }

    fn remove_dir(&self, name: &str) -> io::Result<()> {
        fs::remove_dir(self.child(name)?)
    }

    fn sync(&self) -> io::Result<()> {
        sync_dir(&self.path)
    }

    fn space(&self) -> io::Result<Space> {
        let stats = fs4::statvfs(&self.path)?;
        Ok(Space { total: stats.total_space(), available: stats.available_space() })
    }

    fn medium(&self) -> io::Result<Medium> {
        Ok(Medium::Local)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[derive(Debug)]
struct PortableFile {
    file: fs::File,
    ident: Ident,
    /// Reads and writes move the one cursor of the file, so they take turns.
    cursor: Mutex<()>,
}

impl File for PortableFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let _turn = self.cursor.lock();
        (&self.file).seek(SeekFrom::Start(offset))?;
        (&self.file).read(buf)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let _turn = self.cursor.lock();
        (&self.file).seek(SeekFrom::Start(offset))?;
        (&self.file).write(buf)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn ident(&self) -> io::Result<Ident> {
        Ok(self.ident)
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }

    fn map(&self, len: usize) -> io::Result<Option<Map>> {
        Map::of_file(&self.file, len)
    }
}

fn ident(path: &Path) -> Ident {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    Ident { device: 0, inode: hasher.finish() }
}

fn kind(file_type: fs::FileType) -> Kind {
    if file_type.is_file() {
        Kind::File
    } else if file_type.is_dir() {
        Kind::Dir
    } else {
        Kind::Other
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    match fs::File::open(path) {
        Ok(dir) => dir.sync_all(),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(e) => Err(e),
    }
}
