//! The limit of processes, a child that is killed, and what the parent knows of its children.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Mutex, OnceLock};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::child::Birth;
use super::*;
use crate::server::{Options, Server, Stopped};
use crate::sync::lock;

const PATIENCE: Duration = Duration::from_secs(60);

fn start(fork: ForkFn) -> Server {
    let run = move |listener, context| run_with(listener, context, fork);
    Server::start_with(run, "fork", ([127, 0, 0, 1], 0).into(), Options::default()).expect("it starts")
}

fn client(server: &Server) -> TcpStream {
    let client = TcpStream::connect(server.address()).expect("a connection");
    client.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    client
}

fn round_trip(mut client: &TcpStream) {
    client.write_all(b"hello").expect("it is sent");
    let mut echo = [0; 5];
    client.read_exact(&mut echo).expect("it comes back");
    assert_eq!(&echo, b"hello");
}

/// What becomes true in another thread or process: an echo may come before its server has counted or noted anything.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::yield_now();
    }
}

fn stop(server: Server) -> Stopped {
    let stopped = server.stop(PATIENCE);
    assert!(!stopped.hung && stopped.counters.add_up(), "{stopped:?}");
    stopped
}

#[test]
fn a_connection_waits_for_its_process_while_the_system_refuses_one() {
    static REFUSALS: AtomicUsize = AtomicUsize::new(0);
    let server = start(|birth| match REFUSALS.fetch_add(1, Ordering::SeqCst) {
        0..3 => Err(Errno::AGAIN.into()),
        _ => child::fork(birth),
    });
    let clients = [(); 3].map(|()| client(&server));
    clients.iter().for_each(round_trip);
    drop(clients);
    let counters = stop(server).counters;
    assert_eq!((counters.accepted, counters.accept_errors, counters.connection_errors), (3, 3, 0), "{counters:?}");
}

#[test]
fn connections_that_wait_for_a_process_are_served_in_a_drain_and_reset_by_an_abort() {
    static MAY_FORK: AtomicUsize = AtomicUsize::new(0);
    let start = || {
        MAY_FORK.store(0, Ordering::SeqCst);
        let server = start(|birth| match MAY_FORK.load(Ordering::SeqCst) {
            0 => Err(Errno::AGAIN.into()),
            _ => child::fork(birth),
        });
        let waiting = client(&server);
        wait_for("a refused fork", || (server.counters().accept_errors > 0).then_some(()));
        (server, waiting)
    };
    let (server, waiting) = start();
    server.drain();
    MAY_FORK.store(1, Ordering::SeqCst);
    round_trip(&waiting);
    drop(waiting);
    assert_eq!(stop(server).counters.accepted, 1);
    let (server, mut waiting) = start();
    let stopped = server.stop(Duration::ZERO);
    assert!(!stopped.hung && stopped.counters.add_up() && stopped.aborted == 1, "{stopped:?}");
    assert_eq!(waiting.read(&mut [0]).expect_err("not a FIN").kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn nobody_can_connect_while_those_who_waited_at_a_stop_get_their_processes() {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    static LATE: Mutex<Option<io::Result<TcpStream>>> = Mutex::new(None);
    let (waiting, is_waiting) = channel();
    let run = move |listener: TcpListener, context: Arc<Context>| {
        let address = *ADDRESS.get_or_init(|| listener.local_addr().expect("the listener is bound"));
        waiting.send(TcpStream::connect(address)?).expect("the test waits for it");
        context.advance(ServerPhase::Drain);
        // Like the copy of a child that was just forked. On Linux alone it accepts nobody either.
        let _copy = cfg!(target_os = "linux").then(|| listener.try_clone());
        run_with(listener, context, |birth| {
            *lock(&LATE) = ADDRESS.get().map(TcpStream::connect);
            child::fork(birth)
        })
    };
    let server = Server::start_with(run, "fork", ([127, 0, 0, 1], 0).into(), Options::default()).expect("it starts");
    let waiting = is_waiting.recv_timeout(PATIENCE).expect("a client waits");
    waiting.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    round_trip(&waiting);
    drop(waiting);
    assert_eq!(stop(server).counters.accepted, 1);
    let late = lock(&LATE).take().expect("a fork");
    assert_eq!(late.expect_err("the listener is open").kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn an_abort_resets_a_connection_that_has_its_process() {
    let server = start(child::fork);
    let mut client = client(&server);
    round_trip(&client);
    let stopped = server.stop(Duration::ZERO);
    assert!(!stopped.hung && stopped.counters.add_up() && stopped.aborted == 1, "{stopped:?}");
    assert_eq!(client.read(&mut [0]).expect_err("not a FIN").kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_child_ignores_the_signals_of_its_parent_and_if_it_is_killed_the_server_goes_on() {
    static CHILDREN: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
    let server = start(|birth: Birth<'_>| child::fork(birth).inspect(|pid| lock(&CHILDREN).push(*pid)));
    let clients = [(); 2].map(|()| client(&server));
    clients.iter().for_each(round_trip);
    wait_for("bytes are counted while the children live", || {
        let counters = server.counters();
        ((counters.bytes_in, counters.bytes_out) == (10, 10)).then_some(())
    });
    let [first, second] = wait_for("two processes", || <[Pid; 2]>::try_from(&lock(&CHILDREN)[..]).ok());
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        kill_process(second, signal).expect("it is alive");
    }
    round_trip(&clients[1]);
    kill_process(first, Signal::KILL).expect("it is alive");
    assert_eq!((&clients[0]).read(&mut [0]).unwrap_or(0), 0, "its connection has ended");
    wait_for("the child is reaped", || (server.counters().closed > 0).then_some(()));
    round_trip(&clients[1]);
    drop(clients);
    let stopped = stop(server);
    assert_eq!((stopped.counters.connection_errors, stopped.error), (1, None));
    for child in [first, second] {
        assert!(waitpid(Some(child), WaitOptions::NOHANG).is_err(), "a child was left as a zombie");
    }
}

#[test]
fn a_child_has_no_descriptor_but_its_connection() {
    static CHILD: Mutex<Option<Pid>> = Mutex::new(None);
    let server = start(|birth| child::fork(birth).inspect(|pid| *lock(&CHILD) = Some(*pid)));
    let client = client(&server);
    round_trip(&client);
    let child = wait_for("a process", || *lock(&CHILD)).as_raw_nonzero();
    if cfg!(target_os = "linux") {
        let descriptors = std::fs::read_dir(format!("/proc/{child}/fd")).expect("the child is ours").count();
        assert_eq!(descriptors, 1);
    }
    drop(client);
    stop(server);
}

#[test]
fn a_client_that_has_reset_in_the_backlog_costs_no_process() {
    static FORKS: AtomicUsize = AtomicUsize::new(0);
    let run = |listener: TcpListener, context| {
        for _ in 0..20 {
            sys::close_with_reset(&TcpStream::connect(listener.local_addr()?)?);
        }
        run_with(listener, context, |birth| {
            FORKS.fetch_add(1, Ordering::SeqCst);
            child::fork(birth)
        })
    };
    let server = Server::start_with(run, "fork", ([127, 0, 0, 1], 0).into(), Options::default()).expect("it starts");
    let client = client(&server);
    round_trip(&client);
    drop(client);
    let counters = stop(server).counters;
    assert_eq!((counters.accepted, counters.connection_errors), (21, 20), "{counters:?}");
    assert_eq!(FORKS.load(Ordering::SeqCst), 1);
}
