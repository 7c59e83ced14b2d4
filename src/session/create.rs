//! How a session comes into being: its directory is built under a temporary name, with its first commit in it, and
//! gets its own in one step.

use std::sync::Arc;

use super::core::Shared;
use super::files::{MakersLock, SessionLock, create_lock};
use super::staged::Staged;
use super::writer::{Writer, broken, open_mark};
use crate::error::{Error, ErrorKind, Result};
use crate::format::SegmentHeader;
use crate::format::catalog::CatalogEntry;
use crate::fs::Dir;
use crate::ids::{BirthId, Incarnation, SessionId};
use crate::log::writer::{Birth, SegmentWriter, WriteFault};
use crate::recovery::{EndVerdict, Plan, Report};
use crate::state::{Op, State};
use crate::store::Env;

/// How often a directory is made anew because a sweep took it away.
const ATTEMPTS: usize = 8;
/// How the temporary name of a session begins that is being made.
pub(crate) const UNBORN: &str = "new-";

/// The commit with which a session begins: the arena behind its messages, and what stages its records.
pub(crate) struct First<'a> {
    pub(crate) arena: &'a [u8],
    pub(crate) stage: &'a dyn Fn(&mut Staged) -> Result<()>,
}

impl Writer {
    /// Creates the session: its directory is built under a temporary name and gets its own in one step. If there is a
    /// first commit, it is durable with the session, and in the state. Fails with `AlreadyExists` if somebody else
    /// was faster.
    pub(crate) fn create(
        env: &Arc<Env>,
        id: &SessionId,
        first: Option<&First<'_>>,
    ) -> Result<(Writer, Shared)> {
        // The store first: what is in a store that lost its own file is not a new one.
        env.settle()?;
        let sessions = &env.layout.sessions;
        let path = sessions.path().join(id.shard()).join(id.dir_name());
        let io = |e| Error::io("create a session", &path, e).session(id);
        let shard = env.shards.open_or_create(&**sessions, id.shard()).map_err(io)?;
        let mut attempts = 0;
        let (temp, (dir, (lock, _makers), mut log, mut state)) = loop {
            let temp = shard.create_temp_dir(UNBORN).map_err(io)?;
            let built = build(env, id, &shard, &temp);
            match built {
                Ok(Some(built)) => break (temp, built),
                Ok(None) if attempts < ATTEMPTS => attempts += 1,
                Ok(None) => {
                    return Err(Error::new(ErrorKind::Conflict, "create a session")
                        .session(id)
                        .path(&path)
                        .hint("its temporary directory is cleared away again and again"));
                }
                Err(e) => {
                    discard(&*shard, &temp);
                    return Err(e.session(id));
                }
            }
        };
        let incarnation = Incarnation { number: 1, nonce: env.random_u64()? };
        let mut staged = Staged::default();
        let removed = CatalogEntry::Removed { id: id.clone(), birth: state.birth, incarnation };
        // The open mark is written first: while the segment is synced, the disk or another thread may sync it as well.
        let announced = env.announce_open(open_mark(&state, incarnation, &log.info(), env.now()));
        let done = announced.and_then(|announced| {
            begin(env, incarnation, first, &mut staged, &mut log, &mut state)
                .and_then(|()| log.sync_unseen(&*dir))
                .and_then(|()| env.confirm_open(announced))
                .inspect_err(|_| drop(env.catalog.record(removed.clone())))
        });
        if let Err(e) = done {
            discard(&*shard, &temp);
            return Err(e.session(id));
        }
        if let Err(e) = shard.rename(&temp, &*shard, &id.dir_name()) {
            discard(&*shard, &temp);
            // Unless somebody else has the name, an error does not say that nothing happened. Then the open mark stays:
            // if the session is there, its next writer must not take the incarnation of this one.
            if e.kind() != std::io::ErrorKind::AlreadyExists {
                return Err(in_doubt(io(e)));
            }
            let _ = env.catalog.record(removed);
            return Err(io(e));
        }
        // From here on the session may exist. A failed sync leaves that open; the disk will tell.
        shard.sync().map_err(|e| in_doubt(io(e)))?;
        let dir = shard.open_dir(&id.dir_name()).map_err(io).unwrap_or(dir);
        log.moved_to(dir.clone());
        let shared = Shared::of_writer(env, dir.clone(), &log, state, Arc::default(), Report::default());
        let essential = log.position;
        let plan = Plan {
            end: EndVerdict::Append,
            truncate: false,
            remove: Vec::new(),
            report: Report::default(),
            lost: None,
        };
        let writer = Writer {
            dir,
            lock: Some(lock),
            log: Some(log),
            tail: None,
            plan,
            incarnation,
            marked: true,
            announced: first.is_some(),
            essential,
            staged: Some(Box::new(staged)),
            written: false,
        };
        Ok((writer, shared))
    }
}

type Built = (Arc<dyn Dir>, (SessionLock, Option<MakersLock>), SegmentWriter, State);

/// The session may be there, and its first commit with it. Whatever the disk said: to try again is not safe.
fn in_doubt(e: Error) -> Error {
    e.with_kind(ErrorKind::Poisoned)
        .unknown()
        .hint("the session may or may not be there, with what it was to begin with; open it again to see")
}

/// Writes the first commit, if there is one, and folds it into the state.
fn begin(
    env: &Env,
    incarnation: Incarnation,
    first: Option<&First<'_>>,
    staged: &mut Staged,
    log: &mut SegmentWriter,
    state: &mut State,
) -> Result<()> {
    let Some(first) = first else { return Ok(()) };
    staged.begin(state, state.clock(env.now()));
    staged.op(Op::Opened { incarnation })?;
    (first.stage)(staged)?;
    let Some(after) = staged.after() else { return Ok(()) };
    let bodies = staged.together(first.arena);
    log.write(staged.records(first.arena), staged.bytes(), bodies, after, true).map_err(
        |fault| match fault {
            // Whatever it left there: nobody sees this file.
            WriteFault::TakenBack(e) | WriteFault::Broken(e) => e,
        },
    )?;
    staged.apply(state).map_err(|c| broken(&state.id.clone(), c.0).error)
}

/// The content of a new session's directory, under its temporary name, not durable yet. `None` if a
/// sweep in another process took it for a dead one's meanwhile.
fn build(env: &Arc<Env>, id: &SessionId, shard: &Arc<dyn Dir>, temp: &str) -> Result<Option<Built>> {
    let io = |e| Error::io("create a session", shard.path().join(temp), e);
    let dir = shard.open_dir(temp).map_err(io)?;
    let Some(lock) = create_lock(env, id, &*dir, temp)? else { return Ok(None) };
    let mut birth = [0; 16];
    env.fs.random(&mut birth).map_err(io)?;
    let now = env.now();
    let state = State::new(id.clone(), BirthId(birth), now);
    let header = SegmentHeader {
        store: env.layout.id,
        birth: state.birth,
        number: 1,
        salt: env.random_u64()?,
        first_position: state.position,
        prev_number: 0,
        prev_end_position: 0,
        prev_end_offset: 0,
        prev_end_crc: 0,
        carry_len: 0,
        incarnation: 1,
        created: now,
    };
    let log = Birth::new(header, &state)?.unseen(&dir)?;
    Ok(Some((dir, lock, log, state)))
}

/// Removes a half-made session: nobody knows its name.
fn discard(shard: &dyn Dir, temp: &str) {
    if let Ok(dir) = shard.open_dir(temp) {
        for entry in dir.list().unwrap_or_default() {
            let _ = dir.remove_file(&entry.name);
        }
    }
    let _ = shard.remove_dir(temp);
}
