//! The table of models. A new model is one file or folder here (and its `mod` line), and one row. What several models
//! share stands in `pool`, `readiness` and `completion`, not here.
//!
//! # The contract of a model
//!
//! `run(listener, context)` owns its thread until the context says stop, and keeps these promises. The suite in
//! `tests/models.rs` walks the table and tests them on every row.
//!
//! - It calls [`Context::ready`] once, with a closure that interrupts the waits of all its workers, and looks at
//!   [`Context::phase`] after each wait. It never polls for the phase: an idle server uses no CPU.
//! - Each accepted socket passes [`Session::admit`](super::Session::admit), which also sets TCP_NODELAY (`None`: close
//!   it at once). Bytes go out in the order in which they came; a partial send is continued; a FIN is answered by the
//!   bytes that are still owed, then a FIN.
//! - The memory of a connection is bounded by [`Options::buffer`](super::Options::buffer): when that is full, the
//!   connection stops receiving.
//! - A reset, or any other error, ends its own connection and no other. A failed accept goes through
//!   [`Context::accept_failed`] and never ends the listener. A slow or silent client delays no other.
//! - `Drain`: take the connections that wait at the listener ([`Context::accept_rest`]), close it, then serve them too,
//!   and return when the last connection has ended. `Abort`: close everything with a reset (linger 0) and return;
//!   nothing may be outstanding in the kernel then.
//! - It returns an error only when serving is impossible: the listener is broken, or a wait fails.

#[cfg(windows)]
mod async_select;
#[cfg(target_os = "linux")]
mod epoll;
#[cfg(windows)]
mod event_select;
#[cfg(unix)]
mod fork;
#[cfg(target_os = "linux")]
mod io_uring;
#[cfg(windows)]
mod iocp;
#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
    libkqueue
))]
mod kqueue;
#[cfg(windows)]
mod overlapped_callback;
#[cfg(windows)]
mod overlapped_event;
#[cfg(unix)]
mod poll;
mod select;
#[cfg(target_os = "linux")]
mod sigio;
#[cfg(windows)]
mod threadpool_io;
mod threads;
mod tokio;
#[cfg(windows)]
mod wsapoll;

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use super::context::Context;
use super::tls::TlsServer;
use crate::units::nearest::nearest;

/// The systems on which a model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Os {
    /// Every system.
    All,
    /// Linux, macOS, the BSDs.
    Unix,
    /// Only Linux.
    Linux,
    /// macOS and the BSDs.
    Bsd,
    /// Only Windows.
    Windows,
}

impl fmt::Display for Os {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Os::All => "all",
            Os::Unix => "Unix",
            Os::Linux => "Linux",
            Os::Bsd => "macOS or BSD",
            Os::Windows => "Windows",
        })
    }
}

/// The event that the system reports: that a socket is ready (reactor), or that an operation has completed (proactor).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// A call blocks until it has moved bytes.
    Blocking,
    /// The system says which sockets are ready; the program moves the bytes.
    Reactor,
    /// The system moves the bytes and says which operations have completed.
    Proactor,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pattern::Blocking => "blocking",
            Pattern::Reactor => "reactor",
            Pattern::Proactor => "proactor",
        })
    }
}

/// Serves until told to stop.
pub type RunFn = fn(TcpListener, Arc<Context>) -> io::Result<()>;

/// Serves over TLS until told to stop.
pub type TlsRunFn = fn(TcpListener, Arc<Context>, TlsServer) -> io::Result<()>;

/// One row of the table.
pub struct Model {
    /// The name in flags and in TOML, the same on every OS.
    pub name: &'static str,
    /// Where it runs.
    pub os: Os,
    /// Who moves the bytes.
    pub pattern: Pattern,
    /// How it works, in one line.
    pub about: &'static str,
    /// The model's classic limit, and how this implementation avoids it.
    pub limit: &'static str,
    /// Whether it uses `--workers`.
    pub workers: bool,
    /// Whether this machine can run it: an old kernel or a seccomp filter can prevent it.
    pub probe: fn() -> io::Result<()>,
    /// `None`: not in this build.
    pub run: Option<RunFn>,
    /// `None`: it does not speak TLS.
    pub run_tls: Option<TlsRunFn>,
}

