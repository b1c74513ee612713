//! Locks that outlive a panic. The data under them stays whole when a thread panics, because each change of it is a
//! single step; the end of that thread reports the panic, so other threads need not fail too.

use std::sync::{LockResult, MutexGuard, PoisonError};

/// Files whose interleavings are explored take these from here, because `interleavings/` has others in their place.
pub(crate) use std::sync::{Mutex, atomic};

/// Locks a mutex whose data stays whole when a thread panics.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    whole(mutex.lock())
}

/// The result of a lock or of a wait on a condition, whose data stays whole when a thread panics.
pub(crate) fn whole<T>(result: LockResult<T>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_can_be_taken_after_a_thread_has_panicked_with_it() {
        let mutex = Mutex::new(1);
        let panicked = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                *lock(&mutex) += 1;
                let _held = lock(&mutex);
                panic!("the test panics");
            });
            thread.join().is_err()
        });
        assert!(panicked && mutex.is_poisoned());
        assert_eq!(*lock(&mutex), 2);
    }
}
