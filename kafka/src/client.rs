//! A librdkafka instance, its queues, events and topic handles. Each is destroyed before what it depends on.

use std::ffi::{CStr, c_char, c_int};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka_sys as sys;

use super::bootstrap::Bootstrap;
use super::consumer::fetch_tap::FetchTap;
use super::error::{KafkaError, known};
use super::live_properties::retire;
use super::text::{c_string, lossy, text};
use super::{client_log, error_callback, throttle};

/// librdkafka's error texts are shorter than this.
const REASON_BYTES: usize = 512;
/// Code for a start that failed because threads could not be started, or not in time.
const OUT_OF_THREADS: sys::rd_kafka_resp_err_t = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;

/// Kind of an instance. Admin calls work with either kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Consumer,
    Producer,
}

/// A librdkafka instance with its threads. Dropping it never waits for the network: a consumer does not leave its
/// group, and a producer purges its records.
#[derive(Debug)]
pub(crate) struct Client {
    rk: NonNull<sys::rd_kafka_t>,
    kind: Kind,
    bootstrap: Bootstrap,
    /// Tap that the instance calls until it is destroyed.
    _tap: Option<Arc<FetchTap>>,
}

// SAFETY: librdkafka's instance functions are thread-safe; the handle has no thread-bound state.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// Starts an instance. `events` are the event types that its main queue delivers; librdkafka logs or drops the
    /// others.
    pub(crate) fn start(kind: Kind, settings: &[(String, String)], events: i32) -> Result<Arc<Self>, KafkaError> {
        Self::start_with(kind, settings, events, None)
    }

    /// Starts a consumer whose fetches `tap` counts. Its main queue delivers no events.
    ///
    /// One without a tap is tried before. When librdkafka cannot start an instance, it frees the interceptors of a
    /// configuration that is not its own, and they would be freed twice.
    pub(crate) fn start_tapped(settings: &[(String, String)], tap: Arc<FetchTap>) -> Result<Arc<Self>, KafkaError> {
        retire(Self::start(Kind::Consumer, settings, 0)?);
        Self::start_with(Kind::Consumer, settings, 0, Some(tap))
    }

    fn start_with(
        kind: Kind,
        settings: &[(String, String)],
        events: i32,
        tap: Option<Arc<FetchTap>>,
    ) -> Result<Arc<Self>, KafkaError> {
        let conf = Conf::of(settings)?;
        let mut reason = [0 as c_char; REASON_BYTES];
        let raw_kind = match kind {
            Kind::Consumer => sys::rd_kafka_type_t::RD_KAFKA_CONSUMER,
            Kind::Producer => sys::rd_kafka_type_t::RD_KAFKA_PRODUCER,
        };
        // SAFETY: `conf` is live, and stays ours unless the call succeeds; the callbacks are plain functions without state
        // of ours; `reason` outlives the call. The tap lives as long as the instance: both are ours below.
        let rk = unsafe {
            sys::rd_kafka_conf_set_events(conf.0, events);
            sys::rd_kafka_conf_set_log_cb(conf.0, Some(client_log::on_log));
            if kind == Kind::Consumer {
                sys::rd_kafka_conf_set_error_cb(conf.0, Some(error_callback::on_error));
            } else {
                sys::rd_kafka_conf_set_throttle_cb(conf.0, Some(throttle::on_throttle));
            }
            if let Some(tap) = &tap {
                tap.add_to(conf.0);
            }
            sys::rd_kafka_new(raw_kind, conf.0, reason.as_mut_ptr(), REASON_BYTES)
        };
        let Some(rk) = NonNull::new(rk) else {
            // SAFETY: it reads a number of this thread, always a code of librdkafka's own.
            if tap.is_some() || unsafe { sys::rd_kafka_last_error() } == OUT_OF_THREADS {
                // Its interceptors are freed already, and threads that are late may still read the configuration and call the
                // tap: they are leaked rather than freed.
                std::mem::forget(conf);
                std::mem::forget(tap);
            }
            return Err(KafkaError::misused("start of a Kafka client", text(&reason)));
        };
        // On success the configuration belongs to the instance.
        std::mem::forget(conf);
        Ok(Arc::new(Self { rk, kind, bootstrap: Bootstrap::of(settings), _tap: tap }))
    }

    pub(crate) fn raw(&self) -> *mut sys::rd_kafka_t {
        self.rk.as_ptr()
    }

    /// Takes the error of a request. If no broker has answered it, the client may know none any more: the bootstrap servers
    /// are added again, if one accepts connections. Blocks for a second per address at most.
    pub(crate) fn handle_failed(&self, error: &KafkaError) {
        if error.is_unanswered()
            && let Some(servers) = self.bootstrap.due()
        {
            tracing::debug!(servers = %servers.to_string_lossy(), "no broker answers this client; adding its servers again");
            // SAFETY: the instance is live, and copies the string.
            unsafe { sys::rd_kafka_brokers_add(self.raw(), servers.as_ptr()) };
        }
    }

    /// Has a producer send what it has for `time`, without waiting for larger batches. It takes no delivery reports.
    pub(crate) fn flush(&self, time: Duration) {
        // SAFETY: the instance is live. Reports are events, so the call serves no queue: it waits until no record is left,
        // or until the time has passed.
        unsafe { sys::rd_kafka_flush(self.raw(), millis(time)) };
    }

    /// Discards all records of a producer, whether sent or not. Its threads do so soon, and report each record.
    pub(crate) fn purge(&self) {
        let everything = sys::RD_KAFKA_PURGE_F_QUEUE | sys::RD_KAFKA_PURGE_F_INFLIGHT;
        // SAFETY: the instance is live; to a consumer the call does nothing.
        unsafe { sys::rd_kafka_purge(self.raw(), everything | sys::RD_KAFKA_PURGE_F_NON_BLOCKING) };
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.kind == Kind::Producer {
            self.purge();
        }
        // SAFETY: this is the last reference: queues, topics, events and lanes hold an `Arc` of it, and are gone. The call
        // ends the instance's threads, so no callback runs after it.
        unsafe { sys::rd_kafka_destroy_flags(self.raw(), sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE) }
        client_log::forget(self.raw().addr());
    }
}

