//! The rules at the head of `overlapped_callback`, one by one, on threads that wait alertably like a worker.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use windows_sys::Win32::Foundation::ERROR_NOT_ENOUGH_MEMORY;
use windows_sys::Win32::System::Threading::GetCurrentThread;

use super::*;
use crate::server::{Options, Server};

const LIMIT: Duration = Duration::from_secs(20);

fn server() -> Server {
    let address = "127.0.0.1:0".parse().expect("an address");
    Server::start_with(run, "overlapped-callback", address, Options::default()).expect("it starts")
}

fn client(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).expect("it connects");
    stream.set_read_timeout(Some(LIMIT)).expect("a time-out");
    stream
}

fn echoed(mut stream: &TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).expect("an echo");
    bytes
}

/// Runs `test` on a thread that waits alertably like a worker, and fails if it doesn't end.
fn on_a_worker<T: Send + 'static>(test: impl FnOnce(&Thread) -> T + Send + 'static) -> T {
    let (send, result) = channel();
    std::thread::spawn(move || {
        // SAFETY: the pseudo handle of the current thread is always valid and need not be closed.
        let this = unsafe { std::os::windows::io::BorrowedHandle::borrow_raw(GetCurrentThread()) };
        let this = Thread(this.try_clone_to_owned().expect("a handle"));
        let _ = send.send(test(&this));
    });
    result.recv_timeout(LIMIT).expect("it ends")
}

fn wait_alertably() {
    // SAFETY: the tests queue the APCs of this file alone.
    unsafe { SleepEx(0, 1) };
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < end, "not in {LIMIT:?}: {what}");
        std::thread::yield_now();
    }
}

fn context() -> Arc<Context> {
    Arc::new(Context::new(Options::default(), channel().0))
}

fn connection(context: &Arc<Context>) -> (TcpStream, Socket, Session) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let stream = TcpStream::connect(listener.local_addr().expect("an address")).expect("it connects");
    let (accepted, _) = listener.accept().expect("a connection");
    (stream, accepted.into(), Session::admit(context).expect("a session"))
}

#[test]
fn a_receive_that_succeeds_at_once_is_completed_once() {
    let server = server();
    let stream = client(&server);
    // All of it is there before each receive but the first is begun: the ring is smaller. So the calls succeed at
    // once, and their completions are queued all the same.
    let sent: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    let writer = stream.try_clone().expect("a handle");
    let bytes = sent.clone();
    let writing = std::thread::spawn(move || {
        (&writer).write_all(&bytes).expect("it is sent");
        writer.shutdown(Shutdown::Write).expect("a FIN");
    });
    assert!(echoed(&stream, sent.len()) == sent);
    assert_eq!((&stream).read(&mut [0]).expect("a FIN is answered by a FIN"), 0);
    writing.join().expect("it was written");
    let counters = server.stop(LIMIT).counters;
    assert_eq!((counters.bytes_in, counters.bytes_out), (1_000_000, 1_000_000));
}

#[test]
fn a_client_that_says_nothing_keeps_nobody_waiting() {
    let server = server();
    let silent = client(&server);
    let other = client(&server);
    (&other).write_all(b"hello").expect("it is sent");
    assert_eq!(echoed(&other, 5), b"hello");
    (&silent).write_all(b"at last").expect("it is sent");
    assert_eq!(echoed(&silent, 7), b"at last");
}

#[test]
fn a_stop_that_was_called_in_an_earlier_wait_still_stops() {
    on_a_worker(|this| {
        this.queue(Some(last), 0).expect("it is queued");
        wait_alertably();
        serve(&context(), channel().0).expect("it ends");
    });
}

#[test]
fn a_call_inside_of_a_call_is_left_to_the_loop() {
    let context = context();
    let (stream, socket, session) = connection(&context);
    on_a_worker(move |this| {
        this.hand_over(socket, session).expect("it is queued");
        // What a blocking Winsock call in a routine would do.
        WORKER.with_borrow_mut(|worker| {
            wait_alertably();
            assert!(worker.connections.is_empty());
        });
        assert_eq!(LATER.with_borrow(Vec::len), 1);
        drop(stream);
        this.queue(Some(last), 0).expect("it is queued");
        serve(&context, channel().0).expect("it ends");
        let counters = context.snapshot();
        assert_eq!((counters.accepted, counters.closed), (1, 1), "the connection was served to its end");
    });
}

