//! Quotas of the brokers: each answer says for how long the broker delays the next request of this client.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::time::Duration;

use rdkafka_sys as sys;

thread_local! {
    /// Longest delay reported on this thread since it began to collect.
    static LONGEST: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Runs `take`, and returns its result with the longest delay that brokers have announced meanwhile, zero for none.
pub(super) fn collect<T>(take: impl FnOnce() -> T) -> (T, Duration) {
    LONGEST.set(Duration::ZERO);
    let taken = take();
    (taken, LONGEST.take())
}

/// Called by librdkafka on the thread that takes events.
pub(super) extern "C" fn on_throttle(
    _rk: *mut sys::rd_kafka_t,
    _broker: *const c_char,
    _id: i32,
    millis: c_int,
    _opaque: *mut c_void,
) {
    let delay = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    LONGEST.set(LONGEST.get().max(delay));
}

#[cfg(test)]
mod tests {
    use std::ptr::{null, null_mut};

    use super::*;

    #[test]
    fn longest_delay_counts_and_ends_with_its_collection() {
        let announce = |millis| on_throttle(null_mut(), null(), 1, millis, null_mut());
        let ((), longest) = collect(|| [20, 3000, -1, 400].into_iter().for_each(announce));
        assert_eq!(longest, Duration::from_secs(3));
        assert_eq!(collect(|| ()).1, Duration::ZERO);
    }
}
