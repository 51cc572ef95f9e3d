//! A wake-up call for one sleeping thread: a lane's thread waits for records, credit, room on the transport and
//! commands at the same time.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A flag that one thread waits for and any thread may set, also before the [`Bell::wait`].
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    /// Wakes the waiting thread, now or at its next wait.
    pub fn ring(&self) {
        let (is_set, wake) = &*self.0;
        *is_set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        wake.notify_one();
    }

    /// Waits for a wake-up or until `timeout` has passed, and resets the flag. Returns whether there was a wake-up.
    pub fn wait(&self, timeout: Duration) -> bool {
        let (is_set, wake) = &*self.0;
        let guard = is_set.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut guard, _) =
            wake.wait_timeout_while(guard, timeout, |is_set| !*is_set).unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *guard)
    }
}
