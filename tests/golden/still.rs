//! A simulated disk on which time stands still and random numbers are counted: what is written depends on the calls alone.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sessionlog::fs::{Dir, Fs, SimFs};

#[derive(Debug, Clone)]
pub struct Still {
    pub sim: SimFs,
    counter: Arc<AtomicU64>,
}

impl Still {
    pub fn new(sim: SimFs) -> Still {
        Still { sim, counter: Arc::new(AtomicU64::new(1)) }
    }

    /// Another process on the same disk, with random numbers of its own.
    pub fn process_new(&self) -> Still {
        let from = self.counter.load(Ordering::SeqCst) + 1_000_000;
        Still { sim: self.sim.process_new(), counter: Arc::new(AtomicU64::new(from)) }
    }
}

impl Fs for Still {
    fn open_root(&self, path: &Path) -> io::Result<Arc<dyn Dir>> {
        self.sim.open_root(path)
    }
    fn create_root(&self, path: &Path) -> io::Result<Arc<dyn Dir>> {
        self.sim.create_root(path)
    }
    fn now(&self) -> u64 {
        1_750_000_000_000_000
    }
    fn random(&self, buf: &mut [u8]) -> io::Result<()> {
        for chunk in buf.chunks_mut(8) {
            let n = self.counter.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&n.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
    fn process(&self) -> u32 {
        self.sim.process()
    }
}
