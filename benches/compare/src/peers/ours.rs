//! sessionlog itself, with its defaults.

use std::sync::Arc;

use sessionlog::{AppendOptions, Batch, Durability, Keep, Messages, SessionInfo, Store};

use super::{Ack, Each, Kind, Peer, Session};
use crate::Result;

pub(crate) const KIND: Kind = Kind {
    name: "sessionlog",
    package: Some("sessionlog"),
    begin_apart: true,
    notes: &["Defaults. A checksum of every record is verified at every read."],
    open: |dir| Ok(Box::new(Ours(Store::open(dir.join("store"))?)) as Box<dyn Peer>),
};

struct Ours(Store);

struct Handle(sessionlog::Session);

fn name(id: u64) -> String {
    format!("chat:{id}")
}

fn options(ack: Ack) -> AppendOptions<'static> {
    AppendOptions::new().durability(match ack {
        Ack::Durable => Durability::Sync,
        Ack::Unsynced => Durability::Buffered,
    })
}

fn give(messages: Messages, each: Each<'_>) -> Result<()> {
    for message in messages {
        let message = message?;
        each(message.seq(), message.payload())?;
    }
    Ok(())
}

impl Peer for Ours {
    fn session(&self, id: u64) -> Result<Box<dyn Session>> {
        Ok(Box::new(Handle(self.0.session(name(id))?)))
    }

    fn list(&self) -> Result<Vec<(u64, u64)>> {
        let listing = self.0.sessions()?;
        if let Some((path, error)) = listing.unreadable.first() {
            return Err(format!("{} cannot be read: {error}", path.display()).into());
        }
        let one = |info: Arc<SessionInfo>| {
            let id = info.id.as_str().strip_prefix("chat:").ok_or("the id of no chat")?;
            Ok((id.parse()?, info.message_count))
        };
        listing.into_iter().map(one).collect()
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.0.close()?)
    }
}

impl Session for Handle {
    fn append(&mut self, payload: &[u8], ack: Ack) -> Result<()> {
        Ok(self.0.append_with(payload, &options(ack)).map(drop)?)
    }

    fn append_batch(&mut self, payloads: &[Vec<u8>], ack: Ack) -> Result<()> {
        let batch: Batch<'_> = payloads.iter().collect();
        Ok(self.0.append_batch_with(&batch, &options(ack)).map(drop)?)
    }

    fn load(&mut self, each: Each<'_>) -> Result<()> {
        give(self.0.load()?, each)
    }

    fn tail(&mut self, n: u64, each: Each<'_>) -> Result<()> {
        give(self.0.tail(n)?, each)
    }

    fn range(&mut self, from: u64, n: u64, each: Each<'_>) -> Result<()> {
        give(self.0.range(from..from + n)?, each)
    }

    fn archive(&mut self, keep: u64) -> Result<()> {
        Ok(self.0.archive(Keep::Messages(keep)).map(drop)?)
    }
}
