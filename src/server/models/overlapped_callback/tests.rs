//! Tests of the rules at the head of `overlapped_callback`, on threads that wait alertably like a worker.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use windows_sys::Win32::Foundation::ERROR_NOT_ENOUGH_MEMORY;

use super::*;
use crate::server::{Options, Server};

const LIMIT: Duration = Duration::from_secs(20);

fn server() -> Server {
    let address: SocketAddr = "127.0.0.1:0".parse().expect("an address parses");
    Server::start_with(run, "overlapped-callback", address.into(), Options::default()).expect("the server starts")
}

fn client(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).expect("the client connects");
    stream.set_read_timeout(Some(LIMIT)).expect("a time-out can be set");
    stream
}

fn echoed(mut stream: &TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).expect("the bytes come back");
    bytes
}

/// Runs `test` on a thread that waits alertably like a worker. Fails if the test does not end.
fn on_a_worker<T: Send + 'static>(test: impl FnOnce(&AlertableThread) -> T + Send + 'static) -> T {
    let (send, result) = channel();
    std::thread::spawn(move || {
        let this = AlertableThread::current().expect("a handle can be duplicated");
        let _ = send.send(test(&this));
    });
    result.recv_timeout(LIMIT).expect("the test ends")
}

fn wait_alertably() {
    // SAFETY: the tests queue APCs through `queue` alone, and begin operations through `ApcWorker` alone.
    unsafe { SleepEx(0, 1) };
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < end, "not within {LIMIT:?}: {what}");
        std::thread::yield_now();
    }
}

fn context() -> Arc<Context> {
    Arc::new(Context::new(Options::default(), channel().0))
}

fn connection(context: &Arc<Context>) -> (TcpStream, Socket, Session) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let stream =
        TcpStream::connect(listener.local_addr().expect("the listener is bound")).expect("the client connects");
    let (accepted, _) = listener.accept().expect("the client is accepted");
    let session = Session::admit(context, &accepted).expect("the server has room");
    (stream, accepted.into(), session)
}

#[test]
fn a_receive_that_succeeds_at_once_completes_once() {
    let server = server();
    let stream = client(&server);
    // The buffer is smaller than the data. So all receives but the first find data waiting and succeed at once, and
    // their completions are queued all the same.
    let sent: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    let writer = stream.try_clone().expect("a handle can be duplicated");
    let bytes = sent.clone();
    let writing = std::thread::spawn(move || {
        (&writer).write_all(&bytes).expect("the bytes are sent");
        writer.shutdown(Shutdown::Write).expect("a FIN is sent");
    });
    assert!(echoed(&stream, sent.len()) == sent);
    assert_eq!((&stream).read(&mut [0]).expect("a FIN is answered by a FIN"), 0);
    writing.join().expect("the writer does not panic");
    let counters = server.stop(LIMIT).counters;
    assert_eq!((counters.bytes_in, counters.bytes_out), (1_000_000, 1_000_000));
}

#[test]
fn a_silent_client_does_not_delay_another_one() {
    let server = server();
    let silent = client(&server);
    let other = client(&server);
    (&other).write_all(b"hello").expect("the bytes are sent");
    assert_eq!(echoed(&other, 5), b"hello");
    (&silent).write_all(b"at last").expect("the bytes are sent");
    assert_eq!(echoed(&silent, 7), b"at last");
}

#[test]
fn a_stop_that_ran_in_an_earlier_wait_still_stops() {
    on_a_worker(|this| {
        queue(this.0.as_handle(), Call::AcceptorEnded(ServerPhase::Drain)).expect("the APC is queued");
        wait_alertably();
        serve(&WorkerGroup::new(&context())).expect("the worker ends");
    });
}

#[test]
fn a_call_inside_another_call_is_deferred_to_the_loop() {
    let context = context();
    let (stream, socket, session) = connection(&context);
    on_a_worker(move |this| {
        this.hand_over(socket, session).expect("the APC is queued");
        // As if a routine had made a blocking Winsock call.
        WORKER.with_borrow_mut(|worker| {
            wait_alertably();
            assert!(worker.connections.is_empty());
        });
        assert_eq!(DEFERRED.with_borrow(Vec::len), 1);
        drop(stream);
        queue(this.0.as_handle(), Call::AcceptorEnded(ServerPhase::Drain)).expect("the APC is queued");
        serve(&WorkerGroup::new(&context)).expect("the worker ends");
        let counters = context.snapshot();
        assert_eq!((counters.accepted, counters.closed), (1, 1), "the connection is served to its end");
    });
}

#[test]
fn a_wait_that_has_handled_enough_calls_begins_nothing_new() {
    let context = context();
    let (_first, first, of_first) = connection(&context);
    let (_second, second, of_second) = connection(&context);
    on_a_worker(move |this| {
        CALLS_LEFT.set(1);
        this.hand_over(first, of_first).expect("the APC is queued");
        this.hand_over(second, of_second).expect("the APC is queued");
        wait_alertably();
        assert_eq!(WORKER.with_borrow(|worker| worker.connections.len()), 1, "one call was handled at once");
        assert_eq!(DEFERRED.with_borrow(Vec::len), 1, "the other one was deferred");
        queue(this.0.as_handle(), Call::AcceptorEnded(ServerPhase::Abort)).expect("the APC is queued");
        serve(&WorkerGroup::new(&context)).expect("the worker ends");
        let counters = context.snapshot();
        assert_eq!((counters.accepted, counters.closed), (2, 2));
    });
}

