//! Accepts on one thread for models that hand connections to others: one AcceptEx at a time, reported by an event.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use socket2::Socket;

use super::accept_ex::{AcceptExListener, PendingAccept};
use crate::server::{Accept, Context, ServerPhase, Session};
use crate::sys::event::Event;

/// Accepts on this thread until `phase` is no longer `Run`, and gives each admitted connection to `serve`. To drain, it
/// also takes those that wait at the listener then. Then closes the listener, with nothing outstanding. `wake` ends a
/// wait, so that `phase` is looked at.
///
/// # Errors
/// AcceptEx can't be looked up. Or those of `serve`, or of a wait. If the last wait fails, for an accept that was
/// cancelled, that accept is still outstanding, and its memory is leaked.
pub(in crate::server) fn accept_until_drain(
    listener: TcpListener,
    context: &Arc<Context>,
    wake: Event,
    phase: impl Fn() -> ServerPhase,
    serve: impl FnMut(Socket, Session) -> io::Result<()>,
) -> io::Result<()> {
    accept_on(AcceptExListener::new(listener)?, context, wake, phase, serve)
}

fn accept_on(
    listener: AcceptExListener,
    context: &Arc<Context>,
    wake: Event,
    phase: impl Fn() -> ServerPhase,
    mut serve: impl FnMut(Socket, Session) -> io::Result<()>,
) -> io::Result<()> {
    // The event resets itself: an accept that was found complete without a wait may signal it late, after the next one
    // has begun, and every wait would return at once while it stays signalled.
    let accepted = Event::auto()?;
    let event = Arc::new(accepted.try_clone()?);
    let listener = Arc::new(listener);
    let mut accept = PendingAccept::new(context, Arc::clone(&listener), (), Some(event));
    let events = [wake, accepted];
    let mut take = |result: io::Result<Socket>| match result {
        // If the connection is not admitted, its socket is closed here.
        Ok(socket) => {
            Session::admit(context, &socket).map_or(Ok(None), |session| serve(socket, session).map(|()| None))
        }
        Err(e) => Ok(Some(context.accept_failed(&e))),
    };
    let result = loop {
        if phase() != ServerPhase::Run {
            break Ok(());
        }
        let step = if accept.is_outstanding() {
            // Under load it has completed by now, and no wait is needed.
            match accept.finish_signalled() {
                Some(result) => take(result),
                None => Event::wait_any(&events, None).map(|_| None),
            }
        } else {
            accept.begin().map_or_else(|e| take(Err(e)), |()| Ok(None))
        };
        match step {
            Ok(None | Some(Accept::Again)) => {}
            // The wake ends the pause early, because the phase has changed.
            Ok(Some(Accept::After(pause))) => {
                if let Err(e) = Event::wait_any(&events[..1], Some(pause)) {
                    break Err(e);
                }
            }
            Err(e) => break Err(e),
        }
    };
    end(&mut accept, &events[1..], &mut take)?;
    if result.is_ok() && phase() == ServerPhase::Drain {
        let rest = listener.accept_rest(context);
        drop((accept, listener));
        for socket in rest {
            take(Ok(socket))?;
        }
    }
    result
}

/// Cancels the accept, and waits until nothing is outstanding. A cancelled accept still completes, perhaps with a
/// connection, which is then served like any other.
fn end(
    accept: &mut PendingAccept<()>,
    accepted: &[Event],
    take: &mut impl FnMut(io::Result<Socket>) -> io::Result<Option<Accept>>,
) -> io::Result<()> {
    accept.cancel();
    while accept.is_outstanding() {
        match accept.finish_signalled() {
            Some(result) => {
                result.map_or(Ok(None), |socket| take(Ok(socket)))?;
            }
            None => {
                Event::wait_any(accepted, None)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::server::Options;
    use crate::sys;

    /// Accepts on a listener without AcceptEx until `limit` accepts have failed. Returns their number and the time.
    fn fail_accepts(limit: u64, wake: Event) -> (u64, Duration) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let listener = AcceptExListener::without_accept_ex(listener);
        let context = Arc::new(Context::new(Options::default(), channel().0));
        let phase = || if context.snapshot().accept_errors < limit { ServerPhase::Run } else { ServerPhase::Drain };
        let begin = Instant::now();
        accept_on(listener, &context, wake, phase, |_, _| unreachable!("nothing is accepted"))
            .expect("failed accepts do not end the listener");
        (context.snapshot().accept_errors, begin.elapsed())
    }

    #[test]
    fn a_drain_closes_the_listener_before_it_serves_those_who_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("the listener is bound");
        let [_first, gone, _last] = [(); 3].map(|()| TcpStream::connect(address).expect("the backlog has room"));
        sys::close_with_reset(&gone);
        drop(gone);
        let context = Arc::new(Context::new(Options::default(), channel().0));
        let wake = Event::manual().expect("an event can be made");
        let mut served = Vec::new();
        let serve = |socket, session| {
            if served.is_empty() {
                TcpStream::connect(address).expect_err("the listener is closed");
            }
            served.push((session, socket));
            Ok(())
        };
        accept_until_drain(listener, &context, wake, || ServerPhase::Drain, serve).expect("it drains");
        // Whether the one that was reset is accepted is up to the system.
        assert!(served.len() >= 2, "{} were served", served.len());
    }

    #[test]
    fn an_accept_that_fails_for_lack_of_resources_is_tried_again_after_a_pause() {
        let (tries, time) = fail_accepts(5, Event::auto().expect("an event can be made"));
        // Five pauses of 20 ms, each of which may end one tick of 15.6 ms early.
        assert!(tries == 5 && time >= 5 * Duration::from_millis(4), "{tries} tries in {time:?}");
    }

    #[test]
    fn a_wake_ends_the_pause() {
        let wake = Event::manual().expect("an event can be made");
        wake.set();
        let begin = Instant::now();
        let (tries, _) = fail_accepts(1000, wake);
        // The pauses would take 20 s.
        assert!(tries == 1000 && begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    }
}
