//! A small file system of its own, filled until nothing fits.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sessionlog::{Keep, Options, Session};

use crate::Seed;
use crate::book::{Book, id, no_room};
use crate::support::mount::{Mount, run};
use crate::support::{Place, Rng, Watchdog, seed};

const SESSIONS: u64 = 4;

/// Such a file system, and where it is mounted; or why not.
fn small(place: &Place) -> Result<(Mount, PathBuf), String> {
    let (image, dir) = (place.file("image"), place.file("mounted"));
    std::fs::File::create(&image).and_then(|f| f.set_len(8 << 20)).unwrap();
    std::fs::create_dir(&dir).unwrap();
    // Nothing is kept for root.
    run(&["mkfs.ext4", "-q", "-m", "0"], &[&image])?;
    Ok((Mount::new(&image, "loop", &dir)?, dir))
}

fn free(dir: &Path) -> u64 {
    let stat = rustix::fs::statvfs(dir).unwrap();
    stat.f_bavail * stat.f_frsize
}

/// Fills the file system but for about so many bytes.
fn filler(dir: &Path, leave: u64) -> PathBuf {
    let path = dir.join("filler");
    // Room for the blocks that say where the blocks are.
    let _ = std::fs::write(&path, vec![7; free(dir).saturating_sub(leave) as usize]);
    path
}

#[test]
fn on_a_full_file_system_nothing_acknowledged_goes_and_writing_goes_on_when_there_is_room() {
    let _dog = Watchdog::new("the full file system", Duration::from_secs(120));
    let place = Place::new();
    let (_mount, dir) = match small(&place) {
        Ok(mounted) => mounted,
        Err(why) => return println!("skipped: no file system could be mounted here ({why})"),
    };
    let seed = Seed(seed());
    let mut rng = Rng(seed.0);
    let options = Options::new()
        .create(true)
        .segment_size(256 << 10)
        .truncate_after(64 << 10)
        .linger(Duration::from_secs(3600));
    let mut book = Book::new(SESSIONS + 3);
    let mut refused = 0;
    for round in 0..3 {
        let store = options.open(dir.join("store")).unwrap();
        let handles: Vec<Session> = (0..SESSIONS).map(|s| store.session(id(s)).unwrap()).collect();
        for (s, handle) in handles.iter().enumerate() {
            assert!(book.append(handle, s as u64));
        }
        let filler = filler(&dir, rng.below(300 << 10));
        let mut row = 0;
        while row < 60 {
            let s = rng.below(SESSIONS);
            let done = book.append(&handles[s as usize], s);
            row = if done { 0 } else { row + 1 };
            refused += u64::from(!done);
        }
        book.check(&store);
        let left = free(&dir);
        assert!(left < 200 << 10, "refused, though {left} bytes are left");
        // The last blocks too.
        let last = dir.join("last");
        let _ = std::fs::write(&last, vec![7; left as usize + 1]);
        no_room(&store.create_session(id(SESSIONS + round)).unwrap_err());
        // From its reserve.
        handles[round as usize].archive(Keep::Messages(2)).unwrap();
        book.check(&store);
        std::fs::remove_file(&last).unwrap();
        std::fs::remove_file(&filler).unwrap();
        for (s, handle) in handles.iter().enumerate() {
            for _ in 0..20 {
                assert!(book.append(handle, s as u64), "there is room");
            }
        }
        assert!(book.append(&store.session(id(SESSIONS + round)).unwrap(), SESSIONS + round));
        for handle in &handles {
            handle.archive(Keep::Messages(5)).unwrap();
            handle.truncate().unwrap();
        }
        book.check(&store);
        // Every other time it is closed on a full disk, too.
        let again = (round == 1).then(|| self::filler(&dir, 0));
        drop(handles);
        if let Err(e) = store.close() {
            no_room(&e);
        }
        again.map(std::fs::remove_file).transpose().unwrap();
        let store = options.clone().create(false).read_only(true).open(dir.join("store")).unwrap();
        book.check(&store);
        // Room for the next round: what is archived takes some.
        drop(store);
        let store = options.open(dir.join("store")).unwrap();
        for s in 0..SESSIONS {
            let handle = store.session(id(s)).unwrap();
            assert!(!handle.report().unwrap().has_damage(), "{:?}", handle.report());
        }
        store.close().unwrap();
    }
    println!("{} messages, {refused} refused", book.sessions.iter().map(Vec::len).sum::<usize>());
}
