//! The directories of a store, and how it comes into being.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::absent::Absent;
use crate::error::{Error, ErrorKind, Result};
use crate::format::StoreFile;
use crate::fs::{Access, Dir, Fs, Kind, Medium, is_sync_leftover, read_up_to_at, write_all_at};
use crate::ids::StoreId;
use crate::log::first_store_id;
use crate::log::segment::header_error;

const STORE: &str = "STORE";
const DIRS: [&str; 4] = ["sessions", "catalog", "trash", "quarantine"];
/// What ext4 puts into the root of each file system: a volume may be mounted for a store alone.
const LOST_AND_FOUND: &str = "lost+found";

/// The open directories of a store.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) root: Arc<dyn Dir>,
    pub(crate) sessions: Arc<dyn Dir>,
    pub(crate) catalog: Arc<dyn Dir>,
    pub(crate) trash: Arc<dyn Dir>,
    pub(crate) id: StoreId,
    pub(crate) locks: Option<Arc<dyn Dir>>,
    pub(crate) network: bool,
    /// This opening made the `STORE` file, and synced its name.
    pub(crate) made: bool,
}

#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) create: bool,
    pub(crate) create_new: bool,
    pub(crate) read_only: bool,
    pub(crate) allow_network: bool,
    pub(crate) lock_dir: Option<&'a Path>,
}

impl Layout {
    pub(crate) fn open(fs: &Arc<dyn Fs>, path: &Path, wish: &Wish<'_>) -> Result<Layout> {
        let io = |e: io::Error| {
            let kind = e.kind();
            match Error::io("open a store", path, e) {
                e if kind == io::ErrorKind::NotADirectory => {
                    e.with_kind(ErrorKind::InvalidInput).hint("a store is a directory")
                }
                e => e,
            }
        };
        let mut rooted = false;
        let root = match fs.open_root(path) {
            Ok(root) => root,
            Err(e) if e.kind() == io::ErrorKind::NotFound && (wish.create || wish.create_new) => {
                rooted = true;
                fs.create_root(path).map_err(io)?
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(
                    io(e).hint("there is no store here; Store::open or Options::create(true) makes one")
                );
            }
            Err(e) => return Err(io(e)),
        };
        let network = match root.medium().map_err(io)? {
            Medium::Local => false,
            Medium::Network(_) if wish.allow_network => true,
            Medium::Network(name) => {
                return Err(Error::new(ErrorKind::Unsupported, "open a store").path(path).hint(format!(
                    "this is a network file system ({name}), whose locks and syncs cannot be relied on; move the \
                     store to a local disk, or set Options::allow_network(true)"
                )));
            }
        };
        let mut made = false;
        let stored = match read_store(&*root)? {
            // Another process may be making this store and its first sessions: its file comes before those.
            Stored::Missing if has_sessions(&*root)? => match read_store(&*root)? {
                // Never a new store over the sessions of another: its id would not be theirs.
                Stored::Missing => {
                    return Err(Error::corrupt(
                        path.join(STORE),
                        0,
                        "the file is missing, but there are sessions; doctor::repair restores it",
                    ));
                }
                there => there,
            },
            stored => stored,
        };
        let file = match stored {
            Stored::File(_) | Stored::Empty if wish.create_new => {
                return Err(Error::new(ErrorKind::AlreadyExists, "create a store").path(path));
            }
            Stored::File(file) => file,
            Stored::Missing if wish.create || wish.create_new => {
                if !rooted {
                    // Whoever made the directory may have died before its name was durable.
                    fs.create_root(path).map_err(io)?;
                }
                let (file, ours) = create(fs, &root, wish)?;
                made = ours;
                file
            }
            Stored::Missing => {
                return Err(Error::new(ErrorKind::NotFound, "open a store")
                    .path(path.join(STORE))
                    .hint("this directory is not a store; Store::open or Options::create(true) makes one"));
            }
            Stored::Empty if wish.read_only => {
                return Err(Error::corrupt(
                    path.join(STORE),
                    0,
                    "the file is empty; open the store for writing once to restore it",
                ));
            }
            Stored::Empty => restore(fs, &root, wish)?.0,
        };
        let locks = open_locks(fs, path, &file, wish)?;
        let dir = |name: &str| open_or_create(&root, name, wish.read_only);
        Ok(Layout {
            sessions: dir("sessions")?,
            catalog: dir("catalog")?,
            trash: dir("trash")?,
            id: file.id,
            locks,
            network,
            made,
            root,
        })
    }

