//! A value that may change while it is used: the configuration of a running process.

use std::sync::Arc;

use tokio::sync::watch;

/// The side that changes the value.
#[derive(Debug)]
pub struct Publisher<T>(watch::Sender<Arc<T>>);

/// The side that uses the value; cloned for every task.
#[derive(Debug)]
pub struct Live<T>(watch::Receiver<Arc<T>>);

/// Makes a publisher of `value` and a first user.
pub fn channel<T>(value: T) -> (Publisher<T>, Live<T>) {
    let (sender, receiver) = watch::channel(Arc::new(value));
    (Publisher(sender), Live(receiver))
}

impl<T: Clone> Publisher<T> {
    /// The value now.
    pub fn now(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }

    /// Publishes `value` to every user, also if it is equal: the files it names may have changed.
    pub fn publish(&self, value: T) {
        self.0.send_replace(Arc::new(value));
    }
}

impl<T> Live<T> {
    /// The value now.
    pub fn now(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }

    /// The value now; [`Live::changed`] waits for one after this.
    pub fn now_and_later(&mut self) -> Arc<T> {
        Arc::clone(&self.0.borrow_and_update())
    }

    /// Waits for the next value and returns it; never returns if the publisher is gone. Cancel-safe.
    pub async fn changed(&mut self) -> Arc<T> {
        match self.0.changed().await {
            Ok(()) => Arc::clone(&self.0.borrow_and_update()),
            Err(_) => std::future::pending().await,
        }
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A value that never changes.
impl<T> From<T> for Live<T> {
    fn from(value: T) -> Self {
        channel(value).1
    }
}
