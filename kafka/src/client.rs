//! One librdkafka instance, its queues, events and topic handles, each destroyed before what it needs.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka_sys as sys;

use super::asides;
use super::error::{KafkaError, known};

/// librdkafka's error texts are shorter than this.
const REASON_BYTES: usize = 512;

/// What an instance is for. Admin calls go through either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Consumer,
    Producer,
}

/// A librdkafka instance with its threads. Dropping it never waits for the network: consumers do not
/// leave politely, producers purge what they hold.
#[derive(Debug)]
pub(crate) struct Client {
    rk: NonNull<sys::rd_kafka_t>,
    kind: Kind,
}

// SAFETY: librdkafka's instance functions are thread-safe; nothing thread-bound hangs on the handle.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// Starts an instance. `events` are the event types that its main queue delivers; those not asked
    /// for are logged by librdkafka or dropped.
    pub(crate) fn start(kind: Kind, settings: &[(String, String)], events: i32) -> Result<Arc<Self>, KafkaError> {
        let conf = Conf::of(settings)?;
        let mut reason = [0 as c_char; REASON_BYTES];
        let raw_kind = match kind {
            Kind::Consumer => sys::rd_kafka_type_t::RD_KAFKA_CONSUMER,
            Kind::Producer => sys::rd_kafka_type_t::RD_KAFKA_PRODUCER,
        };
        // SAFETY: `conf` is live; the callback is a plain function; `reason` outlives the call.
        let rk = unsafe {
            sys::rd_kafka_conf_set_events(conf.0, events);
            sys::rd_kafka_conf_set_log_cb(conf.0, Some(on_log));
            if kind == Kind::Consumer {
                sys::rd_kafka_conf_set_error_cb(conf.0, Some(asides::on_error));
            }
            sys::rd_kafka_new(raw_kind, conf.0, reason.as_mut_ptr(), REASON_BYTES)
        };
        let rk = NonNull::new(rk).ok_or_else(|| KafkaError::misused("start of a Kafka client", text(&reason)))?;
        // On success the configuration belongs to the instance.
        std::mem::forget(conf);
        Ok(Arc::new(Self { rk, kind }))
    }

    pub(crate) fn raw(&self) -> *mut sys::rd_kafka_t {
        self.rk.as_ptr()
    }

    /// Has a producer's threads give up what it holds, sent or not; they report it when they come to it.
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
        // SAFETY: the last reference: queues, topics and lanes hold an `Arc` of us and are gone.
        unsafe { sys::rd_kafka_destroy_flags(self.raw(), sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE) }
    }
}

/// A configuration that no instance has taken yet.
struct Conf(*mut sys::rd_kafka_conf_t);

impl Conf {
    fn of(settings: &[(String, String)]) -> Result<Self, KafkaError> {
        // SAFETY: returns a new configuration, never null.
        let conf = Self(unsafe { sys::rd_kafka_conf_new() });
        for (name, value) in settings {
            let (c_name, c_value) = (c_string(name)?, c_string(value)?);
            let mut reason = [0 as c_char; REASON_BYTES];
            // SAFETY: all pointers outlive the call, which copies the strings.
            let result = unsafe {
                let (name, value) = (c_name.as_ptr(), c_value.as_ptr());
                sys::rd_kafka_conf_set(conf.0, name, value, reason.as_mut_ptr(), REASON_BYTES)
            };
            if result != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                // The value may be a secret, and librdkafka quotes it: only the name is repeated.
                return Err(KafkaError::misused(
                    format!("Kafka property `{name}`"),
                    "unknown, or a value it does not take",
                ));
            }
        }
        Ok(conf)
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        // SAFETY: ours until an instance takes it, and then we are forgotten.
        unsafe { sys::rd_kafka_conf_destroy(self.0) }
    }
}

/// Called by librdkafka on any of its threads.
extern "C" fn on_log(_rk: *const sys::rd_kafka_t, level: c_int, facility: *const c_char, line: *const c_char) {
    // SAFETY: librdkafka passes two strings that live as long as the call.
    let (facility, line) = unsafe { (lossy(facility), lossy(line)) };
    let facility = &*facility;
    match level {
        // Producers that are dropped with records in them: how a failed transaction ends here.
        _ if facility == "TERMINATE" => tracing::debug!(target: "librdkafka", facility, "{line}"),
        0..=2 => tracing::error!(target: "librdkafka", facility, "{line}"),
        3 | 4 => tracing::warn!(target: "librdkafka", facility, "{line}"),
        5 => tracing::info!(target: "librdkafka", facility, "{line}"),
        _ => tracing::debug!(target: "librdkafka", facility, "{line}"),
    }
}

/// A queue of an instance, which it keeps alive.
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
    /// A queue that nothing flows into yet.
    pub(crate) fn private(client: &Arc<Client>) -> Self {
        // SAFETY: the instance is live.
        let raw = unsafe { sys::rd_kafka_queue_new(client.raw()) };
        Self::of(raw, client).expect("librdkafka always makes a queue")
    }

    /// Where delivery reports and instance-wide errors arrive.
    pub(crate) fn main(client: &Arc<Client>) -> Self {
        // SAFETY: the instance is live.
        let raw = unsafe { sys::rd_kafka_queue_get_main(client.raw()) };
        Self::of(raw, client).expect("every instance has a main queue")
    }

    /// Where a consumer's instance-wide errors arrive; `None` unless it has a group.
    pub(crate) fn consumer(client: &Arc<Client>) -> Option<Self> {
        // SAFETY: the instance is live.
        Self::of(unsafe { sys::rd_kafka_queue_get_consumer(client.raw()) }, client)
    }

    /// Where one partition's records arrive unless they are forwarded.
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

    /// The next event, waiting for at most `timeout` (rounded up to whole milliseconds).
    pub(crate) fn poll(&self, timeout: Duration) -> Option<Event> {
        // SAFETY: the queue is live; the event becomes ours.
        NonNull::new(unsafe { sys::rd_kafka_queue_poll(self.raw(), millis(timeout)) }).map(Event)
    }

    /// Makes a waiting [`Queue::poll`] return at once, now or at its next call.
    pub(crate) fn interrupt(&self) {
        // SAFETY: the queue is live.
        unsafe { sys::rd_kafka_queue_yield(self.raw()) }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: ours, and the instance is still held.
        unsafe { sys::rd_kafka_queue_destroy(self.raw()) }
    }
}

