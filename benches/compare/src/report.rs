//! What was measured, as tables: for a terminal, for the README, and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use crate::peers::{Kind, OTHERS, OURS};
use crate::rows::{Base, FLOOR, Row};
use crate::turns::{Measured, Spread, at};

/// A cell: a side of a row.
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    /// To the row's base.
    pub(crate) ratio: Spread,
    /// To sessionlog: below 1 it is ahead of it.
    pub(crate) to_ours: Spread,
    /// The median itself: seconds, or a multiple of the payload.
    pub(crate) value: f64,
}

impl Cell {
    fn is_ours(&self) -> bool {
        self.name == OURS.name
    }

    fn is_peer(&self) -> bool {
        !self.is_ours() && self.name != FLOOR
    }

    /// A peer that is not slower than sessionlog.
    pub(crate) fn is_ahead(&self) -> bool {
        self.is_peer() && self.to_ours.mid <= 1.0
    }

    /// A peer whose distance to sessionlog is within what it differs from turn to turn.
    fn is_close(&self) -> bool {
        self.is_peer() && self.to_ours.low < 1.0 && self.to_ours.high > 1.0
    }
}

/// The sides of a row, the floor first, then sessionlog.
pub(crate) fn cells(row: &Row) -> Vec<Cell> {
    let values = |name: &str| row.measured.iter().find(|m| m.name == name).map(|m| m.values.as_slice());
    let ours = values(OURS.name).unwrap_or_default();
    let base = match row.base {
        Base::Floor(_) => values(FLOOR).unwrap_or_default().to_vec(),
        Base::Ours => ours.to_vec(),
        Base::Payload => vec![1.0; ours.len()],
    };
    let cell = |m: &Measured| Cell {
        name: m.name,
        ratio: Spread::ratio(&m.values, &base),
        to_ours: Spread::ratio(&m.values, ours),
        value: at(&m.values, 0.5),
    };
    row.measured.iter().map(cell).collect()
}

/// In how many rows sessionlog is ahead of every peer, and how many rows have peers.
pub(crate) fn score(rows: &[Row]) -> (usize, usize) {
    let with_peers: Vec<_> = rows.iter().map(cells).filter(|cells| cells.iter().any(Cell::is_peer)).collect();
    let ahead = with_peers.iter().filter(|cells| !cells.iter().any(Cell::is_ahead)).count();
    (ahead, with_peers.len())
}

pub(crate) fn sentence(rows: &[Row]) -> String {
    let (ahead, of) = score(rows);
    format!("ahead of every peer on {ahead} of {of} rows")
}

/// Where it is behind, and where a distance is within the noise, in words: what a peer takes of what it takes.
fn remarks(rows: &[Row]) -> Vec<String> {
    let mut out = Vec::new();
    for row in rows {
        let cells = cells(row);
        let some = |wanted: fn(&Cell) -> bool| {
            let texts = cells.iter().filter(|c| wanted(c)).map(|c| {
                let spread = if c.is_close() {
                    format!(", quartiles {} to {}", number(c.to_ours.low), number(c.to_ours.high))
                } else {
                    String::new()
                };
                format!("{} (x {}{spread})", c.name, number(c.to_ours.mid))
            });
            texts.collect::<Vec<_>>().join(", ")
        };
        let (behind, close) = (some(Cell::is_ahead), some(|c| c.is_close() && !c.is_ahead()));
        if !behind.is_empty() {
            out.push(format!("{}: behind {behind}", row.title));
        }
        if !close.is_empty() {
            out.push(format!("{}: ahead within the noise only of {close}", row.title));
        }
    }
    out
}

/// A ratio in as many digits as mean something.
pub(crate) fn number(ratio: f64) -> String {
    match ratio {
        r if r.is_nan() => "-".to_owned(),
        r if r < 0.1 => format!("{r:.3}"),
        r if r < 3.0 => format!("{r:.2}"),
        r if r < 30.0 => format!("{r:.1}"),
        r => format!("{r:.0}"),
    }
}

pub(crate) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

/// What the multiples of a row are of, with its own size.
fn base(row: &Row, cells: &[Cell]) -> String {
    let size = |name| cells.iter().find(|c| c.name == name).map(|c| time(c.value)).unwrap_or_default();
    match row.base {
        Base::Floor(_) => format!("floor, {}", size(FLOOR)),
        Base::Ours => format!("sessionlog, {}", size(OURS.name)),
        Base::Payload => "payload".to_owned(),
    }
}

