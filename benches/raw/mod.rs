//! The raw floors: what the operating system alone takes for the same bytes; and how threads are timed.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use sessionlog::fs::{Access, DiskFs, Fs};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A file of `len` written zeros, synced: the cheapest thing to make a write durable in.
pub(crate) struct Preallocated {
    file: File,
    len: u64,
    at: u64,
}

impl Preallocated {
    pub(crate) fn new(path: &Path, len: u64) -> io::Result<Preallocated> {
        let file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
        let zeros = vec![0; 1 << 20];
        let mut at = 0;
        while at < len {
            let n = (len - at).min(zeros.len() as u64);
            write_at(&file, zeros.get(..n as usize).unwrap_or_default(), at)?;
            at += n;
        }
        file.sync_all()?;
        Ok(Preallocated { file, len, at: 0 })
    }

    /// Writes behind what is there, from the front again at the end.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.at + bytes.len() as u64 > self.len {
            self.at = 0;
        }
        write_at(&self.file, bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// The floor of a durable append: one write, one sync.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes)?;
        self.file.sync_data()
    }
}

/// The floor of a load: the file in pieces of 1 MiB, and a checksum of each `record` bytes.
pub(crate) fn read_flat(path: &Path, record: usize) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; (1 << 20) / record * record];
    let mut sum = 0u64;
    loop {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|r| !r.is_empty()) {
            match file.read(rest)? {
                0 => break,
                n => filled += n,
            }
        }
        if filled == 0 {
            return Ok(sum);
        }
        for bytes in buffer.get(..filled).unwrap_or_default().chunks(record) {
            sum = sum.wrapping_add(u64::from(crc32fast::hash(bytes)));
        }
    }
}

/// Another floor of a load: the file mapped whole, brought into memory at once, and the same checksums.
pub(crate) fn read_mapped(path: &Path, record: usize) -> io::Result<u64> {
    let missing = || io::Error::from(io::ErrorKind::Unsupported);
    let name = path.file_name().and_then(|n| n.to_str()).ok_or_else(missing)?;
    let dir = DiskFs::new().open_root(path.parent().ok_or_else(missing)?)?;
    let file = dir.open(name, Access::Read)?;
    let map = file.map(file.len()? as usize)?.ok_or_else(missing)?;
    map.populate(0, map.len())?;
    Ok(map.chunks(record).map(|bytes| u64::from(crc32fast::hash(bytes))).sum())
}

/// The floor of a tail: one read at the end of an open file, and the checksums.
pub(crate) fn read_tail(file: &File, records: usize, record: usize) -> io::Result<u64> {
    let all = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)? / record;
    read_part(file, all - records, records, record)
}

/// The same from anywhere.
pub(crate) fn read_part(file: &File, from: usize, records: usize, record: usize) -> io::Result<u64> {
    let mut buffer = vec![0; records * record];
    read_at(file, &mut buffer, (from * record) as u64)?;
    Ok(buffer.chunks(record).map(|bytes| u64::from(crc32fast::hash(bytes))).sum())
}

/// Where a row of `records` begins, anywhere among `count`: in each turn somewhere else.
pub(crate) fn anywhere(turn: u64, count: usize, records: usize) -> usize {
    (turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (count - records) as u64) as usize
}

/// The floor of a listing: every file of a directory, read whole.
pub(crate) fn read_files(dir: &Path) -> io::Result<()> {
    std::fs::read_dir(dir)?.try_for_each(|file| std::fs::read(file?.path()).map(drop))
}

/// Runs all at the same time, and takes the time from the common start to the last one's end.
pub(crate) fn together(
    works: impl IntoIterator<Item = impl FnOnce() -> Result<()> + Send>,
) -> Result<Duration> {
    let works: Vec<_> = works.into_iter().collect();
    let start = Barrier::new(works.len() + 1);
    thread::scope(|scope| {
        let handles: Vec<_> = works
            .into_iter()
            .map(|work| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    work()
                })
            })
            .collect();
        start.wait();
        let begun = Instant::now();
        for handle in handles {
            handle.join().map_err(|_| "a thread panicked")??;
        }
        Ok(begun.elapsed())
    })
}

/// How many bytes the disk under `path` was given so far, by anybody. `None` where the system does not say. (What it counts
/// for one process are whole pieces of the page cache, of which it may write a little.)
pub(crate) fn to_disk(path: &Path) -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let device = std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(path).ok()?);
        let major = (device >> 8) & 0xfff | (device >> 32) & !0xfff;
        let minor = device & 0xff | (device >> 12) & !0xff;
        let counts = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
        let sectors: u64 = counts.split_whitespace().nth(6)?.parse().ok()?;
        Some(sectors * 512)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        None
    }
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(not(unix))]
fn write_at(mut file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    use std::io::{Seek, SeekFrom, Write};
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytes)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    use std::io::{Seek, SeekFrom};
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(bytes)
}
