//! Callers that need a sync at the same time share one: who finds nobody syncing does it for all.

use super::handle::Catalog;
use super::state::{State, Ticket};
use crate::error::{Error, ErrorKind, Result};
use parking_lot::MutexGuard;

/// The turn of the one who syncs. However it ends, a panic included, the others are woken.
struct Turn<'a> {
    catalog: &'a Catalog,
    ticket: Ticket,
    result: Option<Result<()>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let result = self.result.take().unwrap_or_else(|| {
            Err(Error::new(ErrorKind::Poisoned, "sync the catalog")
                .hint("the thread that synced it panicked"))
        });
        let mut state = self.catalog.state.lock();
        state.syncing = false;
        state.synced(self.ticket, result);
        drop(state);
        self.catalog.wake.notify_all();
    }
}

impl Catalog {
    /// Returns when everything before the ticket is durable, or when that failed.
    pub(super) fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        ticket: Ticket,
    ) -> Result<MutexGuard<'a, State>> {
        loop {
            if let Some(outcome) = state.outcome(ticket) {
                return outcome.map(|()| state);
            }
            if state.syncing {
                self.wake.wait(&mut state);
                continue;
            }
            let Some(own) = &state.own else { continue };
            let (file, path) = (own.file(), self.dir.path().join(own.name()));
            let ticket = Ticket { generation: own.generation(), end: own.end() };
            state.syncing = true;
            drop(state);
            let mut turn = Turn { catalog: self, ticket, result: None };
            turn.result = Some(file.sync().map_err(|e| Error::io("sync the catalog", path, e)));
            drop(turn);
            state = self.state.lock();
        }
    }
}