/// The names of the columns of these rows.
fn columns(rows: &[Row]) -> Vec<&'static str> {
    let all = std::iter::once(OURS.name).chain(OTHERS.iter().map(|k| k.name));
    all.filter(|name| rows.iter().any(|r| r.measured.iter().any(|m| m.name == *name))).collect()
}

/// For a terminal.
pub(crate) fn plain(rows: &[Row]) -> String {
    let columns = columns(rows);
    let mut out = String::new();
    let mut line = |first: &str, second: &str, rest: &[String]| {
        let _ = write!(out, "{first:<64} {second:>20}");
        for cell in rest {
            let _ = write!(out, " {cell:>11}");
        }
        out.push('\n');
    };
    let names: Vec<String> = columns.iter().map(|c| (*c).to_owned()).collect();
    line("medians over the turns, lower is better", "multiples of", &names);
    for row in rows {
        let cells = cells(row);
        let texts: Vec<String> = columns
            .iter()
            .map(|name| cells.iter().find(|c| c.name == *name))
            .map(|c| {
                c.map_or("-".to_owned(), |c| {
                    format!("{}{}", number(c.ratio.mid), if c.is_ahead() { "*" } else { "" })
                })
            })
            .collect();
        line(&row.title, &base(row, &cells), &texts);
    }
    out.push_str("* not slower (or larger) than sessionlog\n");
    for remark in remarks(rows) {
        let _ = writeln!(out, "{remark}");
    }
    out
}

/// What the machine is, in words that name no place.
pub(crate) fn machine(dir: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.split(['-', '+']).next().unwrap_or_default().trim();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let system = std::env::consts::OS;
    format!("{cores} cores, a load of {load} before it began, {system} {kernel}, {}", file_system(dir))
}

/// The name of the file system under `dir`.
pub(crate) fn file_system(dir: &Path) -> &'static str {
    match rustix::fs::statfs(dir).map(|s| s.f_type as u64 & 0xffff_ffff) {
        Ok(0xef53) => "ext4",
        Ok(0x5846_5342) => "xfs",
        Ok(0x9123_683e) => "btrfs",
        Ok(0x0102_1994) => "tmpfs",
        Ok(0x794c_7630) => "overlayfs",
        Ok(0x2fc1_2fc1) => "zfs",
        _ => "an unknown file system",
    }
}

/// The version of a package in the lock file.
fn version(package: &str) -> Option<&'static str> {
    let name = format!("name = \"{package}\"");
    let mut lines = include_str!("../Cargo.lock").lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

fn title(kind: &Kind) -> String {
    match kind.package.and_then(|p| Some((p, version(p)?))) {
        Some((package, version)) if package.eq_ignore_ascii_case(kind.name) => {
            format!("{} {version}", kind.name)
        }
        Some((package, version)) => format!("{} ({package} {version})", kind.name),
        None => kind.name.to_owned(),
    }
}

