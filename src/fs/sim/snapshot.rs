//! Snapshots of a simulated machine, and what is asked of one machine alone: faults, records.

use std::fmt;
use std::sync::Arc;

use super::choice::{Choice, Chooser};
use super::fault::Plan;
use super::process::SimFs;
use super::state::State;

/// A machine as it was at one moment: its page cache, its disk, its processes and their locks.
///
/// Cheap to clone, and cheap to take: content is shared until somebody writes. Each call below makes another
/// machine of it, on which everything can be done without touching this one.
#[derive(Clone)]
pub struct Snapshot {
    state: Arc<State>,
    label: String,
    tag: u64,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({}, tag {})", self.label, self.tag)
    }
}

impl Snapshot {
    pub(super) fn new(state: State, label: String, tag: u64) -> Snapshot {
        Snapshot { state: Arc::new(state), label, tag }
    }

    /// The operation that was about to be done, in words.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What [`SimFs::set_tag`] was given last.
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// How many operations were begun before it.
    pub fn ops(&self) -> u64 {
        self.state.ops
    }

    /// How many changes are not durable: each bit of a [`Choice::Mask`] stands for one.
    pub fn pending_count(&self) -> usize {
        self.state.pending().len()
    }

    /// The changes that are not durable, in words and in the order of the bits of a [`Choice::Mask`].
    pub fn pending(&self) -> Vec<String> {
        self.state.pending()
    }

    /// The first process after a power cut at this moment.
    pub fn crash(&self, choice: Choice) -> SimFs {
        SimFs::boot(self.state.after_power_cut(Chooser::new(choice)))
    }

    /// The first process after all others were killed at this moment; the machine runs on, with its cache.
    pub fn kill_all(&self) -> SimFs {
        let mut state = self.state.copy();
        state.kill_all();
        SimFs::boot(state)
    }

    /// Another process, while all that were there go on (and do nothing more, as nobody has their handles).
    pub fn look(&self) -> SimFs {
        SimFs::boot(self.state.copy())
    }
}

/// What is asked of one machine and does not go with copies of it.
#[derive(Debug, Default)]
pub(super) struct Control {
    pub(super) plan: Plan,
    recorded: Option<Vec<Snapshot>>,
    tag: u64,
    interruption: Option<Interruption>,
}

type Visit = Box<dyn FnOnce() + Send + Sync>;

/// What comes before an operation.
struct Interruption {
    number: u64,
    visit: Visit,
}

impl fmt::Debug for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Interruption({})", self.number)
    }
}

impl Control {
    pub(super) fn records(&self) -> bool {
        self.recorded.is_some()
    }

    pub(super) fn record(&mut self, state: State, label: String) {
        let tag = self.tag;
        if let Some(recorded) = &mut self.recorded {
            recorded.push(Snapshot::new(state, label, tag));
        }
    }

    pub(super) fn start_recording(&mut self) {
        self.recorded = Some(Vec::new());
    }

    pub(super) fn take_recorded(&mut self) -> Vec<Snapshot> {
        self.recorded.take().unwrap_or_default()
    }

    pub(super) fn set_tag(&mut self, tag: u64) {
        self.tag = tag;
    }

    pub(super) fn tag(&self) -> u64 {
        self.tag
    }

    pub(super) fn interrupt(&mut self, number: u64, visit: Visit) {
        self.interruption = Some(Interruption { number, visit });
    }

    /// What comes before the operation of this number, once.
    pub(super) fn interruption(&mut self, number: u64) -> Option<Visit> {
        self.interruption.take_if(|next| next.number == number).map(|next| next.visit)
    }
}
