//! Iterating over messages.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::log::Message;
use crate::log::stream::Stream;

/// Messages of a session in order, as they were at the moment of the call: a later append or archive changes nothing in it.
/// (What is removed for good, and not read yet, is a `NotFound` then: an archive that is removed while a [`Reader`](crate::Reader)
/// reads it, or when the session was closed meanwhile; a session that is removed.) Reads ahead in windows of 64 KiB (256 KiB where messages are long, or one message if that is longer
/// still), or maps sealed segments (see [`Options::map`](crate::Options::map)); holds no lock.
///
/// Each item is a `Result`: where the log is damaged the item is an error that names session, file and offset, and the
/// iterator goes on behind the damage.
pub struct Messages {
    stream: Option<Stream>,
}

impl Messages {
    pub(crate) fn new(stream: Stream) -> Messages {
        Messages { stream: Some(stream) }
    }

    pub(crate) fn empty() -> Messages {
        Messages { stream: None }
    }

    /// Decodes each payload as JSON.
    ///
    /// ```
    /// # fn main() -> sessionlog::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = sessionlog::Store::open(dir.path().join("s"))?;
    /// let session = store.session("chat")?;
    /// session.append_json(&serde_json::json!({"role": "user", "text": "hi"}))?;
    /// let all: Vec<serde_json::Value> = session.load()?.json().collect::<Result<_, _>>()?;
    /// assert_eq!(all[0]["role"], "user");
    /// # Ok(()) }
    /// ```
    pub fn json<T: DeserializeOwned>(self) -> impl Iterator<Item = Result<T>> {
        let id = self.stream.as_ref().map(|stream| stream.session().clone());
        let named = move |e: Error| id.iter().fold(e, |e, id| e.session(id));
        self.map(move |m| m.and_then(|m| m.json().map_err(&named)))
    }
}

impl Iterator for Messages {
    type Item = Result<Message>;

    fn next(&mut self) -> Option<Result<Message>> {
        self.stream.as_mut()?.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Damage can make it more or fewer items.
        (0, self.stream.as_ref().is_none().then_some(0))
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remaining = self.stream.as_ref().map_or(0, Stream::remaining);
        f.debug_struct("Messages").field("remaining", &remaining).finish()
    }
}
