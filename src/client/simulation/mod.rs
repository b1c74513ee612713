//! A deterministic world: the real client and the real server between simulated kernels, in a time of its own.
//!
//! What runs is the product: the connection with its sender, receiver and endings, the socket's memory of what the wait
//! has reported, the slot that finds stalls, the verifier and the ledger; and the server's connections, sessions, rings
//! and counters. What is simulated is the system under both: sockets with small buffers, calls that are interrupted,
//! move less than they could or would block, wake-ups for nothing, resets, half-closes, and the time. The seed decides
//! everything, so a world can be run again.
//!
//! - `dice` draws; `plan` says what a world is like; `kernel` has the sockets, and `way` the bytes between them, with
//!   the fault that a faulty world has; `world` lets things happen; `verdict` says whether what was found is right.
//!
//! ```sh not-run: it takes long
//! SIM_SEEDS=1000000 cargo test --release --lib client::simulation     # as many worlds of each nature
//! SIM_SEED=0x2a cargo test --lib client::simulation                   # one again, with what was found in it
//! ```

#![cfg(all(test, unix))]

mod dice;
mod kernel;
mod plan;
mod verdict;
mod way;
mod world;

use plan::{Nature, WorldPlan};
use world::World;

/// Worlds of each nature that an ordinary test run visits.
const SEEDS: u64 = 3000;

/// Worlds after which a run ends in which something is wrong.
const SHOWN: usize = 5;

/// Seeds of worlds in which the product was wrong once. They are visited in every run.
///
/// - 0x3a: reading after a stall waited for ever when the writes waited for echo.
/// - 0x4067: it waited for the stall time-out when a pause ended while the writes waited for echo.
const REGRESSIONS: &[u64] = &[0x3a, 0x4067];

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16));
    Some(parsed.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// Runs one world, and says what is wrong with what came of it.
fn visit(seed: u64, nature: Nature) -> Result<(), String> {
    let mut world = World::new(WorldPlan::new(seed, nature));
    world.run()?;
    verdict::judge(&world)
}

/// Visits worlds of this nature, and fails if something is wrong with one.
#[expect(clippy::print_stdout, reason = "the count is what a long visit is for, and a test shows it only if asked")]
fn visit_all(nature: Nature) {
    let first = number("SIM_FIRST").unwrap_or(0);
    let (only, count) = (number("SIM_SEED"), number("SIM_SEEDS").unwrap_or(SEEDS));
    let seeds = only.map_or(first..first + count, |only| only..only + 1);
    let began = std::time::Instant::now();
    let seeds = REGRESSIONS.iter().copied().filter(|_| only.is_none()).chain(seeds);
    let wrong = seeds.filter_map(|seed| Some((seed, visit(seed, nature).err()?)));
    let shown: Vec<String> =
        wrong.take(SHOWN).map(|(seed, why)| format!("{nature:?} world, SIM_SEED={seed:#x}: {why}")).collect();
    assert!(shown.is_empty(), "{}", shown.join("\n\n"));
    println!("{nature:?}: {count} worlds from {first} on in {:?}", began.elapsed());
}

#[test]
fn a_clean_world_has_no_finding_and_ends() {
    visit_all(Nature::Clean);
}

#[test]
fn each_fault_is_found_and_named_and_every_byte_is_accounted_for() {
    visit_all(Nature::Faulty);
}
