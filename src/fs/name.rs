//! Which names may reach a directory.

use std::io;
use std::path::is_separator;

/// Refuses what is not a single component, so that no name can lead out of its directory.
pub(super) fn check(name: &str) -> io::Result<()> {
    // A colon opens an alternate stream (or another drive) on Windows.
    let leads_away = |c: char| is_separator(c) || c == '\0' || (cfg!(windows) && c == ':');
    if name.is_empty() || name == "." || name == ".." || name.contains(leads_away) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} is not the name of a file"),
        ));
    }
    Ok(())
}

/// Refuses a prefix that would not begin a single component.
pub(super) fn check_prefix(prefix: &str) -> io::Result<()> {
    check(&format!("{prefix}0"))
}

/// What temporary names end in.
pub(super) const TEMP_SUFFIX: &str = ".tmp";
