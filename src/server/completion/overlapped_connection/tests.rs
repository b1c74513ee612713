//! The memory of a connection under a kernel that writes late: ownership, completion, growth, and drop while
//! outstanding. Miri runs these tests, and finds each access that Rust's rules forbid.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::super::operation::owner_of;
use super::super::winsock::{Direction, FakeKernel, OVERLAPPED};
use super::*;
use crate::server::{Context, CountersSnapshot, Options};

type Connection = OverlappedConnection<Direction>;

const OWNERS: [Direction; 2] = [Direction::Receive, Direction::Send];

fn context(buffer: usize) -> Arc<Context> {
    Arc::new(Context::new(Options { buffer, ..Options::default() }, channel().0))
}

/// A connection with its first receive outstanding.
fn connection(context: &Arc<Context>, notify: Notify<Direction>) -> (FakeKernel, Connection) {
    let (kernel, socket) = FakeKernel::socket();
    let session = Session::without_socket(context).expect("the server has room");
    let mut connection = Connection::new(socket, session, OWNERS, notify);
    assert!(!connection.advance(), "a new connection is not over");
    (kernel, connection)
}

/// Takes the packets of both operations, then begins what is due. Returns whether the connection is over.
fn advance(connection: &mut Connection) -> bool {
    // SAFETY: the connection reports to a port, and the test takes the packets.
    unsafe {
        connection.collect_receive();
        connection.collect_send();
    }
    connection.advance()
}

fn counted(context: &Context) -> (u64, u64, u64) {
    let CountersSnapshot { bytes_in, bytes_out, bytes_discarded, .. } = context.snapshot();
    (bytes_in, bytes_out, bytes_discarded)
}

#[test]
fn a_receive_and_a_send_are_outstanding_on_one_buffer_until_the_fin() {
    let context = context(8);
    let (kernel, mut connection) = connection(&context, Notify::Queue(Box::new(())));
    let mut echoed = Vec::new();
    kernel.complete_receive(b"abcdef");
    assert!(!advance(&mut connection));
    for bytes in [b"gh", b"ij", b"kl", b"mn"] {
        // The send reads pending pieces while the receive writes free ones, past the end of the buffer and around it.
        assert_eq!(connection.outstanding(), 2);
        kernel.complete_receive(bytes);
        echoed.extend(kernel.complete_send(3));
        assert!(!advance(&mut connection));
        echoed.extend(kernel.complete_send(1));
        assert!(!advance(&mut connection));
    }
    kernel.complete_receive(b"");
    while !advance(&mut connection) {
        assert!(!kernel.fin_sent(), "bytes are still owed");
        echoed.extend(kernel.complete_send(usize::MAX));
    }
    assert_eq!(echoed, b"abcdefghijklmn");
    drop(connection);
    assert!(kernel.fin_sent() && !kernel.was_reset());
    assert_eq!(counted(&context), (14, 14, 0));
}

#[test]
fn the_kernel_writes_from_another_thread_until_the_completion() {
    let context = context(64);
    let (kernel, mut connection) = connection(&context, Notify::Queue(Box::new(())));
    let (written, is_written) = channel();
    let writer = thread::spawn(move || {
        kernel.complete_receive(b"late");
        written.send(()).expect("the test waits");
        kernel
    });
    // An incomplete operation is polled without a wait, and moves nothing.
    while connection.outstanding() == 1 && is_written.try_recv().is_err() {
        assert!(!advance(&mut connection));
    }
    advance(&mut connection);
    let kernel = writer.join().expect("the kernel's thread does not panic");
    assert_eq!(kernel.complete_send(usize::MAX), b"late");
    kernel.complete_with_error(Direction::Receive);
    assert!(advance(&mut connection), "a broken connection is over");
    assert_eq!(counted(&context), (4, 4, 0));
}

#[test]
fn the_kernel_may_write_after_a_connection_was_dropped() {
    let context = context(64);
    let (kernel, mut connection) = connection(&context, Notify::Queue(Box::new(())));
    kernel.complete_receive(b"abc");
    advance(&mut connection);
    assert_eq!(connection.outstanding(), 2);
    // As when a worker panics.
    drop(connection);
    assert!(kernel.was_reset());
    assert_eq!(kernel.outstanding().len(), 2);
    context.nothing_outstanding().expect_err("both stay counted, because nobody takes their completions");
    assert_eq!(kernel.complete_send(usize::MAX), b"abc");
    kernel.complete_receive(b"late");
    assert_eq!(context.snapshot().closed, 1);
}