/// For the README.
pub(crate) fn markdown(rows: &[Row], machine: &str, how: &str) -> String {
    let columns = columns(rows);
    let mut out = format!(
        "Multiples of what stands in the second column, lower is better: the median over the turns, below it the \
         quartiles of the turns.\n**Bold**: a peer that is not slower (or larger) than sessionlog. {how}. {machine}.\n\n\
         | op | multiples of | turns |"
    );
    for name in &columns {
        let _ = write!(out, " {name} |");
    }
    out.push_str("\n|---|---|---|");
    out.push_str(&"---|".repeat(columns.len()));
    out.push('\n');
    for row in rows {
        let cells = cells(row);
        let turns = row.measured.iter().map(|m| m.values.len()).max().unwrap_or(0);
        let _ = write!(out, "| {} | {} | {turns} |", row.title, base(row, &cells));
        for name in &columns {
            let Some(cell) = cells.iter().find(|c| c.name == *name) else {
                out.push_str(" - |");
                continue;
            };
            let mid = number(cell.ratio.mid);
            let mid = if cell.is_ahead() { format!("**{mid}**") } else { mid };
            let spread = match row.base {
                Base::Payload => String::new(),
                Base::Ours if cell.name == OURS.name => String::new(),
                _ => format!("<br><sub>{} to {}</sub>", number(cell.ratio.low), number(cell.ratio.high)),
            };
            let _ = write!(out, " {mid}{spread} |");
        }
        out.push('\n');
    }
    let _ = write!(
        out,
        "\nsessionlog is {}. Where it is not, and where a lead is within the noise, with the peer's\n\
                           cost as a multiple of sessionlog's:\n\n",
        sentence(rows)
    );
    for remark in remarks(rows) {
        let _ = writeln!(out, "- {remark}");
    }
    out.push_str("\nThe floors:\n\n");
    for row in rows {
        if let Base::Floor(floor) = row.base {
            let _ = writeln!(out, "- {}: {floor}", row.title);
        }
    }
    out.push_str(
        "\nAll durable rows: one sync (or what the peer calls so) for each acknowledged op. Every load and tail is \
         compared with\nwhat must be there, byte by byte, in the time that is measured; what was appended is checked \
         after the last turn.\nAn archive moves a boundary and notes itself where the peer can do that, which is the \
         cheapest way: no messages are\nmoved. Reads are warm. Payloads are text that does not compress. A turn of single \
         ops counts with their lower quartile (on a\nbusy machine a sync's wake-up waits for a neighbour's time slice), \
         one of threads with its whole time. So what happens\nnow and then (checkpoints, compactions, new segments) is \
         in nobody's figures of single ops. After each batch and archive all\nwait for 10 ms, so that nobody is \
         measured beside what another one does behind it.\n\n",
    );
    for kind in std::iter::once(&OURS).chain(OTHERS).filter(|k| columns.contains(&k.name)) {
        let _ = writeln!(out, "- **{}**: {}", title(kind), kind.notes.join(" "));
    }
    out
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// JSON has no infinities.
fn plain_number(value: f64) -> String {
    if value.is_finite() { format!("{value}") } else { "null".to_owned() }
}

fn spread_json(spread: Spread) -> String {
    let values = [spread.low, spread.mid, spread.high].map(plain_number);
    format!("[{}]", values.join(","))
}

/// One object: the rows with medians and quartiles.
pub(crate) fn json(rows: &[Row], machine: &str) -> String {
    let row = |row: &Row| {
        let (base, floor) = match row.base {
            Base::Floor(floor) => (FLOOR, floor),
            Base::Ours => (OURS.name, ""),
            Base::Payload => ("payload", ""),
        };
        let cells: Vec<String> = cells(row)
            .iter()
            .map(|c| {
                format!(
                    "{{\"name\":{},\"value\":{},\"ratio\":{},\"to_sessionlog\":{},\"turns\":{}}}",
                    quoted(c.name),
                    plain_number(c.value),
                    spread_json(c.ratio),
                    spread_json(c.to_ours),
                    row.measured.iter().find(|m| m.name == c.name).map_or(0, |m| m.values.len())
                )
            })
            .collect();
        format!(
            "{{\"row\":{},\"title\":{},\"base\":{},\"floor\":{},\"sides\":[{}]}}",
            quoted(row.key),
            quoted(&row.title),
            quoted(base),
            quoted(floor),
            cells.join(",")
        )
    };
    let rows_json: Vec<String> = rows.iter().map(row).collect();
    let (ahead, of) = score(rows);
    format!(
        "{{\"machine\":{},\"ahead\":{ahead},\"of\":{of},\"rows\":[{}]}}",
        quoted(machine),
        rows_json.join(",")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(peer: &[f64]) -> Row {
        let side = |name, values: &[f64]| Measured { name, values: values.to_vec() };
        let measured = vec![
            side(FLOOR, &[1.0, 2.0, 1.0]),
            side(OURS.name, &[2.0, 4.0, 2.0]),
            side(OTHERS[0].name, peer),
        ];
        Row { key: "append", title: "append".to_owned(), base: Base::Floor("a write"), measured }
    }

    #[test]
    fn a_peer_that_is_level_is_not_beaten() {
        assert_eq!(score(&[row(&[3.0, 6.0, 3.0])]), (1, 1));
        assert_eq!(score(&[row(&[2.0, 4.0, 2.0])]), (0, 1));
        assert_eq!(score(&[row(&[3.0, 6.0, 3.0]), row(&[1.0, 2.0, 9.0])]), (1, 2));
    }

    #[test]
    fn what_is_behind_is_in_the_table() {
        let text = markdown(&[row(&[1.0, 2.0, 1.0])], "here", "in turns");
        assert!(text.contains("**1.00**"), "{text}");
        assert!(text.contains("ahead of every peer on 0 of 1 rows"), "{text}");
        assert!(text.contains(&format!("behind {} (x 0.50)", OTHERS[0].name)), "{text}");
    }

    #[test]
    fn every_package_has_a_version() {
        for kind in std::iter::once(&OURS).chain(OTHERS) {
            assert!(kind.package.is_none_or(|p| version(p).is_some()), "{}", kind.name);
        }
    }
}