/// A configuration that does not belong to an instance yet.
struct Conf(*mut sys::rd_kafka_conf_t);

impl Conf {
    fn of(settings: &[(String, String)]) -> Result<Self, KafkaError> {
        // SAFETY: returns a new configuration, never null.
        let conf = Self(unsafe { sys::rd_kafka_conf_new() });
        for (name, value) in settings {
            let c_name = c_string(name)?;
            let c_value = c_string(value)?;
            let mut reason = [0 as c_char; REASON_BYTES];
            // SAFETY: all pointers outlive the call, which copies the strings.
            let result = unsafe {
                sys::rd_kafka_conf_set(conf.0, c_name.as_ptr(), c_value.as_ptr(), reason.as_mut_ptr(), REASON_BYTES)
            };
            if result != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                // librdkafka quotes the value, which may be a secret: the error shows only the name.
                return Err(KafkaError::misused(
                    format!("Kafka property `{name}`"),
                    "librdkafka does not know it or does not accept its value",
                ));
            }
        }
        Ok(conf)
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        // SAFETY: we own it: an instance that takes it makes us forget it.
        unsafe { sys::rd_kafka_conf_destroy(self.0) }
    }
}

/// A queue of an instance. It keeps the instance alive.
#[derive(Debug)]
pub(crate) struct Queue {
    raw: NonNull<sys::rd_kafka_queue_t>,
    _client: Arc<Client>,
}

