//! Where in the product a sync is asked for, and of what.

use std::backtrace::Backtrace;
use std::sync::{Arc, Mutex, PoisonError};

use sessionlog::fs::{Fault, SimCall, SimFs, SimOp};

/// Where a sync is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// Function and line.
    pub call: String,
    /// The kind of file or directory that is synced.
    pub kind: String,
}

/// Watches the syncs of a machine.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Vec<Seen>>>);

/// Number, kind, path, and who asked.
type Seen = (u64, String, String, Backtrace);

/// One sync of a run.
#[derive(Debug, Clone)]
pub struct Sync {
    /// How many operations came before it.
    pub number: u64,
    pub site: Site,
    pub path: String,
}

impl Watch {
    /// From now on, counting operations from here.
    pub fn on(&self, fs: &SimFs) {
        let (base, list) = (fs.ops(), self.0.clone());
        fs.fail_when(0, u64::MAX, Fault::Lie, move |call| {
            if let Some(kind) = kind_of(call) {
                let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
                list.push((call.number - base, kind, path_of(call), Backtrace::force_capture()));
            }
            // It looks, and lies about nothing.
            false
        });
    }

    /// The syncs so far.
    pub fn syncs(&self) -> Vec<Sync> {
        let list = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let sync =
            |(number, kind, path, trace)| Sync { number, path, site: Site { call: call_of(&trace), kind } };
        list.into_iter().map(sync).collect()
    }
}

/// The innermost function of the store above the floor of the file system.
fn call_of(trace: &Backtrace) -> String {
    let text = trace.to_string();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let name = line.split_once(": ").map_or(line, |(_, name)| name).trim();
        let name = name.trim_start_matches('<');
        let Some(name) = name.strip_prefix("sessionlog::").filter(|name| !name.starts_with("fs::")) else {
            continue;
        };
        let name = name.replace("::{{closure}}", "");
        let name = match (name.find("<impl "), name.find(">::")) {
            (Some(from), Some(to)) if from < to => format!("{}{}", &name[..from], &name[to + 3..]),
            _ => name,
        };
        let name: String = name.chars().take_while(|c| *c != '>').collect();
        let at = lines.next().unwrap_or_default();
        let line = at.rsplit(':').nth(1).unwrap_or_default();
        return format!("{}:{line}", name.split(" as ").next().unwrap_or_default());
    }
    "unknown".to_owned()
}

fn path_of(call: &SimCall<'_>) -> String {
    call.dir.join(call.name).to_string_lossy().into_owned()
}

/// What kind of file or directory is synced; `None` if nothing is.
pub fn kind_of(call: &SimCall<'_>) -> Option<String> {
    kind_of_path(call.op, &path_of(call))
}

pub fn kind_of_path(op: SimOp, path: &str) -> Option<String> {
    let name = |part: &str| {
        if part.contains(".log-") {
            "<n>.log-*.tmp"
        } else if part.ends_with(".log") {
            "<n>.log"
        } else if part.ends_with(".cat") {
            "*.cat"
        } else if part.starts_with("STORE-") {
            "STORE-*.tmp"
        } else if part.starts_with("new-") {
            "new-*.tmp"
        } else if part.contains('~') {
            "<session>"
        } else if part.len() == 1 {
            "<x>"
        } else if part.ends_with(".tmp") {
            "*.tmp"
        } else {
            part
        }
        .to_owned()
    };
    let parts: Vec<String> = path.split('/').filter(|p| !p.is_empty()).map(name).collect();
    match op {
        SimOp::Sync => Some(format!("file /{}", parts.join("/"))),
        SimOp::SyncDir => Some(format!("directory /{}", parts.join("/"))),
        _ => None,
    }
}
