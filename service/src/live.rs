//! Something that may change while it is used: the configuration of a running process.

use std::sync::Arc;

use tokio::sync::watch;

/// The side that changes it.
#[derive(Debug)]
pub struct Publisher<T>(watch::Sender<Arc<T>>);

/// The side that uses it; cloned for every task.
#[derive(Debug)]
pub struct Live<T>(watch::Receiver<Arc<T>>);

/// A value and who may change it.
pub fn channel<T>(value: T) -> (Publisher<T>, Live<T>) {
    let (sender, receiver) = watch::channel(Arc::new(value));
    (Publisher(sender), Live(receiver))
}

impl<T: Clone> Publisher<T> {
    /// The value now.
    pub fn now(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }

    /// Shows every user `value`, also where it is the same: what it names may be another.
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

    /// Waits for the next value and returns it; for ever where nobody can publish one. Cancel-safe.
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

/// A value that stays.
impl<T> From<T> for Live<T> {
    fn from(value: T) -> Self {
        channel(value).1
    }
}
