//! What the fuzz targets do with their input. Each function takes any bytes, and panics when the program breaks a
//! promise.
//!
//! They use the program as a library, and only what is public. `fuzz_targets/` gives them what a coverage-guided fuzzer
//! invents. `tests/fuzz_inputs.rs` gives them the corpus and mutations of it, in every test run and without a nightly
//! toolchain.

mod bytes;
mod documents;
mod input;
mod servers;
mod texts;

pub use bytes::verifier;
pub use documents::{results, scenario, serve_json};
pub use servers::{echo_ring, fault_script};
pub use texts::{addresses, fault_spec, threshold, units};

/// One row of [`TARGETS`].
pub struct Target {
    /// The name of its binary, and of its folder in `corpus/`.
    pub name: &'static str,
    /// What it does with an input.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "scenario", run: scenario },
    Target { name: "threshold", run: threshold },
    Target { name: "units", run: units },
    Target { name: "addresses", run: addresses },
    Target { name: "fault_spec", run: fault_spec },
    Target { name: "results", run: results },
    Target { name: "serve_json", run: serve_json },
    Target { name: "verifier", run: verifier },
    Target { name: "echo_ring", run: echo_ring },
    Target { name: "fault_script", run: fault_script },
];