/// An event taken from a queue; everything read from it dies with it.
#[derive(Debug)]
pub(crate) struct Event(NonNull<sys::rd_kafka_event_t>);

impl Event {
    pub(crate) fn raw(&self) -> *mut sys::rd_kafka_event_t {
        self.0.as_ptr()
    }

    pub(crate) fn kind(&self) -> i32 {
        // SAFETY: the event is live.
        unsafe { sys::rd_kafka_event_type(self.raw()) }
    }

    /// The error the event carries: code and words.
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
        // SAFETY: ours.
        unsafe { sys::rd_kafka_event_destroy(self.raw()) }
    }
}

/// A topic handle. Handles of one topic in one instance have the same address, which is also the one
/// in its messages: that is how a message finds its owner without comparing names.
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
    pub(crate) fn open(client: &Arc<Client>, name: &str) -> Result<Self, KafkaError> {
        let c_name = c_string(name)?;
        // SAFETY: the instance is live and copies the name; null stands for the default settings.
        let raw = unsafe { sys::rd_kafka_topic_new(client.raw(), c_name.as_ptr(), ptr::null_mut()) };
        NonNull::new(raw)
            .map(|raw| Self { raw, _client: client.clone() })
            .ok_or_else(|| KafkaError::misused(format!("handle for topic `{name}`"), "not a topic name"))
    }

    pub(crate) fn raw(&self) -> *mut sys::rd_kafka_topic_t {
        self.raw.as_ptr()
    }

    /// What messages of this topic are told by.
    pub(crate) fn address(&self) -> usize {
        self.raw.as_ptr().addr()
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: ours, and the instance is still held.
        unsafe { sys::rd_kafka_topic_destroy(self.raw()) }
    }
}

/// An owned `rd_kafka_error_t`, or success.
///
/// # Safety
/// `error` must come from a librdkafka call that passes its ownership on.
pub(crate) unsafe fn check(error: *mut sys::rd_kafka_error_t) -> Result<(), CallError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a live error object that nobody else holds; read before it is destroyed.
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

/// What a call said instead of success.
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

/// The instance's fatal error, if one was raised: the cause behind whatever calls return after it.
pub(crate) fn fatal(client: &Client) -> Option<(i32, String)> {
    let mut reason = [0 as c_char; REASON_BYTES];
    // SAFETY: the instance is live and `reason` is as long as stated.
    match unsafe { coded::rd_kafka_fatal_error(client.raw(), reason.as_mut_ptr(), REASON_BYTES) } {
        0 => None,
        code => Some((code, text(&reason))),
    }
}

/// librdkafka's words for a code.
pub(crate) fn reason_of(code: i32) -> String {
    known(code).map_or_else(
        || format!("error code {code}, which this client does not know"),
        // SAFETY: a static string, copied.
        |code| unsafe { lossy(sys::rd_kafka_err2str(code)).into_owned() },
    )
}

pub(crate) fn c_string(value: &str) -> Result<CString, KafkaError> {
    CString::new(value).map_err(|_| KafkaError::misused("a name or value for librdkafka", "it contains a NUL byte"))
}

/// Whole milliseconds as C wants them, rounded up so that a short wait is not a busy loop.
pub(crate) fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX)
}

/// # Safety
/// `raw` must be null or a C string that lives for `'a`.
pub(crate) unsafe fn lossy<'a>(raw: *const c_char) -> std::borrow::Cow<'a, str> {
    if raw.is_null() {
        return "".into();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(raw) }.to_string_lossy()
}

/// # Safety
/// `data` must be null or point to `len` bytes that live for `'a`.
pub(crate) unsafe fn bytes<'a>(data: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller promises.
    (!data.is_null()).then(|| unsafe { std::slice::from_raw_parts(data.cast(), len) })
}

pub(crate) fn text(reason: &[c_char]) -> String {
    let bytes: Vec<u8> = reason.iter().map(|&c| c.to_ne_bytes()[0]).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Calls that pass on a broker's error code or other number. The bindings declare them with an enum, which a newer
/// broker's code would turn into undefined behaviour; here they return the plain number.
pub(crate) mod coded {
    use std::ffi::{c_char, c_int};

    use rdkafka_sys as sys;

    unsafe extern "C" {
        pub(crate) fn rd_kafka_error_code(error: *const sys::rd_kafka_error_t) -> c_int;
        pub(crate) fn rd_kafka_event_error(event: *mut sys::rd_kafka_event_t) -> c_int;
        pub(crate) fn rd_kafka_fatal_error(rk: *mut sys::rd_kafka_t, reason: *mut c_char, size: usize) -> c_int;
        pub(crate) fn rd_kafka_topic_result_error(result: *const sys::rd_kafka_topic_result_t) -> c_int;
        pub(crate) fn rd_kafka_ConfigEntry_source(entry: *const sys::rd_kafka_ConfigEntry_t) -> c_int;
        pub(crate) fn rd_kafka_ConfigResource_error(resource: *const sys::rd_kafka_ConfigResource_t) -> c_int;
    }
}
