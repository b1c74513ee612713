//! Files and lines that the program reads: scenario files, results, and what `serve --json` prints.

use echo_tester::report::closing::Closing;
use echo_tester::report::document;
use echo_tester::report::format::FORMATS;
use echo_tester::report::merge::{self, Missing};
use echo_tester::report::style::Style;
use echo_tester::report::terminal;
use echo_tester::scenario::{Scenario, Variables, names};
use echo_tester::server::fault::FaultRecord;
use echo_tester::target::serve_event::ServeEvent;

/// Scenario files. An error has a place and a reason; a case can be shown.
pub fn scenario(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for target in [false, true] {
        let variables = Variables::new([("SIZE".to_owned(), "1KiB".to_owned())], |_| None);
        match Scenario::read("input.toml", text, &variables, target) {
            Err(error) => {
                assert!(!error.to_string().is_empty() && !error.styled().is_empty());
            }
            Ok(cases) => {
                assert!(!cases.is_empty(), "a file without an error has a case");
                let _ = names::check(&cases.iter().collect::<Vec<_>>());
                for case in &cases {
                    assert!(!case.title().is_empty());
                    let _ = (case.address(), case.usual_time(), case.has_two_sides(), case.expected_loads().count());
                    assert!(case.in_force(true).is_same_as(&case.in_force(true)));
                }
            }
        }
    }
}

/// Results for `report` and `merge`: what is read can be rendered in each format, and added up.
pub fn results(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match document::read("input.json", text) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(result) => {
            let _ = result.text(Style::PLAIN);
            for format in FORMATS.iter().map(|format| format.name).chain(["csv"]) {
                let _ = result.render(format);
            }
        }
    }
    let Ok(inputs) = merge::read("input.json", text) else { return };
    for missing in [Missing::Accepted, Missing::Inconclusive] {
        match merge::merge(inputs.clone(), 20, missing) {
            Err(error) => assert!(!error.to_string().is_empty()),
            Ok(report) => {
                let _ = terminal::render(&report, &Closing::default(), Style::PLAIN);
                serde_json::to_string(&report).expect("a merged report is JSON");
            }
        }
    }
}

/// Lines that `serve` writes with `--json` and for its faults: what is read is written and read alike.
pub fn serve_json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for line in text.lines() {
        if let Ok(event) = serde_json::from_str::<ServeEvent>(line)
            && !matches!(event, ServeEvent::Unknown)
        {
            let written = serde_json::to_string(&event).expect("an event is JSON");
            let again: ServeEvent = serde_json::from_str(&written).expect("what was written can be read");
            assert_eq!(format!("{again:?}"), format!("{event:?}"));
        }
        if let Ok(record) = serde_json::from_str::<FaultRecord>(line) {
            let written = serde_json::to_string(&record).expect("a record is JSON");
            assert_eq!(serde_json::from_str::<FaultRecord>(&written).expect("what was written can be read"), record);
        }
    }
}
