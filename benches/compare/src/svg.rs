//! The plot: a mark for each side of each row on a log scale, with its quartiles as a line.

use std::fmt::Write as _;

use crate::growth::Curve;
use crate::peers::{OTHERS, OURS};
use crate::report::{Cell, cells, number};
use crate::rows::{Base, FLOOR, Row};

const WIDTH: f64 = 960.0;
/// Where the scale begins and ends.
const LEFT: f64 = 400.0;
const RIGHT: f64 = 925.0;
const LINE: f64 = 27.0;
const HEAD: f64 = 78.0;
/// Between the parts of the plot.
const GAP: f64 = 34.0;

const STYLE: &str = "
  text { font: 12px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2328 }
  .back { fill: #ffffff } .band { fill: #f4f6f8 } .grid { stroke: #d8dee4 } .one { stroke: #57606a }
  .small { font-size: 11px; fill: #59636e } .title { font-weight: 600 }
  .c0 { fill: #cf222e; stroke: #cf222e } .c1 { fill: #0969da; stroke: #0969da }
  .c2 { fill: #8a5a00; stroke: #8a5a00 } .c3 { fill: #1a7f37; stroke: #1a7f37 }
  .c4 { fill: #8250df; stroke: #8250df } .c5 { fill: #bf3989; stroke: #bf3989 }
  .c6 { fill: #59636e; stroke: #59636e }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .back { fill: #0d1117 } .band { fill: #161b22 } .grid { stroke: #30363d } .one { stroke: #9198a1 }
    .small { fill: #9198a1 }
    .c0 { fill: #ff7b72; stroke: #ff7b72 } .c1 { fill: #58a6ff; stroke: #58a6ff }
    .c2 { fill: #d9a441; stroke: #d9a441 } .c3 { fill: #56d364; stroke: #56d364 }
    .c4 { fill: #bc8cff; stroke: #bc8cff } .c5 { fill: #ff9bce; stroke: #ff9bce }
    .c6 { fill: #9198a1; stroke: #9198a1 }
  }";

/// A scale of powers of ten.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// Wide enough for all of these.
    fn of(values: impl Iterator<Item = f64>) -> Scale {
        let (mut low, mut high) = (-1.0_f64, 1.0_f64);
        for value in values.filter(|v| v.is_finite() && *v > 0.0) {
            low = low.min(value.log10().floor());
            high = high.max(value.log10().ceil());
        }
        Scale { low, high }
    }

    fn x(&self, value: f64) -> f64 {
        let at = (value.log10() - self.low) / (self.high - self.low);
        LEFT + at.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    fn powers(&self) -> impl Iterator<Item = f64> + use<> {
        (self.low as i32..=self.high as i32).map(|power| 10f64.powi(power))
    }
}

/// The place of a side among all: its colour and shape.
fn index(name: &str) -> usize {
    std::iter::once(OURS.name).chain(OTHERS.iter().map(|k| k.name)).position(|n| n == name).unwrap_or(0)
}

/// Shapes differ too, for who cannot tell the colours apart.
fn mark(out: &mut String, index: usize, x: f64, y: f64) {
    let class = format!("c{}", index % 7);
    let _ = match index % 7 {
        0 => writeln!(out, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"6\"/>"),
        1 => writeln!(
            out,
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"8\" height=\"8\"/>",
            x - 4.0,
            y - 4.0
        ),
        2 => polygon(out, &class, &[(x, y - 5.5), (x + 5.5, y), (x, y + 5.5), (x - 5.5, y)]),
        3 => polygon(out, &class, &[(x, y - 5.0), (x + 5.0, y + 4.0), (x - 5.0, y + 4.0)]),
        4 => polygon(out, &class, &[(x, y + 5.0), (x + 5.0, y - 4.0), (x - 5.0, y - 4.0)]),
        5 => writeln!(
            out,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" stroke-width=\"2.5\" style=\"fill:none\"/>"
        ),
        _ => writeln!(
            out,
            "<path class=\"{class}\" d=\"M{:.1} {:.1}l8 8m0 -8l-8 8\" stroke-width=\"2.5\" style=\"fill:none\"/>",
            x - 4.0,
            y - 4.0
        ),
    };
}

fn polygon(out: &mut String, class: &str, points: &[(f64, f64)]) -> std::fmt::Result {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    writeln!(out, "<polygon class=\"{class}\" points=\"{}\"/>", points.join(" "))
}

fn text(out: &mut String, x: f64, y: f64, attributes: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{words}</text>");
}

fn line(out: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

/// The parts, by what the multiples are of.
fn parts(rows: &[Row]) -> Vec<(&'static str, Vec<&Row>)> {
    let of = |base: fn(Base) -> bool| rows.iter().filter(|r| base(r.base)).collect::<Vec<_>>();
    let all = vec![
        (
            "multiples of the floor: what the operating system alone takes",
            of(|b| matches!(b, Base::Floor(_))),
        ),
        ("multiples of sessionlog", of(|b| b == Base::Ours)),
        ("multiples of the payload", of(|b| b == Base::Payload)),
    ];
    all.into_iter().filter(|(_, rows)| !rows.is_empty()).collect()
}

fn legend(out: &mut String, rows: &[Row]) {
    let mut x = 16.0;
    for name in std::iter::once(OURS.name).chain(OTHERS.iter().map(|k| k.name)) {
        if rows.iter().any(|r| r.measured.iter().any(|m| m.name == name)) {
            mark(out, index(name), x + 6.0, 48.0);
            text(out, x + 18.0, 52.0, "", name);
            x += 44.0 + 7.0 * name.len() as f64;
        }
    }
}

/// The marks of a row, sessionlog on top.
fn row(out: &mut String, scale: &Scale, title: &str, cells: &[Cell], y: f64) {
    text(out, LEFT - 14.0, y + 4.0, "text-anchor=\"end\"", title);
    for cell in cells.iter().rev().filter(|c| c.name != FLOOR && c.ratio.mid.is_finite()) {
        let class = format!("c{}", index(cell.name) % 7);
        line(out, &class, (scale.x(cell.ratio.low), y), (scale.x(cell.ratio.high), y));
        let _ = write!(out, "<g><title>{}: {}</title>", cell.name, number(cell.ratio.mid));
        mark(out, index(cell.name), scale.x(cell.ratio.mid), y);
        out.push_str("</g>\n");
    }
}

pub(crate) fn draw(rows: &[Row], footer: &str) -> String {
    let all: Vec<Vec<Cell>> = rows.iter().map(cells).collect();
    let scale =
        Scale::of(all.iter().flatten().filter(|c| c.name != FLOOR).flat_map(|c| [c.ratio.low, c.ratio.high]));
    let parts = parts(rows);
    let height = HEAD + parts.len() as f64 * (GAP + 22.0) + rows.len() as f64 * LINE + 26.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" role=\"img\" aria-label=\"sessionlog beside its peers\">\n<style>{STYLE}\n</style>\n\
         <rect class=\"back\" width=\"100%\" height=\"100%\" rx=\"8\"/>\n"
    );
    text(&mut out, 16.0, 26.0, "class=\"title\"", "What it costs: further left is better (log scale)");
    legend(&mut out, rows);
    let mut y = HEAD;
    for (name, rows) in parts {
        text(&mut out, LEFT, y + 12.0, "class=\"small title\"", name);
        y += 20.0;
        let bottom = y + rows.len() as f64 * LINE;
        for at in (0..rows.len()).step_by(2) {
            let top = y + at as f64 * LINE;
            let width = WIDTH - 24.0;
            let _ = writeln!(
                out,
                "<rect class=\"band\" x=\"12\" y=\"{top:.1}\" width=\"{width}\" height=\"{LINE}\"/>"
            );
        }
        for power in scale.powers() {
            let x = scale.x(power);
            line(&mut out, if power == 1.0 { "one" } else { "grid" }, (x, y), (x, bottom));
            text(&mut out, x, bottom + 15.0, "class=\"small\" text-anchor=\"middle\"", &format!("{power}"));
        }
        for one in rows {
            row(&mut out, &scale, &one.title, &cells(one), y + LINE / 2.0);
            y += LINE;
        }
        y += GAP + 2.0;
    }
    text(&mut out, 16.0, height - 12.0, "class=\"small\"", footer);
    out.push_str("</svg>\n");
    out
}

/// Growth: the size from left to right, the multiple of the smallest size upwards, both on a log scale.
pub(crate) fn growth(curves: &[Curve], footer: &str) -> String {
    const TOP: f64 = 60.0;
    const BOTTOM: f64 = 330.0;
    /// Each panel, and the width of its scale.
    const PANELS: [f64; 2] = [70.0, 530.0];
    const PANEL: f64 = 360.0;
    let mut all: Vec<&'static str> = Vec::new();
    for c in curves {
        if !all.contains(&c.op) {
            all.push(c.op);
        }
    }
    let height = BOTTOM + 76.0 + 20.0 * all.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" role=\"img\" aria-label=\"cost by size\">\n<style>{STYLE}\n</style>\n\
         <rect class=\"back\" width=\"100%\" height=\"100%\" rx=\"8\"/>\n"
    );
    text(
        &mut out,
        16.0,
        26.0,
        "class=\"title\"",
        "What an op costs, as a multiple of the smallest size: flat is good",
    );
    let of = |c: &&Curve, panel: usize| (c.of == curves.first().map_or("", |f| f.of)) == (panel == 0);
    let y = |ratio: f64| {
        let at = (ratio.max(0.1).log10() + 1.0) / 2.0;
        BOTTOM - at.clamp(0.0, 1.0) * (BOTTOM - TOP)
    };
    for (panel, left) in PANELS.into_iter().enumerate() {
        let curves: Vec<&Curve> = curves.iter().filter(|c| of(c, panel)).collect();
        let Some(first) = curves.first() else { continue };
        let (low, high) = match (first.points.first(), first.points.last()) {
            (Some(low), Some(high)) => ((low.size as f64).log10(), (high.size as f64).log10()),
            _ => continue,
        };
        let x = |size: u64| left + ((size as f64).log10() - low) / (high - low) * PANEL;
        for ratio in [0.1, 0.5, 1.0, 2.0, 10.0] {
            let class = if ratio == 1.0 { "one" } else { "grid" };
            line(&mut out, class, (left, y(ratio)), (left + PANEL, y(ratio)));
            text(
                &mut out,
                left - 8.0,
                y(ratio) + 4.0,
                "class=\"small\" text-anchor=\"end\"",
                &format!("{ratio}"),
            );
        }
        for point in &first.points {
            let words = format!("{}", point.size);
            text(&mut out, x(point.size), BOTTOM + 18.0, "class=\"small\" text-anchor=\"middle\"", &words);
        }
        text(&mut out, left + PANEL / 2.0, BOTTOM + 36.0, "class=\"small\" text-anchor=\"middle\"", first.of);
        for c in curves {
            let index = all.iter().position(|op| *op == c.op).unwrap_or(0);
            let class = format!("c{}", index % 7);
            for pair in c.points.windows(2) {
                if let [from, to] = pair {
                    let (a, b) = ((x(from.size), y(from.ratio.mid)), (x(to.size), y(to.ratio.mid)));
                    line(&mut out, &class, a, b);
                }
            }
            for p in &c.points {
                line(&mut out, &class, (x(p.size), y(p.ratio.low)), (x(p.size), y(p.ratio.high)));
                mark(&mut out, index, x(p.size), y(p.ratio.mid));
            }
        }
    }
    for (n, op) in all.iter().enumerate() {
        let y = BOTTOM + 58.0 + 20.0 * n as f64;
        mark(&mut out, n, 80.0, y - 4.0);
        text(&mut out, 94.0, y, "", op);
    }
    text(&mut out, 16.0, height - 8.0, "class=\"small\"", footer);
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_holds_all_values_and_keeps_their_order() {
        let scale = Scale::of([0.004, 2.0, 70_000.0].into_iter());
        assert_eq!((scale.low, scale.high), (-3.0, 5.0));
        assert_eq!((scale.x(1e-3), scale.x(1e5)), (LEFT, RIGHT));
        assert!(scale.x(0.004) < scale.x(2.0) && scale.x(2.0) < scale.x(70_000.0));
    }
}
