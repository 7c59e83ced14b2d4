//! Damage to data at rest.

use std::io;
use std::path::Path;

use super::choice::SECTOR;
use super::process::SimFs;

/// What a device does to bytes that were durable. The cache loses them too, as after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// One bit flips.
    Flip {
        /// The byte.
        offset: u64,
        /// The bit, 0 to 7.
        bit: u8,
    },
    /// A sector of 512 bytes reads as zeros.
    ZeroSector(u64),
    /// A sector holds what belongs into another one (a misdirected write), of this file or of another one.
    WrongSector {
        /// The sector.
        sector: u64,
        /// What it holds now: an older version of itself, another sector, another file's.
        bytes: Vec<u8>,
    },
    /// The file is cut to this length.
    Cut(u64),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = |sector: u64| usize::try_from(sector).ok().and_then(|s| s.checked_mul(SECTOR));
        match self {
            Damage::Flip { offset, bit } => {
                let byte = usize::try_from(*offset).ok().and_then(|at| bytes.get_mut(at));
                if let Some(byte) = byte {
                    *byte ^= 1 << (bit & 7);
                }
            }
            Damage::ZeroSector(sector) => {
                let rest = at(*sector).and_then(|at| bytes.get_mut(at..));
                rest.into_iter().flatten().take(SECTOR).for_each(|byte| *byte = 0);
            }
            Damage::WrongSector { sector, bytes: wrong } => {
                let rest = at(*sector).and_then(|at| bytes.get_mut(at..));
                for (to, from) in rest.into_iter().flatten().zip(wrong.iter().take(SECTOR)) {
                    *to = *from;
                }
            }
            Damage::Cut(len) => bytes.truncate(usize::try_from(*len).unwrap_or(usize::MAX)),
        }
    }
}

impl SimFs {
    /// Damages a file at rest.
    ///
    /// # Errors
    /// `NotFound` if there is no such file.
    pub fn damage(&self, path: &Path, damage: &Damage) -> io::Result<()> {
        self.with_file(path, |file| file.damage(|bytes| damage.apply(bytes)))
    }
}