#[test]
fn a_wait_that_has_answered_enough_begins_nothing_new() {
    let context = context();
    let (_first, first, of_first) = connection(&context);
    let (_second, second, of_second) = connection(&context);
    on_a_worker(move |this| {
        LEFT.set(1);
        this.hand_over(first, of_first).expect("it is queued");
        this.hand_over(second, of_second).expect("it is queued");
        wait_alertably();
        assert_eq!(WORKER.with_borrow(|worker| worker.connections.len()), 1, "one was left to answer");
        assert_eq!(LATER.with_borrow(Vec::len), 1, "the other was noted");
        this.queue(Some(last), 1).expect("it is queued");
        serve(&context, channel().0).expect("it ends");
        let counters = context.snapshot();
        assert_eq!((counters.accepted, counters.closed), (2, 2));
    });
}

#[test]
fn what_comes_while_connections_are_closed_is_done_before_the_wait_and_before_the_end() {
    let context = context();
    let (client, socket, session) = connection(&context);
    let (late_client, late_socket, late_session) = connection(&context);
    drop((client, late_client));
    on_a_worker(move |this| {
        this.hand_over(socket, session).expect("it is queued");
        this.queue(Some(last), 0).expect("it is queued");
        let mut late = Some((late_socket, late_session));
        serve_and_close(&context, |over| {
            // The first one is closed, and the worker could end. A wait in there takes another one on, which is left to
            // the loop.
            if !over.is_empty()
                && let Some((socket, session)) = late.take()
            {
                this.hand_over(socket, session).expect("it is queued");
                LEFT.set(0);
                wait_alertably();
                assert_eq!(LATER.with_borrow(Vec::len), 1);
            }
        })
        .expect("it ends");
        let counters = context.snapshot();
        assert_eq!((counters.accepted, counters.closed), (2, 2), "both were served to their ends");
    });
}

#[test]
fn a_connection_that_is_over_while_others_are_closed_is_closed_too() {
    let context = context();
    let (first, socket, session) = connection(&context);
    let (second, second_socket, second_session) = connection(&context);
    on_a_worker(move |this| {
        this.hand_over(socket, session).expect("it is queued");
        this.hand_over(second_socket, second_session).expect("it is queued");
        this.queue(Some(last), 0).expect("it is queued");
        wait_alertably();
        drop(first);
        let mut second = Some(second);
        let is_over = || WORKER.with_borrow(|worker| !worker.over.is_empty());
        serve_and_close(&context, |over| {
            if !over.is_empty() && second.take().is_some() {
                // Its client has just gone: its routine runs in here.
                until("the second one is over", || {
                    wait_alertably();
                    is_over()
                });
            }
        })
        .expect("it ends");
        assert_eq!(context.snapshot().closed, 2);
    });
}

#[test]
fn workers_that_began_before_one_that_could_not_are_ended() {
    let (ended, has_ended) = channel();
    let context = context();
    let started = Workers::start_by(3, |i, running| {
        if i == 2 {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        }
        let (context, ended) = (Arc::clone(&context), ended.clone());
        Ok(std::thread::spawn(move || {
            let result = serve(&context, running);
            ended.send(()).map_err(io::Error::other).and(result)
        }))
    });
    assert_eq!(started.err().map(|e| e.kind()), Some(io::ErrorKind::OutOfMemory));
    for _ in 0..2 {
        has_ended.try_recv().expect("it has ended by then");
    }
}

#[test]
fn a_worker_that_dies_takes_nobody_with_it() {
    let context = context();
    let (_client, socket, session) = connection(&context);
    let died = std::thread::spawn(move || {
        WORKER.with_borrow_mut(|worker| worker.adopt(socket, session));
        panic!("a test's panic");
    });
    // Its receive is still outstanding when the thread's variables are dropped.
    died.join().expect_err("it panicked");
    assert_eq!(context.snapshot().closed, 1);
}

#[test]
fn a_call_that_is_refused_costs_its_connection_unless_the_thread_has_ended() {
    let context = context();
    let refused = || Err(io::Error::from_raw_os_error(ERROR_NOT_ENOUGH_MEMORY as i32));
    let (stop, stopped) = channel::<()>();
    let join = std::thread::spawn(move || stopped.recv().expect_err("the other end is dropped"));
    let thread = Thread(join.as_handle().try_clone_to_owned().expect("a handle"));
    survive(refused(), &thread, &context).expect("the thread lives");
    assert_eq!(context.snapshot().accept_errors, 1);
    drop(stop);
    join.join().expect("it ended");
    survive(refused(), &thread, &context).expect_err("the thread has ended");
}

#[test]
fn a_connection_for_a_thread_that_has_ended_is_closed_and_counted() {
    let context = context();
    let (_stream, socket, session) = connection(&context);
    let join = std::thread::spawn(|| {});
    let thread = Thread(join.as_handle().try_clone_to_owned().expect("a handle"));
    join.join().expect("it ended");
    thread.hand_over(socket, session).expect_err("nobody is there");
    thread.nudge();
    let counters = context.snapshot();
    assert_eq!((counters.accepted, counters.closed), (1, 1));
}