#[test]
fn a_call_that_runs_while_connections_are_closed_is_handled_before_the_end() {
    let context = context();
    let (client, socket, session) = connection(&context);
    let (late_client, late_socket, late_session) = connection(&context);
    drop((client, late_client));
    on_a_worker(move |this| {
        this.hand_over(socket, session).expect("the APC is queued");
        queue(this.0.as_handle(), Call::AcceptorEnded(ServerPhase::Drain)).expect("the APC is queued");
        let mut late = Some((late_socket, late_session));
        serve_and_close(&WorkerGroup::new(&context), |over| {
            // The first connection is closed, and the worker could end. A wait in here adopts another connection, which
            // is deferred to the loop.
            if !over.is_empty()
                && let Some((socket, session)) = late.take()
            {
                this.hand_over(socket, session).expect("the APC is queued");
                CALLS_LEFT.set(0);
                wait_alertably();
                assert_eq!(DEFERRED.with_borrow(Vec::len), 1);
            }
        })
        .expect("the worker ends");
        let counters = context.snapshot();
        assert_eq!((counters.accepted, counters.closed), (2, 2), "both are served to their ends");
    });
}

#[test]
fn a_connection_that_ends_while_others_are_closed_is_closed_too() {
    let context = context();
    let (first, socket, session) = connection(&context);
    let (second, second_socket, second_session) = connection(&context);
    on_a_worker(move |this| {
        this.hand_over(socket, session).expect("the APC is queued");
        this.hand_over(second_socket, second_session).expect("the APC is queued");
        queue(this.0.as_handle(), Call::AcceptorEnded(ServerPhase::Drain)).expect("the APC is queued");
        wait_alertably();
        drop(first);
        let mut second = Some(second);
        let is_over = || WORKER.with_borrow(|worker| !worker.over.is_empty());
        serve_and_close(&WorkerGroup::new(&context), |over| {
            if !over.is_empty() && second.take().is_some() {
                // Its client has just gone, so its routine runs in here.
                until("the second connection is over", || {
                    wait_alertably();
                    is_over()
                });
            }
        })
        .expect("the worker ends");
        assert_eq!(context.snapshot().closed, 2);
    });
}

#[test]
fn workers_that_have_started_are_ended_if_another_can_not_start() {
    let (ended, has_ended) = channel();
    std::thread::spawn(move || {
        let context = Arc::new(Context::new(Options { workers: 3, ..Options::default() }, channel().0));
        // No address space holds such a stack.
        let stack_size = |i| if i == 2 { 1 << 60 } else { 1 << 20 };
        let started = ApcWorkers::start_on(&context, |i| Builder::new().stack_size(stack_size(i)));
        ended.send(started.err().is_some())
    });
    let is_error = has_ended.recv_timeout(LIMIT).expect("the workers that have started end");
    assert!(is_error, "the system has given a thread with an impossible stack");
}

#[test]
fn a_worker_that_panics_closes_its_connections_and_leaks_what_is_outstanding() {
    let context = context();
    let (_client, socket, session) = connection(&context);
    let died = std::thread::spawn(move || {
        WORKER.with_borrow_mut(|worker| worker.adopt(socket, session));
        panic!("the test panics");
    });
    // The receive is still outstanding when the thread's variables are dropped.
    died.join().expect_err("the worker panics");
    assert_eq!(context.snapshot().closed, 1);
}

#[test]
fn a_failed_handover_is_an_error_only_if_the_thread_has_ended() {
    let context = context();
    let refused = || Err(io::Error::from_raw_os_error(ERROR_NOT_ENOUGH_MEMORY as i32));
    let (stop, stopped) = channel::<()>();
    let join = std::thread::spawn(move || stopped.recv().expect_err("the test drops the sender"));
    let thread = AlertableThread(join.as_handle().try_clone_to_owned().expect("a handle can be duplicated"));
    tolerate(refused(), &thread, &context).expect("a thread that runs takes the next connection");
    assert_eq!(context.snapshot().accept_errors, 1);
    drop(stop);
    join.join().expect("the thread does not panic");
    tolerate(refused(), &thread, &context).expect_err("a thread that has ended serves nobody");
}

#[test]
fn a_connection_for_a_thread_that_has_ended_is_closed_and_counted() {
    let context = context();
    let (_stream, socket, session) = connection(&context);
    let join = std::thread::spawn(|| {});
    let thread = AlertableThread(join.as_handle().try_clone_to_owned().expect("a handle can be duplicated"));
    join.join().expect("the thread does not panic");
    thread.hand_over(socket, session).expect_err("a thread that has ended takes no APC");
    thread.wake();
    let counters = context.snapshot();
    assert_eq!((counters.accepted, counters.closed), (1, 1));
}
