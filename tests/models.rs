//! Every case of the suite on every model of this system. Each pair is a test, such as `epoll: one byte comes back`. A
//! new row in the table of models or of cases needs no new line here.
//!
//! A model that can't run on this machine is ignored; with `ECHO_TESTER_REQUIRE_MODELS=1` it fails.
//!
//! `cargo test --test models` takes the flags of libtest: `-- epoll`, `-- --exact 'poll: one byte comes back'`.

mod suite;
mod waits;

use std::process::Command;

use echo_tester::server::models::{Model, TABLE};
use echo_tester::sys;
use libtest_mimic::{Arguments, Trial};
use suite::{CASES, Case, Host, InProcess, OwnProcess};

fn main() {
    sys::raise_descriptor_limit();
    let here = |model: &&'static Model| model.run.is_some();
    let tests = TABLE.iter().filter(here).flat_map(|model| CASES.iter().filter_map(move |case| trial(model, case)));
    let mut arguments = Arguments::from_args();
    // Most tests wait more than they compute.
    arguments.test_threads.get_or_insert(4);
    libtest_mimic::run(&arguments, tests.collect()).exit();
}

fn trial(model: &'static Model, case: &'static Case) -> Option<Trial> {
    // Windows has no limit of descriptors, and the parent of a process for each connection keeps none.
    if case.setup.descriptors.is_some() && (!cfg!(unix) || model.name == "fork") {
        return None;
    }
    let name = format!("{}: {}", model.name, case.name);
    // The output shows that the model was not tested.
    let required = std::env::var_os("ECHO_TESTER_REQUIRE_MODELS").is_some_and(|value| value == "1");
    let ignored = model.why_not().is_some() && !required;
    let test = move || {
        case.check(start(model, case));
        Ok(())
    };
    Some(Trial::test(name, test).with_ignored_flag(ignored))
}

fn start(model: &'static Model, case: &Case) -> Box<dyn Host> {
    if !case.setup.own_process {
        return Box::new(InProcess::start(model, &case.setup));
    }
    let program = env!("CARGO_BIN_EXE_echo-tester");
    let command = match case.setup.descriptors {
        None => Command::new(program),
        Some(limit) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\""), program]);
            shell
        }
    };
    Box::new(OwnProcess::start(command, model.name, &case.setup))
}
