//! Clients that mean harm, against every server model of this system: its memory stays bounded, it does not spin,
//! honest clients are served meanwhile, and it ends in order. The table of docs/reliability.md is what this prints:
//!
//!     cargo test --release --test hostile_clients -- --nocapture
//!
//! `tests/windows_under_wine.rs` attacks the models of Windows in the same ways.
#![cfg(target_os = "linux")]

use at_once::at_once;
use attacks::{MAX_MEMORY_PER_CONNECTION, Victim};
use echo_tester::server::models::{Model, TABLE};
use program::Serving;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

mod at_once;
mod attacks;
mod program;
mod waits;

/// What a server may take for each connection that has a process of its own: nearly all of its pages are its parent's,
/// but they count in each.
const MAX_MEMORY_PER_PROCESS: u64 = 8 << 20;

fn models() -> impl Iterator<Item = &'static Model> {
    TABLE.iter().filter(|model| model.run.is_some() && (model.probe)().is_ok())
}

/// Starts a server of this model, has it attacked, and stops it.
fn started<R>(model: &Model, attack: impl FnOnce(&Victim<'_>, Pid) -> R) -> R {
    let server = Serving::start(&["--model", model.name]);
    let id = server.child.id();
    let victim = Victim {
        model: model.name,
        address: server.address.clone(),
        usage: &|| echo_tester::sys::usage_of_tree(id),
        waits: &|| waits::waits_of(id),
        memory_per_connection: if model.name == "fork" { MAX_MEMORY_PER_PROCESS } else { MAX_MEMORY_PER_CONNECTION },
        is_under_wine: false,
    };
    let result = attack(&victim, Pid::from_child(&server.child));
    let counters = server.stop()["counters"].clone();
    assert_eq!(counters["accepted"], counters["closed"], "{}: {counters}", model.name);
    result
}

#[test]
fn honest_clients_are_served_whatever_others_do() {
    echo_tester::sys::raise_descriptor_limit();
    let rows = at_once(models(), |model| started(model, |victim, _| attacks::attacked(victim)));
    println!("{}\n{}", attacks::HEAD, rows.concat().join("\n"));
}

#[test]
fn a_flood_past_the_descriptors_neither_ends_nor_spins_a_server() {
    at_once(models(), |model| {
        started(model, |victim, process| {
            let few = Rlimit { current: Some(128), ..getrlimit(Resource::Nofile) };
            prlimit(Some(process), Resource::Nofile, few).expect("its limit may be lowered");
            attacks::flooded(victim, "128 descriptors", false);
        });
    });
}
