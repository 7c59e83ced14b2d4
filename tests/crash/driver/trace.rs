//! A failure in one line, and back.

use std::fmt;
use std::str::FromStr;

use sessionlog::fs::{Choice, Fault};

use super::explore::{How, replay};
use super::step::{Step, parse_steps, steps_text};
use super::world::Conf;

/// Operations that fail: how many came before, and how.
pub type Faults = Vec<(u64, Fault)>;

/// A crash at a moment of what ran before it, and operations that fail in what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    pub point: usize,
    pub how: How,
    pub faults: Faults,
}

/// How a state came about: a script, perhaps operations that failed in it, and crashes one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    pub seed: u64,
    pub conf: Conf,
    pub steps: Vec<Step>,
    pub faults: Faults,
    pub visit: Option<Visit>,
    pub hops: Vec<Hop>,
}

/// Another process that comes right before an operation: opens the store, appends a message to a session of its own, does what is to
/// be done in the background, and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    /// So many operations come before it.
    pub number: u64,
    /// It is killed in the end.
    pub killed: bool,
}

/// A state that should not be, and how to come there again.
#[derive(Debug, Clone)]
pub struct Failure {
    pub trace: Trace,
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n    --replay '{}'", self.what, self.trace)
    }
}

const FAULTS: [(&str, Fault); 10] = [
    ("io", Fault::Io),
    ("after", Fault::IoAfter),
    ("half", Fault::IoHalf),
    ("drop", Fault::DropDirty),
    ("space", Fault::NoSpace),
    ("eintr", Fault::Interrupted),
    ("emfile", Fault::TooManyFiles),
    ("lie", Fault::Lie),
    ("early", Fault::Early),
    ("wrong", Fault::WrongFile),
];

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed={};segment={};after={};", self.seed, self.conf.segment, self.conf.after)?;
        write!(f, "steps={}", steps_text(&self.steps))?;
        for (number, fault) in &self.faults {
            write!(f, ";fault={number}:{}", name_of(*fault))?;
        }
        if let Some(Visit { number, killed }) = self.visit {
            write!(f, ";{}={number}", if killed { "killed" } else { "visit" })?;
        }
        for hop in &self.hops {
            write!(f, ";{}:{}", hop.point, hop.how)?;
            for (number, fault) in &hop.faults {
                write!(f, "+{number}:{}", name_of(*fault))?;
            }
        }
        Ok(())
    }
}

fn name_of(fault: Fault) -> &'static str {
    FAULTS.iter().find(|(_, known)| *known == fault).map_or("io", |(name, _)| name)
}

fn parse_fault(text: &str) -> Result<(u64, Fault), String> {
    let (number, name) = text.split_once(':').ok_or("a fault is <operation>:<kind>")?;
    let fault = FAULTS.iter().find(|(known, _)| *known == name).ok_or("no such fault")?;
    Ok((number.parse().map_err(|_| format!("{number:?} is no number"))?, fault.1))
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::Cut(Choice::Nothing) => write!(f, "none"),
            How::Cut(Choice::Everything) => write!(f, "all"),
            How::Cut(Choice::Mask(mask)) => write!(f, "mask{mask}"),
            How::Cut(Choice::Seed(seed)) => write!(f, "seed{seed}"),
            How::Kill => write!(f, "kill"),
            How::Look => write!(f, "look"),
        }
    }
}

impl FromStr for How {
    type Err = String;

    fn from_str(text: &str) -> Result<How, String> {
        let number = |t: &str| t.parse().map_err(|_| format!("{text:?} is no crash"));
        Ok(match text {
            "none" => How::Cut(Choice::Nothing),
            "all" => How::Cut(Choice::Everything),
            "kill" => How::Kill,
            "look" => How::Look,
            _ => match (text.strip_prefix("mask"), text.strip_prefix("seed")) {
                (Some(mask), _) => How::Cut(Choice::Mask(number(mask)?)),
                (_, Some(seed)) => How::Cut(Choice::Seed(number(seed)?)),
                _ => return Err(format!("{text:?} is no crash")),
            },
        })
    }
}

impl FromStr for Trace {
    type Err = String;

    fn from_str(text: &str) -> Result<Trace, String> {
        let conf = Conf { segment: 16 << 10, after: u64::MAX };
        let mut trace =
            Trace { seed: 1, conf, steps: Vec::new(), faults: Vec::new(), visit: None, hops: Vec::new() };
        let number = |t: &str| t.parse::<u64>().map_err(|_| format!("{t:?} is no number"));
        for part in text.split(';') {
            if let Some((key, value)) = part.split_once('=') {
                match key {
                    "seed" => trace.seed = number(value)?,
                    "segment" => trace.conf.segment = number(value)?,
                    "after" => trace.conf.after = number(value)?,
                    "steps" => trace.steps = parse_steps(value)?,
                    "visit" | "killed" => {
                        trace.visit = Some(Visit { number: number(value)?, killed: key == "killed" });
                    }
                    "fault" => trace.faults.push(parse_fault(value)?),
                    _ => return Err(format!("{key:?} is unknown")),
                }
            } else {
                let (point, how) = part.split_once(':').ok_or("a crash is <moment>:<what survives>")?;
                let mut parts = how.split('+');
                let how = parts.next().unwrap_or_default().parse()?;
                let faults = parts.map(parse_fault).collect::<Result<_, _>>()?;
                trace.hops.push(Hop { point: number(point)? as usize, how, faults });
            }
        }
        Ok(trace)
    }
}

impl Trace {
    /// Does it all again.
    pub fn replay(&self) -> Result<(), String> {
        replay(self)
    }

    pub fn with(&self, hop: &Hop) -> Trace {
        let mut trace = self.clone();
        trace.hops.push(hop.clone());
        trace
    }

    /// With these faults in what runs last.
    pub fn failing(&self, faults: Faults) -> Trace {
        let mut trace = self.clone();
        match trace.hops.last_mut() {
            Some(hop) => hop.faults.extend(faults),
            None => trace.faults.extend(faults),
        }
        trace
    }
}
