//! The backend of a proxy: the other end of each connection, where both ends are ours.
//!
//! - [`Backend`] listens where the proxy forwards to, in a thread of its own, for as long as it lives: one for all runs
//!   of a suite.
//! - [`ModeSwitch`] makes it refuse connections for a time, or reset them.
//! - `pairing`: where the backend is on another machine, the tester listens for `echo-tester backend` there, and this
//!   has its control connections. That program's side of it is [`relay`](crate::relay).
//! - `waiting` holds the connections that were accepted until their first bytes say which connection they are, within a
//!   bounded number and time.
//!
//! What a connection sends and must receive is the business of the client, which has both halves of each: this room
//! only hands the sockets over, through the client's [`Intake`]. On a connection of the proxy it writes nothing, and
//! reads nothing but headers of the PROXY protocol before the stream.

mod mode;
mod pairing;
mod waiting;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::SockRef;

use crate::client::Intake;
use crate::sys;
use crate::transport::PairingToken;
use mode::ANSWER_PATIENCE;
pub use mode::{BackendMode, ModeSwitch};
use pairing::Controls;
use waiting::Waiting;

/// How often connections are looked for that have waited too long.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How often those are looked at whose first bytes are there in part.
const PARTIAL_INTERVAL: Duration = Duration::from_millis(10);
/// How often those are looked at whose first bytes are unknown.
const UNKNOWN_INTERVAL: Duration = Duration::from_millis(100);
/// The pause after an accept that failed for lack of something.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(20);
const MAX_EVENTS: usize = 256;
/// How many connections may wait to be accepted, as far as the system allows.
const BACKLOG: i32 = 1024;

const LISTENER: Token = Token(usize::MAX);
const WAKE: Token = Token(usize::MAX - 1);

/// A backend that listens. When it is dropped, it no longer does.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    intake: Arc<Intake>,
    stopped: Arc<AtomicBool>,
    switch: ModeSwitch,
    /// If it is on another machine: whether that one serves.
    is_paired: Option<Arc<AtomicBool>>,
    /// It was waited for, and did not come.
    is_given_up: AtomicBool,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    /// Listens on this address, where a proxy connects; port 0 is a free one.
    ///
    /// # Errors
    /// The address is in use or not one of this machine, or a thread can't be started.
    pub fn listen(address: SocketAddr) -> io::Result<Backend> {
        Backend::start(address, None)
    }

    /// Listens on this address, where `echo-tester backend` connects that runs where the proxy connects, and has this
    /// token.
    ///
    /// # Errors
    /// As [`listen`](Self::listen).
    pub fn elsewhere(address: SocketAddr, token: PairingToken) -> io::Result<Backend> {
        Backend::start(address, Some(token))
    }

    fn start(address: SocketAddr, token: Option<PairingToken>) -> io::Result<Backend> {
        let mut listener = bound(address)?;
        let address = listener.local_addr()?;
        let poll = Poll::new()?;
        let switch = ModeSwitch::new(Waker::new(poll.registry(), WAKE)?);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let (intake, stopped) = (Arc::new(Intake::default()), Arc::new(AtomicBool::new(false)));
        let is_paired = token.as_ref().map(|_| Arc::new(AtomicBool::new(false)));
        // What has come, and a backend that has gone, as the run ends must be known to it.
        let caller = switch.clone();
        intake.before_end(move || caller.call_roll());
        let acceptor = AcceptThread {
            waiting: Waiting::new(Arc::clone(&intake), token),
            controls: is_paired.clone().map(|is_paired| Controls::new(is_paired, Arc::clone(&intake))),
            listener: Some(listener),
            address,
            resets: false,
            poll,
            stopped: Arc::clone(&stopped),
            switch: switch.clone(),
            greeted: None,
            roll_call: None,
        };
        let thread = thread::Builder::new().name("backend".to_owned()).spawn(move || acceptor.run())?;
        Ok(Backend {
            address,
            intake,
            stopped,
            switch,
            is_paired,
            is_given_up: AtomicBool::new(false),
            thread: Some(thread),
        })
    }

    /// Whether it can be reached: if it is on another machine, `echo-tester backend` there has connected and serves.
    pub fn is_up(&self) -> bool {
        self.is_paired.as_ref().is_none_or(|is_paired| is_paired.load(Ordering::Relaxed))
    }

    /// It was waited for, and did not come.
    pub fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }

    /// Whether it was waited for, and did not come. It may have come since.
    pub fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Relaxed)
    }

    /// Where it listens: the address that a proxy is to forward to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what it does with connections.
    pub fn switch(&self) -> ModeSwitch {
        self.switch.clone()
    }

    /// Where its connections come in, for the plan of a run.
    pub fn intake(&self) -> Arc<Intake> {
        Arc::clone(&self.intake)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // The thread also looks at every sweep.
        let _ = self.switch.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed, and there is nobody left who needs it.
            let _ = thread.join();
        }
    }
}

