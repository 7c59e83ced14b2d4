//! File systems in files, made, mounted and unmounted with the system's own tools: few may do that.

#![allow(clippy::print_stderr, reason = "what cannot be unmounted is said to whoever runs the test")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system; unmounted when it is dropped.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// Mounts what lies in the file `image`; or why that cannot be.
    pub(crate) fn new(image: &Path, options: &str, at: &Path) -> Result<Mount, String> {
        run(&["mount", "-o", options], &[image, at])?;
        Ok(Mount(at.to_path_buf()))
    }

    /// Unmounts it; or why that cannot be. Somebody may still use it: then it lives on.
    pub(crate) fn end(self) -> Result<(), String> {
        run(&["umount"], &[&self.0])?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let done = run(&["umount"], &[&self.0]);
        done.or_else(|_| run(&["umount", "-l"], &[&self.0])).unwrap_or_else(|e| eprintln!("{e}"));
    }
}

/// Runs a tool of the system; or why it failed.
pub(crate) fn run(words: &[&str], paths: &[&Path]) -> Result<(), String> {
    let output = Command::new(words[0]).args(&words[1..]).args(paths).output();
    let output = output.map_err(|e| format!("{}: {e}", words[0]))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{}: {}", words[0], String::from_utf8_lossy(&output.stderr).trim())),
    }
}
