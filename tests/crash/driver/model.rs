//! What a session is, plainly, and what is known of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// A session that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Life {
    /// Every message ever appended.
    pub all: Vec<Arc<str>>,
    /// The first one that is live.
    pub base: usize,
    pub made: u64,
    pub archives: BTreeMap<u64, (Range<usize>, i64)>,
    pub attributes: BTreeMap<String, i64>,
}

/// The message of a visitor.
pub const VISITED: &str = "visited";

/// A session, or none.
pub type State = Option<Arc<Life>>;

/// What may be found of one session: it went through these states, in this order, and it is in one of them.
#[derive(Debug, Clone)]
pub struct Know {
    /// The first is durable, or came out of an op whose outcome is unknown; the last is the newest that was
    /// submitted. A power cut may leave any of them.
    pub states: Vec<State>,
    /// The first that a kill leaves: it was acknowledged.
    pub kill_from: usize,
    /// It was closed, the close was acknowledged, and nothing had failed: the next opening finds a clean end, or a torn close record.
    pub clean: bool,
}

impl Know {
    pub fn exactly(state: State) -> Know {
        Know { states: vec![state], kill_from: 0, clean: false }
    }

    /// A visitor's session: with his message if it is done, otherwise perhaps.
    pub fn of_visitor(done: bool) -> Know {
        let life = |all| Some(Arc::new(Life { all, ..Life::default() }));
        let all = vec![None, life(Vec::new()), life(vec![VISITED.into()])];
        let mut know = Know { states: all, kill_from: 0, clean: false };
        if done {
            know.durable();
        }
        know
    }

    pub fn now(&self) -> &State {
        &self.states[self.states.len() - 1]
    }

    /// The last one is durable.
    pub fn durable(&mut self) {
        *self = Know::exactly(self.now().clone());
    }

    /// The last one was acknowledged, and is in the page cache.
    pub fn acknowledged(&mut self) {
        self.kill_from = self.states.len() - 1;
    }

    /// It was seen in state `index`: what came later did not happen. What is seen is in the page cache.
    pub fn observed(&mut self, index: usize) {
        self.states.truncate(index + 1);
        self.kill_from = index;
    }

    /// The same, after an op whose outcome is unknown. What is seen is in the page cache; what the op wrote may
    /// be on the medium all the same, and a power cut may show it, until something later is durable.
    pub fn observed_unsure(&mut self, index: usize) {
        let later = self.states.split_off(index + 1);
        self.kill_from = index + later.len();
        self.states.splice(0..0, later);
    }
}

/// What was read of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub live: Range<u64>,
    pub total: u64,
    pub messages: Vec<String>,
    pub attributes: BTreeMap<String, i64>,
    pub archives: Vec<(u64, Range<u64>, i64, Vec<String>)>,
}

impl Seen {
    /// What is to be read of a session in this state.
    pub fn of(life: &Life) -> Seen {
        let texts = |range: Range<usize>| life.all[range].iter().map(|t| t.to_string()).collect();
        Seen {
            live: life.base as u64..life.all.len() as u64,
            total: life.all.len() as u64,
            messages: texts(life.base..life.all.len()),
            attributes: life.attributes.clone(),
            archives: life
                .archives
                .iter()
                .map(|(n, (range, value))| {
                    (*n, range.start as u64..range.end as u64, *value, texts(range.clone()))
                })
                .collect(),
        }
    }

    pub fn is(&self, life: &Life) -> bool {
        let same = |texts: &[String], range: Range<usize>| {
            texts.len() == range.len() && texts.iter().zip(&life.all[range]).all(|(a, b)| **a == **b)
        };
        self.live == (life.base as u64..life.all.len() as u64)
            && self.total == life.all.len() as u64
            && same(&self.messages, life.base..life.all.len())
            && self.attributes == life.attributes
            && self.archives.len() == life.archives.len()
            && self.archives.iter().zip(&life.archives).all(|(a, (n, (range, value)))| {
                a.0 == *n
                    && a.1 == (range.start as u64..range.end as u64)
                    && a.2 == *value
                    && same(&a.3, range.clone())
            })
    }

    /// In a few words: what a failure shows.
    pub fn brief(&self) -> String {
        let cut = |t: &String| t.split(':').next().unwrap_or_default().to_owned();
        let archives: Vec<String> = self
            .archives
            .iter()
            .map(|(n, range, value, texts)| {
                format!("{n}={range:?}/v{value}/{:?}", texts.iter().map(cut).collect::<Vec<_>>())
            })
            .collect();
        format!(
            "live {:?} of {} {:?} attributes {:?} archives {archives:?}",
            self.live,
            self.total,
            self.messages.iter().map(cut).collect::<Vec<_>>(),
            self.attributes
        )
    }
}

pub fn brief(state: &State) -> String {
    state.as_ref().map_or_else(|| "no session".to_owned(), |life| Seen::of(life).brief())
}

pub fn brief_seen(seen: Option<&Seen>) -> String {
    seen.map_or_else(|| "no session".to_owned(), Seen::brief)
}

/// The last of these states that is what was seen.
pub fn find(states: &[State], seen: Option<&Seen>) -> Option<usize> {
    states.iter().rposition(|state| match (state, seen) {
        (None, None) => true,
        (Some(life), Some(seen)) => seen.is(life),
        _ => false,
    })
}
