//! Count of the bytes of record batches that brokers send to a consumer. librdkafka states neither the length of a batch
//! nor its codec, and its statistics count records after decompression (`rxbytes` of a partition) or every answer of a
//! broker (`rxbytes` of a broker). But it shows the length of each request and answer to interceptors: that of the answer
//! to a fetch, less what it would be without records, is the length of its batches.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rdkafka_sys as sys;
use service::lock::Lock;

/// Kafka's number of the request for records.
const FETCH: i16 = 1;
/// Lengths of requests that are remembered. A request names partitions; those whose queues are full are left out.
const LENGTHS_MAX: usize = 1_024;
/// Bytes of an answer, and of a request, without partitions, as they usually are.
const ANSWER: u64 = 16;
const REQUEST: u64 = 64;
/// Bytes of a request without partitions, at most.
const REQUEST_MAX: u64 = 200;
const NAME: &CStr = c"causeway-fetched";

/// Bytes of record batches that the brokers have sent to a consumer.
#[derive(Debug, Clone, Default)]
pub struct FetchedBytes(Arc<AtomicU64>);

impl FetchedBytes {
    /// Returns the bytes so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Tap of one client instance.
#[derive(Debug)]
pub(crate) struct FetchTap {
    fetched: FetchedBytes,
    lengths: Lock<Lengths>,
}

/// Lengths of fetches and of their answers, by broker.
#[derive(Debug, Default)]
struct Lengths {
    /// Length of the request that each broker has.
    asked: HashMap<i32, u64>,
    /// Length of the shortest answer to requests of one length: that is one without records, if there was any.
    shortest: HashMap<(i32, u64), u64>,
}

impl Lengths {
    fn handle_request(&mut self, broker: i32, length: u64) {
        self.asked.insert(broker, length);
    }

    /// Returns the bytes of the batches in an answer.
    fn handle_answer(&mut self, broker: i32, length: u64) -> u64 {
        let Some(asked) = self.asked.remove(&broker) else { return 0 };
        if length + REQUEST_MAX < asked {
            // It has an error in place of the partitions.
            return 0;
        }
        if self.shortest.len() >= LENGTHS_MAX {
            self.shortest.clear();
        }
        // An answer has about a fifth more bytes for each partition than the request.
        let expected = ANSWER + asked.saturating_sub(REQUEST) * 6 / 5;
        let shortest = self.shortest.entry((broker, asked)).or_insert(expected);
        *shortest = length.min(*shortest);
        length - *shortest
    }
}

impl FetchTap {
    pub(crate) fn new(fetched: FetchedBytes) -> Arc<Self> {
        Arc::new(Self { fetched, lengths: Lock::default() })
    }

