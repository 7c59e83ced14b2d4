//! Reading everything back, in a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sessionlog::{Store, limits};

use crate::sources::{Plan, Source, plan_sessions, tokens};
use crate::{KEEP, Result};

#[derive(Default)]
pub(crate) struct Verdict {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) archives: u64,
    pub(crate) archived: u64,
    pub(crate) live: u64,
    pub(crate) faults: Vec<String>,
}

pub(crate) fn verify_in_second_process(sources: &[PathBuf], store: &Path) -> Result<Verdict> {
    let output = Command::new(std::env::current_exe()?)
        .arg("--verify")
        .arg("--store")
        .arg(store)
        .args(sources)
        .stderr(Stdio::inherit())
        .output()?;
    let answer: Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("the second process ended without an answer: {}", output.status))?;
    let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
    let faults = answer.get("faults").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut verdict = Verdict {
        messages: number("messages"),
        bytes: number("bytes"),
        archives: number("archives"),
        archived: number("archived"),
        live: number("live"),
        faults: faults.iter().filter_map(|f| f.as_str().map(str::to_owned)).collect(),
    };
    if !output.status.success() && verdict.faults.is_empty() {
        verdict.faults.push(format!("the second process failed: {}", output.status));
    }
    Ok(verdict)
}

pub(crate) fn verify(store_dir: &Path, sources: &[Source]) -> Result<bool> {
    let store = Store::options().read_only(true).max_payload(limits::MAX_PAYLOAD).open(store_dir)?;
    let mut v = Verdict::default();
    for source in sources {
        let bytes = source.read()?;
        for plan in plan_sessions(source, &bytes) {
            if let Err(e) = verify_session(&store, source, &plan, &mut v) {
                v.faults.push(format!("{}: {e}", plan.id));
            }
        }
    }
    println!(
        "{}",
        json!({
            "messages": v.messages, "bytes": v.bytes, "archives": v.archives, "archived": v.archived,
            "live": v.live, "faults": v.faults,
        })
    );
    Ok(v.faults.is_empty())
}

/// Archives in order, then the live range: together they must be the source, line for line.
fn verify_session(store: &Store, source: &Source, plan: &Plan<'_>, v: &mut Verdict) -> Result<()> {
    let reader = store.reader(&plan.id)?;
    let mut next = 0u64;
    let mut compare = |messages: sessionlog::Messages| -> Result<u64> {
        let first = next;
        for message in messages {
            let message = message?;
            let line = usize::try_from(next).ok().and_then(|i| plan.lines.get(i));
            let line =
                line.ok_or_else(|| format!("more than the {} lines of the source", plan.lines.len()))?;
            if message.payload() != line.bytes {
                return Err(format!("line {} came back changed", next + 1).into());
            }
            let header = (message.seq(), message.tag(), message.tokens(), message.is_turn_start());
            if header != (next, line.tag.as_deref(), Some(tokens(line.bytes)), line.turn_start) {
                return Err(format!("line {} came back with another header: {message:?}", next + 1).into());
            }
            v.bytes += line.bytes.len() as u64;
            next += 1;
        }
        Ok(next - first)
    };
    let archives = reader.archives()?;
    let mut archived = 0;
    for archive in &archives {
        let count = compare(reader.archived(archive.number)?)?;
        if archive.seqs != (archived..archived + count) {
            return Err(format!(
                "archive {} says {:?}, and has {count} messages",
                archive.number, archive.seqs
            )
            .into());
        }
        archived += count;
    }
    let live = compare(reader.load()?)?;
    let lines = plan.lines.len() as u64;
    if next != lines {
        return Err(format!("{next} messages came back of {lines} lines").into());
    }
    let info = reader.info()?;
    if (live, info.message_count) != (lines.min(KEEP), lines.min(KEEP)) {
        return Err(format!("{live} messages are live, message_count is {}", info.message_count).into());
    }
    let sums = (info.live.clone(), info.total_messages, info.total_bytes, info.archives);
    if sums != (archived..lines, lines, plan.bytes(), archives.len() as u64) {
        return Err(format!("the summary does not agree: {info:?}").into());
    }
    let about = json!({
        "source": source.path.display().to_string(), "lines": lines, "digest": plan.digest(), "done": true,
    });
    let kept = reader.attributes()?.get("import").cloned().unwrap_or_default();
    // Where the source lies may have changed since; what is in it may not.
    for key in ["lines", "digest", "done"] {
        if kept.get(key) != about.get(key) {
            return Err(format!("the attributes came back as {kept}, not {about}").into());
        }
    }
    if reader.report().has_damage() {
        return Err(format!("{:?}", reader.report().findings).into());
    }
    v.messages += lines;
    v.archives += archives.len() as u64;
    v.archived += archived;
    v.live += live;
    Ok(())
}