    /// The directories of a store for who looks at it and changes nothing, whatever became of its own file and its
    /// directories: the id is taken from the segments if it must be. With it comes what is wrong with that file.
    ///
    /// # Errors
    /// `NotFound` if nothing here is a store; `Unsupported` if a newer program made it; `Io`.
    pub(crate) fn examine(fs: &Arc<dyn Fs>, path: &Path, wish: &Wish<'_>) -> Result<(Layout, Option<Error>)> {
        let io = |e| Error::io("look at a store", path, e);
        let root = fs.open_root(path).map_err(io)?;
        let network = matches!(root.medium().map_err(io)?, Medium::Network(_));
        let own = path.join(STORE);
        let dir = |name: &str| match root.open_dir(name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Absent::at(path.join(name))),
            other => other.map_err(|e| Error::io("look at a store", path.join(name), e)),
        };
        let sessions = dir("sessions")?;
        let told = || match first_store_id(&*sessions) {
            Err(e) if e.kind() == ErrorKind::Corrupt => Ok(Some(UNTOLD)),
            told => told,
        };
        let guess = |id: Option<StoreId>| StoreFile { id: id.unwrap_or(UNTOLD), created: 0, lock_dir: None };
        let (file, fault) = match read_store(&*root) {
            Ok(Stored::File(file)) => (file, None),
            Ok(Stored::Missing) => match told()? {
                None => {
                    return Err(Error::new(ErrorKind::NotFound, "look at a store")
                        .path(own)
                        .hint("this directory is not a store"));
                }
                id => (guess(id), Some(Error::corrupt(own, 0, "the file is missing"))),
            },
            Ok(Stored::Empty) => (guess(told()?), Some(Error::corrupt(own, 0, "the file is empty"))),
            Err(e) if e.kind() == ErrorKind::Corrupt => (guess(told()?), Some(e)),
            Err(e) => return Err(e),
        };
        let wish = Wish { read_only: true, ..*wish };
        let locks = if fault.is_some() { None } else { open_locks(fs, path, &file, &wish)? };
        let (catalog, trash) = (dir("catalog")?, dir("trash")?);
        Ok((Layout { catalog, trash, id: file.id, sessions, locks, network, root, made: false }, fault))
    }

    /// Writes the `STORE` file anew, with the id that the segments name; what was there goes to the quarantine.
    pub(crate) fn restore(fs: &Arc<dyn Fs>, path: &Path, wish: &Wish<'_>) -> Result<()> {
        let root = fs.open_root(path).map_err(|e| Error::io("restore a store's own file", path, e))?;
        restore(fs, &root, wish).map(|_| ())
    }
}

/// Whether there are sessions, as far as anybody can tell: what cannot be read is not "none".
fn has_sessions(root: &dyn Dir) -> Result<bool> {
    let sessions = match root.open_dir("sessions") {
        Ok(sessions) => sessions,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Error::io("look for sessions", root.path().join("sessions"), e)),
    };
    match first_store_id(&*sessions) {
        Err(e) if e.kind() == ErrorKind::Corrupt => Ok(true),
        found => Ok(found?.is_some()),
    }
}

/// Stands for the id of a store where nothing tells it.
pub(crate) const UNTOLD: StoreId = StoreId([0; 16]);

enum Stored {
    File(StoreFile),
    Missing,
    /// Zero bytes, or nothing but zeros: a power cut can leave that where the system lost the content.
    Empty,
}

fn read_store(root: &dyn Dir) -> Result<Stored> {
    let path = root.path().join(STORE);
    let io = |e| Error::io("read a store's own file", &path, e);
    let file = match root.open(STORE, Access::Read) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Stored::Missing),
        Err(e) => return Err(io(e)),
    };
    let mut bytes = vec![0; StoreFile::MAX_LEN + 1];
    let have = read_up_to_at(&*file, &mut bytes, 0).map_err(io)?;
    bytes.truncate(have);
    if crate::format::is_zero(&bytes) {
        return Ok(Stored::Empty);
    }
    StoreFile::decode(&bytes).map(Stored::File).map_err(|fault| header_error(&path, &fault))
}

/// Makes a store in an empty directory (or in one where an earlier attempt stopped half-way); false if another
/// process was faster.
fn create(fs: &Arc<dyn Fs>, root: &Arc<dyn Dir>, wish: &Wish<'_>) -> Result<(StoreFile, bool)> {
    let io = |e| Error::io("create a store", root.path(), e);
    for entry in root.list().map_err(io)? {
        // Another process may create the same store: whose file gets the name is decided when it is written.
        let ours = (DIRS.contains(&entry.name.as_str()) || entry.name == LOST_AND_FOUND)
            && entry.kind == Kind::Dir
            || entry.name == STORE
            || entry.name.starts_with(STORE) && entry.name.ends_with(".tmp")
            || is_sync_leftover(&entry.name);
        if !ours {
            return Err(Error::new(ErrorKind::InvalidInput, "create a store").path(root.path()).hint(
                format!(
                    "the directory holds something else ({:?}); a store needs one of its own",
                    entry.name
                ),
            ));
        }
    }
    for name in DIRS {
        open_or_create(root, name, false)?;
    }
    match id_of(fs, root) {
        Ok(id) => write_store(fs, root, id, wish),
        // A session that another process is making; then its store has its file.
        Err(e) => match read_store(&**root)? {
            Stored::File(file) => Ok((file, false)),
            Stored::Missing | Stored::Empty => Err(e),
        },
    }
}

