//! An admin call: its options, its own queue for the answer, the wait, and the arrays in the answer.

use std::ffi::c_char;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as Operation;

use crate::catalog::Isolation;
use crate::client::{Client, Event, Queue, check, millis};
use crate::error::KafkaError;
use crate::text::text;

/// Time limit of an admin call.
pub(super) const LIMIT: Duration = Duration::from_secs(30);
/// Time within which librdkafka itself must report that a call has reached its limit. A call to several brokers has two
/// parts, each with the same limit: it finds the brokers, then asks them.
const GRACE: Duration = Duration::from_secs(5);

/// An admin call that has not been made yet.
pub(crate) struct Call<'a> {
    client: &'a Arc<Client>,
    doing: String,
    options: Options,
    limit: Duration,
}

struct Options(NonNull<sys::rd_kafka_AdminOptions_t>);

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: we own it.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0.as_ptr()) }
    }
}

impl<'a> Call<'a> {
    pub(crate) fn new(client: &'a Arc<Client>, operation: Operation, doing: String) -> Result<Self, KafkaError> {
        // SAFETY: the instance is live.
        let options = NonNull::new(unsafe { sys::rd_kafka_AdminOptions_new(client.raw(), operation) })
            .map(Options)
            .ok_or_else(|| KafkaError::misused(&doing, "this librdkafka does not support the call"))?;
        Self { client, doing, options, limit: LIMIT }.within(LIMIT)
    }

    /// Sets the time limit of the call, and of each broker's part in it.
    pub(crate) fn within(self, limit: Duration) -> Result<Self, KafkaError> {
        let mut reason = [0 as c_char; 512];
        // SAFETY: the options are live and `reason` is as long as stated. The code is the client's own.
        let code = unsafe {
            let options = self.options.0.as_ptr();
            sys::rd_kafka_AdminOptions_set_request_timeout(options, millis(limit), reason.as_mut_ptr(), reason.len())
        };
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(KafkaError::misused(self.doing, text(&reason)));
        }
        Ok(Self { limit, ..self })
    }

    pub(super) fn isolated(self, isolation: Isolation) -> Result<Self, KafkaError> {
        let level = match isolation {
            Isolation::Committed => sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
            Isolation::Uncommitted => sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
        };
        // SAFETY: the options are live; the error is passed on to `check`.
        unsafe { check(sys::rd_kafka_AdminOptions_set_isolation_level(self.options.0.as_ptr(), level)) }
            .map_err(|error| error.while_doing(&self.doing))?;
        Ok(self)
    }

    /// Asks which operations this user may perform, too.
    pub(super) fn with_rights(self) -> Result<Self, KafkaError> {
        // SAFETY: the options are live; the error is passed on to `check`.
        unsafe { check(sys::rd_kafka_AdminOptions_set_include_authorized_operations(self.options.0.as_ptr(), 1)) }
            .map_err(|error| error.while_doing(&self.doing))?;
        Ok(self)
    }

    /// Makes the call and waits for its answer.
    pub(super) fn answer(
        self,
        submit: impl FnOnce(*mut sys::rd_kafka_t, *mut sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
    ) -> Result<Event, KafkaError> {
        self.submit(submit).answer()
    }

    /// Makes the call. `submit` passes the three handles to librdkafka, which copies its arguments. An answer that comes
    /// too late is dropped with the queue, which librdkafka counts references to.
    pub(crate) fn submit(
        self,
        submit: impl FnOnce(*mut sys::rd_kafka_t, *mut sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
    ) -> Submitted {
        let queue = Queue::private(self.client);
        submit(self.client.raw(), self.options.0.as_ptr(), queue.raw());
        Submitted { doing: self.doing, limit: self.limit, queue, client: Arc::clone(self.client) }
    }
}

/// An admin call that was made.
pub(crate) struct Submitted {
    doing: String,
    limit: Duration,
    queue: Queue,
    client: Arc<Client>,
}

impl Submitted {
    /// Waits for the answer.
    pub(super) fn answer(self) -> Result<Event, KafkaError> {
        let event = self.queue.poll(self.limit * 2 + GRACE);
        self.judge(event)
    }

    fn judge(&self, event: Option<Event>) -> Result<Event, KafkaError> {
        let Self { doing, limit, .. } = self;
        let event = event.ok_or_else(|| KafkaError::timed_out(doing, *limit)).and_then(|event| match event.error() {
            None => Ok(event),
            Some((code, reason)) => Err(KafkaError::coded(doing, code, reason)),
        });
        event.inspect_err(|error| self.client.handle_failed(error))
    }
}

/// Returns the pointers of an array in an answer.
///
/// # Safety
/// `array` and `count` must be what librdkafka returned, and outlive `'a`.
pub(super) unsafe fn lent<'a, T>(array: *mut *const T, count: usize) -> &'a [*const T] {
    if array.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(array, count) }
}

/// Objects that a call borrows. They are destroyed after it.
pub(super) struct Owned<T> {
    pub(super) raw: Vec<*mut T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    pub(super) fn new(destroy: unsafe extern "C" fn(*mut T)) -> Self {
        Self { raw: Vec::new(), destroy }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        for &object in &self.raw {
            // SAFETY: the matching constructor made each for us, and we destroy it once.
            unsafe { (self.destroy)(object) }
        }
    }
}
