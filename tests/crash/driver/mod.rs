//! The driver of the crash proof, shared by `tests/crash` and `examples/torture.rs`: it runs scripts on the
//! simulated disk, cuts the power at every operation, and holds what comes back against a plain model.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "each program that includes it uses its part of it"
)]

mod check;
mod explore;
mod faults;
mod lies;
mod model;
mod processes;
mod rng;
mod scripts;
mod sites;
mod step;
mod trace;
mod visits;
mod world;

pub use explore::{Effort, How, Tally, explore, explore_all, run_script, set_threads, travel};
pub use faults::{FAULTS, faults_everywhere, faults_in_recovery, full_disk};
pub use lies::{Eyes, Lied, MISTAKES, lie_about_each, mistake, table};
pub use rng::Rng;
pub use scripts::{random_script, scripts, traces};
pub use sites::Site;
pub use step::Step;
pub use trace::{Failure, Faults, Hop, Trace, Visit};
pub use visits::visits_everywhere;
pub use world::Conf;