/// `only!(unix, path::run)`: the function where the `cfg` holds, `None` elsewhere.
macro_rules! only {
    ($cfg:meta, $run:path) => {{
        #[cfg($cfg)]
        let run: Option<RunFn> = Some($run);
        #[cfg(not($cfg))]
        let run: Option<RunFn> = None;
        run
    }};
}

/// The same for a probe: a model that is not built needs none.
macro_rules! probe_if {
    ($cfg:meta, $probe:path) => {{
        #[cfg($cfg)]
        let probe: fn() -> io::Result<()> = $probe;
        #[cfg(not($cfg))]
        let probe: fn() -> io::Result<()> = always;
        probe
    }};
}

fn always() -> io::Result<()> {
    Ok(())
}

/// Every model, in the order in which people learn them.
pub static TABLE: &[Model] = &[
    Model {
        name: "threads",
        os: Os::All,
        pattern: Pattern::Blocking,
        about: "blocking calls, one thread per connection",
        limit: "the system's number of threads, and a stack for each; stacks are small here, and if no thread can be started, only \
                the new connection is lost",
        workers: false,
        probe: always,
        run: Some(threads::run),
        run_tls: Some(threads::run_tls),
    },
    Model {
        name: "fork",
        os: Os::Unix,
        pattern: Pattern::Blocking,
        about: "blocking calls, one process per connection",
        limit: "the system's number of processes; if no process can be started, the connection waits until one has ended",
        workers: false,
        probe: always,
        run: only!(unix, fork::run),
        run_tls: None,
    },
    Model {
        name: "select",
        os: Os::All,
        pattern: Pattern::Reactor,
        about: "one call watches sets of sockets",
        limit: "FD_SETSIZE (64 sockets on Windows, descriptor 1024 on Unix); avoided by sets of our own size",
        workers: true,
        probe: always,
        run: Some(select::run),
        run_tls: None,
    },
    Model {
        name: "poll",
        os: Os::Unix,
        pattern: Pattern::Reactor,
        about: "one call watches a list of descriptors",
        limit: "each call costs O(connections)",
        workers: true,
        probe: always,
        run: only!(unix, poll::run),
        run_tls: None,
    },
    Model {
        name: "sigio",
        os: Os::Linux,
        pattern: Pattern::Reactor,
        about: "a queued real-time signal says which socket has changed (O_ASYNC)",
        limit: "the queue of signals (RLIMIT_SIGPENDING); when it is full, SIGIO comes and all sockets are polled",
        workers: true,
        probe: probe_if!(target_os = "linux", sigio::probe),
        run: only!(target_os = "linux", sigio::run),
        run_tls: None,
    },
    Model {
        name: "epoll",
        os: Os::Linux,
        pattern: Pattern::Reactor,
        about: "the kernel keeps the list and returns what is ready",
        limit: "none that matters",
        workers: true,
        probe: always,
        run: only!(target_os = "linux", epoll::run),
        run_tls: None,
    },
    Model {
        name: "kqueue",
        os: Os::Bsd,
        pattern: Pattern::Reactor,
        about: "the kernel keeps a list of filters and returns what has happened",
        limit: "none that matters",
        workers: true,
        probe: always,
        run: only!(
            any(
                target_vendor = "apple",
                target_os = "freebsd",
                target_os = "netbsd",
                target_os = "openbsd",
                target_os = "dragonfly",
                libkqueue
            ),
            kqueue::run
        ),
        run_tls: None,
    },
    Model {
        name: "io-uring",
        os: Os::Linux,
        pattern: Pattern::Proactor,
        about: "operations go through a submission ring, results through a completion ring",
        limit: "kernel 5.19 or later, and no seccomp filter against it; a buffer under each idle receive, avoided by a \
                poll, which waits without one",
        workers: true,
        probe: probe_if!(target_os = "linux", io_uring::probe),
        run: only!(target_os = "linux", io_uring::run),
        run_tls: None,
    },
    Model {
        name: "tokio",
        os: Os::All,
        pattern: Pattern::Reactor,
        about: "one task per connection on an asynchronous runtime",
        limit: "none that matters",
        workers: true,
        probe: always,
        run: Some(tokio::run),
        run_tls: None,
    },
    Model {
        name: "wsapoll",
        os: Os::Windows,
        pattern: Pattern::Reactor,
        about: "one call watches a list of sockets (WSAPoll)",
        limit: "each call costs O(connections); a FIN is reported by each call, avoided by leaving its socket out",
        workers: true,
        probe: always,
        run: only!(windows, wsapoll::run),
        run_tls: None,
    },
    Model {
        name: "async-select",
        os: Os::Windows,
        pattern: Pattern::Reactor,
        about: "window messages say which sockets are ready (WSAAsyncSelect)",
        limit: "the message queue holds 10,000 (4,000 at least); \
                avoided by threads of 500 connections with at most seven messages each",
        workers: true,
        probe: always,
        run: only!(windows, async_select::run),
        run_tls: None,
    },
    Model {
        name: "event-select",
        os: Os::Windows,
        pattern: Pattern::Reactor,
        about: "event objects say which sockets are ready (WSAEventSelect)",
        limit: "64 handles per wait; avoided by threads of 63 connections each, and more threads as connections come",
        workers: true,
        probe: always,
        run: only!(windows, event_select::run),
        run_tls: None,
    },
    Model {
        name: "overlapped-event",
        os: Os::Windows,
        pattern: Pattern::Proactor,
        about: "overlapped operations signal event objects",
        limit: "64 handles per wait; avoided by threads of 63 connections each, and more threads as connections come",
        workers: true,
        probe: always,
        run: only!(windows, overlapped_event::run),
        run_tls: None,
    },
    Model {
        name: "overlapped-callback",
        os: Os::Windows,
        pattern: Pattern::Proactor,
        about: "overlapped operations call completion routines in an alertable wait (APC)",
        limit: "accept takes no routine, and each thread has its own APC queue; \
                avoided by an acceptor that hands connections over by QueueUserAPC",
        workers: true,
        probe: always,
        run: only!(windows, overlapped_callback::run),
        run_tls: None,
    },
    Model {
        name: "iocp",
        os: Os::Windows,
        pattern: Pattern::Proactor,
        about: "overlapped operations report to a completion port",
        limit: "none that matters",
        workers: true,
        probe: always,
        run: only!(windows, iocp::run),
        run_tls: None,
    },
    Model {
        name: "threadpool-io",
        os: Os::Windows,
        pattern: Pattern::Proactor,
        about: "overlapped operations call a function on the system's thread pool (CreateThreadpoolIo)",
        limit: "none that matters",
        workers: false,
        probe: always,
        run: only!(windows, threadpool_io::run),
        run_tls: None,
    },
];

