//! What both versions of the disk share: unique names, the clock, random numbers.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::fs::name::{TEMP_SUFFIX, check_prefix};

/// Tries `create` with new names until one was not there yet; what it created stays.
pub(super) fn unique<R>(
    prefix: &str,
    mut create: impl FnMut(&str) -> io::Result<R>,
) -> io::Result<(String, R)> {
    check_prefix(prefix)?;
    let mut taken = String::new();
    // The base is never looked at: only the last component reaches `create`, which knows its directory. An
    // absolute one keeps tempfile from asking for the working directory.
    let made = tempfile::Builder::new().prefix(prefix).suffix(TEMP_SUFFIX).disable_cleanup(true).make_in(
        std::path::MAIN_SEPARATOR_STR,
        |path| {
            taken.clear();
            taken.push_str(&path.file_name().unwrap_or_default().to_string_lossy());
            create(&taken)
        },
    )?;
    let (made, _not_cleaned_up) = made.into_parts();
    Ok((taken, made))
}

/// Microseconds since 1970; 0 for a clock that is set to before that.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Random bytes of the system.
pub(super) fn random(buf: &mut [u8]) -> io::Result<()> {
    getrandom::fill(buf).map_err(io::Error::other)
}