/// The thread that accepts.
struct AcceptThread {
    /// `None`: it refuses connections.
    listener: Option<TcpListener>,
    /// Where it listens.
    address: SocketAddr,
    /// It resets each connection at once.
    resets: bool,
    poll: Poll,
    waiting: Waiting,
    /// Those of `echo-tester backend` on other machines, if it is there.
    controls: Option<Controls>,
    stopped: Arc<AtomicBool>,
    switch: ModeSwitch,
    /// The last run in which connections that had been opened in advance were greeted.
    greeted: Option<u64>,
    /// The roll call that goes on, and when it ends even without all answers.
    roll_call: Option<(u64, Instant)>,
}

impl AcceptThread {
    fn run(mut self) {
        let mut events = Events::with_capacity(MAX_EVENTS);
        while !self.stopped.load(Ordering::Relaxed) {
            // Before the look, so that the look sees all that had happened then.
            self.begin_roll_call();
            match self.poll.poll(&mut events, Some(self.patience())) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    WAKE => {}
                    Token(place) if place >= pairing::FIRST_PLACE => {
                        let registry = self.poll.registry();
                        self.controls.iter_mut().for_each(|controls| controls.hear(registry, place));
                    }
                    Token(place) => self.look(place, event.is_read_closed() || event.is_error()),
                }
            }
            self.switch();
            self.greet();
            self.waiting.partial().into_iter().for_each(|place| self.look(place, false));
            while let Some(place) = self.waiting.next_unknown(self.roll_call.is_some()) {
                self.look(place, true);
            }
            self.waiting.close_late(self.poll.registry());
            self.end_roll_call(events.is_empty());
        }
    }

    /// Whether no other machine owes an answer.
    fn have_answered(&self) -> bool {
        self.controls.as_ref().is_none_or(Controls::have_answered)
    }

    /// Asks the other machines whether they are there, if somebody wants to know and they are not asked yet.
    fn begin_roll_call(&mut self) {
        let Some(call) = self.switch.roll_call() else { return };
        if self.roll_call.is_none_or(|(asked, _)| asked < call) {
            self.controls.iter_mut().for_each(Controls::say_again);
            self.roll_call = Some((call, Instant::now() + ANSWER_PATIENCE));
        }
    }

    /// Ends the roll call once all have answered and nothing more has happened, or it has had the time for that. One
    /// whose connection has ended is no longer among them. `is_quiet`: this look saw nothing. One look does not see the
    /// first bytes of what it accepted.
    fn end_roll_call(&mut self, is_quiet: bool) {
        let Some((call, until)) = self.roll_call else { return };
        if !(is_quiet && self.have_answered()) && Instant::now() < until {
            return;
        }
        self.controls.iter().for_each(Controls::miss);
        self.roll_call = None;
        self.switch.roll_was_called(call);
    }

    /// Something has happened to a connection that waits; `is_over`: no more will come.
    fn look(&mut self, place: usize, is_over: bool) {
        let registry = self.poll.registry();
        if let (Some(control), Some(controls)) = (self.waiting.look(registry, place, is_over), &mut self.controls) {
            controls.add(registry, control);
        }
    }

    /// Greets the connections that were opened in advance, once in each run whose server speaks first.
    fn greet(&mut self) {
        let run = self.waiting.greeting_run();
        if run.is_some() && std::mem::replace(&mut self.greeted, run) != run {
            self.waiting.greet(self.poll.registry());
        }
    }

    /// Obeys the switch, or has it obeyed on the other machine.
    fn switch(&mut self) {
        if let Some(mode) = self.switch.wanted() {
            match &mut self.controls {
                Some(controls) => controls.ask(mode),
                None => {
                    let obeyed = self.obey(mode);
                    self.switch.answer(obeyed);
                }
            }
        }
        if let Some(answer) = self.controls.as_mut().and_then(Controls::answer) {
            self.switch.answer(answer);
        }
    }

    /// How long to wait for an event. Windows reports nothing more of a socket that had something to read.
    fn patience(&self) -> Duration {
        if self.roll_call.is_some() && self.have_answered() {
            return Duration::ZERO;
        }
        let usual = match () {
            () if cfg!(windows) && self.waiting.has_partial() => PARTIAL_INTERVAL,
            () if self.waiting.has_unknown() => UNKNOWN_INTERVAL,
            () => SWEEP_INTERVAL,
        };
        self.roll_call.map_or(usual, |(_, until)| usual.min(until.saturating_duration_since(Instant::now())))
    }

    /// Does this with connections from now on.
    fn obey(&mut self, mode: BackendMode) -> io::Result<()> {
        if mode == BackendMode::Refuse {
            if let Some(mut listener) = self.listener.take() {
                self.poll.registry().deregister(&mut listener)?;
            }
            return Ok(());
        }
        if self.listener.is_none() {
            let mut listener = bound(self.address)?;
            self.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
            self.listener = Some(listener);
        }
        // What came before is served as it was said then.
        self.accept();
        self.resets = mode == BackendMode::Reset;
        Ok(())
    }

    /// Accepts everything that is there.
    fn accept(&mut self) {
        while let Some(listener) = &self.listener {
            match listener.accept() {
                // The close is a reset then.
                Ok((stream, _)) if self.resets => drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO))),
                Ok((stream, from)) => self.waiting.add(self.poll.registry(), stream, from.ip()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The connection is gone already, or descriptors are short: those that end give some back.
                // sleep: without it, this thread would spin until there are some
                Err(_) => thread::sleep(SHORTAGE_PAUSE),
            }
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// A listener as the bundled servers have one.
fn bound(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = sys::bound_socket(address, false)?;
    socket.listen(sys::listen_backlog(BACKLOG))?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;
    use crate::transport::{ControlWord, carried_header, control_header};

    #[test]
    fn without_a_run_a_connection_with_any_first_bytes_is_closed() {
        let backend = Backend::listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
        let mut client = TcpStream::connect(backend.address()).expect("it listens");
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("the connection is open");
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out can be set");
        // Bytes that nobody read make the close a reset on some systems.
        assert!(matches!(client.read(&mut [0; 1]), Ok(0)) || client.take_error().is_ok());
    }

    #[test]
    fn a_backend_that_refuses_or_resets_serves_again_at_the_same_address() {
        let backend = Backend::listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
        let (address, switch) = (backend.address(), backend.switch());
        switch.set(BackendMode::Refuse).expect("it obeys");
        let refused = TcpStream::connect(address).expect_err("nothing listens there");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

        switch.set(BackendMode::Reset).expect("the port is still free");
        let mut client = TcpStream::connect(address).expect("it listens");
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out can be set");
        let reset = client.read(&mut [0; 1]).expect_err("there is no FIN");
        assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(backend.intake().counts().accepted, 0, "what it resets is not counted");

        switch.set(BackendMode::Serve).expect("it obeys");
        let mut client = TcpStream::connect(address).expect("it listens");
        client.write_all(&[7; 16]).expect("the connection is open");
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out can be set");
        // Without a run it is closed, once its first bytes are there.
        let _ = client.read(&mut [0; 1]);
        assert_eq!(backend.intake().counts().accepted, 1);
    }

    #[test]
    fn a_port_in_use_is_refused_and_free_again_once_the_backend_is_dropped() {
        let backend = Backend::listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
        let address = backend.address();
        let error = Backend::listen(address).expect_err("the port is in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(backend);
        drop(Backend::listen(address).expect("the port is free again"));
    }

    /// Waits until this holds.
    fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while !holds() {
            assert!(std::time::Instant::now() < end, "{what}");
            thread::yield_now();
        }
    }

    #[test]
    fn what_comes_by_a_mistake_of_the_user_is_counted_by_its_kind() {
        let backend = Backend::listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
        let token = "tidy-otter-47-lamp".parse().expect("any text is a token");
        let client_hello = [&[0x16, 3, 1, 2, 0, 1][..], &[7; 10]].concat();
        let counts = || backend.intake().counts();
        for (first, is_counted) in [
            (client_hello, &(|| (counts().tls, counts().unknown) == (1, 1)) as &dyn Fn() -> bool),
            (control_header(&token), &|| counts().unwanted_backends == 1),
        ] {
            let mut client = TcpStream::connect(backend.address()).expect("it listens");
            client.write_all(&first).expect("the connection is open");
            until("it is counted", is_counted);
        }
        assert_eq!((counts().accepted, counts().with_header, counts().silent), (2, 0, 0));
    }

    #[test]
    fn a_backend_elsewhere_takes_connections_that_show_the_token_and_no_others() {
        let token = |text: &str| text.parse::<PairingToken>().expect("any text is a token");
        let (right, wrong) = (token("the right token"), token("a wrong token"));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let backend = Backend::elsewhere(any, right.clone()).expect("a port is free");
        let connect = |first: &[u8]| {
            let mut stream = TcpStream::connect(backend.address()).expect("it listens");
            stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out can be set");
            stream.write_all(first).expect("it is open");
            stream
        };
        let counts = || backend.intake().counts();
        let at = |port| SocketAddr::from(([10, 0, 0, 1], port));

        for stranger in [&b"GET / HTTP/1.1\r\n\r\n"[..], &carried_header(&wrong, at(1), at(2)), b""] {
            let before = counts().without_token;
            let stranger = connect(stranger);
            stranger.shutdown(std::net::Shutdown::Write).expect("it is open");
            until("a stranger is counted", || counts().without_token == before + 1);
        }
        let mut answer = [0];
        connect(&control_header(&wrong)).read_exact(&mut answer).expect("a wrong token is told");
        assert_eq!(answer, [ControlWord::WrongToken.byte()]);
        assert!(!backend.is_up());

        let mut control = connect(&control_header(&right));
        control.read_exact(&mut answer).expect("the right token is told what to do");
        assert_eq!((answer, backend.is_up()), ([ControlWord::Serve.byte()], false));
        control.write_all(&answer).expect("it is open");
        until("it is up once that is obeyed", || backend.is_up());
        let _carried = connect(&[&carried_header(&right, at(1), at(2))[..], &[7; 16]].concat());
        until("a connection is carried", || counts().accepted == 1 && counts().unknown == 1);
        assert_eq!(counts().without_token, 4);
        drop(control);
        until("nobody serves any longer", || !backend.is_up());
        let error = backend.switch().set(BackendMode::Refuse).expect_err("nobody is there");
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    }
}
