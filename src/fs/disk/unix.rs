//! Directories on Unix: everything relative to a descriptor.

use std::any::Any;
use std::fs::File as StdFile;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Resource, getrlimit};

use super::file::DiskFile;
use super::{medium, temp};
use crate::fs::name::check;
use crate::fs::{Access, Dir, Entry, File, Fs, Ident, Kind, Medium, Space, Stamp, Stat, sync_foreign};

const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// Changes that lie further back than this have a date of their own: file systems date in steps of at most 2 s (FAT),
/// and clocks are read in steps of some milliseconds.
const SETTLED: i128 = 3_000_000_000;

/// The real disk.
#[derive(Debug, Clone, Default)]
pub struct DiskFs(());

impl DiskFs {
    /// The file system of this machine.
    pub fn new() -> DiskFs {
        DiskFs(())
    }
}

impl Fs for DiskFs {
    fn open_root(&self, path: &Path) -> io::Result<Arc<dyn Dir>> {
        Ok(Arc::new(DiskDir::at(path)?))
    }

    fn create_root(&self, path: &Path) -> io::Result<Arc<dyn Dir>> {
        let mut missing = Vec::new();
        let mut there = path;
        let mut dir = loop {
            match DiskDir::at(there) {
                Ok(dir) => break dir,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    let (Some(parent), Some(name)) = (there.parent(), there.file_name()) else {
                        return Err(e);
                    };
                    missing.push(name);
                    there = parent;
                }
                Err(e) => return Err(e),
            }
        };
        // The name of the last one that is there may not be durable yet: a process may have been killed
        // right here, between creating and syncing. Those above it were synced before it was created.
        dir.sync_parent()?;
        while let Some(name) = missing.pop() {
            let made = match make_dir(&dir.fd, name) {
                Ok(()) => true,
                // Another process was faster; its sync may be still to come, so ours is due as well.
                Err(Errno::EXIST) => false,
                Err(e) => return Err(e.into()),
            };
            if let Err(e) = dir.fd.sync_all() {
                if made {
                    // The next attempt must not find it: its sync might say success without a reason.
                    let _ = rustix::fs::unlinkat(&dir.fd, name, AtFlags::REMOVEDIR);
                }
                return Err(e);
            }
            let path = dir.path.join(name);
            // The user's own links are followed, as they would be had the directory been there from the start.
            let fd = open_at(&dir.fd, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            dir = DiskDir { fd, path: path.into() };
        }
        Ok(Arc::new(dir))
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

    fn most_files(&self) -> Option<u64> {
        getrlimit(Resource::Nofile).current
    }
}

/// An open directory.
#[derive(Debug)]
pub(super) struct DiskDir {
    /// Opened for reading: the directory itself, whatever its path leads to by now.
    fd: StdFile,
    path: Box<Path>,
}

impl DiskDir {
    fn at(path: &Path) -> io::Result<DiskDir> {
        // An empty path is what `parent` makes of a relative one.
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let fd = open_at(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        Ok(DiskDir { fd, path: path.into() })
    }

    fn sync_parent(&self) -> io::Result<()> {
        match open_at(&self.fd, "..", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
            // One of ours, whose sync failed and which could not be taken back, is empty, and no mount point.
            Ok(fd) if fd.metadata()?.dev() == self.fd.metadata()?.dev() && self.is_empty()? => {
                sync_foreign(&DiskDir { fd, path: self.path.join("..").into() })
            }
            Ok(parent) => parent.sync_all(),
            // A parent that we may not read is none in which we created anything.
            Err(Errno::ACCESS | Errno::PERM) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn is_empty(&self) -> io::Result<bool> {
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            if ![c".", c".."].contains(&entry?.file_name()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn create_file(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = open_at(&self.fd, name, flags, Mode::from_raw_mode(FILE_MODE as _))?;
        if let Err(e) = exact_mode(&file, FILE_MODE) {
            let _ = rustix::fs::unlinkat(&self.fd, name, AtFlags::empty());
            return Err(e.into());
        }
        Ok(Arc::new(DiskFile(file)))
    }

    fn stat_raw(&self, name: &str) -> io::Result<rustix::fs::Stat> {
        Ok(retry_on_intr(|| rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW))?)
    }
}

impl Dir for DiskDir {
    fn path(&self) -> &Path {
        &self.path
    }

    fn ident(&self) -> io::Result<Ident> {
        let meta = self.fd.metadata()?;
        Ok(Ident { device: meta.dev(), inode: meta.ino() })
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        check(name)?;
        let not_regular = || io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
        let access = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
        };
        // Without NONBLOCK a pipe would wait for its other end; for a regular file it means nothing.
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match open_at(&self.fd, name, flags, Mode::empty()) {
            Ok(file) => file,
            // A link, a directory to be written, a socket or a device without a driver.
            Err(Errno::LOOP | Errno::MLINK | Errno::ISDIR | Errno::NXIO | Errno::NODEV) => {
                return Err(not_regular());
            }
            Err(e) => return Err(e.into()),
        };
        if !file.metadata()?.is_file() {
            return Err(not_regular());
        }
        Ok(Arc::new(DiskFile(file)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        check(name)?;
        self.create_file(name)
    }

    fn create_temp(&self, prefix: &str) -> io::Result<(String, Arc<dyn File>)> {
        temp::unique(prefix, |name| self.create_file(name))
    }

    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Dir>> {
        check(name)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        match open_at(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Arc::new(DiskDir { fd, path: self.path.join(name).into() })),
            Err(Errno::LOOP | Errno::MLINK) => Err(io::ErrorKind::NotADirectory.into()),
            Err(e) => Err(e.into()),
        }
    }

    fn create_dir(&self, name: &str) -> io::Result<()> {
        check(name)?;
        Ok(make_dir(&self.fd, name)?)
    }

    fn create_temp_dir(&self, prefix: &str) -> io::Result<String> {
        Ok(temp::unique(prefix, |name| Ok(make_dir(&self.fd, name)?))?.0)
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        // It opens the directory anew, so that two listings at a time do not share a position.
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let mut file_type = entry.file_type();
            if file_type == FileType::Unknown {
                file_type = match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    // It went meanwhile.
                    Err(Errno::NOENT) => continue,
                    Err(e) => return Err(e.into()),
                };
            }
            entries.push(Entry { name: name.to_string_lossy().into_owned(), kind: kind(file_type) });
        }
        Ok(entries)
    }

    #[allow(clippy::unnecessary_cast, reason = "the types of the fields differ between systems")]
    fn stat(&self, name: &str) -> io::Result<Stat> {
        check(name)?;
        let stat = self.stat_raw(name)?;
        Ok(Stat {
            kind: kind(FileType::from_raw_mode(stat.st_mode)),
            len: stat.st_size as u64,
            // POSIX leaves the unit open; on every system that we know of it is 512 bytes.
            allocated: (stat.st_blocks as u64).saturating_mul(512),
            ident: Ident { device: stat.st_dev as u64, inode: stat.st_ino as u64 },
        })
    }

    #[allow(clippy::unnecessary_cast, reason = "the types of the fields differ between systems")]
    fn stamp(&self, name: &str) -> io::Result<Option<Stamp>> {
        check(name)?;
        let stat = self.stat_raw(name)?;
        let nanos = |secs: i128, nanos: i128| secs * 1_000_000_000 + nanos;
        let modified = nanos(stat.st_mtime as i128, stat.st_mtime_nsec as i128);
        let changed = nanos(stat.st_ctime as i128, stat.st_ctime_nsec as i128);
        // Dates in whole seconds come again when the clock is set back a little.
        if stat.st_mtime_nsec == 0 && stat.st_ctime_nsec == 0 {
            return Ok(None);
        }
        // A date in the future is none that the next change is sure to differ from.
        if i128::from(temp::now()) * 1000 - modified.max(changed) < SETTLED {
            return Ok(None);
        }
        let ident = Ident { device: stat.st_dev as u64, inode: stat.st_ino as u64 };
        let change = u128::from(modified as u64) << 64 | u128::from(changed as u64);
        Ok(Some(Stamp { ident, change }))
    }

    fn rename(&self, from: &str, to: &dyn Dir, name: &str) -> io::Result<()> {
        check(from)?;
        check(name)?;
        let to: &DiskDir = to.as_any().downcast_ref().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the target is a directory of another file system")
        })?;
        #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
        {
            use rustix::fs::{RenameFlags, renameat_with};
            match renameat_with(&self.fd, from, &to.fd, name, RenameFlags::NOREPLACE) {
                // The kernel or the file system does not know the flag (or it says so about something
                // else; then the other way fails as well, and changes nothing).
                Err(Errno::NOSYS | Errno::INVAL | Errno::NOTSUP) => {}
                done => return Ok(done?),
            }
        }
        self.rename_in_two_steps(from, to, name)
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        check(name)?;
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    fn remove_dir(&self, name: &str) -> io::Result<()> {
        check(name)?;
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?)
    }

