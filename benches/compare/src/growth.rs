//! Growth: what an op costs while the session and the store grow.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sessionlog::{AppendOptions, Batch, Durability, Session, Store};

use crate::Result;
use crate::report::{number, time};
use crate::turns::{Limits, Measured, Side, Spread, Step, at, burst, once, take};

/// An op at each of some sizes, taken in turns.
pub(crate) struct Curve {
    pub(crate) op: &'static str,
    /// What grows.
    pub(crate) of: &'static str,
    pub(crate) points: Vec<Point>,
}

pub(crate) struct Point {
    pub(crate) size: u64,
    /// The median, in seconds.
    pub(crate) value: f64,
    /// To the smallest size, turn by turn.
    pub(crate) ratio: Spread,
}

const KIB: [u8; 1024] = [b'x'; 1024];
/// What fills the sessions.
const SMALL: [u8; 100] = [b'x'; 100];
/// A session this small is made anew for each burst, or it would soon be another size.
const FRESH: u64 = 100;
const MESSAGES: &str = "messages in the session";
const SESSIONS: &str = "sessions in the store";

pub(crate) fn measure(dir: &Path, quick: bool) -> Result<Vec<Curve>> {
    let (messages, sessions): ([u64; 3], [u64; 3]) = if quick {
        ([10, 1_000, 100_000], [10, 100, 1_000])
    } else {
        ([10, 10_000, 1_000_000], [10, 1_000, 100_000])
    };
    let (least, most, seconds) = if quick { (5, 40, 8) } else { (10, 100, 40) };
    let limits = Limits { least, most, time: Duration::from_secs(seconds), pause: Duration::ZERO };
    let mut out = by_messages(&dir.join("messages"), messages, limits)?;
    out.extend(by_sessions(dir, sessions, limits)?);
    Ok(out)
}

/// A burst of an op on a session: the seconds that one took.
type Work = fn(&Session) -> Result<f64>;

fn buffered() -> AppendOptions<'static> {
    AppendOptions::new().durability(Durability::Buffered)
}

fn appends(session: &Session) -> Result<f64> {
    burst(16, |_| session.append(&KIB).map(drop).map_err(Into::into))
}

fn buffered_appends(session: &Session) -> Result<f64> {
    burst(64, |_| session.append_with(&KIB, &buffered()).map(drop).map_err(Into::into))
}

fn tails(session: &Session) -> Result<f64> {
    burst(16, |_| match session.tail(10)?.filter(|m| m.is_ok()).count() {
        10 => Ok(()),
        other => Err(format!("{other} messages and not 10").into()),
    })
}

/// A session with as many messages; a small one is another each time.
struct Grown<'a> {
    store: &'a Store,
    size: u64,
    session: Session,
}

impl<'a> Grown<'a> {
    fn new(store: &'a Store, size: u64) -> Result<Grown<'a>> {
        Ok(Grown { store, size, session: filled(store, size)? })
    }

    fn renew(&mut self) -> Result<()> {
        if self.size <= FRESH {
            self.session = filled(self.store, self.size)?;
        }
        Ok(())
    }
}

fn filled(store: &Store, size: u64) -> Result<Session> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let session = store.session(format!("of {size}, {}", NEXT.fetch_add(1, Ordering::Relaxed)))?;
    let mut left = size;
    while left > 0 {
        // All are of equal commits, so that the last ones are equal too.
        let count = left.min(10);
        let batch: Batch<'_> = (0..count).map(|_| &SMALL).collect();
        session.append_batch_with(&batch, &buffered())?;
        left -= count;
    }
    session.append(&KIB)?;
    Ok(session)
}

