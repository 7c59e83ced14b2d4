//! Turns: all sides do the same work in short bursts, one after another, again and again.
//!
//! Times on a shared machine mean little, ratios between neighbours do. The order is another one in every turn, so
//! that nobody always follows the same other's flush.

use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// What a side is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make ready for the burst, untimed; what is returned counts for nothing.
    Prepare,
    /// The burst: the seconds that one op took.
    Run,
}

/// One of those that take turns.
pub(crate) struct Side<'a> {
    pub(crate) name: &'static str,
    pub(crate) work: Box<dyn FnMut(Step) -> Result<f64> + 'a>,
}

impl<'a> Side<'a> {
    pub(crate) fn new(name: &'static str, work: impl FnMut(Step) -> Result<f64> + 'a) -> Side<'a> {
        Side { name, work: Box::new(work) }
    }
}

/// How long turns are taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// At least so many, whatever they take.
    pub(crate) least: usize,
    pub(crate) most: usize,
    pub(crate) time: Duration,
    /// After each burst, for the work that goes on behind it.
    pub(crate) pause: Duration,
}

/// The values of one side, one for each turn.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) values: Vec<f64>,
}

/// Takes turns. The first one, in which caches are filled, is not counted.
pub(crate) fn take(sides: Vec<Side<'_>>, limits: Limits) -> Result<Vec<Measured>> {
    let mut sides = sides;
    let mut all: Vec<Measured> =
        sides.iter().map(|side| Measured { name: side.name, values: Vec::new() }).collect();
    let begun = Instant::now();
    let mut turn = 0;
    while turn <= limits.least || (turn <= limits.most && begun.elapsed() < limits.time) {
        for side in &mut sides {
            call(side, Step::Prepare)?;
        }
        for at in order(sides.len(), turn as u64) {
            if let (Some(side), Some(measured)) = (sides.get_mut(at), all.get_mut(at)) {
                let value = call(side, Step::Run)?;
                if turn > 0 {
                    measured.values.push(value);
                }
            }
            if !limits.pause.is_zero() {
                thread::sleep(limits.pause);
            }
        }
        turn += 1;
    }
    Ok(all)
}

/// All of `0..count` in an order that differs from turn to turn, and is the same in every run.
fn order(count: usize, turn: u64) -> Vec<usize> {
    let mut state = (turn + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut out: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.swap(last, (state >> 33) as usize % (last + 1));
    }
    out
}

fn call(side: &mut Side<'_>, step: Step) -> Result<f64> {
    (side.work)(step).map_err(|e| format!("{}: {e}", side.name).into())
}

/// A number of ops, and the lower quartile of what they took. Not the median: on a busy machine the wake-up after a
/// sync waits for a neighbour's time slice more often than not, and then the medians of all sides are that slice.
pub(crate) fn burst(count: usize, mut op: impl FnMut(usize) -> Result<()>) -> Result<f64> {
    let mut times = Vec::with_capacity(count);
    for at in 0..count {
        let begun = Instant::now();
        op(at)?;
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok(at(&times, 0.25))
}

/// What one op took.
pub(crate) fn once<T>(op: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let begun = Instant::now();
    let out = op()?;
    Ok((begun.elapsed().as_secs_f64(), out))
}

/// The value below which this part of all lies; between two neighbours their mean.
pub(crate) fn at(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let place = part * values.len().saturating_sub(1) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    match (values.get(low), values.get(high)) {
        (Some(low), Some(high)) => (low + high) / 2.0,
        _ => f64::NAN,
    }
}

/// A median and the quartiles around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) mid: f64,
    pub(crate) high: f64,
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Spread {
        Spread { low: at(values, 0.25), mid: at(values, 0.5), high: at(values, 0.75) }
    }

    /// Of the ratios turn by turn.
    pub(crate) fn ratio(of: &[f64], to: &[f64]) -> Spread {
        let ratios: Vec<f64> = of.iter().zip(to).map(|(of, to)| of / to).collect();
        Spread::of(&ratios)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_turn_by_turn() {
        let spread = Spread::ratio(&[2.0, 40.0, 6.0], &[1.0, 20.0, 2.0]);
        assert_eq!((spread.low, spread.mid, spread.high), (2.0, 2.0, 2.5));
    }

    #[test]
    fn everyone_follows_everyone_sooner_or_later() {
        let mut seen = std::collections::HashSet::new();
        for turn in 0..100 {
            let order = order(4, turn);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3]);
            seen.extend(order.windows(2).map(|pair| (pair[0], pair[1])));
        }
        assert_eq!(seen.len(), 12);
    }

    #[test]
    fn everyone_has_every_turn_and_the_first_is_not_counted() {
        let mut prepared = 0;
        let sides = vec![
            Side::new("a", |_| Ok(1.0)),
            Side::new("b", |step| {
                prepared += usize::from(step == Step::Prepare);
                Ok(2.0)
            }),
        ];
        let limits = Limits { least: 3, most: 9, time: Duration::ZERO, pause: Duration::ZERO };
        let all = take(sides, limits).unwrap();
        assert_eq!(all[0].values, [1.0; 3]);
        assert_eq!(all[1].values, [2.0; 3]);
        assert_eq!(prepared, 4);
    }
}