/// The model that `auto` means on this OS.
pub const AUTO: &str = if cfg!(windows) {
    "overlapped-callback"
} else if cfg!(target_os = "linux") {
    "epoll"
} else {
    "tokio"
};

/// The model that `auto` means over TLS, on every OS.
pub const AUTO_TLS: &str = "threads";

impl Model {
    /// Why it can't run here, as the end of a sentence: it needs another OS, or its probe fails. `None`: it can.
    pub fn why_not(&self) -> Option<String> {
        match self.run {
            None => Some(format!("needs {}", self.os)),
            Some(_) => (self.probe)().err().map(|error| format!("this machine refuses it: {error}")),
        }
    }
}

/// Looks a model up; `auto` is the default of this OS.
///
/// # Errors
/// A sentence with the name that was probably meant, or else with all of this system.
pub fn find(name: &str) -> Result<&'static Model, String> {
    let wanted = if name == "auto" { AUTO } else { name };
    TABLE.iter().find(|model| model.name == wanted).ok_or_else(|| {
        let remedy = match nearest(name, TABLE.iter().map(|model| model.name)) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => {
                let here = TABLE.iter().filter(|model| model.run.is_some()).map(|model| model.name);
                format!("the models of this system are auto, {}", here.collect::<Vec<_>>().join(", "))
            }
        };
        match name {
            "" => format!("the name is empty: {remedy}"),
            "rio" | "socket-notifications" => format!("{name} is no model here: docs/windows.md says why"),
            name => format!("there is no model '{name}': {remedy}"),
        }
    })
}