/// The id for a new STORE file: that of the segments that are there (a power cut can take the file's name and
/// leave them), or a new one.
fn id_of(fs: &Arc<dyn Fs>, root: &Arc<dyn Dir>) -> Result<StoreId> {
    let sessions = open_or_create(root, "sessions", false)?;
    if let Some(id) = first_store_id(&*sessions)? {
        return Ok(id);
    }
    let mut id = [0; 16];
    fs.random(&mut id).map_err(|e| Error::io("create a store", root.path(), e))?;
    Ok(StoreId(id))
}

/// Writes the STORE file of a store that has lost its content: the id stands in every segment.
fn restore(fs: &Arc<dyn Fs>, root: &Arc<dyn Dir>, wish: &Wish<'_>) -> Result<(StoreFile, bool)> {
    let io = |e| Error::io("restore a store's own file", root.path(), e);
    let quarantine = open_or_create(root, "quarantine", false)?;
    let mut tag = [0; 8];
    fs.random(&mut tag).map_err(io)?;
    let aside = format!("STORE-{:016x}", u64::from_le_bytes(tag));
    let id = id_of(fs, root)?;
    match root.rename(STORE, &*quarantine, &aside) {
        Ok(()) => {}
        // Another process restores it as well: its file, or ours, will be the one.
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(io(e)),
    }
    write_store(fs, root, id, wish)
}

/// True if it is our file that has the name, durably.
fn write_store(
    fs: &Arc<dyn Fs>,
    root: &Arc<dyn Dir>,
    id: StoreId,
    wish: &Wish<'_>,
) -> Result<(StoreFile, bool)> {
    let io = |e| Error::io("create a store", root.path(), e);
    let lock_dir = match wish.lock_dir {
        None => None,
        Some(dir) => {
            let text = dir.to_str().filter(|t| t.len() <= StoreFile::MAX_LOCK_DIR && dir.is_absolute());
            Some(text.map(str::to_owned).ok_or_else(|| {
                Error::new(ErrorKind::InvalidInput, "create a store").path(dir).hint(format!(
                    "the path of the lock directory is absolute, and UTF-8 of at most {} bytes",
                    StoreFile::MAX_LOCK_DIR
                ))
            })?)
        }
    };
    let file = StoreFile { id, created: fs.now(), lock_dir };
    let (temp, handle) = root.create_temp("STORE-").map_err(io)?;
    write_all_at(&*handle, &file.encode(), 0).map_err(io)?;
    handle.sync().map_err(io)?;
    // The directories must be there for good before the file that says so.
    root.sync().map_err(io)?;
    match root.rename(&temp, &**root, STORE) {
        Ok(()) => {
            root.sync().map_err(io)?;
            Ok((file, true))
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let _ = root.remove_file(&temp);
            if wish.create_new {
                return Err(Error::new(ErrorKind::AlreadyExists, "create a store").path(root.path()));
            }
            match read_store(&**root)? {
                Stored::File(file) => Ok((file, false)),
                _ => Err(Error::corrupt(root.path().join(STORE), 0, "the file is empty")),
            }
        }
        Err(e) => Err(io(e)),
    }
}

fn open_or_create(root: &Arc<dyn Dir>, name: &str, read_only: bool) -> Result<Arc<dyn Dir>> {
    let io = |e| Error::io("open a store's directory", root.path().join(name), e);
    match root.open_dir(name) {
        // A reader misses nothing in them that it could not find out otherwise.
        Err(e) if e.kind() == io::ErrorKind::NotFound && read_only && name != "sessions" => {
            Ok(Absent::at(root.path().join(name)))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound && !read_only => {
            match root.create_dir(name) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(io(e)),
            }
            // Its name is durable before the `STORE` file has one, or before the first write (see `Anchor`).
            root.open_dir(name).map_err(io)
        }
        other => other.map_err(io),
    }
}

fn open_locks(
    fs: &Arc<dyn Fs>,
    path: &Path,
    file: &StoreFile,
    wish: &Wish<'_>,
) -> Result<Option<Arc<dyn Dir>>> {
    let stored = file.lock_dir.as_deref().map(Path::new);
    if let Some(dir) = stored.filter(|dir| !dir.is_absolute()) {
        return Err(Error::new(ErrorKind::Unsupported, "open a store").path(path.join(STORE)).hint(format!(
            "the locks of this store lie in {}, which is another directory to each process; close it everywhere, remove \
             this file, and let doctor::repair write it anew with an absolute Options::lock_dir",
            dir.display()
        )));
    }
    if wish.lock_dir.is_some() && wish.lock_dir != stored {
        return Err(Error::new(ErrorKind::Conflict, "open a store").path(path).hint(match stored {
            Some(dir) => format!("the locks of this store lie in {}", dir.display()),
            None => "the locks of this store lie beside its logs".to_owned(),
        }));
    }
    let Some(dir) = stored else { return Ok(None) };
    let dir = dir.join(file.id.to_string());
    let opened = if wish.read_only { fs.open_root(&dir) } else { fs.create_root(&dir) };
    match opened {
        Ok(dir) => Ok(Some(dir)),
        Err(_) if wish.read_only => Ok(None),
        Err(e) => Err(Error::io("open the lock directory", &dir, e)),
    }
}
