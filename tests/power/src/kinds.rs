//! The file systems that are tried.

use std::path::Path;

use crate::support::mount::{Mount, run};

/// What is tried: a name, how it is made, and with which options it is mounted. Not ext4 without a journal: what `e2fsck` makes of it
/// after a power cut lacks what was durable.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    make: &'static [&'static str],
    options: &'static str,
}

pub(crate) const KINDS: [Kind; 4] = [
    Kind { name: "ext4", make: &["mkfs.ext4", "-q", "-F"], options: "loop" },
    Kind { name: "ext4, data=writeback", make: &["mkfs.ext4", "-q", "-F"], options: "loop,data=writeback" },
    Kind { name: "xfs", make: &["mkfs.xfs", "-q", "-f"], options: "loop" },
    Kind { name: "btrfs", make: &["mkfs.btrfs", "-q", "-f"], options: "loop" },
];

impl Kind {
    /// Makes the file system; or why it cannot.
    pub(crate) fn make(&self, image: &Path) -> Result<(), String> {
        run(self.make, &[image])
    }

    pub(crate) fn mount(&self, image: &Path, at: &Path) -> Result<Mount, String> {
        Mount::new(image, self.options, at)
    }
}
