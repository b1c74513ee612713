//! The backend of a proxy: opened before anything connects, so that the proxy finds it there.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::client::RunPlan;
use crate::config::{BackendArgs, ListenAddress};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::console::say;
use crate::peer::Backend;
use crate::plan::{Flow, Profile};
use crate::sys::{self, advice};
use crate::transport::PairingToken;

/// How long `echo-tester backend` may take to connect: somebody may have to start it on the other machine.
const PAIRING_TIME: Duration = Duration::from_secs(60);

/// How often it is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// One that runs already has connected again by now, so that nobody need be told.
const SILENT_TIME: Duration = Duration::from_millis(700);

/// Listens where `--backend` says, if it does. `has_target`: the proxy is a target, and no process of a scenario, which
/// learns the port from its file.
///
/// # Errors
/// The address can't be listened on, or has no port (exit code 2: another one is needed).
pub fn open(args: &BackendArgs, has_target: bool) -> anyhow::Result<Option<Backend>> {
    let listen = |address: ListenAddress| listen(address, args.backend_token.as_ref());
    if let Some(address) = args.backend.filter(|address| has_target && address.0.port() == 0) {
        let ip = ListenAddress(SocketAddr::new(address.0.ip(), 7777));
        let who = if args.backend_token.is_some() { "'echo-tester backend'" } else { "the proxy" };
        return Err(Failure::usage(format!(
            "--backend {address}: {who} can't know a free port: write the one that it connects to, such as {ip}"
        )));
    }
    args.backend.map(listen).transpose()
}

/// Listens on this address as the backend of a proxy; with a token, for `echo-tester backend` on the proxy's side.
///
/// # Errors
/// As [`open`].
pub fn listen(address: ListenAddress, token: Option<&PairingToken>) -> anyhow::Result<Backend> {
    let listening = match token.cloned() {
        None => Backend::listen(address.0),
        Some(token) => {
            check_token("--backend-token", &token)?;
            Backend::elsewhere(address.0, token)
        }
    };
    listening.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another program listens there: stop it, or give another port here and in the proxy's configuration"
            }
            io::ErrorKind::AddrNotAvailable => "give an address of this machine, such as 127.0.0.1 or 0.0.0.0",
            io::ErrorKind::PermissionDenied => {
                return Failure::usage(format!(
                    "--backend {address}: can't listen there ({error}; {}): give another port",
                    advice::HERE.bind_denied
                ));
            }
            _ => "give another address",
        };
        Failure::usage(format!("--backend {address}: can't listen there ({error}): {remedy}"))
    })
}

/// Says that a token without an address to listen on means nothing.
pub fn note_lone_token(args: &BackendArgs, quiet: bool) {
    if args.backend_token.is_some() && args.backend.is_none() && !quiet {
        say("note: --backend-token has no effect without --backend");
    }
}

/// Refuses a token that can't be used.
///
/// # Errors
/// It is too short, or this processor can't make a tag of it.
pub fn check_token(flag: &str, token: &PairingToken) -> anyhow::Result<()> {
    let processor = "this processor lacks the instructions that its tag is made with (AES, AVX2 and ADX, or NEON): use \
                     another machine, or a tunnel such as ssh -R";
    let problem = token.problem().or((!sys::can_encrypt()).then_some(processor));
    problem.map_or(Ok(()), |problem| Err(Failure::usage(format!("{flag}: {problem}"))))
}

/// Waits until the backend can be reached: on another machine, `echo-tester backend` has to be there first.
///
/// # Errors
/// It does not come, or the user interrupts.
pub fn wait_for(backend: &Backend, quiet: bool) -> anyhow::Result<()> {
    if backend.is_up() {
        return Ok(());
    }
    let address = backend.address();
    let start = Instant::now();
    let mut is_said = quiet;
    if backend.is_given_up() {
        return Err(Failure::could_not_run(format!(
            "'echo-tester backend' is not connected to {address}, and did not come before"
        )));
    }
    while !backend.is_up() {
        if interrupt::is_requested() {
            return Err(Failure::interrupted("interrupted before 'echo-tester backend' had connected"));
        }
        if start.elapsed() >= PAIRING_TIME {
            // Once is enough: each later case would wait as long again.
            backend.give_up();
            let why = match backend.intake().counts().without_token {
                0 => {
                    "start it where the proxy forwards to, with --tester and an address of this machine that it reaches"
                }
                _ => "something did, without the token or with a wrong one: give both sides the same",
            };
            return Err(Failure::could_not_run(format!(
                "no 'echo-tester backend' has connected to {address} within {PAIRING_TIME:?}: {why}"
            )));
        }
        interrupt::pause(LOOK_INTERVAL);
        if start.elapsed() >= SILENT_TIME && !std::mem::replace(&mut is_said, true) {
            say(&format!("waiting for 'echo-tester backend' on the proxy's side to connect to {address}"));
        }
    }
    Ok(())
}

/// Lets the server's halves of a plan come in at this backend.
pub fn attach(plan: &mut RunPlan, backend: Option<&Backend>) {
    plan.backend = backend.map(Backend::intake);
}

/// Refuses loads that do not go with the ends that are ours.
///
/// # Errors
/// A load of two sides without a backend, or an echo with one.
pub fn check(profiles: &[Profile], has_backend: bool) -> anyhow::Result<()> {
    for profile in profiles {
        match (profile.flow, has_backend) {
            (Flow::Echo, true) => {
                return Err(Failure::usage(
                    "--flow echo: with --backend this program is the server, and does not echo: leave it out, or choose \
                     both, upload, download or request",
                ));
            }
            (flow, false) if flow.has_two_sides() => {
                return Err(Failure::usage(format!(
                    "--flow {flow}: both ends must be ours: add --backend LISTEN, the address that the proxy forwards to"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_refused_if_the_proxy_is_a_target() {
        let backend = Some("0.0.0.0:0".parse().expect("it is an address"));
        let error = open(&BackendArgs { backend, ..BackendArgs::default() }, true).expect_err("no proxy knows it");
        assert_eq!(crate::failure::exit_of(&error), crate::exit::Exit::Usage);
        assert!(error.to_string().contains("the proxy can't know a free port"), "{error}");
        assert!(error.to_string().ends_with("such as 0.0.0.0:7777"), "{error}");
        let backend = Some("127.0.0.1:0".parse().expect("it is an address"));
        let opened = open(&BackendArgs { backend, ..BackendArgs::default() }, false).expect("a file has the port");
        assert!(opened.is_some_and(|backend| backend.address().port() != 0));
    }

    #[test]
    fn a_backend_elsewhere_that_did_not_come_once_is_not_waited_for_again() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let token = "the right token".parse().expect("any text is a token");
        let backend = Backend::elsewhere(any, token).expect("a port is free");
        backend.give_up();
        let error = wait_for(&backend, true).expect_err("nobody is there").to_string();
        assert!(error.contains("did not come before"), "{error}");
    }

    #[test]
    fn an_address_that_is_taken_is_refused_with_what_to_do() {
        let first = listen("127.0.0.1:0".parse().expect("it is an address"), None).expect("a port is free");
        let error = listen(ListenAddress(first.address()), None).expect_err("it is taken").to_string();
        assert!(
            error.contains(&first.address().to_string()) && error.contains("stop it, or give another port"),
            "{error}"
        );
    }
}
