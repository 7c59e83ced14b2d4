//! Reading.

use std::fs::{self, File};
use std::path::Path;

use sessionlog::{AppendOptions, Batch, Durability, Session, Store};

use crate::raw;
use crate::row::{Row, burst};
use crate::{KIB, Result};

/// How the messages of a session came: the store checks a commit as a whole, so it makes a difference.
#[derive(Clone, Copy)]
pub(crate) enum Came {
    OneByOne,
    InBatches(usize),
}

impl Came {
    pub(crate) fn fill(self, session: &Session, payload: &[u8], count: usize) -> Result<()> {
        match self {
            Came::OneByOne => {
                let options = AppendOptions::new().durability(Durability::Buffered);
                (0..count).try_for_each(|_| session.append_with(payload, &options).map(drop))?;
                session.sync()?;
            }
            Came::InBatches(of) => {
                let batch: Batch<'_> = (0..of).map(|_| payload).collect();
                (0..count / of).try_for_each(|_| session.append_batch(&batch).map(drop))?;
            }
        }
        Ok(())
    }

    pub(crate) fn name(self) -> String {
        match self {
            Came::OneByOne => "appended singly".to_owned(),
            Came::InBatches(of) => format!("batches of {of}"),
        }
    }
}

pub(crate) fn load_and_tail(store: &Store, dir: &Path, turns: usize, count: usize) -> Result<()> {
    let payload = vec![b'x'; KIB];
    let path = dir.join("flat");
    fs::write(&path, payload.repeat(count))?;
    let flat = File::open(&path)?;
    for came in [Came::OneByOne, Came::InBatches(1000)] {
        let session = store.session(format!("load: {}", came.name()))?;
        came.fill(&session, &payload, count)?;

        let name = format!("load of {count}, {}", came.name());
        let mut row = Row::new(name.clone(), "read of one flat file, a CRC-32 per KiB");
        let mut mapped = Row::new(name, "one flat file mapped, a CRC-32 per KiB");
        for _ in 0..turns {
            let here = burst(1, || {
                let mut bytes = 0;
                for message in session.load()? {
                    bytes += message?.payload().len();
                }
                if bytes == count * KIB { Ok(()) } else { Err("not all messages were loaded".into()) }
            })?;
            mapped.turn(here.clone(), burst(1, || Ok(raw::read_mapped(&path, KIB).map(drop)?))?);
            row.turn(here, burst(1, || Ok(raw::read_flat(&path, KIB).map(drop)?))?);
        }
        row.print();
        mapped.print();

        let name = format!("tail(20) of {count}, {}", came.name());
        let mut row = Row::new(name, "pread of 20 KiB, a CRC-32 per KiB");
        for _ in 0..turns {
            let here = burst(50, || {
                let count = session.tail(20)?.try_fold(0, |n, m| m.map(|_| n + 1))?;
                if count == 20 { Ok(()) } else { Err("not all messages were there".into()) }
            })?;
            row.turn(here, burst(50, || Ok(raw::read_tail(&flat, 20, KIB).map(drop)?))?);
        }
        row.print();

        let name = format!("range of 20 anywhere among {count}, {}", came.name());
        let mut row = Row::new(name, "pread of 20 KiB, a CRC-32 per KiB");
        let (mut ours, mut theirs) = (0, 0);
        for _ in 0..turns {
            let here = burst(50, || {
                ours += 1;
                let from = raw::anywhere(ours, count, 20) as u64;
                let found = session.range(from..from + 20)?.try_fold(0, |n, m| m.map(|_| n + 1))?;
                if found == 20 { Ok(()) } else { Err("not all messages were there".into()) }
            })?;
            let floor = burst(50, || {
                theirs += 1;
                Ok(raw::read_part(&flat, raw::anywhere(theirs, count, 20), 20, KIB).map(drop)?)
            })?;
            row.turn(here, floor);
        }
        row.print();
    }
    Ok(())
}

/// Messages of JSON, as an agent has them, into a type of its own.
pub(crate) fn typed(store: &Store, turns: usize) -> Result<()> {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Said {
        role: String,
        text: String,
        tokens: u32,
        tools: Vec<String>,
    }
    const COUNT: usize = 10_000;
    let session = store.session("typed")?;
    let texts: Vec<Vec<u8>> = (0..COUNT)
        .map(|i| {
            let said = Said {
                role: if i % 2 == 0 { "user" } else { "assistant" }.to_owned(),
                text: "It was a bright cold day in April, and the clocks were striking thirteen. ".repeat(8),
                tokens: i as u32,
                tools: vec!["read".to_owned(), "write".to_owned(), "search".to_owned()],
            };
            serde_json::to_vec(&said)
        })
        .collect::<Result<_, _>>()?;
    for part in texts.chunks(1_000) {
        session.append_batch(&part.iter().collect::<Batch<'_>>())?;
    }
    let mut row = Row::new("typed load of 10,000 messages of JSON", "serde_json on the same bytes in memory");
    for _ in 0..turns {
        let here = burst(1, || {
            let all = session.load()?.json::<Said>().collect::<Result<Vec<_>, _>>()?;
            if all.len() == COUNT { Ok(()) } else { Err("not all messages were loaded".into()) }
        })?;
        let floor = burst(1, || {
            let all =
                texts.iter().map(|t| serde_json::from_slice::<Said>(t)).collect::<Result<Vec<_>, _>>()?;
            if all.len() == COUNT { Ok(()) } else { Err("not all messages were read".into()) }
        })?;
        row.turn(here, floor);
    }
    row.print();
    Ok(())
}
