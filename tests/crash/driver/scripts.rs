//! What is run.

use super::rng::Rng;
use super::step::{Step, parse_steps};
use super::trace::Trace;
use super::world::Conf;

const LATE: u64 = u64::MAX;

/// Name, `truncate_after`, steps; segments are as small as they can be.
const SCRIPTS: [(&str, u64, &str); 22] = [
    ("create, append, batch, attributes", LATE, "a0 a0:700 b0:5 B0:3 m0 C1 a1 m2"),
    ("buffered appends and sync", LATE, "u0 u0 y0 u0:900 a0 u0 u1 c0 u0 y1"),
    ("segments fill up", LATE, "a0:5000 a0:5000 a0:5000 a0:300 u0:5000 u0:5000 a0:9000 a0"),
    ("archive without a tail", LATE, "b0:8 A0:0 a0 B0:3 A0:0 t0 a0 r0 a0 r0 t0"),
    ("archive with a tail", LATE, "b0:8 A0:2 a0 n0 t0 A0:1 t0 a0 r0 n0 A0:0 c0 a0"),
    ("archive over segments", LATE, "a0:6000 a0:6000 a0:6000 A0:1 a0:6000 t0 A0:2 a0:6000 r0 r0 c0 a0"),
    ("archive, truncated in the background", 500, "b0:30 A0:2 a0 b0:30 A0:1 a0 r0 a0 K a0"),
    ("close and open", LATE, "a0 c0 a0 a1 X a0 a1 c1 X l a1 X a0"),
    ("unclean ends", LATE, "a0 K a0 K u0 u0 K l K a0:700 K u0 A0:1 K a0 c0 K a0"),
    (
        "unclean ends over segments",
        LATE,
        "a0:9000 u0:5000 K a0:5000 u0:5000 K b0:9 A0:3 u0:8000 K t0 a0 K a0",
    ),
    ("removed and created again", LATE, "a0 a1 D0 a0 D0 u0 D1 C1 D1 a0 D0 l K a0 D0"),
    ("two processes take turns", LATE, "a0 a1 W a0 W a0 m0 A0:1 W t0 a1 u0 K a0 W a0 D0 W a0"),
    ("the catalog", LATE, "a0 a1 a2 c0 c1 a0 X a0 K a1 a2 X l K a0 c0 K a1 X a2 K a0"),
    ("odd clocks and short writes", LATE, "S0:100 a0:600 B0:3 J a0 A0:1 J t0 a0 K J a0 P7 a0 m0 P8 u0 c0"),
    (
        "a process dies, others go on",
        LATE,
        "a0 w a1 a0 w u0 a1 w m1 k a0 a1 w a2 w l k a1 a2 w D2 a0 k D1 a2",
    ),
    (
        "removals that fail",
        LATE,
        "a0 a1 c1 E0:3 D0 D0 a1 E0:3 D1 K a2 D1 E0:4 D2 D2 a2 a0 a1 E0:3 D0 E0:3 D1 K a2 l",
    ),
    (
        "writes that fail",
        LATE,
        "a0 E0:0 a0 a0 E0:1 b0:3 a0 E0:2 a0 a0 E0:4 a0:9000 a0:9000 E0:3 a0:9000 a0 c0",
    ),
    // Longer than 64 KiB: their bodies have a write of their own. Behind 128 KiB a close states all.
    (
        "long messages",
        LATE,
        "a0 a0:66000 E0:0 a0:66000 E0:2 a0:70000 u0:70000 K a0:80000 A0:1 a0:66000 E0:1 a0:66000 t0 K a1:66000",
    ),
    (
        "checkpoints",
        LATE,
        "b0:3 A0:1 m0 a0:132000 c0 a0 u0 c0 l a0 K a0:132000 n0 c0 X a0 W a0:132000 A0:2 E0:3 c0 K l a0:140000 c0 K m0 c0 a0",
    ),
    ("opened again after a kill elsewhere", LATE, "a0 W a0 a0 k a0 c0 W a0 u0 k l a0 A0:1 k a0"),
    (
        "time passes",
        LATE,
        "u0 i a0 u0 b0:5 i A0:1 i u1 m1 i K a0 u0 i W u0 i a0 w a1 u0 i a1 k i a0 X u0 i K u0 a1",
    ),
    ("creations that fail", LATE, "E0:3 a0 a0 E0:4 a1 a1 E0:2 a2 a2 K a0 a1 a2 D0 E0:0 a0 a0"),
];

pub fn scripts(seed: u64) -> Vec<(&'static str, Trace)> {
    SCRIPTS
        .iter()
        .map(|(name, after, text)| {
            let conf = Conf { segment: 16 << 10, after: *after };
            let steps = parse_steps(text).unwrap_or_default();
            assert!(!steps.is_empty(), "{name}");
            (*name, Trace { seed, conf, steps, faults: Vec::new(), visit: None, hops: Vec::new() })
        })
        .collect()
}

/// The same without their names.
pub fn traces(seed: u64) -> Vec<Trace> {
    scripts(seed).into_iter().map(|(_, trace)| trace).collect()
}

/// A random history of several sessions, processes, power cuts and short disks.
pub fn random_script(seed: u64, length: u64) -> Trace {
    let mut rng = Rng::new(seed);
    let conf = Conf { segment: 16 << 10, after: if rng.chance(30) { rng.below(4000) } else { LATE } };
    let sessions = 1 + rng.below(3);
    let mut steps = Vec::new();
    for _ in 0..length {
        let session = rng.below(sessions) as usize;
        let size = match rng.below(10) {
            0 => rng.below(12_000),
            1..=3 => rng.below(3000),
            _ => rng.below(200),
        };
        let (verb, arg) = match rng.below(100) {
            0..=21 => ('a', size),
            22..=31 => ('u', size),
            32..=37 => ('b', 1 + rng.below(20)),
            38..=42 => ('B', 1 + rng.below(20)),
            43..=46 => ('y', 0),
            47..=57 => ('A', rng.below(6)),
            58..=61 => ('t', 0),
            62..=66 => ('m', 0),
            67..=69 => ('n', 0),
            70..=73 => ('r', 0),
            74..=77 => ('c', 0),
            78 => ('C', 0),
            79..=81 => ('D', 0),
            82 => ('l', 0),
            83..=86 => ('X', 0),
            87..=90 => ('K', 0),
            91..=93 => ('P', rng.next() >> 24),
            94..=96 => ('W', 0),
            97 => ('i', 0),
            98 => ('J', 0),
            _ => ('S', 1 + rng.below(600)),
        };
        steps.push(Step { verb, session, arg });
    }
    Trace { seed, conf, steps, faults: Vec::new(), visit: None, hops: Vec::new() }
}
