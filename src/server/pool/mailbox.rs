//! A queue by which a thread is handed connections, with a waker for the thread that reads it.
//!
//! Each end learns when the other is gone. When the sender is dropped, the reader knows that no more comes. An item for
//! a reader that is gone is dropped, which closes the connection.

use std::mem;
use std::sync::Arc;

use crate::server::wait::Waker;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, lock};

/// Makes a queue whose reader is woken by `waker`.
pub(in crate::server) fn mailbox<T>(waker: Waker) -> (MailSender<T>, Mailbox<T>) {
    let queue = Mutex::new(Queue { items: Vec::new(), is_closed: false, is_abandoned: false });
    let shared = Arc::new(Shared { has_items: AtomicBool::new(false), queue });
    (MailSender { shared: Arc::clone(&shared), waker }, Mailbox { shared })
}

struct Shared<T> {
    /// Whether items wait. It is written under the lock, and read without: the reader looks after each wait, and mostly
    /// finds nothing.
    has_items: AtomicBool,
    queue: Mutex<Queue<T>>,
}

struct Queue<T> {
    items: Vec<T>,
    /// The sender is gone.
    is_closed: bool,
    /// The reader is gone.
    is_abandoned: bool,
}

/// The sending end. Dropping it tells the reader that no more comes.
pub(in crate::server) struct MailSender<T> {
    shared: Arc<Shared<T>>,
    waker: Waker,
}

impl<T> MailSender<T> {
    /// Hands an item over. If the reader is gone, the item is dropped.
    pub(in crate::server) fn send(&self, item: T) {
        let mut queue = lock(&self.shared.queue);
        if queue.is_abandoned {
            // Not under the lock, since dropping a connection closes it.
            drop(queue);
            return drop(item);
        }
        queue.items.push(item);
        self.shared.has_items.store(true, Ordering::Release);
        let is_first = queue.items.len() == 1;
        drop(queue);
        // The reader takes all items at once. If others wait before this one, it was woken already.
        if is_first {
            (self.waker)();
        }
    }

    /// Wakes the reader.
    pub(in crate::server) fn waker(&self) -> &Waker {
        &self.waker
    }
}

impl<T> Drop for MailSender<T> {
    fn drop(&mut self) {
        lock(&self.shared.queue).is_closed = true;
        (self.waker)();
    }
}

/// The reading end.
pub(in crate::server) struct Mailbox<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Mailbox<T> {
    /// The items that came since the last call. Look after each wait.
    #[inline]
    pub(in crate::server) fn take(&mut self) -> Vec<T> {
        // An item that is not seen yet has its wake-up still to come.
        if !self.shared.has_items.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut queue = lock(&self.shared.queue);
        self.shared.has_items.store(false, Ordering::Release);
        mem::take(&mut queue.items)
    }

    /// Whether it is empty and no more will come.
    pub(in crate::server) fn is_over(&self) -> bool {
        let queue = lock(&self.shared.queue);
        queue.is_closed && queue.items.is_empty()
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        let mut queue = lock(&self.shared.queue);
        queue.is_abandoned = true;
        let left = mem::take(&mut queue.items);
        drop(queue);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn counted() -> (Arc<AtomicUsize>, MailSender<Arc<()>>, Mailbox<Arc<()>>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let of_waker = Arc::clone(&wakes);
        let (sender, mailbox) = mailbox(Arc::new(move || {
            of_waker.fetch_add(1, Ordering::AcqRel);
        }));
        (wakes, sender, mailbox)
    }

    #[test]
    fn the_reader_is_woken_once_for_all_that_wait_together() {
        let (wakes, sender, mut mailbox) = counted();
        (0..3).for_each(|_| sender.send(Arc::default()));
        assert_eq!((wakes.load(Ordering::Acquire), mailbox.take().len()), (1, 3));
        sender.send(Arc::default());
        assert_eq!((wakes.load(Ordering::Acquire), mailbox.take().len()), (2, 1));
    }

    #[test]
    fn it_is_over_when_the_sender_is_gone_and_everything_was_taken() {
        let (wakes, sender, mut mailbox) = counted();
        sender.send(Arc::default());
        assert!(!mailbox.is_over());
        drop(sender);
        assert_eq!(wakes.load(Ordering::Acquire), 2, "the reader looks once more");
        assert!(!mailbox.is_over(), "one is still to be taken");
        mailbox.take();
        assert!(mailbox.is_over());
    }

    #[test]
    fn what_the_reader_can_no_longer_take_is_dropped_at_once() {
        let (_, sender, mailbox) = counted();
        let item = Arc::new(());
        sender.send(Arc::clone(&item));
        drop(mailbox);
        assert_eq!(Arc::strong_count(&item), 1);
        sender.send(Arc::clone(&item));
        assert_eq!(Arc::strong_count(&item), 1);
    }
}