    fn sync(&self) -> io::Result<()> {
        self.fd.sync_all()
    }

    fn space(&self) -> io::Result<Space> {
        // The path may lead elsewhere by now; then the descriptor is asked.
        let same = std::fs::metadata(&self.path)
            .and_then(|meta| Ok(Ident { device: meta.dev(), inode: meta.ino() } == self.ident()?));
        if let (Ok(true), Ok(stats)) = (same, fs4::statvfs(&self.path)) {
            return Ok(Space { total: stats.total_space(), available: stats.available_space() });
        }
        let stats = rustix::fs::fstatvfs(&self.fd)?;
        Ok(Space {
            total: stats.f_frsize.saturating_mul(stats.f_blocks),
            available: stats.f_frsize.saturating_mul(stats.f_bavail),
        })
    }

    fn medium(&self) -> io::Result<Medium> {
        medium::of(&self.fd)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl DiskDir {
    /// A rename that never replaces, for file systems that do not offer one.
    ///
    /// A file gets its second name (which fails if that is taken) before it loses the first: a crash
    /// between leaves both. A directory moves when a look has shown that the name is free. Whoever takes it
    /// between is not replaced either, for a rename of a directory fails onto anything but an empty one, and an
    /// empty one holds nothing. (To create that one, and so keep the place, would leave it there in a crash.)
    pub(super) fn rename_in_two_steps(&self, from: &str, to: &DiskDir, name: &str) -> io::Result<()> {
        let from_is_dir = FileType::from_raw_mode(self.stat_raw(from)?.st_mode).is_dir();
        if !from_is_dir {
            rustix::fs::linkat(&self.fd, from, &to.fd, name, AtFlags::empty())?;
            return rustix::fs::unlinkat(&self.fd, from, AtFlags::empty()).map_err(|e| {
                let _ = rustix::fs::unlinkat(&to.fd, name, AtFlags::empty());
                e.into()
            });
        }
        match to.stat_raw(name) {
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        rustix::fs::renameat(&self.fd, from, &to.fd, name).map_err(|e| match e {
            Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR => io::ErrorKind::AlreadyExists.into(),
            e => e.into(),
        })
    }
}

fn open_at<P: rustix::path::Arg + Copy>(
    dir: impl std::os::fd::AsFd,
    name: P,
    flags: OFlags,
    mode: Mode,
) -> Result<StdFile, Errno> {
    let fd = retry_on_intr(|| rustix::fs::openat(&dir, name, flags | OFlags::CLOEXEC, mode))?;
    Ok(StdFile::from(fd))
}

/// Creates a directory that is exactly 0700.
fn make_dir<P: rustix::path::Arg + Copy>(dir: &StdFile, name: P) -> Result<(), Errno> {
    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(DIR_MODE as _))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let exact = match open_at(dir, name, flags, Mode::empty()) {
        // The mask took the right to read it away even from us, so only the name is left to go by.
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(dir, name, Mode::from_raw_mode(DIR_MODE as _), AtFlags::empty())
        }
        Err(e) => Err(e),
        Ok(made) => exact_mode(&made, DIR_MODE),
    };
    exact.inspect_err(|_| {
        let _ = rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR);
    })
}

/// Sets the mode that was asked for, if the mask of the process or the parent directory made another of it.
fn exact_mode(file: &StdFile, mode: u32) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(file)?;
    let mode = Mode::from_raw_mode(mode as _);
    if Mode::from_raw_mode(stat.st_mode) == mode {
        return Ok(());
    }
    match rustix::fs::fchmod(file, mode) {
        // File systems without modes (FAT) show what they were mounted with.
        Err(Errno::PERM | Errno::NOTSUP | Errno::NOSYS) => Ok(()),
        done => done,
    }
}

fn kind(file_type: FileType) -> Kind {
    match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Dir,
        _ => Kind::Other,
    }
}
