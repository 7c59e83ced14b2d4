//! Looking at one session: what opening it finds, and every byte besides.

use std::path::Path;
use std::sync::Arc;

use super::check::Place;
use super::code::{Code, Severity};
use super::finding::{Finding, reason};
use super::inventory::{Head, Inventory, SegmentFile, take};
use crate::error::{Error, ErrorKind, Result};
use crate::format::catalog::CatalogEntry;
use crate::fs::Dir;
use crate::ids::{BirthId, SessionId};
use crate::log::catalog::Merged;
use crate::log::scan::Tail;
use crate::log::segment_name;
use crate::recovery;
use crate::session::{LoadedTail, Look, Whose, load_tail};
use crate::state::{SegmentInfo, State};
use crate::store::Env;

/// A session as it was found.
pub(crate) struct Looked {
    pub(crate) dir: Arc<dyn Dir>,
    /// From the store's directory on.
    pub(crate) rel: String,
    pub(crate) id: Option<SessionId>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) inventory: Inventory,
    /// What the catalog ever said of it.
    pub(crate) said: Vec<CatalogEntry>,
}

/// How often is looked before damage is believed: a writer may be at work.
const LOOKS: usize = 4;

/// Reads a session's directory to the last byte. `None` if it went.
pub(crate) fn look_at(env: &Env, place: &Place, merged: &Merged) -> Result<Option<Looked>> {
    let mut last: Option<Looked> = None;
    for _ in 0..LOOKS {
        let looked = match look_once(env, place, merged) {
            Ok(looked) => looked,
            Err(_) if !place.is_there(env) => return Ok(None),
            // A segment was released between two steps.
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let damage =
            |l: &Looked| -> Vec<Finding> { l.findings.iter().filter(|f| f.is_damage()).cloned().collect() };
        let now = damage(&looked);
        if now.is_empty() || last.as_ref().is_some_and(|l| damage(l) == now) {
            last = Some(looked);
            break;
        }
        last = Some(looked);
    }
    // What is wrong with one that is being removed is nothing.
    Ok(last.filter(|l| l.findings.iter().all(|f| f.severity == Severity::Info) || place.is_there(env)))
}

fn look_once(env: &Env, place: &Place, merged: &Merged) -> Result<Looked> {
    let Place { name: dir_name, rel, dir } = place;
    let said = merged.mentions(dir_name);
    let loaded = load_tail(env, Whose::Dir(dir_name), dir, Look::Whole);
    let births: Vec<BirthId> = said.iter().rev().map(CatalogEntry::birth).collect();
    let salts: Vec<(u64, u64)> = said.iter().filter_map(self::place).collect();
    let owner = |s: &State| s.id.dir_name() == *dir_name;
    let inventory = take(&**dir, env.layout.id, &births, &salts, owner)?;
    let id = match &loaded {
        Ok(l) => Some(l.tail.state.id.clone()),
        Err(_) => known_id(&inventory, &said, dir_name),
    };
    let mut findings = Vec::new();
    let name = id.as_ref().map(|i| i.as_str().to_owned());
    {
        let mut judge = Judge { rel, session: name.as_deref(), out: &mut findings };
        judge.all(&inventory, &loaded, dir.path());
    }
    let (dir, rel) = (dir.clone(), rel.to_owned());
    Ok(Looked { dir, rel, id, findings, inventory, said })
}

/// The segment that an entry names, and its salt.
pub(crate) fn place(e: &CatalogEntry) -> Option<(u64, u64)> {
    match e {
        CatalogEntry::Open(o) | CatalogEntry::Doubt(o) => Some((o.segment, o.salt)),
        CatalogEntry::Closed(s) => Some((s.segment, s.salt)),
        CatalogEntry::Removed { .. } => None,
    }
}

/// The id of a session whose state cannot be read: from a state that can, from the catalog, or from the name itself, if
/// that is the whole of the id.
fn known_id(inventory: &Inventory, said: &[CatalogEntry], dir_name: &str) -> Option<SessionId> {
    let fits = |id: &&SessionId| id.dir_name() == dir_name;
    let stated =
        inventory.segments.iter().rev().filter_map(|s| s.snapshot.as_ref()).map(|s| &s.id).find(fits);
    let slug = || dir_name.rsplit_once('~').and_then(|(slug, _)| SessionId::new(slug).ok());
    stated
        .or_else(|| said.iter().map(CatalogEntry::id).find(fits))
        .cloned()
        .or_else(slug)
        .filter(|i| fits(&i))
}

struct Judge<'a> {
    rel: &'a str,
    session: Option<&'a str>,
    out: &'a mut Vec<Finding>,
}