fn by_messages(dir: &Path, sizes: [u64; 3], limits: Limits) -> Result<Vec<Curve>> {
    let store = Store::open(dir)?;
    let ops: [(&'static str, Work); 3] = [
        ("durable append of 1 KiB", appends),
        ("buffered append of 1 KiB", buffered_appends),
        ("the last 10 messages", tails),
    ];
    let mut out = Vec::new();
    for (op, work) in ops {
        eprintln!("{op}, by {MESSAGES}");
        let sides = sizes.iter().map(|size| {
            let mut grown = Grown::new(&store, *size)?;
            Ok(Side::new(op, move |step| match step {
                Step::Prepare => grown.renew().map(|()| 0.0),
                Step::Run => work(&grown.session),
            }))
        });
        let measured = take(sides.collect::<Result<Vec<_>>>()?, limits)?;
        out.push(curve(op, MESSAGES, &sizes, &measured));
    }
    store.close()?;
    Ok(out)
}

fn by_sessions(dir: &Path, sizes: [u64; 3], limits: Limits) -> Result<Vec<Curve>> {
    let place = |size: u64| dir.join(format!("sessions-{size}"));
    for size in sizes {
        eprintln!("a store of {size} sessions");
        populate(&place(size), size)?;
    }
    let stores = sizes.iter().map(|s| Store::open(place(*s))).collect::<Result<Vec<_>, _>>()?;
    let mut out = Vec::new();
    let mut curve_of = |op: &'static str, sides: Vec<Side<'_>>| -> Result<()> {
        eprintln!("{op}, by {SESSIONS}");
        let measured = take(sides, limits)?;
        out.push(curve(op, SESSIONS, &sizes, &measured));
        Ok(())
    };
    let sessions = stores.iter().map(|s| s.session("the one in use")).collect::<Result<Vec<_>, _>>()?;
    let side = |op, work: Work| {
        let one = |session| {
            Side::new(op, move |step| match step {
                Step::Prepare => Ok(0.0),
                Step::Run => work(session),
            })
        };
        sessions.iter().map(one).collect::<Vec<_>>()
    };
    curve_of("durable append of 1 KiB", side("append", appends))?;
    curve_of("buffered append of 1 KiB", side("buffered", buffered_appends))?;
    let mut number = 0;
    let sides = stores.iter().map(|store| {
        number += 1;
        let mut next = 0;
        Side::new("create", move |step| match step {
            Step::Prepare => Ok(0.0),
            Step::Run => burst(4, |_| {
                next += 1;
                Ok(store.session(format!("new {next}"))?.append(&KIB).map(drop)?)
            }),
        })
    });
    curve_of("a new session and its first message", sides.collect())?;
    drop(sessions);
    stores.into_iter().try_for_each(|s| s.close())?;
    let sides = sizes.iter().map(|size| {
        let place = place(*size);
        Side::new("open", move |step| match step {
            Step::Prepare => Ok(0.0),
            Step::Run => {
                let (seconds, store) = once(|| Ok(Store::open(&place)?))?;
                store.close()?;
                Ok(seconds)
            }
        })
    });
    curve_of("opening the store", sides.collect())?;
    Ok(out)
}

/// As many sessions of one small message, closed.
fn populate(dir: &Path, size: u64) -> Result<()> {
    let store = Store::open(dir)?;
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    loop {
                        let id = next.fetch_add(1, Ordering::Relaxed);
                        if id >= size {
                            return Ok(());
                        }
                        store.session(format!("session {id}"))?.append_with(&SMALL, &buffered())?;
                    }
                })
            })
            .collect();
        threads.into_iter().try_for_each(|t| t.join().map_err(|_| "a thread panicked")?)
    })?;
    store.close()?;
    Ok(())
}

fn curve(op: &'static str, of: &'static str, sizes: &[u64], measured: &[Measured]) -> Curve {
    let base = measured.first().map(|m| m.values.clone()).unwrap_or_default();
    let points = sizes.iter().zip(measured).map(|(size, m)| Point {
        size: *size,
        value: at(&m.values, 0.5),
        ratio: Spread::ratio(&m.values, &base),
    });
    Curve { op, of, points: points.collect() }
}

pub(crate) fn markdown(curves: &[Curve], machine: &str, how: &str) -> String {
    let mut out = format!(
        "What an op costs while the session and the store grow, as multiples of the smallest size, in turns: the median, and in \
         brackets the\nquartiles of the turns. {how}. {machine}.\n"
    );
    for of in [MESSAGES, SESSIONS] {
        let curves: Vec<_> = curves.iter().filter(|c| c.of == of).collect();
        let Some(first) = curves.first() else { continue };
        let _ = write!(out, "\n| op, by {of} |");
        for p in &first.points {
            let _ = write!(out, " {} |", p.size);
        }
        let _ = write!(out, "\n|---|{}", "---|".repeat(first.points.len()));
        for c in curves {
            let _ = write!(out, "\n| {} |", c.op);
            for (n, p) in c.points.iter().enumerate() {
                let _ = match n {
                    0 => write!(out, " {} |", time(p.value)),
                    _ => write!(
                        out,
                        " {} ({} to {}) |",
                        number(p.ratio.mid),
                        number(p.ratio.low),
                        number(p.ratio.high)
                    ),
                };
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_relative_to_its_smallest_size() {
        let m = |values: &[f64]| Measured { name: "op", values: values.to_vec() };
        let c = curve("op", MESSAGES, &[10, 100], &[m(&[1.0, 2.0]), m(&[3.0, 6.0])]);
        assert_eq!((c.points[0].ratio.mid, c.points[1].ratio.mid), (1.0, 3.0));
        let table = markdown(&[c], "a machine", "A run");
        assert!(table.contains("| op | 1.50 s | 3.0 (3.0 to 3.0) |"), "{table}");
    }
}
