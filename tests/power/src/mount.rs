//! File systems, made, mounted and unmounted with the system's own tools.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What is tried: a name, how it is made, and with which options it is mounted.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    make: &'static [&'static str],
    options: &'static str,
    /// What mends it after a power cut, where the mount itself does not.
    mend: Option<&'static [&'static str]>,
}

pub(crate) const KINDS: [Kind; 5] = [
    Kind { name: "ext4", make: &["mkfs.ext4", "-q", "-F"], options: "loop", mend: None },
    Kind {
        name: "ext4, data=writeback",
        make: &["mkfs.ext4", "-q", "-F"],
        options: "loop,data=writeback",
        mend: None,
    },
    // With groups that it calls unused, e2fsck overwrites files which were made in them since: it copies blocks that two files claim
    // (one of them removed, which was not durable yet) to where it believes that nothing is.
    Kind {
        name: "ext4 without a journal",
        make: &["mkfs.ext4", "-q", "-F", "-O", "^has_journal,^metadata_csum,^uninit_bg"],
        options: "loop",
        mend: Some(&["e2fsck", "-f", "-y"]),
    },
    Kind { name: "xfs", make: &["mkfs.xfs", "-q", "-f"], options: "loop", mend: None },
    Kind { name: "btrfs", make: &["mkfs.btrfs", "-q", "-f"], options: "loop", mend: None },
];

impl Kind {
    /// Makes the file system; or why it cannot.
    pub(crate) fn make(&self, image: &Path) -> Result<(), String> {
        run(self.make, &[image])
    }

    /// False where removed files may be there again after a power cut, with anything in them.
    pub(crate) fn mends_itself(&self) -> bool {
        self.mend.is_none()
    }

    pub(crate) fn mend(&self, image: &Path) -> Result<(), String> {
        let Some(words) = self.mend else { return Ok(()) };
        let mut command = Command::new(words[0]);
        let output =
            command.args(&words[1..]).arg(image).output().map_err(|e| format!("{}: {e}", words[0]))?;
        // 1: something was mended.
        match output.status.code() {
            Some(0 | 1) => Ok(()),
            _ => Err(String::from_utf8_lossy(&output.stdout).into_owned()),
        }
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