#[test]
fn an_event_stays_open_until_the_operation_has_signalled_it() {
    let context = context(64);
    let event = Arc::new(Event::new());
    let (kernel, connection) = connection(&context, Notify::Event(Arc::clone(&event)));
    let observer = Arc::downgrade(&event);
    drop((event, connection));
    kernel.complete_receive(b"late");
    let event = observer.upgrade().expect("the outstanding operation keeps its event open");
    assert!(event.take_signal());
}

#[test]
fn a_connection_that_reports_by_an_event_has_one_operation_at_a_time() {
    let context = context(64);
    let event = Arc::new(Event::new());
    let (kernel, mut connection) = connection(&context, Notify::Event(Arc::clone(&event)));
    for _ in 0..3 {
        kernel.complete_receive(b"abc");
        assert!(event.take_signal());
        connection.collect();
        connection.advance();
        assert_eq!(kernel.outstanding(), [(Direction::Send, false)]);
        assert_eq!(kernel.complete_send(usize::MAX), b"abc");
        assert!(event.take_signal());
        connection.collect();
        connection.advance();
        assert_eq!(kernel.outstanding(), [(Direction::Receive, false)]);
    }
    connection.abort();
    kernel.complete_with_error(Direction::Receive);
    connection.collect();
    assert!(connection.advance());
}

#[test]
fn a_full_small_buffer_is_replaced_when_nothing_is_outstanding() {
    let context = context(3 * SMALL_BUFFER_BYTES);
    let (kernel, mut connection) = connection(&context, Notify::Queue(Box::new(())));
    let bytes: Vec<u8> = (0..SMALL_BUFFER_BYTES + 10).map(|i| (i % 251) as u8).collect();
    let (first, rest) = bytes.split_at(100);
    kernel.complete_receive(first);
    advance(&mut connection);
    // The send is outstanding while the rest fills the buffer around its end.
    let (second, third) = rest.split_at(SMALL_BUFFER_BYTES - 100);
    kernel.complete_receive(second);
    let small = connection.buffer.start();
    advance(&mut connection);
    assert_eq!(kernel.outstanding(), [(Direction::Send, false)], "no receive begins before the buffer has grown");
    let mut echoed = kernel.complete_send(50);
    advance(&mut connection);
    assert_ne!(connection.buffer.start(), small, "the buffer has grown");
    kernel.complete_receive(third);
    echoed.extend(kernel.complete_send(usize::MAX));
    advance(&mut connection);
    echoed.extend(kernel.complete_send(usize::MAX));
    assert_eq!(echoed, bytes);
    kernel.complete_with_error(Direction::Receive);
    assert!(advance(&mut connection));
}

#[test]
fn an_aborted_connection_is_over_after_both_cancelled_operations_have_completed() {
    let context = context(64);
    let (kernel, mut connection) = connection(&context, Notify::Queue(Box::new(())));
    kernel.complete_receive(b"abc");
    advance(&mut connection);
    connection.abort();
    assert!(kernel.outstanding().iter().all(|(_, cancelled)| *cancelled));
    assert!(!advance(&mut connection), "a cancelled operation is still outstanding");
    // A cancellation may lose the race: then the bytes arrive all the same.
    kernel.complete_receive(b"de");
    assert!(!advance(&mut connection));
    context.nothing_outstanding().expect_err("the send was cancelled, and has not completed");
    kernel.complete_with_error(Direction::Send);
    assert!(advance(&mut connection));
    drop(connection);
    context.nothing_outstanding().expect("both have completed");
    assert!(kernel.was_reset());
    let counters = context.snapshot();
    assert_eq!((counted(&context), counters.connection_errors), ((5, 0, 5), 0), "an abort is not an error");
}

