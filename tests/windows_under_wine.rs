//! Tests the Windows program on a Unix machine, under Wine. This is evidence of what real Windows does, and no proof.
//!
//! It runs the suite of promises (`tests/suite`) on every model of Windows, with the native client against
//! `echo-tester.exe serve`. It also runs `blast` between the Windows and the Unix program, in both directions, and
//! attacks each model in the ways of `tests/hostile_clients.rs`. Without Wine or the exe it says so on stderr and tests
//! nothing; with `ECHO_TESTER_REQUIRE_WINE=1` that is a failure.
//!
//! `cargo test --test windows_under_wine` takes the flags of libtest, such as `-- overlapped-callback`. The table of
//! docs/reliability.md is what this prints:
//!
//!     cargo test --test windows_under_wine -- 'whatever others do' --nocapture

#[cfg(unix)]
mod attacks;
#[cfg(unix)]
#[expect(dead_code, reason = "no native server runs here")]
mod program;
#[cfg(unix)]
#[expect(dead_code, unused_imports, reason = "here no server runs in this process")]
mod suite;
#[cfg(unix)]
mod waits;
#[cfg(unix)]
mod wine;

#[cfg(unix)]
fn main() {
    under_wine::run();
}

#[cfg(not(unix))]
fn main() {
    // On Windows, `tests/models.rs` and `tests/cli.rs` test the same program without Wine.
}

#[cfg(unix)]
mod under_wine {
    use std::io::{self, Write};
    use std::process::{Command, Stdio};
    use std::sync::Arc;

    use echo_tester::scenario::conformance;
    use echo_tester::server::models::{Model, Os, TABLE};
    use libtest_mimic::{Arguments, Failed, Trial};
    use serde_json::Value;

    use super::attacks::{self, MAX_MEMORY_PER_CONNECTION, Victim};
    use super::suite::{CASES, Case, Host, OwnProcess, Setup};
    use super::wine::{self, WinExe};

    /// The runtime learns of readiness through AFD, for which Wine 8 looks at all sockets at each poll. More than 1,000
    /// connections keep the wineserver busy for minutes, and delay every other test. So this case is ignored for this
    /// model, as is the conformance suite, which has a case like it. On Windows both run.
    const TOO_SLOW: (&str, &str) = ("tokio", "1,100 connections at once, past 1,024");

    /// The load for each model.
    const LOAD: [&str; 8] = ["-c", "500", "-n", "50", "--size", "1..16KiB", "--fragment", "1..1460"];
    /// The load for `TOO_SLOW`. 500 connections take it half a minute alone, and beside other trials more than the
    /// minute that each of them may wait.
    const SMALL_LOAD: [&str; 8] = ["-c", "200", "-n", "10", "--size", "1..16KiB", "--fragment", "1..1460"];
    /// The load that a plain C server of the model `overlapped-callback` serves under Wine.
    const MANY_CONNECTIONS: [&str; 6] = ["-c", "2000", "-n", "10", "--size", "1..20000"];

    /// The model against which the Windows client runs the conformance suite.
    const WITH_WINDOWS_CLIENT: &str = "overlapped-callback";

    /// What a server may take for a connection that has a thread of its own: Wine 8 has 1 MiB of each resident, which
    /// the thread itself does not use.
    const MAX_MEMORY_PER_THREAD: u64 = 3 << 19;
    /// The most connections of a server that is flooded with more. Windows has no limit of descriptors, and to lower
    /// that of the Wine process would only show what Wine does at it.
    const FEW_CONNECTIONS: usize = 64;

