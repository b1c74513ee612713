//! `backend LISTEN`: the backend of a proxy on another machine than the tester.

use std::fmt::Display;
use std::io;

use clap::Args;
use serde::Serialize;

use crate::config::{ListenAddress, PairingToken};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::console::{print, say, stdout_style};
use crate::relay::{Relay, RelayCounts, RelayEvent, RelayFailure, RelayOptions};
use crate::report::table::Table;
use crate::runner::backend::check_token;
use crate::runner::target_address;
use crate::sys::{self, advice};
use crate::units::{Count, grouped};

/// How many connections are carried at a time, by default.
const MAX_CONNS: Count = Count(10_000);

/// The flags of `backend`.
#[derive(Args, Debug)]
pub struct BackendCommand {
    /// Where to listen: the address that the proxy forwards to. A port alone means 127.0.0.1
    #[arg(value_name = "LISTEN")]
    listen: ListenAddress,

    /// The tester: the machine that runs 'echo-tester check PROXY --backend LISTEN --backend-token TOKEN', and the port
    /// of its LISTEN
    ///
    /// While it is not there, connections are refused here. It is looked for again and again.
    #[arg(long, value_name = "HOST:PORT", env = "ECHO_TESTER_BACKEND_TESTER", hide_env = true)]
    tester: String,

    /// What the tester has as --backend-token: a text of 8 characters or more that nobody guesses
    ///
    /// Other users of this machine see command lines: ECHO_TESTER_BACKEND_TOKEN keeps it out of them, on both sides. It
    /// only keeps strangers out: nothing is encrypted.
    #[arg(long, value_name = "TOKEN", env = "ECHO_TESTER_BACKEND_TOKEN", hide_env = true, hide_env_values = true)]
    token: PairingToken,

    /// The most connections at a time; further ones are reset [default: 10,000]
    ///
    /// Each of them has two sockets here, and holds at most 64 KiB in each direction.
    #[arg(long, value_name = "N", env = "ECHO_TESTER_BACKEND_MAX_CONNS", hide_env = true)]
    max_conns: Option<Count>,

    /// End when the tester has gone or refuses the token, instead of waiting for the next one
    #[arg(long, env = "ECHO_TESTER_BACKEND_ONCE", hide_env = true)]
    once: bool,

    /// Print JSON, one object per line: one each time it listens, one when it has stopped
    #[arg(long, env = "ECHO_TESTER_BACKEND_JSON", hide_env = true)]
    json: bool,

    /// Print only errors and warnings
    #[arg(short, long, env = "ECHO_TESTER_BACKEND_QUIET", hide_env = true)]
    quiet: bool,
}

/// One line of `backend --json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum BackendEvent {
    /// It takes connections for this tester.
    Listening { address: String, tester: String, pid: u32 },
    /// The tester has gone, and connections are refused.
    Gone,
    /// It has stopped.
    Stopped { counters: RelayCounts },
}

/// Carries connections until Ctrl-C or SIGTERM.
///
/// # Errors
/// A flag is wrong, the address can't be bound, or with `--once` the tester refuses the token.
pub fn run(command: &BackendCommand) -> anyhow::Result<Exit> {
    check_token("--token", &command.token)?;
    target_address::check(&command.tester).map_err(|error| Failure::usage(format!("--tester {error:#}")))?;
    let max_conns = command.max_conns.unwrap_or(MAX_CONNS);
    if max_conns == Count(0) {
        return Err(Failure::usage("--max-conns 0: no connection could be carried: write at least 1"));
    }
    sys::raise_descriptor_limit();
    let options = RelayOptions {
        listen: command.listen.0,
        tester: command.tester.clone(),
        token: command.token.clone(),
        max_conns: usize::try_from(max_conns.0).unwrap_or(usize::MAX),
        once: command.once,
    };
    let failed = |failure| explained(command, failure);
    let (relay, stopper) = Relay::bind(options).map_err(failed)?;
    interrupt::on_signal(move |_| stopper.stop());
    let counts = relay.run(&mut |event| told(command, &event)).map_err(failed)?;
    report(command, counts)?;
    Ok(Exit::Pass)
}