#[test]
fn an_idle_connection_is_closed_with_a_fin_unless_bytes_are_owed() {
    for owes_bytes in [false, true] {
        let options = Options { idle_timeout: Some(Duration::ZERO), ..Options::default() };
        let context = Arc::new(Context::new(options, channel().0));
        let (kernel, mut connection) = connection(&context, Notify::Queue(Box::new(())));
        if owes_bytes {
            kernel.complete_receive(b"abc");
            advance(&mut connection);
            kernel.complete_with_error(Direction::Send);
        }
        connection.close_if_idle(Instant::now());
        kernel.complete_with_error(Direction::Receive);
        assert!(advance(&mut connection));
        drop(connection);
        assert_eq!((kernel.fin_sent(), kernel.was_reset()), (!owes_bytes, owes_bytes));
        assert_eq!(context.snapshot().idle_closed, 1);
    }
}

/// A queue that counts the operations whose completions are to come to it.
struct Counting(Arc<AtomicUsize>);

impl Binding for Counting {
    fn announce(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn withdraw(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn an_operation_that_was_announced_and_not_begun_is_taken_back() {
    let (context, announced) = (context(64), Arc::new(AtomicUsize::new(0)));
    let (kernel, mut connection) = connection(&context, Notify::Queue(Box::new(Counting(Arc::clone(&announced)))));
    assert_eq!(announced.load(Ordering::Relaxed), 1, "the receive");
    kernel.complete_receive(b"abc");
    kernel.refuse();
    assert!(advance(&mut connection), "a connection on which nothing can be begun is over");
    assert_eq!(announced.load(Ordering::Relaxed), 1, "the send was announced, and is not to come");
    context.nothing_outstanding().expect("nothing was begun after the receive");
    assert_eq!(context.snapshot().connection_errors, 1);
}

thread_local! {
    static CONNECTION: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

/// A completion routine that finds the operation by its owner.
unsafe extern "system" fn completed(status: u32, bytes: u32, overlapped: *mut OVERLAPPED, _flags: u32) {
    // SAFETY: the owners in this file are `Direction`s, and the operation lives until it is told below.
    let direction = *unsafe { owner_of::<Direction>(overlapped) };
    let result = if status == 0 { Ok(bytes as usize) } else { Err(io::ErrorKind::ConnectionReset.into()) };
    CONNECTION.with_borrow_mut(|slot| {
        let connection = slot.as_mut().expect("the test has put the connection there");
        match direction {
            // SAFETY: the stand-in has called this routine for this receive, with this result.
            Direction::Receive => unsafe { connection.received(result) },
            // SAFETY: the stand-in has called this routine for this send, with this result.
            Direction::Send => unsafe { connection.sent(result) },
        }
        if connection.advance() {
            *slot = None;
        }
    });
}

#[test]
fn a_completion_routine_finds_its_connection_and_may_be_the_last_to_use_it() {
    let context = context(64);
    // SAFETY: the routine expects the owners that `connection` gives.
    let routines = unsafe { Routines::new(Some(completed), Some(completed)) };
    let (kernel, connection) = connection(&context, Notify::Routines(routines));
    CONNECTION.set(Some(connection));
    kernel.complete_receive(b"hello");
    kernel.complete_receive(b", world");
    assert_eq!(kernel.complete_send(usize::MAX), b"hello");
    assert_eq!(kernel.complete_send(usize::MAX), b", world");
    kernel.complete_receive(b"");
    assert!(CONNECTION.with_borrow(Option::is_none), "the routine of the last operation has closed the connection");
    assert!(kernel.fin_sent());
}

#[test]
#[should_panic(expected = "only an event leaves completions to be collected")]
fn completions_that_a_port_reports_are_not_collected_before_their_packets() {
    let context = context(64);
    let (_kernel, mut connection) = connection(&context, Notify::Queue(Box::new(())));
    connection.collect();
}

#[test]
#[should_panic(expected = "only an outstanding operation can be polled")]
fn an_operation_that_is_not_outstanding_is_not_polled() {
    let (_kernel, socket) = FakeKernel::socket();
    // SAFETY: the call panics before it uses the socket.
    unsafe { Operation::new(&context(1), (), (), None).poll(&socket) };
}

#[test]
fn an_operation_that_never_completes_keeps_its_memory() {
    let context = context(64);
    let (kernel, connection) = connection(&context, Notify::Queue(Box::new(())));
    let buffer = Arc::downgrade(&connection.buffer);
    drop(connection);
    assert_eq!(buffer.strong_count(), 1, "the outstanding receive owns a share of the buffer");
    assert_eq!(kernel.outstanding().len(), 1);
}
