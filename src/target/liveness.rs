//! Whether a server takes connections and echoes: asked when a load has ended, of one that a command line started or
//! that somebody else runs.
//!
//! What breaks an accept loop at the last close breaks nothing that a run could see. It is asked again and again for as
//! long as a connection may wait: a server that was at its limit must notice first that the others have gone.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::client::{RunOutcome, RunPlan};
use crate::interrupt;
use crate::plan::Verify;
use crate::report::check::{self, CheckReport};
use crate::report::run::RunReport;
use crate::report::suite::Came;
use crate::scenario::{Expected, Scenario};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// The least time for an attempt.
const LEAST: Duration = Duration::from_millis(10);
/// What must come back. It is no part of any stream: nobody verifies it but this file.
const BYTE: u8 = b'e';
/// What is expected of a target, and what comes of a good one.
const SERVING: &str = "serving in the end";

/// What came of looking: what is wrong, if something is. `None`: it was not looked at.
pub type Looked = Option<Result<(), String>>;

/// The check of a target, not looked at yet. A scenario in which something must go wrong, or of which nothing need come
/// back, has none.
pub fn planned(scenario: &Scenario) -> Option<CheckReport> {
    is_expected(scenario).then(|| CheckReport {
        name: check::SERVER.to_owned(),
        expected: SERVING.to_owned(),
        actual: None,
        outcome: Came::Skipped,
    })
}

fn is_expected(scenario: &Scenario) -> bool {
    scenario.verdict == Expected::Pass && scenario.loads.iter().any(|load| load.verify == Verify::Full)
}

/// Looks at the server of a run that has ended, if it was ever there.
pub fn look(scenario: &Scenario, plan: &RunPlan, outcome: &RunOutcome) -> Looked {
    let opened: u64 = outcome.groups.iter().map(|figures| figures.counters.opened).sum();
    if !is_expected(scenario) || opened == 0 || outcome.interrupted {
        return None;
    }
    let patience = scenario.loads.iter().map(|load| load.connect_timeout.max(load.stall_timeout)).max()?;
    let source = plan.sources.of(0, 0, 1);
    // Connections take turns among the addresses of a name: no more of them than that were met.
    let met = || plan.targets.iter().take(usize::try_from(opened).unwrap_or(usize::MAX));
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now()).max(LEAST);
        let Err(what) = met().try_for_each(|target| serves(*target, source, left)) else { return Some(Ok(())) };
        if interrupt::is_requested() {
            return None;
        }
        if Instant::now() >= until {
            return Some(Err(format!("{what}, for {}", humantime::format_duration(patience))));
        }
        std::thread::sleep(PAUSE);
    }
}

/// The check of a target, looked at.
pub fn check(scenario: &Scenario, looked: Looked, report: &RunReport) -> Option<CheckReport> {
    let planned = planned(scenario)?;
    let (actual, outcome) = match looked {
        Some(Ok(())) => (Some(SERVING.to_owned()), Came::Pass),
        Some(Err(what)) => (Some(what), Came::Fail),
        None if report.interrupted || interrupt::is_requested() => (None, Came::Interrupted),
        None => (None, Came::Inconclusive),
    };
    Some(CheckReport { actual, outcome, ..planned })
}

/// Whether a server takes a connection and echoes a byte on it; else what it does.
fn serves(address: SocketAddr, source: Option<IpAddr>, patience: Duration) -> Result<(), String> {
    let stream = connect(address, source, patience).map_err(|error| format!("taking no connection ({error})"))?;
    echoes(stream, patience).map_err(|error| format!("echoing no byte ({error})"))
}

/// Connects, from this address if one is given.
///
/// # Errors
/// The system's, and 'refused' where nobody but the socket itself is on that port.
pub fn connect(address: SocketAddr, source: Option<IpAddr>, patience: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect_timeout(&address.into(), patience)?;
    let stream = TcpStream::from(socket);
    // Where nobody listens on a port that is free for clients too, TCP may connect it to itself.
    if stream.local_addr().ok() == Some(address) {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

fn echoes(mut stream: TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(&[BYTE])?;
    let mut echo = [0];
    stream.read_exact(&mut echo)?;
    if echo == [BYTE] { Ok(()) } else { Err(io::Error::other(format!("it sent {:#04x} for {BYTE:#04x}", echo[0]))) }
}