/// For tests: whether a model of this build runs on this machine. If it does not, the terminal says so; if
/// `ECHO_TESTER_REQUIRE_MODELS=1` is set (`scripts/test --strict` sets it), the test fails.
#[cfg(all(test, unix))]
fn runs_here(model: &Model) -> bool {
    use std::io::Write;

    let Some(reason) = model.why_not() else { return true };
    let required = std::env::var_os("ECHO_TESTER_REQUIRE_MODELS").is_some_and(|value| value == "1");
    assert!(!required, "ECHO_TESTER_REQUIRE_MODELS=1, but {} can't be tested here: {reason}", model.name);
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Not by the print macros: their output is captured, and a skip must be seen.
    let line = format!("\nSKIPPED {test}: {}: {reason}\n", model.name);
    io::stderr().write_all(line.as_bytes()).expect("stderr can be written to");
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_kebab_case() {
        for (i, model) in TABLE.iter().enumerate() {
            assert!(model.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", model.name);
            assert!(TABLE[..i].iter().all(|other| other.name != model.name), "{} stands twice", model.name);
            assert!(!model.about.is_empty() && !model.limit.is_empty());
        }
    }

    #[test]
    fn auto_is_a_model_of_this_build() {
        assert_eq!(find("auto").map(|model| model.name), Ok(AUTO));
        #[cfg(not(windows))]
        assert!(find("auto").is_ok_and(|model| model.run.is_some()));
    }

    #[cfg(unix)]
    #[test]
    fn servers_that_share_a_port_stop_without_a_connection_to_each_other() {
        use crate::server::{Options, Server};
        use std::time::Duration;

        let options = Options { reuse_port: true, ..Options::default() };
        for model in TABLE.iter().filter(|model| model.run.is_some() && runs_here(model)) {
            // Which of them a connection reaches depends on its source port, so several tries are made.
            for _ in 0..10 {
                let start = |address| Server::start(model, address, options.clone()).expect(model.name);
                let one = start(([127, 0, 0, 1], 0).into());
                let other = start(one.address());
                for server in [one, other] {
                    let stopped = server.stop(Duration::from_secs(20));
                    assert!(!stopped.hung && stopped.error.is_none(), "{}: {stopped:?}", model.name);
                    assert_eq!((stopped.counters.accepted, stopped.aborted), (0, 0), "{}: {stopped:?}", model.name);
                }
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn clients_that_wait_to_be_accepted_when_the_stop_begins_are_served_to_the_end() {
        use crate::server::phase::ServerPhase;
        use crate::server::{Options, Server};
        use std::io::{Read, Write};
        use std::net::{Shutdown, TcpStream};
        use std::time::Duration;

        const PATIENCE: Duration = Duration::from_secs(60);
        for model in TABLE.iter().filter(|model| model.run.is_some() && runs_here(model)) {
            let run = model.run.expect("it runs here");
            let (sender, clients) = std::sync::mpsc::channel();
            // Nothing is accepted until all clients are connected and have sent, and the stop has begun.
            let run = move |listener: TcpListener, context: Arc<Context>| {
                let address = listener.local_addr()?;
                for id in 0..20u8 {
                    let mut client = TcpStream::connect(address)?;
                    client.set_read_timeout(Some(PATIENCE))?;
                    client.write_all(&[id; 100])?;
                    client.shutdown(Shutdown::Write)?;
                    sender.send((id, client)).expect("the test receives it");
                }
                context.advance(ServerPhase::Drain);
                run(listener, context)
            };
            let options = Options { workers: 3, ..Options::default() };
            let server = Server::start_with(run, model.name, ([127, 0, 0, 1], 0).into(), options).expect(model.name);
            for (id, mut client) in clients {
                let mut echoed = Vec::new();
                client.read_to_end(&mut echoed).unwrap_or_else(|e| panic!("{}: client {id}: {e}", model.name));
                assert_eq!(echoed, [id; 100], "{}", model.name);
            }
            let stopped = server.stop(PATIENCE);
            assert!(stopped.error.is_none() && !stopped.hung && stopped.counters.add_up(), "{stopped:?}");
            assert_eq!((stopped.counters.accepted, stopped.aborted), (20, 0), "{}: {stopped:?}", model.name);
        }
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_nearest_one() {
        for (wrong, meant) in
            [("epol", "epoll"), ("io_uring", "io-uring"), ("IOCP", "iocp"), ("callback", ""), ("all", "")]
        {
            let error = find(wrong).err().expect("there is no such model");
            assert_eq!(error.contains("did you mean"), !meant.is_empty(), "{error}");
            assert_eq!(error.contains("this system are auto, threads, "), meant.is_empty(), "{error}");
            assert!(error.contains(meant), "{error}");
        }
    }
}
