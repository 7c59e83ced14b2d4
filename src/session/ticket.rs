//! The outcome of an append that was handed over and not waited for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::core::Core;
use super::lead::lead;
use super::message::Appended;
use super::pending::{Done, Reply};
use crate::error::{Error, ErrorKind, Result};
use crate::log::queue;

/// An append under way. It happens whether or not anybody looks: dropping a ticket withdraws nothing.
///
/// A plain `Future`, for any runtime; polling never does I/O. Or wait for it with [`Ticket::wait`].
///
/// ```
/// # fn main() -> sessionlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = sessionlog::Store::open(dir.path().join("s"))?;
/// let session = store.session("chat")?;
/// let question = session.submit("what came first?")?;
/// let answer = session.submit("this did")?;
/// assert_eq!((question.wait()?.seq(), answer.wait()?.seq()), (0, 1)); // or `question.await?`
/// # Ok(()) }
/// ```
#[must_use = "the ticket tells whether the append succeeded"]
pub struct Ticket {
    inner: queue::Ticket<Reply>,
    core: Arc<Core>,
}

impl Ticket {
    pub(crate) fn new(core: Arc<Core>, inner: queue::Ticket<Reply>) -> Ticket {
        Ticket { inner, core }
    }

    /// Blocks until the append is acknowledged; leads its commit if nobody else does.
    ///
    /// # Errors
    /// As [`crate::Session::append_with`]. `Forked` in the child of a fork says nothing of what the parent does.
    pub fn wait(self) -> Result<Appended> {
        let Ticket { inner, core } = self;
        check_forked(&core)?;
        appended(core.queue.wait(inner, &mut |batch, out| lead(&core, batch, out)))
    }

    /// The outcome, if it is there already.
    pub fn try_get(&self) -> Option<Result<Appended>> {
        check_forked(&self.core).map_or_else(|e| Some(Err(e)), |()| self.inner.try_get().map(appended))
    }
}

/// In the child of a fork nobody answers, and what waits is the parent's to do.
fn check_forked(core: &Core) -> Result<()> {
    if core.env.is_forked() { core.env.check().map_err(Error::unknown) } else { Ok(()) }
}

pub(crate) fn appended(reply: Reply) -> Result<Appended> {
    match reply? {
        Done::Appended(a) => Ok(a),
        _ => Err(Error::new(ErrorKind::Io, "append").hint("the answer of another op arrived").unknown()),
    }
}

impl Future for Ticket {
    type Output = Result<Appended>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Appended>> {
        if let Err(e) = check_forked(&self.core) {
            return Poll::Ready(Err(e));
        }
        Pin::new(&mut self.inner).poll(cx).map(appended)
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("done", &self.inner.is_done()).finish()
    }
}
