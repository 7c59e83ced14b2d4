//! What the system alone takes where the floor does less than a store must.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use sessionlog::fs::{Dir, DiskFs, Fs, write_all_at};

use crate::Result;
use crate::raw::Preallocated;

/// A file that grows: what a write costs where nothing was allocated before.
pub(crate) struct Growing(File);

impl Growing {
    pub(crate) fn new(path: &Path) -> Result<Growing> {
        Ok(Growing(File::create_new(path)?))
    }

    /// One write behind what is there, and one sync.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.seek(SeekFrom::End(0))?;
        self.0.write_all(bytes)?;
        Ok(self.0.sync_data()?)
    }
}

/// Makes files and names like those of a session: in a directory of their own a lock and a file of two blocks; and a note elsewhere.
pub(crate) struct Maker {
    /// Where the directories are made, by turns.
    shards: Vec<Arc<dyn Dir>>,
    notes: Mutex<Preallocated>,
    made: AtomicUsize,
    number: usize,
}

impl Maker {
    /// Makers of several numbers share their directories.
    pub(crate) fn new(dir: &Path, number: usize) -> Result<Maker> {
        let shard = |i: u32| -> Result<Arc<dyn Dir>> {
            let path = dir.join("alone").join(i.to_string());
            fs::create_dir_all(&path)?;
            Ok(DiskFs::new().open_root(&path)?)
        };
        let shards = (0..16).map(shard).collect::<Result<_>>()?;
        let notes = Mutex::new(Preallocated::new(&dir.join(format!("notes-{number}")), 64 << 10)?);
        Ok(Maker { shards, notes, made: AtomicUsize::new(0), number })
    }

    /// Makes so many, one after the other, each durable by four syncs.
    pub(crate) fn make(&self, count: usize, bytes: &[u8]) -> Result<()> {
        for _ in 0..count {
            let made = self.made.fetch_add(1, Ordering::Relaxed);
            let shard =
                self.shards.get((made * 7 + self.number) % self.shards.len()).ok_or("no directory")?;
            let temp = shard.create_temp_dir("new-")?;
            let dir = shard.open_dir(&temp)?;
            let lock = dir.create("lock")?;
            lock.try_lock()?;
            let log = dir.create("log")?;
            write_all_at(&*log, &[0; 8192], 0)?;
            write_all_at(&*log, bytes, 1024)?;
            log.sync()?;
            dir.sync()?;
            self.notes.lock().append(&[1; 200])?;
            shard.rename(&temp, &**shard, &format!("{}-{made}", self.number))?;
            shard.sync()?;
        }
        Ok(())
    }
}