    /// A fault of Wine itself: the case may fail there, and the test says when it does not.
    struct KnownFault {
        /// How `wine --version` begins.
        version: &'static str,
        models: &'static [&'static str],
        case: &'static str,
        why: &'static str,
    }

    const KNOWN_FAULTS: &[KnownFault] = &[KnownFault {
        version: "wine-10.",
        models: &["select", "wsapoll", "event-select", "async-select", "tokio"],
        case: "a FIN that comes while much is still to be sent back cuts nothing off",
        why: "Wine 10 takes a nonblocking send whole and queues the rest, which it loses when the peer's FIN arrives",
    }];

    pub(super) fn run() {
        echo_tester::sys::raise_descriptor_limit();
        let program = wine::windows_program().map(Arc::new);
        let mut arguments = Arguments::from_args();
        // All trials share one wineserver, and while a program talks to it one of the two waits. On two processors, two
        // trials at a time leave a quarter of the time unused, and four are no faster than three.
        arguments.test_threads.get_or_insert(3);
        let mut trials = Vec::new();
        let models = || TABLE.iter().filter(|model| matches!(model.os, Os::All | Os::Windows));
        // The longest trials begin first, so that no long one runs alone at the end.
        for model in models() {
            let name = format!("{}: the conformance suite", model.name);
            let suite = trial(program.as_ref(), name, |exe| conformance(exe, model));
            trials.push(if model.name == TOO_SLOW.0 { suite.with_ignored_flag(true) } else { suite });
        }
        for model in models() {
            let on_wine = CASES.iter().filter(|case| case.setup.descriptors.is_none());
            trials.extend(on_wine.map(|case| {
                let too_slow = model.name == TOO_SLOW.0 && case.name == TOO_SLOW.1;
                let trial = suite_trial(program.as_ref(), model, case);
                if too_slow { trial.with_ignored_flag(true) } else { trial }
            }));
            let (connections, load) = if model.name == TOO_SLOW.0 { (200, SMALL_LOAD) } else { (500, LOAD) };
            let name = format!("{}: {connections} connections of blast", model.name);
            trials.push(trial(program.as_ref(), name, move |exe| {
                blast_against_wine(exe, model.name, connections, &load)
            }));
            let name = format!("{}: honest clients are served whatever others do", model.name);
            let prints = arguments.nocapture;
            trials.push(trial(program.as_ref(), name, move |exe| attack(exe, model.name, prints)));
        }
        let many = trial(program.as_ref(), "overlapped-callback: 2,000 connections of blast".to_owned(), |exe| {
            blast_against_wine(exe, "overlapped-callback", 2000, &MANY_CONNECTIONS)
        });
        trials.push(many);
        trials.push(trial(program.as_ref(), "the Windows blast against a native server".to_owned(), |exe| {
            windows_blast_against_native(exe)
        }));
        trials.push(trial(program.as_ref(), "the Windows blast against its own server".to_owned(), |exe| {
            blast_passes(exe.command(["blast", "--serve", "-c", "50", "-n", "10", "--json", "-q"]), 50)
        }));
        trials.push(trial(
            program.as_ref(),
            "the shipped scenarios pass, and every canary is caught".to_owned(),
            |exe| {
                let scenarios = ["scenarios/ci.toml", "scenarios/quickstart.toml"].map(str::to_owned);
                let files: Vec<String> = canaries()?.into_iter().chain(scenarios).collect();
                let run = |files: &[String]| reported(exe.command(["run", "--jobs", "4", "--json", "-q"]).args(files));
                pass(run, &files, &["canary: a reset in mid-stream"])
            },
        ));
        trials.push(trial(program.as_ref(), "usage is exit code 2".to_owned(), |exe| {
            let status = exe.command::<_, &str>([]).stderr(Stdio::null()).status()?;
            if status.code() == Some(2) { Ok(()) } else { Err(format!("{status}").into()) }
        }));
        trials.push(trial(program.as_ref(), "a crash is an exit code".to_owned(), |exe| {
            // Of which Unix keeps one byte.
            const ACCESS_VIOLATION: i32 = 0xC000_0005_u32 as i32 & 0xFF;
            let status = exe.crashing_command(["blast", "--serve", "-c", "1", "-q"]).stderr(Stdio::null()).status()?;
            if status.code() == Some(ACCESS_VIOLATION) { Ok(()) } else { Err(format!("{status}").into()) }
        }));
        trials.push(trial(
            program.as_ref(),
            "every model of Windows is reported as available".to_owned(),
            all_models_run,
        ));
        libtest_mimic::run(&arguments, trials).exit();
    }

    fn trial(
        program: Option<&Arc<WinExe>>,
        name: String,
        test: impl FnOnce(&WinExe) -> Result<(), Failed> + Send + 'static,
    ) -> Trial {
        let program = program.cloned();
        let ignored = program.is_none();
        let run = move || program.map_or(Ok(()), |exe| test(&exe));
        Trial::test(name, run).with_ignored_flag(ignored)
    }

    fn suite_trial(program: Option<&Arc<WinExe>>, model: &'static Model, case: &'static Case) -> Trial {
        trial(program, format!("{}: {}", model.name, case.name), |exe| {
            let check = || {
                let command = exe.command::<_, &str>([]);
                case.check(Box::new(OwnProcess::start(command, model.name, &case.setup)));
            };
            // Only where a fault is known is Wine asked for its version.
            match known_fault(model, case) {
                Some(known) if exe.version()?.starts_with(known.version) => may_fail(check, known.why),
                _ => check(),
            }
            Ok(())
        })
    }

    /// What a version of Wine does wrong in this case, and no program can help.
    fn known_fault(model: &Model, case: &Case) -> Option<&'static KnownFault> {
        KNOWN_FAULTS.iter().find(|known| known.models.contains(&model.name) && known.case == case.name)
    }

    /// Tries what may fail for this reason, which depends on the moment, and says so when it does not. A fault that is
    /// gone must leave the list, or it would hide the next one.
    fn may_fail(check: impl FnOnce(), why: &str) {
        let line = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)) {
            Err(_) => format!("\nknown: {why}\n"),
            Ok(()) => format!("\nit passed this time; if it always does, take it out of KNOWN_FAULTS: {why}\n"),
        };
        io::stderr().write_all(line.as_bytes()).expect("stderr can be written");
    }

    /// Runs the native client with `load` against a Windows server, and checks that all `connections` pass.
    fn blast_against_wine(exe: &WinExe, model: &str, connections: u64, load: &[&str]) -> Result<(), Failed> {
        let host = Box::new(OwnProcess::start(exe.command::<_, &str>([]), model, &Setup::DEFAULT));
        let address = host.address().to_string();
        let mut blast = native(&["blast", &address, "--json", "-q"]);
        blast.args(load);
        let passed = blast_passes(blast, connections);
        let ended = host.end();
        passed?;
        let counters = &ended.counters;
        if !counters.add_up() || counters.bytes_in != counters.bytes_out || counters.accepted != connections {
            return Err(format!("{ended:?}").into());
        }
        Ok(())
    }

    /// Attacks a server of this model in each way, and floods another one. Prints the rows of the table if asked to.
    fn attack(exe: &WinExe, model: &'static str, prints: bool) -> Result<(), Failed> {
        let few = Setup { max_conns: FEW_CONNECTIONS, ..Setup::DEFAULT };
        let mut rows = attacked(exe, model, &Setup::DEFAULT, attacks::attacked)?;
        rows.push(attacked(exe, model, &few, |victim| {
            attacks::flooded(victim, &format!("`--max-conns {FEW_CONNECTIONS}`"), true)
        })?);
        if prints {
            io::stdout().write_all(format!("\n{}\n{}\n", attacks::HEAD, rows.join("\n")).as_bytes())?;
        }
        Ok(())
    }

    fn attacked<R>(
        exe: &WinExe,
        model: &'static str,
        setup: &Setup,
        attack: impl FnOnce(&Victim<'_>) -> R,
    ) -> Result<R, Failed> {
        let host = Box::new(OwnProcess::start(exe.command::<_, &str>([]), model, setup));
        let result = attack(&Victim {
            model,
            address: host.address().to_string(),
            usage: &|| host.usage(),
            waits: &|| host.waits(),
            memory_per_connection: if model == "threads" { MAX_MEMORY_PER_THREAD } else { MAX_MEMORY_PER_CONNECTION },
            is_under_wine: true,
        });
        let ended = host.end();
        if ended.hung || ended.error.is_some() || ended.aborted > 0 || !ended.counters.add_up() {
            return Err(format!("{ended:?}").into());
        }
        Ok(result)
    }

    /// The canaries that are tried under Wine. The faults of the others depend on when a send blocks and on how an end
    /// arrives, which is another matter there: they were not caught.
    fn canaries() -> std::io::Result<Vec<String>> {
        const LEFT_OUT: &[&str] = &[
            "busy-writers",
            "early-fin",
            "lockup",
            "lost-wakeup",
            "rdhup",
            "reset-at-end",
            "session-reset",
            "short-send",
            "urgent-cut",
        ];
        let names =
            std::fs::read_dir("scenarios/canaries")?.map(|file| Ok(file?.file_name().to_string_lossy().into_owned()));
        let names: Vec<String> = names.collect::<std::io::Result<_>>()?;
        let is_tried = |name: &&String| !LEFT_OUT.iter().any(|left_out| **name == format!("{left_out}.toml"));
        Ok(names.iter().filter(is_tried).map(|name| format!("scenarios/canaries/{name}")).collect())
    }

    /// The cases of the suite that are tried under Wine. Those that take many seconds each are left out, and those of
    /// the later sections: seven models would take half an hour with them.
    fn cases() -> Vec<String> {
        const LEFT_OUT: &[&str] = &["2.4", "2.5", "2.6", "3.7", "3.8", "3.9", "5.5", "5.6", "6.3"];
        const SECTIONS: std::ops::RangeInclusive<char> = '1'..='6';
        let is_tried = |id: &str| !LEFT_OUT.contains(&id) && id.starts_with(|section| SECTIONS.contains(&section));
        let is_short = |id: &str| id.split_once('.').is_some_and(|(section, _)| section.len() == 1);
        let files = conformance::FILES.iter().filter(|(_, text)| !text.contains("\nlong = true"));
        let names = files.map(|(name, _)| *name);
        let tried = names.filter(|name| name.split_once('-').is_some_and(|(id, _)| is_short(id) && is_tried(id)));
        tried.map(|name| format!("scenarios/conformance/{name}")).collect()
    }

    /// One server serves all cases. The client is the Windows program too against one model; the native one needs a
    /// third of the time.
    fn conformance(exe: &WinExe, model: &Model) -> Result<(), Failed> {
        let host = Box::new(OwnProcess::start(exe.command::<_, &str>([]), model.name, &Setup::DEFAULT));
        let address = host.address().to_string();
        let run = |cases: &[String]| {
            let words = ["run", "--target", &address, "--set", "PATIENCE=30s", "--json", "-q"];
            let mut run = if model.name == WITH_WINDOWS_CLIENT { exe.command(words) } else { native(&words) };
            reported(run.args(cases))
        };
        pass(run, &cases(), &[])?;
        let ended = host.end();
        if ended.counters.add_up() { Ok(()) } else { Err(format!("{ended:?}").into()) }
    }

    /// Checks that all these files pass. Other trials run at the same time, so a case in which time was in doubt runs
    /// once more, and that result counts.
    fn pass(
        run: impl Fn(&[String]) -> Result<Report, Failed>,
        files: &[String],
        may_be_skipped: &[&str],
    ) -> Result<(), Failed> {
        let first = run(files)?;
        let again = first.in_doubt();
        if again.is_empty() || again.len() > MAX_IN_DOUBT {
            return first.passes(files.len(), may_be_skipped);
        }
        first.without(&again).passes(files.len() - again.len(), may_be_skipped)?;
        run(&again)?.passes(again.len(), may_be_skipped)
    }

    /// How many cases may run once more. With more of them in doubt, it is the server or the test that is wrong.
    const MAX_IN_DOUBT: usize = 4;

    /// The cases of a report.
    struct Report {
        cases: Vec<Value>,
        code: Option<i32>,
    }

    impl Report {
        /// The files of the cases in which time was in doubt.
        fn in_doubt(&self) -> Vec<String> {
            let is_in_doubt =
                |case: &&Value| ["inconclusive", "threshold-missed"].iter().any(|o| case["outcome"] == *o);
            let file = |case: &Value| case["file"].as_str().expect("a case has its file").to_owned();
            self.cases.iter().filter(is_in_doubt).map(file).collect()
        }

        /// The cases of other files alone, which are then all that counts.
        fn without(&self, files: &[String]) -> Report {
            let is_other = |case: &&Value| !files.iter().any(|file| case["file"] == **file);
            Report { cases: self.cases.iter().filter(is_other).cloned().collect(), code: Some(0) }
        }

        /// Checks that there are at least `count` cases, and that each passes, tells of a property, does not apply to a
        /// server that was not started by the program, or is skipped and may be.
        fn passes(&self, count: usize, may_be_skipped: &[&str]) -> Result<(), Failed> {
            let is_as_expected = |case: &Value| {
                let is_skipped = case["outcome"] == "skipped";
                let is_good = ["pass", "info", "unsupported"].iter().any(|outcome| case["outcome"] == *outcome);
                is_good || (is_skipped && may_be_skipped.iter().any(|name| case["name"] == *name))
            };
            let wrong: Vec<String> = self
                .cases
                .iter()
                .filter(|case| !is_as_expected(case))
                .map(|case| format!("{} {}: {} {}", case["id"], case["name"], case["outcome"], case["reasons"]))
                .collect();
            if wrong.is_empty() && self.cases.len() >= count && self.code == Some(0) {
                return Ok(());
            }
            Err(format!("exit code {:?}, {} cases, not as expected: {wrong:#?}", self.code, self.cases.len()).into())
        }
    }

    /// Runs a suite to its end.
    fn reported(command: &mut Command) -> Result<Report, Failed> {
        let output = command.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let report: Value = serde_json::from_slice(&output.stdout).map_err(|e| format!("{e}: {said}"))?;
        let cases = report["cases"].as_array().ok_or("the report has no cases")?.clone();
        Ok(Report { cases, code: output.status.code() })
    }

    fn windows_blast_against_native(exe: &WinExe) -> Result<(), Failed> {
        let host = Box::new(OwnProcess::start(native(&[]), "auto", &Setup::DEFAULT));
        let address = host.address().to_string();
        let passed = blast_passes(exe.command(["blast", &address, "-c", "50", "-n", "10", "--json", "-q"]), 50);
        host.end();
        passed
    }

    fn all_models_run(exe: &WinExe) -> Result<(), Failed> {
        let output = exe.command(["models", "--json"]).output()?;
        let models: Vec<Value> = serde_json::from_slice(&output.stdout).map_err(|e| format!("{e}: {output:?}"))?;
        let wanted = TABLE.iter().filter(|model| matches!(model.os, Os::All | Os::Windows)).map(|model| model.name);
        let missing: Vec<&str> = wanted
            .filter(|name| !models.iter().any(|model| model["name"] == *name && model["available"] == true))
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("not available: {missing:?}").into()) }
    }

    fn native(args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_echo-tester"));
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Uses the time-outs of the suite: on a busy machine Wine is slow, which says nothing about the bytes.
    fn blast_passes(mut blast: Command, connections: u64) -> Result<(), Failed> {
        blast.args(["--stall-timeout", "60s", "--connect-timeout", "60s"]);
        let output = blast.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let report: Value = serde_json::from_slice(&output.stdout).map_err(|e| format!("{e}: {said}"))?;
        let verdict = &report["verdict"];
        if output.status.code() != Some(0) || verdict["outcome"] != "pass" || report["total"]["passed"] != connections {
            return Err(format!("{}: {verdict} {}", output.status, report["loads"][0]["findings"][0]).into());
        }
        Ok(())
    }
}