    /// Adds the tap to a configuration.
    ///
    /// # Safety
    /// The configuration must be live, and not be copied. The tap must live longer than the instance that takes it over.
    pub(crate) unsafe fn add_to(self: &Arc<Self>, conf: *mut sys::rd_kafka_conf_t) {
        let tap = Arc::as_ptr(self).cast_mut().cast();
        // SAFETY: the caller keeps the configuration and the tap alive; the name is copied. It fails only for a name that is
        // there already.
        unsafe { sys::rd_kafka_conf_interceptor_add_on_new(conf, NAME.as_ptr(), Some(on_new), tap) };
    }
}

/// Called by librdkafka while it makes an instance, before that has threads.
unsafe extern "C" fn on_new(
    rk: *mut sys::rd_kafka_t,
    _conf: *const sys::rd_kafka_conf_t,
    tap: *mut c_void,
    _reason: *mut c_char,
    _reason_len: usize,
) -> sys::rd_kafka_resp_err_t {
    // SAFETY: the instance is being made, when interceptors may be added; the name is copied, and the tap outlives it.
    unsafe {
        plain::rd_kafka_interceptor_add_on_request_sent(rk, NAME.as_ptr(), on_request, tap);
        plain::rd_kafka_interceptor_add_on_response_received(rk, NAME.as_ptr(), on_answer, tap);
    }
    sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// Called by librdkafka's broker threads; it must neither wait nor call librdkafka.
unsafe extern "C" fn on_request(
    _rk: *mut sys::rd_kafka_t,
    _socket: c_int,
    _broker_name: *const c_char,
    broker: i32,
    api: i16,
    _version: i16,
    _correlation: i32,
    length: usize,
    tap: *mut c_void,
) -> c_int {
    if api == FETCH {
        // SAFETY: `add_to` made it from a tap that outlives the instance.
        let tap = unsafe { &*tap.cast::<FetchTap>() };
        tap.lengths.lock().handle_request(broker, length as u64);
    }
    0
}

/// Called by librdkafka's broker threads; it must neither wait nor call librdkafka.
unsafe extern "C" fn on_answer(
    _rk: *mut sys::rd_kafka_t,
    _socket: c_int,
    _broker_name: *const c_char,
    broker: i32,
    api: i16,
    _version: i16,
    _correlation: i32,
    length: usize,
    _rtt: i64,
    error: c_int,
    tap: *mut c_void,
) -> c_int {
    if api == FETCH && error == 0 && length > 0 {
        // SAFETY: as in `on_request`.
        let tap = unsafe { &*tap.cast::<FetchTap>() };
        let bytes = tap.lengths.lock().handle_answer(broker, length as u64);
        tap.fetched.0.fetch_add(bytes, Ordering::Relaxed);
    }
    0
}

/// Registration of callbacks that get and return error codes as plain numbers: the bindings declare an enum, with which an
/// unknown code would be undefined behaviour.
mod plain {
    use std::ffi::{c_char, c_int, c_void};

    use rdkafka_sys as sys;

    type OnRequest = unsafe extern "C" fn(
        *mut sys::rd_kafka_t,
        c_int,
        *const c_char,
        i32,
        i16,
        i16,
        i32,
        usize,
        *mut c_void,
    ) -> c_int;
    type OnAnswer = unsafe extern "C" fn(
        *mut sys::rd_kafka_t,
        c_int,
        *const c_char,
        i32,
        i16,
        i16,
        i32,
        usize,
        i64,
        c_int,
        *mut c_void,
    ) -> c_int;

    unsafe extern "C" {
        pub(super) fn rd_kafka_interceptor_add_on_request_sent(
            rk: *mut sys::rd_kafka_t,
            name: *const c_char,
            callback: OnRequest,
            opaque: *mut c_void,
        ) -> c_int;
        pub(super) fn rd_kafka_interceptor_add_on_response_received(
            rk: *mut sys::rd_kafka_t,
            name: *const c_char,
            callback: OnAnswer,
            opaque: *mut c_void,
        ) -> c_int;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the answers to a request for partitions that has this length.
    fn fetch(lengths: &mut Lengths, asked: u64, answer: u64) -> u64 {
        lengths.handle_request(1, asked);
        lengths.handle_answer(1, answer)
    }

    #[test]
    fn what_an_answer_has_without_records_does_not_count() {
        let mut lengths = Lengths::default();
        // A thousand partitions: the first answer has records, the next ones show what it is without.
        assert_eq!(fetch(&mut lengths, 51_000, 59_000), 0, "nothing is known yet");
        assert_eq!(fetch(&mut lengths, 51_000, 58_000), 0);
        assert_eq!(fetch(&mut lengths, 51_000, 58_400), 400);
        // Those of one partition.
        assert_eq!(fetch(&mut lengths, 124, 1_000_000), 1_000_000 - 88);
        assert_eq!(fetch(&mut lengths, 124, 80), 0);
        assert_eq!(fetch(&mut lengths, 124, 1_000_000), 1_000_000 - 80);
    }

    #[test]
    fn an_answer_that_is_an_error_says_nothing_about_others() {
        let mut lengths = Lengths::default();
        assert_eq!(fetch(&mut lengths, 51_000, 58_000), 0);
        assert_eq!(fetch(&mut lengths, 51_000, 20), 0);
        assert_eq!(fetch(&mut lengths, 51_000, 58_400), 400);
    }

    #[test]
    fn an_answer_without_a_request_does_not_count() {
        let mut lengths = Lengths::default();
        assert_eq!(lengths.handle_answer(1, 1_000), 0);
        for asked in 0..5_000 {
            fetch(&mut lengths, asked, asked);
        }
        assert!(lengths.shortest.len() <= LENGTHS_MAX);
    }
}
