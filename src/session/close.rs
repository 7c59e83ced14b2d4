//! How a log is closed.

use std::sync::Arc;

use parking_lot::Mutex;

use super::core::Shared;
use super::writer::{Fault, Writer};
use crate::error::Result;
use crate::log::checkpoint;
use crate::state::Op;
use crate::store::Env;

impl Writer {
    /// Writes the close record, and the mark that says that what stands in front of it is durable. Nothing waits for the two of
    /// them: without them the end is the same, and the catalog's summary tells that it is. True if there was anything to close.
    pub(crate) fn close_log(
        &mut self,
        env: &Arc<Env>,
        shared: &Mutex<Option<Shared>>,
    ) -> Result<bool, Fault> {
        if self.log.is_none() || !self.marked {
            return Ok(false);
        }
        let owes =
            shared.lock().as_ref().is_some_and(|s| s.state.truncated < s.state.base && !s.state.frozen);
        if owes
            && let Err(fault) = self.next_segment(env, shared, true)
            && fault.poison
        {
            // Without room the debt stays; the close does not depend on it.
            return Err(fault);
        }
        match self.write_close(env, shared, true) {
            Err(fault) if !fault.poison => self.write_close(env, shared, false)?,
            done => done?,
        }
        self.write_mark(env, shared)?;
        if let Some(log) = &mut self.log {
            log.trim();
        }
        Ok(true)
    }

    /// Writes the close record, with the state behind it if there may be one and that is worth its bytes, and syncs what is not
    /// durable yet; on its own it is worth no sync. (The reserve is for one without a state, and the mark behind it.)
    fn write_close(
        &mut self,
        env: &Arc<Env>,
        shared: &Mutex<Option<Shared>>,
        may_state: bool,
    ) -> Result<(), Fault> {
        self.stage(env, shared)?;
        let close = if may_state { self.close_with(shared)? } else { Op::Close };
        let with_state = matches!(close, Op::CloseWith(_));
        let alone = self.announced && !with_state;
        self.staged().op(close)?;
        let essential = self.essential;
        self.write_staged(&[], with_state)?;
        if alone {
            self.essential = essential;
        }
        self.settle(env, shared, true)
    }

    /// The close record that is to be staged, with the state behind it.
    fn close_with(&mut self, shared: &Mutex<Option<Shared>>) -> Result<Op, Fault> {
        let time = self.staged().after().map(|after| after.time);
        let (Some(log), Some(time), true) = (&self.log, time, self.announced) else { return Ok(Op::Close) };
        let Some(behind) = checkpoint::is_due(log) else { return Ok(Op::Close) };
        let state = shared.lock().as_ref().map(|s| s.state.clone());
        state.map_or(Ok(Op::Close), |state| Ok(checkpoint::close_with(log, behind, state, time)?))
    }
}
