//! What survives a power cut of that which was not synced.

use std::sync::Arc;

use super::state::mix;

/// The unit in which a disk writes.
pub(super) const SECTOR: usize = 512;

/// Which of the unsynced changes survive a power cut.
///
/// Each of them is an item of its own, in the order in which [`SimFs::pending`](super::SimFs::pending) names
/// them: the content of a write, the length that a write or a cut gave to the file, an entry of a directory.
/// Those that survive take effect in their order; those that do not never happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Choice {
    /// None: what was not synced is gone.
    Nothing,
    /// All of them, as if everything had been synced in the last moment.
    Everything,
    /// Item `i` survives, whole, if bit `i` is set. Items from 64 on do not.
    Mask(u64),
    /// As this seed decides, each for itself. Content may be torn at 512-byte sectors, and where a length
    /// survived without its content there may be old bytes of other files instead of zeros.
    Seed(u64),
}

/// What becomes of the content of one write.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content {
    Gone,
    Whole,
    /// Each sector for itself.
    Torn(u64),
}

impl Content {
    pub(super) fn keeps(self, sector: usize) -> bool {
        match self {
            Content::Gone => false,
            Content::Whole => true,
            Content::Torn(seed) => mix(seed ^ mix(sector as u64)) & 1 == 0,
        }
    }
}

/// Goes over all items in their order and decides about each.
#[derive(Debug)]
pub(super) struct Chooser {
    choice: Choice,
    next: u32,
    random: u64,
    /// Of 16 items so many survive.
    keep: u64,
    /// Where old bytes are taken from; empty if there are none to be seen.
    old: Vec<Arc<Vec<u8>>>,
}

impl Chooser {
    pub(super) fn new(choice: Choice) -> Chooser {
        let mut chooser = Chooser { choice, next: 0, random: 0, keep: 8, old: Vec::new() };
        if let Choice::Seed(seed) = choice {
            chooser.random = mix(seed ^ 0x5eed);
            // Half of each is the rarest in practice: almost all, or almost nothing, finds other mistakes.
            chooser.keep = match chooser.draw() % 4 {
                0 => 2,
                1 => 14,
                _ => 8,
            };
        }
        chooser
    }

    /// True if this crash may show old bytes of other files.
    pub(super) fn shows_old(&mut self) -> bool {
        matches!(self.choice, Choice::Seed(_)) && self.draw().is_multiple_of(4)
    }

    pub(super) fn set_old(&mut self, old: Vec<Arc<Vec<u8>>>) {
        self.old = old;
    }

    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }

    /// Whether the next item survives.
    pub(super) fn item(&mut self) -> bool {
        let index = self.next;
        self.next += 1;
        match self.choice {
            Choice::Nothing => false,
            Choice::Everything => true,
            Choice::Mask(mask) => index < 64 && mask >> index & 1 == 1,
            Choice::Seed(_) => self.draw() % 16 < self.keep,
        }
    }

    /// What becomes of the next item, the content of a write.
    pub(super) fn content(&mut self) -> Content {
        let kept = self.item();
        if matches!(self.choice, Choice::Seed(_)) && self.draw().is_multiple_of(3) {
            return Content::Torn(self.draw());
        }
        if kept { Content::Whole } else { Content::Gone }
    }

    /// A sector of some file, as it may lie where nothing was written yet.
    pub(super) fn old_sector(&mut self) -> Option<[u8; SECTOR]> {
        let (a, b) = (self.draw() as usize, self.draw() as usize);
        let file = self.old.get(a.checked_rem(self.old.len())?)?;
        let sector = b.checked_rem(file.len() / SECTOR)?;
        file.get(sector * SECTOR..)?.get(..SECTOR)?.try_into().ok()
    }
}
