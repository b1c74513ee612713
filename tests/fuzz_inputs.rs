//! The fuzz targets without a fuzzer: every input of the corpus, and mutations of it, through the same functions. It
//! needs no nightly toolchain. CONTRIBUTING.md tells how to fuzz.

#[expect(unreachable_pub, reason = "it is a crate of its own for the fuzzer")]
#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fuzz::{TARGETS, Target};

/// Mutations of the corpus that each target gets.
const MUTATIONS: u64 = 600;
/// An input is not grown beyond this.
const LONGEST: usize = 16 << 10;

/// The inputs of a target, by name.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<(String, Vec<u8>)> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .map(|path| (path.display().to_string(), fs::read(&path).expect("an input can be read")))
        .collect();
    inputs.sort();
    inputs
}

/// A sequence of numbers from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        echo_tester::random::below(echo_tester::random::split_mix(&mut self.0), end.max(1) as u64) as usize
    }
}

/// What a number of the input becomes: the ends of what a program may take it for.
const NUMBERS: [&str; 7] = ["0", "-1", "1", "65536", "9007199254740993", "0.0000001", "1.7e308"];

/// The numbers of an input.
fn numbers_of(input: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut found: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, _) in input.iter().enumerate().filter(|(_, byte)| byte.is_ascii_digit()) {
        match found.last_mut() {
            Some(last) if last.end == at => last.end += 1,
            _ if at > 0 && input[at - 1].is_ascii_alphanumeric() => {}
            _ => found.push(at..at + 1),
        }
    }
    found
}

/// Changes an input in one to four places, as a fuzzer would: a bit, a byte, a number, a part left out, doubled, or
/// taken from another input.
fn mutate(input: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len() + 1);
        let len = numbers.below(16).min(bytes.len() - at);
        match numbers.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << numbers.below(8),
            1 if at < bytes.len() => bytes[at] = numbers.below(256) as u8,
            2 => drop(bytes.drain(at..at + len)),
            3 => bytes.insert(at, b"0159-.,:=\"\n%["[numbers.below(13)]),
            4 => {
                let copy = bytes[at..at + len].to_vec();
                bytes.splice(at..at, copy);
            }
            5..=7 => {
                let all = numbers_of(&bytes);
                if let Some(number) = all.get(numbers.below(all.len())) {
                    let other = NUMBERS[numbers.below(NUMBERS.len())];
                    bytes.splice(number.clone(), other.bytes());
                }
            }
            _ => {
                let from = numbers.below(other.len() + 1);
                let part = &other[from..(from + numbers.below(40)).min(other.len())];
                bytes.splice(at..at, part.iter().copied());
            }
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

/// Runs the target, and shows the input if it panics.
fn try_input(target: &Target, what: &str, input: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    assert!(outcome.is_ok(), "{}, {what}: {:?}", target.name, input.escape_ascii().to_string());
}

#[test]
fn every_input_of_the_corpus_and_mutations_of_it_keep_every_promise() {
    for (number, target) in TARGETS.iter().enumerate() {
        let corpus = corpus(target);
        assert!(!corpus.is_empty(), "{} has no corpus", target.name);
        for (name, input) in &corpus {
            try_input(target, name, input);
        }
        let mut numbers = Numbers(number as u64);
        for round in 0..MUTATIONS {
            let [(name, input), (_, other)] = [(); 2].map(|()| &corpus[numbers.below(corpus.len())]);
            let mutated = mutate(input, other, &mut numbers);
            try_input(target, &format!("mutation {round} of {name}"), &mutated);
        }
    }
}

#[test]
fn every_target_has_a_binary_and_a_row_in_the_document() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(top.join("fuzz/Cargo.toml")).expect("the fuzz targets have a manifest");
    let document = fs::read_to_string(top.join("docs/reliability.md")).expect("the document can be read");
    for Target { name, .. } in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml has no binary {name}");
        assert!(top.join(format!("fuzz/fuzz_targets/{name}.rs")).exists(), "fuzz_targets has no {name}.rs");
        assert!(document.contains(&format!("| `{name}` |")), "docs/reliability.md has no row {name}");
    }
}
