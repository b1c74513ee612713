//! Whether a server still accepts a connection and echoes a byte: probed when a load has ended, for servers that are
//! not bundled.
//!
//! An accept loop that breaks at the last close breaks nothing that the run itself could see. The probe is repeated for
//! as long as a connection may wait, because a server at its limit must first notice that the other connections have
//! gone.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::client::{RunOutcome, RunPlan};
use crate::interrupt;
use crate::scenario::Scenario;

/// Pause between two probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
/// The shortest time limit of one probe.
const MIN_PROBE_TIMEOUT: Duration = Duration::from_millis(10);
/// The byte that must come back. It belongs to no stream; only this file verifies it.
const PROBE_BYTE: u8 = b'e';

/// The result of a probe: an error says what is wrong. `None`: the server was not probed.
pub type Probed = Option<Result<(), String>>;

/// Probes the server of a run that has ended, if the run ever reached it.
pub fn probe(scenario: &Scenario, plan: &RunPlan, outcome: &RunOutcome) -> Probed {
    let opened: u64 = outcome.groups.iter().map(|figures| figures.counters.opened).sum();
    if !scenario.expect.need_an_echo(scenario.expected_loads()) || opened == 0 || outcome.interrupted {
        return None;
    }
    let patience = scenario.loads.iter().map(|load| load.connect_timeout.max(load.stall_timeout)).max()?;
    let source = plan.sources.of(0, 0, 1);
    // Connections take turns among the addresses of a name, so a run reaches at most one address a connection.
    let reached = || plan.targets.iter().take(usize::try_from(opened).unwrap_or(usize::MAX));
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now()).max(MIN_PROBE_TIMEOUT);
        let Err(what) = reached().try_for_each(|target| serves(*target, source, left)) else { return Some(Ok(())) };
        if interrupt::is_requested() {
            return None;
        }
        if Instant::now() >= until {
            return Some(Err(format!("{what}, for {}", humantime::format_duration(patience))));
        }
        std::thread::sleep(PROBE_INTERVAL);
    }
}

/// Connects and waits for the echo of a byte. The error says what the server does instead.
fn serves(address: SocketAddr, source: Option<IpAddr>, patience: Duration) -> Result<(), String> {
    let stream = connect(address, source, patience).map_err(|error| format!("taking no connection ({error})"))?;
    echoes(stream, patience).map_err(|error| format!("echoing no byte ({error})"))
}

/// Connects, from the source address if one is given.
///
/// # Errors
/// Those of the system; and 'refused' when TCP has connected the socket to itself.
pub fn connect(address: SocketAddr, source: Option<IpAddr>, patience: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect_timeout(&address.into(), patience)?;
    let stream = TcpStream::from(socket);
    // If nothing listens on a port of the ephemeral range, the system may choose it as the source port too. Then TCP
    // connects the socket to itself (RFC 9293, simultaneous open).
    if stream.local_addr().ok() == Some(address) {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

fn echoes(mut stream: TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(&[PROBE_BYTE])?;
    let mut echo = [0];
    stream.read_exact(&mut echo)?;
    if echo == [PROBE_BYTE] {
        Ok(())
    } else {
        Err(io::Error::other(format!("it sent {:#04x} for {PROBE_BYTE:#04x}", echo[0])))
    }
}
