//! File systems, made, mounted and unmounted with the system's own tools.

use std::path::{Path, PathBuf};
use std::process::Command;

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
        run(&["mount", "-o", self.options], &[image, at])?;
        Ok(Mount(at.to_path_buf()))
    }
}

/// A mounted file system; unmounted when it is dropped.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// Unmounts it; or why that cannot be. Somebody may still use it: then it lives on, and nothing would be lost.
    pub(crate) fn end(self) -> Result<(), String> {
        run(&["umount"], &[&self.0])?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(e) = run(&["umount", "-l"], &[&self.0]) {
            eprintln!("{e}");
        }
    }
}

fn run(words: &[&str], paths: &[&Path]) -> Result<(), String> {
    let output = Command::new(words[0])
        .args(&words[1..])
        .args(paths)
        .output()
        .map_err(|e| format!("{}: {e}", words[0]))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{}: {}", words[0], String::from_utf8_lossy(&output.stderr).trim())),
    }
}