/// Tells what has happened. Standard output may be gone: what is carried is not.
fn told(command: &BackendCommand, event: &RelayEvent<'_>) {
    let tester = &command.tester;
    let line = |text: String| if command.quiet || command.json { Ok(()) } else { print(&text) };
    let _ = match event {
        RelayEvent::Listening { address, tester } if command.json => {
            let (address, tester) = (address.to_string(), tester.to_string());
            print_event(&BackendEvent::Listening { address, tester, pid: std::process::id() })
        }
        RelayEvent::Gone if command.json => print_event(&BackendEvent::Gone),
        RelayEvent::Listening { address, tester } => {
            line(format!("listening on {address} for the tester at {tester}; Ctrl-C stops it"))
        }
        RelayEvent::Gone => line("the tester has gone: connections are refused until the next one is there".to_owned()),
        RelayEvent::Absent(why) => {
            if !command.quiet {
                say(&format!("the tester {tester} is not there ({why}): trying again until it is"));
            }
            Ok(())
        }
        RelayEvent::Silent => {
            say(&format!(
                "warning: {tester} takes connections and does not answer: start the tester there with --backend and \
                 --backend-token; trying again"
            ));
            Ok(())
        }
        RelayEvent::WrongToken => {
            say(&format!("warning: the tester {tester} refused the token: give both sides the same one; trying again"));
            Ok(())
        }
        RelayEvent::Lost(error) => {
            say(&format!("warning: can't listen on {} ({error}): another program has taken it", command.listen));
            Ok(())
        }
    };
}

/// The error of a relay, with what to do.
fn explained(command: &BackendCommand, failure: RelayFailure) -> anyhow::Error {
    let listen = &command.listen;
    match failure {
        RelayFailure::WrongToken => {
            let tester = &command.tester;
            Failure::usage(format!("the tester {tester} refused the token: give both sides the same one"))
        }
        RelayFailure::Start(error) => Failure::could_not_run(format!("starting: {error}")),
        RelayFailure::Listen(error) => {
            let remedy: &dyn Display = match error.kind() {
                io::ErrorKind::AddrInUse => &"another program listens there: stop it, or give another port",
                io::ErrorKind::AddrNotAvailable => &"give an address of this machine, such as 127.0.0.1 or 0.0.0.0",
                io::ErrorKind::PermissionDenied => &advice::HERE.bind_denied,
                _ => &"give another address",
            };
            Failure::could_not_run(format!("can't listen on {listen} ({error}): {remedy}"))
        }
    }
}

fn report(command: &BackendCommand, counts: RelayCounts) -> anyhow::Result<()> {
    if command.json {
        return print_event(&BackendEvent::Stopped { counters: counts });
    }
    if command.quiet {
        return Ok(());
    }
    let RelayCounts { accepted, refused, unreached, resets, bytes_to_tester, bytes_to_proxy } = counts;
    let always = [
        ("connections", grouped(accepted)),
        ("bytes to the tester", grouped(bytes_to_tester)),
        ("bytes to the proxy", grouped(bytes_to_proxy)),
    ];
    let if_any = [
        ("ended by a reset", resets),
        ("reset, because the tester could not be reached", unreached),
        ("reset, because of --max-conns", refused),
    ];
    let if_any = if_any.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| (name, grouped(count)));
    let rows = always.into_iter().chain(if_any).map(|(name, value)| vec![name.to_owned(), value]).collect();
    print(&Table::new(&["stopped", ""], rows).render(stdout_style()))
}

fn print_event(event: &BackendEvent) -> anyhow::Result<()> {
    print(&serde_json::to_string(event)?)
}
