//! A target that is far away gets time, and is told of it.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use super::command_line::said;
use super::server;

#[test]
fn a_distant_target_is_told_with_what_the_suite_does_differently() {
    let distant = server(|mut stream| {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = stream.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            // sleep: the round trip of a distant server
            thread::sleep(Duration::from_millis(60));
            stream.write_all(&buffer[..n])?;
        }
    });
    let distant = distant.to_string();
    let (code, out, err) = said(&["check", &distant, "--filter", "1.1 "]);
    assert_eq!(code, 0, "{out}{err}");
    let (_, rest) = err.split_once("note: a round trip to the target takes ").unwrap_or_else(|| panic!("{err}"));
    let round_trip: u64 = rest.split(' ').next().and_then(|ms| ms.parse().ok()).expect("milliseconds");
    assert!(round_trip >= 60, "{err}");
    assert!(rest.contains(" ms: a connection may wait ") && rest.contains(" messages in flight"), "{err}");
    let (_, _, err) = said(&["check", &distant, "--filter", "1.1 ", "--patience", "7s"]);
    assert!(err.contains(" ms: 1.2 keeps "), "a patience that was given stays: {err}");
    let (_, _, err) = said(&["check", &distant, "--filter", "1.1 ", "-q"]);
    assert_eq!(err, "", "with --quiet nothing is said");
}
