//! One session into the store.

use serde_json::{Value, json};
use sessionlog::{AppendOptions, Batch, ErrorKind, Keep, NewMessage, Session, Store};

use crate::sources::{Line, Plan, Source, tokens};
use crate::{KEEP, Result};

/// A batch (and so a sync) is so many lines, or so many bytes, whatever comes first.
const BATCH_LINES: usize = 256;
const BATCH_BYTES: usize = 1 << 20;

#[derive(PartialEq)]
pub(crate) enum Done {
    New,
    Continued,
    Skipped,
}

pub(crate) fn import(store: &Store, source: &Source, plan: &Plan<'_>) -> Result<Done> {
    let of = |e: sessionlog::Error| format!("{:?}: {e}", plan.id);
    let lines = plan.lines.len() as u64;
    let digest = plan.digest();
    let (session, existed) = match store.open_session(&plan.id) {
        Ok(session) => (session, true),
        Err(e) if e.kind() == ErrorKind::NotFound => (store.create_session(&plan.id).map_err(of)?, false),
        Err(e) => return Err(of(e).into()),
    };
    let known = session.attributes().map_err(of)?.get("import").cloned().unwrap_or_default();
    let same = known.get("digest").and_then(Value::as_str) == Some(digest.as_str());
    if same && known.get("done") == Some(&Value::Bool(true)) {
        return Ok(Done::Skipped);
    }
    let mut next = if existed { session.info().map_err(of)?.live.end } else { 0 };
    if next > 0 && !same {
        // The source has other lines than when it was imported. If it only grew, the import goes on.
        check_prefix(&session, plan, next)?;
    }

    let about = |done: bool| {
        json!({"import": {
            "source": source.path.display().to_string(), "lines": lines, "digest": digest, "done": done,
        }})
    };
    while let Some(rest) = plan.lines.get(next as usize..).filter(|rest| !rest.is_empty()) {
        let mut bytes = 0;
        let fits = |line: &&Line<'_>| {
            let first = bytes == 0;
            bytes += line.bytes.len() + 1;
            first || bytes <= BATCH_BYTES
        };
        let mut batch: Batch<'_> = rest.iter().take(BATCH_LINES).take_while(fits).map(message).collect();
        if !same {
            // With the first messages, in the same commit: whoever finds those knows where they come from.
            batch = batch.attributes(about(false));
        }
        // Should anybody else append to this session, the import must not go on blindly.
        let options = AppendOptions::new().expect_next(next);
        next = session.append_batch_with(&batch, &options).map_err(of)?.seqs.end;
    }
    if lines > 0 {
        session.archive(Keep::Messages(KEEP)).map_err(of)?;
    }
    session.patch_attributes(&about(true)).map_err(of)?;
    Ok(if existed { Done::Continued } else { Done::New })
}

fn message<'a>(line: &'a Line<'_>) -> NewMessage<'a> {
    let mut message = NewMessage::from(line.bytes).tokens(tokens(line.bytes));
    if let Some(tag) = &line.tag {
        message = message.tag(tag);
    }
    if line.turn_start { message.turn_start() } else { message }
}

fn check_prefix(session: &Session, plan: &Plan<'_>, next: u64) -> Result<()> {
    let mut stored = Vec::new();
    for archive in session.archives()? {
        stored.extend(session.archived(archive.number)?);
    }
    stored.extend(session.load()?);
    let same = stored.len() as u64 == next
        && plan.lines.len() >= stored.len()
        && stored.iter().zip(&plan.lines).all(|(m, l)| m.as_ref().is_ok_and(|m| m.payload() == l.bytes));
    if same {
        return Ok(());
    }
    Err(format!(
        "{:?} is in the store with other content than the source has; choose another --store",
        plan.id
    )
    .into())
}
