//! Link-local addresses and their zones, everywhere an address is taken. The interface is the loopback one of a network
//! namespace of its own, so nothing leaves the machine. Where the system allows no such namespace, there is nothing to
//! test with, and the test says so.
#![cfg(target_os = "linux")]

use std::io::Write;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-tester");

/// Makes `fe80::1` an address of `lo`, and waits until it can be used. Exit code 77: that is not possible here.
const SETUP: &str = "ip link set lo up && ip -6 addr add fe80::1/64 dev lo nodad || exit 77\n";

/// Runs a script in a namespace of its own; `None`: there is none.
fn in_namespace(script: &str) -> Option<String> {
    let script = format!("{SETUP}{}", script.replace("ET", PROGRAM));
    let output: Output = Command::new("unshare")
        .args(["--map-root-user", "--net", "timeout", "60", "bash", "-c", &script])
        .env_remove("ECHO_TESTER_TARGET")
        .output()
        .ok()?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if said.starts_with("unshare:") || output.status.code() == Some(77) {
        let _ = writeln!(std::io::stderr(), "no network namespace here: {said}");
        return None;
    }
    Some(said)
}

#[test]
fn an_address_with_a_zone_works_as_target_as_source_and_to_listen_on() {
    for (bind, target, source) in [
        ("[fe80::1%lo]:7001", "[fe80::1%lo]:7001", "fe80::1%lo"),
        ("[fe80::1%1]:7001", "[fe80::1%1]:7001", "fe80::1%1"),
        ("[::]:7001", "[fe80::1%lo]:7001", "fe80::1%1"),
    ] {
        let load = "--conns 3 --messages 5 --quiet";
        let script = format!(
            "exec 3< <(exec ET serve --bind '{bind}' --quiet --json); read -r -u 3 line; SERVER=$!\n\
             ET blast '{target}' --source '{source}' {load}\n\
             echo \"blast $?\"\n\
             ET compare --target '{target}' --rounds 1 {load}\n\
             echo \"compare $?\"\n\
             ET check '{target}' --filter 1.1 --quiet\n\
             echo \"check $?\"\n\
             kill $SERVER\n"
        );
        let Some(said) = in_namespace(&script) else { return };
        for command in ["blast", "compare", "check"] {
            assert!(said.contains(&format!("{command} 0\n")), "{bind} {target} {source}: {said}");
        }
    }
}

#[test]
fn an_address_without_its_zone_is_answered_with_what_to_write() {
    for (command, remedy) in [
        ("blast '[fe80::1]:7001'", "write [fe80::1%lo]:7001"),
        ("blast 'fe80::1:7001'", "write [fe80::1%lo]:7001"),
        ("blast '[fe80::1%nosuch]:7001'", "no interface 'nosuch': write [fe80::1%lo]:7001"),
        ("blast '[fe80::1%lo]:7001' --source fe80::1", "write fe80::1%lo"),
        ("blast '[::1]:7001' --source fe80::1%lo", "reaches only its own zone"),
        ("serve --bind '[fe80::1]:7001'", "write [fe80::1%lo]:7001"),
        ("compare --target 'mine=[fe80::1]:7001'", "write [fe80::1%lo]:7001"),
        ("check '[fe80::1]:7001'", "write [fe80::1%lo]:7001"),
    ] {
        let Some(said) = in_namespace(&format!("ET {command}\necho \"exit $?\"\n")) else { return };
        assert!(said.contains(remedy) && said.contains("exit 2\n"), "{command}: {said}");
    }
}
