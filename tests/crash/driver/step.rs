//! A step of a script, and its text: so that every script is one line.

use std::fmt;
use std::str::FromStr;

/// `<verb><session>` or `<verb><session>:<argument>`.
///
/// | verb | step | argument |
/// |---|---|---|
/// | `a` | append | bytes |
/// | `u` | append as `Buffered` | bytes |
/// | `b` `B` | batch, with attributes | messages of 40 bytes |
/// | `y` | sync | |
/// | `A` | archive | messages kept |
/// | `t` | truncate | |
/// | `m` | patch attributes | |
/// | `n` | patch the attributes of the newest archive | |
/// | `r` | remove the oldest archive | |
/// | `c` | close the session | |
/// | `C` `D` | create, remove the session | |
/// | `l` | list, and read everything | |
/// | `X` | close the store; another process opens it | |
/// | `K` | kill the process; another one opens the store | |
/// | `P` | cut the power, opened again | seed of what survives |
/// | `k` | kill the process; the other one of two, or a new one, goes on | |
/// | `W` | close the sessions and go on in the other one of two processes | |
/// | `w` | the same, but what was written stays open and cannot be written there | |
/// | `E` | the next operation of a kind fails, see `World::fail_later` | which |
/// | `i` | time passes: what the stores do after a while is done | |
/// | `J` | the clock jumps back an hour | |
/// | `R` | room for so many bytes more; 0 lifts it | bytes |
/// | `S` | reads and writes are short | bytes |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub verb: char,
    pub session: usize,
    pub arg: u64,
}

pub const VERBS: &str = "aubByAtmnrcCDlXKkPWwEiJRS";

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.verb, self.session)?;
        if self.arg > 0 { write!(f, ":{}", self.arg) } else { Ok(()) }
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Step, String> {
        let bad = || format!("{text:?} is no step");
        let mut chars = text.chars();
        let verb = chars.next().filter(|v| VERBS.contains(*v)).ok_or_else(bad)?;
        let (session, arg) = chars.as_str().split_once(':').unwrap_or((chars.as_str(), "0"));
        let session = if session.is_empty() { 0 } else { session.parse().map_err(|_| bad())? };
        Ok(Step { verb, session, arg: arg.parse().map_err(|_| bad())? })
    }
}

pub fn parse_steps(text: &str) -> Result<Vec<Step>, String> {
    text.split_whitespace().map(str::parse).collect()
}

pub fn steps_text(steps: &[Step]) -> String {
    steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
