//! The names of files in a session's directory.

use crate::limits::MAX_NUMBER;

/// The file that carries the writer's lock. Never replaced and never removed while the session lives.
pub(crate) const LOCK_FILE: &str = "lock";

/// `00000001.log`: as many digits as it takes, at least eight.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:08}.log")
}

/// The number of a segment file, if this is the name of one in its one spelling.
pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let number: u64 = digits.parse().ok()?;
    ((1..=MAX_NUMBER).contains(&number) && segment_name(number) == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_name_has_one_spelling() {
        for n in [1, 42, 99_999_999, 100_000_000] {
            assert_eq!(parse_segment_name(&segment_name(n)), Some(n));
        }
        for name in
            ["0.log", "1.log", "00000000.log", "+0000001.log", "00000001.log.tmp", "lock", "000000001.log"]
        {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
        assert_eq!(parse_segment_name(&segment_name(u64::MAX)), None);
    }
}
