//! Rows of the table, and how their times come about.

use std::time::Instant;

use crate::Result;

/// The times of single ops, in seconds.
pub(crate) type Times = Vec<f64>;

/// One row: what the store took and what the floor took, turn by turn.
pub(crate) struct Row {
    name: String,
    floor: &'static str,
    turns: Vec<(Times, Times)>,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, floor: &'static str) -> Row {
        Row { name: name.into(), floor, turns: Vec::new() }
    }

    pub(crate) fn turn(&mut self, here: Times, floor: Times) {
        self.turns.push((here, floor));
    }

    pub(crate) fn print(&self) {
        let ratios = self
            .turns
            .iter()
            .map(|(here, floor)| at(here.iter().copied(), 0.5) / at(floor.iter().copied(), 0.5));
        let here = || self.turns.iter().flat_map(|t| t.0.iter().copied());
        let floor = || self.turns.iter().flat_map(|t| t.1.iter().copied());
        println!(
            "{:<44} {:>7.2} {:>7.2} {:>10} {:>10}  {}",
            self.name,
            at(here(), 0.1) / at(floor(), 0.1),
            at(ratios, 0.5),
            time(at(here(), 0.1)),
            time(at(floor(), 0.1)),
            self.floor
        );
    }

    /// The mean and the slowest hundredth, for which it takes many ops.
    pub(crate) fn print_rest(&self) {
        let (here, floor): (Vec<&Times>, Vec<&Times>) = self.turns.iter().map(|t| (&t.0, &t.1)).unzip();
        let all = |side: &[&Times]| side.iter().flat_map(|t| t.iter().copied()).collect::<Vec<f64>>();
        let (here, floor) = (all(&here), all(&floor));
        let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len() as f64;
        println!(
            "{:<44} mean {:.2} ({}), p99 {:.2} ({}), p99.9 {:.2} ({})",
            "",
            mean(&here) / mean(&floor),
            time(mean(&here)),
            at(here.iter().copied(), 0.99) / at(floor.iter().copied(), 0.99),
            time(at(here.iter().copied(), 0.99)),
            at(here.iter().copied(), 0.999) / at(floor.iter().copied(), 0.999),
            time(at(here.iter().copied(), 0.999)),
        );
    }
}

/// The value below which this part of all lies.
pub(crate) fn at(values: impl Iterator<Item = f64>, part: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get((values.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN)
}

pub(crate) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

/// Runs it `n` times.
pub(crate) fn burst(n: usize, mut run: impl FnMut() -> Result<()>) -> Result<Times> {
    let mut times = Vec::with_capacity(n);
    for _ in 0..n {
        let begun = Instant::now();
        run()?;
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok(times)
}
