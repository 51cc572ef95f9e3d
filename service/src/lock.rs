//! A mutex without poisoning: a panic in a release build aborts the process, so that no one ever sees a lock
//! that a panicking thread left behind.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A [`Mutex`] whose [`Lock::lock`] returns the guard itself.
#[derive(Debug, Default)]
pub struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