// SAFETY: queues are locked inside librdkafka; every function on them may be called from any thread.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// A new queue without a source.
    pub(crate) fn private(client: &Arc<Client>) -> Self {
        // SAFETY: the instance is live.
        let raw = unsafe { sys::rd_kafka_queue_new(client.raw()) };
        Self::of(raw, client).expect("librdkafka always makes a queue")
    }

    /// The queue of delivery reports and of errors of the whole instance.
    pub(crate) fn main(client: &Arc<Client>) -> Self {
        // SAFETY: the instance is live.
        let raw = unsafe { sys::rd_kafka_queue_get_main(client.raw()) };
        Self::of(raw, client).expect("every instance has a main queue")
    }

    /// The queue of errors of a whole consumer; `None` if it has no group id.
    pub(crate) fn consumer(client: &Arc<Client>) -> Option<Self> {
        // SAFETY: the instance is live.
        Self::of(unsafe { sys::rd_kafka_queue_get_consumer(client.raw()) }, client)
    }

    /// The queue of one partition's records, unless they are forwarded.
    pub(crate) fn partition(client: &Arc<Client>, topic: &CStr, partition: i32) -> Option<Self> {
        // SAFETY: the instance is live and copies the name.
        let raw = unsafe { sys::rd_kafka_queue_get_partition(client.raw(), topic.as_ptr(), partition) };
        Self::of(raw, client)
    }

    fn of(raw: *mut sys::rd_kafka_queue_t, client: &Arc<Client>) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self { raw, _client: client.clone() })
    }

    pub(crate) fn raw(&self) -> *mut sys::rd_kafka_queue_t {
        self.raw.as_ptr()
    }

    /// Returns the next event; waits for at most `timeout`, rounded up to whole milliseconds.
    pub(crate) fn poll(&self, timeout: Duration) -> Option<Event> {
        // SAFETY: the queue is live; the event belongs to us from here on.
        let raw = unsafe { sys::rd_kafka_queue_poll(self.raw(), millis(timeout)) };
        NonNull::new(raw).map(|raw| Event { raw, _client: self._client.clone() })
    }

    /// Makes [`Queue::poll`] return immediately: the call that waits now, or else the next one.
    pub(crate) fn interrupt(&self) {
        // SAFETY: the queue is live.
        unsafe { sys::rd_kafka_queue_yield(self.raw()) }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: we own it, and hold the instance.
        unsafe { sys::rd_kafka_queue_destroy(self.raw()) }
    }
}

/// An event taken from a queue. It owns all that is read from it, such as messages, results and texts. It may outlive
/// its queue, and keeps the instance alive, which its destruction uses.
#[derive(Debug)]
pub(crate) struct Event {
    raw: NonNull<sys::rd_kafka_event_t>,
    _client: Arc<Client>,
}

impl Event {
    pub(crate) fn raw(&self) -> *mut sys::rd_kafka_event_t {
        self.raw.as_ptr()
    }

    pub(crate) fn kind(&self) -> i32 {
        // SAFETY: the event is live.
        unsafe { sys::rd_kafka_event_type(self.raw()) }
    }

    /// Code and text of the error in this event, if it has one.
    pub(crate) fn error(&self) -> Option<(i32, String)> {
        // SAFETY: the event is live; the string is copied.
        unsafe {
            match coded::rd_kafka_event_error(self.raw()) {
                0 => None,
                code => Some((code, lossy(sys::rd_kafka_event_error_string(self.raw())).into_owned())),
            }
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: we own it, and hold the instance.
        unsafe { sys::rd_kafka_event_destroy(self.raw()) }
    }
}

/// A topic handle. All handles of one topic in one instance have the same address, and so do those in its messages:
/// the owner of a message is found without comparing names.
#[derive(Debug)]
pub(crate) struct Topic {
    raw: NonNull<sys::rd_kafka_topic_t>,
    _client: Arc<Client>,
}

// SAFETY: topic handles are reference-counted and locked inside librdkafka.
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

impl Topic {
    /// Makes the handle of a topic. Records that are written with it are compressed with `codec`, if the client has it, and
    /// else as the client's properties say.
    pub(crate) fn open(client: &Arc<Client>, name: &str, codec: Option<&CStr>) -> Result<Self, KafkaError> {
        let c_name = c_string(name)?;
        let settings = codec.map_or(ptr::null_mut(), |codec| settings_with(client, codec));
        // SAFETY: the instance is live and copies the name; it takes the settings over, and null means the default ones. It
        // does not fail with a valid name.
        let raw = unsafe { sys::rd_kafka_topic_new(client.raw(), c_name.as_ptr(), settings) };
        NonNull::new(raw).map(|raw| Self { raw, _client: client.clone() }).ok_or_else(|| {
            KafkaError::misused(format!("handle for topic `{name}`"), "librdkafka does not accept this topic name")
        })
    }

    pub(crate) fn raw(&self) -> *mut sys::rd_kafka_topic_t {
        self.raw.as_ptr()
    }