impl Judge<'_> {
    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.rel)
    }

    fn say(&mut self, code: Code, name: &str, offset: Option<u64>, what: impl Into<String>) {
        let mut finding = Finding::new(code, self.file(name), what).of(self.session);
        finding.offset = offset;
        self.out.push(finding);
    }

    fn all(&mut self, inventory: &Inventory, loaded: &Result<LoadedTail>, dir: &Path) {
        for s in &inventory.segments {
            if let Some(what) = &s.newer {
                self.say(Code::NewerFormat, &s.name, None, what.clone());
            }
        }
        match loaded {
            Ok(loaded) => {
                let active = loaded.tail.segment.header.number;
                for s in inventory.segments.iter().filter(|s| s.number != active && s.newer.is_none()) {
                    self.other(s, &loaded.tail);
                }
                self.links(inventory, &loaded.tail);
                self.report(inventory, loaded);
                for h in loaded.tail.state.holes.iter().filter(|h| h.count > 0) {
                    let what = format!("messages {} to {} were given up", h.seq, h.seq + h.count - 1);
                    self.say(Code::AcceptedHole, &segment_name(active), None, what);
                }
            }
            Err(e) => {
                for s in inventory.segments.iter().filter(|s| s.newer.is_none()) {
                    self.head(s);
                }
                self.refused(e, dir);
            }
        }
    }

    fn refused(&mut self, e: &Error, dir: &Path) {
        let file = match e.file().and_then(|f| f.strip_prefix(dir).ok()).and_then(Path::to_str) {
            Some(name) if !name.is_empty() => self.file(name),
            _ => self.rel.to_owned(),
        };
        let code = match e.kind() {
            ErrorKind::Unsupported => Code::NewerFormat,
            ErrorKind::Corrupt | ErrorKind::NotFound => Code::UnreadableSession,
            _ => Code::Unreadable,
        };
        let finding = Finding::new(code, file, reason(e)).of(self.session);
        let finding = Finding { offset: e.file_offset(), ..finding };
        // One thing is said once.
        if !self.out.iter().any(|f| f.code == code && f.file == finding.file) {
            self.out.push(finding);
        }
    }

    /// A segment that is not the one from which the state was read.
    fn other(&mut self, s: &SegmentFile, tail: &Tail) {
        let active = tail.segment.header.number;
        if s.number > active {
            self.head(s);
            let end = s.head_end();
            for f in s.faults.iter().filter(|f| f.offset >= end) {
                self.say(Code::DamagedCommit, &s.name, Some(f.offset), f.what.clone());
            }
            return;
        }
        let Some(info) = tail.state.segments.iter().find(|i| i.number == s.number) else { return };
        if !self.head(s) {
            return;
        }
        if s.header().is_some_and(|h| h.salt != info.salt) {
            let what = "it is another segment than the one that was sealed here";
            self.say(Code::ForeignSegment, &s.name, Some(56), what);
            return;
        }
        self.body(s, info);
    }

    /// What is below the end of a sealed segment.
    fn body(&mut self, s: &SegmentFile, info: &SegmentInfo) {
        let end = s.head_end();
        for f in s.faults.iter().filter(|f| f.offset >= end && f.offset < info.end_offset) {
            self.say(Code::DamagedCommit, &s.name, Some(f.offset), f.what.clone());
        }
        let before = s.frames.iter().filter(|f| f.offset < info.end_offset);
        let mut reached = 128;
        let mut previous: Option<(u32, u32)> = None;
        for f in before {
            let linked = previous.is_none_or(|p| p == (f.header.prev_crc, f.header.prev_len));
            if f.offset == reached && !linked {
                let what = "this frame does not follow the one before it";
                self.say(Code::DamagedCommit, &s.name, Some(f.offset), what);
            }
            previous = Some((f.crc, f.len));
            reached = f.until();
        }
        // The last one may say that it ends behind the file.
        let there = reached.min(s.len);
        let faulty = s.faults.iter().any(|f| f.until >= there && f.offset < info.end_offset);
        if reached < info.end_offset && !faulty {
            let what = format!("its commits end here, but {} bytes of them were sealed", info.end_offset);
            self.say(Code::CutEnd, &s.name, Some(reached), what);
        }
    }

    /// The header and the block behind it. False if nothing can be said of the rest.
    fn head(&mut self, s: &SegmentFile) -> bool {
        match &s.head {
            Head::Bad(fault) => {
                self.say(Code::DamagedHeader, &s.name, Some(0), fault.to_string());
                false
            }
            Head::Foreign(offset, what) => {
                self.say(Code::ForeignSegment, &s.name, Some(*offset), *what);
                false
            }
            Head::Good(_) => {
                let end = s.head_end();
                let before = self.out.len();
                for f in s.faults.iter().filter(|f| f.offset < end) {
                    self.say(Code::DamagedState, &s.name, Some(f.offset), f.what.clone());
                }
                if s.snapshot.is_none() && self.out.len() == before {
                    self.say(Code::DamagedState, &s.name, Some(128), "there is no state");
                }
                true
            }
        }
    }

    /// What neighbours say of each other.
    fn links(&mut self, inventory: &Inventory, tail: &Tail) {
        let known = |n: u64| tail.state.segments.iter().find(|i| i.number == n);
        for s in &inventory.segments {
            let Some(h) = s.header() else { continue };
            let listed = known(s.number).is_some() || s.number == tail.segment.header.number;
            let Some(info) = known(h.prev_number).filter(|_| listed) else { continue };
            let Some(p) = inventory.segments.iter().find(|p| p.number == h.prev_number) else { continue };
            let last = p.frames.iter().find(|f| f.until() == info.end_offset);
            // A repair may have found less of it trustworthy since.
            let cut = info.end_offset < h.prev_end_offset;
            let agrees = cut || h.prev_end_offset == info.end_offset && h.prev_end_position == info.end;
            let damaged = p.header().is_none() || p.faults.iter().any(|f| f.offset < info.end_offset);
            if !agrees || !cut && !damaged && last.is_some_and(|l| l.crc != h.prev_end_crc) {
                let what = format!("it does not begin where segment {} ends", h.prev_number);
                self.say(Code::BrokenChain, &s.name, Some(72), what);
            }
            if p.successor.is_some_and(|n| n.number == s.number && n.salt != h.salt) {
                let what = format!("segment {} names another segment of this number", h.prev_number);
                self.say(Code::ForeignSegment, &s.name, Some(56), what);
            }
        }
    }

    fn report(&mut self, inventory: &Inventory, loaded: &LoadedTail) {
        let number = loaded.tail.segment.header.number;
        let active = segment_name(number);
        let newest = inventory.segments.iter().all(|s| s.number <= number);
        for finding in &loaded.plan.report.findings {
            match finding {
                // Of a segment that has a successor, readable or not, they say nothing.
                recovery::Finding::StalePrefix { .. } | recovery::Finding::UncleanEnd { .. } if !newest => {}
                recovery::Finding::StalePrefix { range } => {
                    let what = format!("messages {} to {} are archived", range.start, range.end - 1);
                    self.say(Code::StalePrefix, &active, None, what);
                }
                recovery::Finding::UncleanEnd { offset, .. } => {
                    let what = "a writer has it open, or died";
                    self.say(Code::UncleanEnd, &active, Some(*offset), what);
                }
                recovery::Finding::TornTail { offset, .. } => {
                    let what = "a commit was torn before it was acknowledged, or a close record";
                    self.say(Code::TornTail, &active, Some(*offset), what);
                }
                recovery::Finding::Damaged { file, offset, until, what, .. } => {
                    let name = file.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
                    let own = name == active;
                    // The heads of other segments were judged already.
                    let told = self.file(&name);
                    if own || !self.out.iter().any(|f| f.file == told && f.is_damage()) {
                        let code = match (own, until) {
                            (true, None) => Code::CutEnd,
                            (true, Some(_)) => Code::DamagedCommit,
                            (false, _) => Code::DamagedState,
                        };
                        self.say(code, &name, Some(*offset), what.clone());
                    }
                }
                recovery::Finding::MissingSegment { file, named_by, .. } => {
                    let name = file.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
                    self.say(Code::MissingSegment, &name, None, format!("named by {named_by}"));
                }
                recovery::Finding::Leftover { name } => {
                    self.say(Code::Leftover, name, None, "a temporary file");
                }
                recovery::Finding::Released { segment } => {
                    let what = "nothing that the session has is in it";
                    self.say(Code::Released, &segment_name(*segment), None, what);
                }
                recovery::Finding::Unknown { name } => {
                    let segment = crate::log::parse_segment_name(name).is_some();
                    let newer = segment && name.as_str() > active.as_str();
                    match (segment, newer) {
                        (true, false) => {
                            self.say(Code::UnlistedSegment, name, None, "no state names it");
                        }
                        (true, true) => {}
                        (false, _) => self.say(Code::UnknownFile, name, None, "not a file of the store"),
                    }
                }
            }
        }
    }
}