    /// Address that identifies the messages of this topic.
    pub(crate) fn address(&self) -> usize {
        self.raw.as_ptr().addr()
    }
}

/// Makes settings of a topic with this codec. The caller owns them. A codec that the client does not have is left out.
fn settings_with(client: &Client, codec: &CStr) -> *mut sys::rd_kafka_topic_conf_t {
    let mut reason = [0 as c_char; 512];
    // SAFETY: the instance is live; the copy of its defaults, the name, the codec and `reason` are live during the call.
    unsafe {
        let settings = sys::rd_kafka_default_topic_conf_dup(client.raw());
        let name = c"compression.codec".as_ptr();
        sys::rd_kafka_topic_conf_set(settings, name, codec.as_ptr(), reason.as_mut_ptr(), reason.len());
        settings
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: we own it, and hold the instance.
        unsafe { sys::rd_kafka_topic_destroy(self.raw()) }
    }
}

/// Turns an owned `rd_kafka_error_t` into a result; null is success.
///
/// # Safety
/// `error` must come from a librdkafka call that passes its ownership on.
pub(crate) unsafe fn check(error: *mut sys::rd_kafka_error_t) -> Result<(), CallError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a live error object with no other owner; it is read before it is destroyed.
    unsafe {
        let failed = CallError {
            code: coded::rd_kafka_error_code(error),
            reason: lossy(sys::rd_kafka_error_string(error)).into_owned(),
            retriable: sys::rd_kafka_error_is_retriable(error) != 0,
        };
        sys::rd_kafka_error_destroy(error);
        Err(failed)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct CallError {
    pub(crate) code: i32,
    pub(crate) reason: String,
    pub(crate) retriable: bool,
}

impl CallError {
    pub(crate) fn is(&self, code: sys::rd_kafka_resp_err_t) -> bool {
        known(self.code) == Some(code)
    }

    pub(crate) fn while_doing(self, doing: impl Into<String>) -> KafkaError {
        KafkaError::coded(doing, self.code, self.reason)
    }
}

/// The instance's fatal error, if there is one: it is the cause of all errors that later calls return.
pub(crate) fn fatal(client: &Client) -> Option<(i32, String)> {
    let mut reason = [0 as c_char; REASON_BYTES];
    // SAFETY: the instance is live and `reason` is as long as stated.
    match unsafe { coded::rd_kafka_fatal_error(client.raw(), reason.as_mut_ptr(), REASON_BYTES) } {
        0 => None,
        code => Some((code, text(&reason))),
    }
}

/// Returns librdkafka's text for an error code.
pub(crate) fn reason_of(code: i32) -> String {
    known(code).map_or_else(
        || format!("error code {code}, which this client does not know"),
        // SAFETY: a static string, copied.
        |code| unsafe { lossy(sys::rd_kafka_err2str(code)).into_owned() },
    )
}

/// Returns whole milliseconds, rounded up so that a short wait is not a busy loop.
pub(crate) fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX)
}

/// Calls that return a broker's error code or another number. The bindings declare an enum as their result: with the
/// unknown code of a newer broker that would be undefined behaviour. Here they return the plain number.
pub(crate) mod coded {
    use std::ffi::{c_char, c_int};

    use rdkafka_sys as sys;

    unsafe extern "C" {
        pub(crate) fn rd_kafka_error_code(error: *const sys::rd_kafka_error_t) -> c_int;
        pub(crate) fn rd_kafka_event_error(event: *mut sys::rd_kafka_event_t) -> c_int;
        pub(crate) fn rd_kafka_fatal_error(rk: *mut sys::rd_kafka_t, reason: *mut c_char, size: usize) -> c_int;
        pub(crate) fn rd_kafka_metadata(
            rk: *mut sys::rd_kafka_t,
            all_topics: c_int,
            only: *mut sys::rd_kafka_topic_t,
            metadata: *mut *const sys::rd_kafka_metadata,
            timeout_ms: c_int,
        ) -> c_int;
        pub(crate) fn rd_kafka_topic_result_error(result: *const sys::rd_kafka_topic_result_t) -> c_int;
        pub(crate) fn rd_kafka_ConfigEntry_source(entry: *const sys::rd_kafka_ConfigEntry_t) -> c_int;
        pub(crate) fn rd_kafka_ConfigResource_error(resource: *const sys::rd_kafka_ConfigResource_t) -> c_int;
    }
}
