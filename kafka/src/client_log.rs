//! Levels at which librdkafka's log lines appear in ours.
//!
//! A cluster that has just started has no transaction coordinator for some seconds. librdkafka warns of each
//! attempt to reach it, although nothing is wrong. Such a retry becomes a warning only once retrying has lasted
//! [`PATIENCE`], or the client has also reported another problem. While a cluster cannot be reached, each client repeats
//! itself many times per second: [`Repeats`] lets few lines through, and counts the others.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{c_char, c_int};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use tracing::Level;

use super::text::lossy;

/// Time for which a client may retry before its retries are warnings.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time without a retry after which the next one belongs to a new problem. librdkafka retries every 500 ms.
const PAUSE: Duration = Duration::from_secs(5);

/// Warnings and errors of one subject that are logged within [`REPEATS_WITHIN`].
const REPEATS_MAX: u32 = 10;
const REPEATS_WITHIN: Duration = Duration::from_secs(10);
/// Subjects that are counted; librdkafka has about 100.
const SUBJECTS_MAX: usize = 256;

/// Lines of all clients, by subject. Clients of one process mostly have the same trouble.
static REPEATS: Mutex<Repeats> = Mutex::new(Repeats(BTreeMap::new()));

/// Clients that retry, by the address of their instance.
static RETRYING: Mutex<Option<HashMap<usize, Retries>>> = Mutex::new(None);

#[derive(Debug, Clone, Copy)]
struct Retries {
    since: Instant,
    last: Instant,
    /// The client has reported another problem meanwhile.
    suspect: bool,
}

/// Counts of repeated lines.
#[derive(Debug)]
struct Repeats(BTreeMap<(Level, String), Repeated>);

#[derive(Debug, Clone, Copy)]
struct Repeated {
    since: Instant,
    logged: u32,
    left_out: u64,
}

impl Repeats {
    /// Returns whether a line of this level and subject is logged, and then how many were left out before it.
    fn admit(&mut self, now: Instant, level: Level, subject: &str) -> Option<u64> {
        if level > Level::WARN {
            return Some(0);
        }
        let key = (level, subject.to_owned());
        if !self.0.contains_key(&key) && self.0.len() >= SUBJECTS_MAX {
            return Some(0);
        }
        let new = Repeated { since: now, logged: 0, left_out: 0 };
        let repeated = self.0.entry(key).or_insert(new);
        let mut before = 0;
        if now.saturating_duration_since(repeated.since) >= REPEATS_WITHIN {
            before = repeated.left_out;
            *repeated = new;
        }
        if repeated.logged == REPEATS_MAX {
            repeated.left_out += 1;
            return None;
        }
        repeated.logged += 1;
        Some(before)
    }
}

/// Returns the level for one log line of a client, and records what it says of the client's retries.
fn level_of(retries: &mut Option<Retries>, now: Instant, severity: c_int, facility: &str, line: &str) -> Level {
    if facility == "TERMINATE" {
        // A producer was dropped with records in it: a failed transaction always ends like this.
        return Level::DEBUG;
    }
    if facility == "GETPID" && line.ends_with("retrying") {
        let series = retries.take().filter(|retries| now.saturating_duration_since(retries.last) < PAUSE);
        let series =
            series.map_or(Retries { since: now, last: now, suspect: false }, |series| Retries { last: now, ..series });
        *retries = Some(series);
        let lasting = now.saturating_duration_since(series.since) >= PATIENCE;
        return if lasting || series.suspect { Level::WARN } else { Level::DEBUG };
    }
    // The severities of syslog: 3 is an error, 4 a warning, 5 a notice.
    let level = match severity {
        0..=2 => Level::ERROR,
        3 | 4 => Level::WARN,
        5 => Level::INFO,
        _ => Level::DEBUG,
    };
    if let Some(series) = retries {
        series.suspect |= level <= Level::WARN;
    }
    level
}

/// Called by librdkafka on any of its threads.
pub(super) extern "C" fn on_log(
    rk: *const sys::rd_kafka_t,
    severity: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    // SAFETY: librdkafka passes a string that lives as long as the call.
    let facility = unsafe { lossy(facility) };
    // SAFETY: likewise.
    let line = unsafe { lossy(line) };
    let level = with_retries(rk.addr(), |retries| level_of(retries, Instant::now(), severity, &facility, &line));
    let facility = &*facility;
    let mut repeats = REPEATS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(left_out) = repeats.admit(Instant::now(), level, facility) else { return };
    drop(repeats);
    let line = match left_out {
        0 => line,
        count => format!("{line} ({count} such lines were left out before)").into(),
    };
    match level {
        Level::ERROR => tracing::error!(target: "librdkafka", facility, "{line}"),
        Level::WARN => tracing::warn!(target: "librdkafka", facility, "{line}"),
        Level::INFO => tracing::info!(target: "librdkafka", facility, "{line}"),
        _ => tracing::debug!(target: "librdkafka", facility, "{line}"),
    }
}

/// Returns whether an instance retries to get its producer id.
pub(super) fn retries(instance: usize) -> bool {
    with_retries(instance, |retries| retries.is_some())
}

/// Forgets the retries of an instance that is gone: another one may get its address.
pub(super) fn forget(instance: usize) {
    with_retries(instance, |retries| *retries = None);
}

fn with_retries<T>(instance: usize, act: impl FnOnce(&mut Option<Retries>) -> T) -> T {
    let mut clients = RETRYING.lock().unwrap_or_else(PoisonError::into_inner);
    let clients = clients.get_or_insert_default();
    let mut retries = clients.remove(&instance);
    let result = act(&mut retries);
    clients.extend(retries.map(|retries| (instance, retries)));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "[thrd:main]: Failed to acquire transactional PID from broker a:9092/1: Broker: \
                        Coordinator load in progress: retrying";

    /// Levels of a client's lines, each with the milliseconds at which it comes.
    fn levels(lines: &[(u64, c_int, &str, &str)]) -> Vec<Level> {
        let start = Instant::now();
        let mut retries = None;
        let level = |&(ms, severity, facility, line): &(u64, c_int, &str, &str)| {
            level_of(&mut retries, start + Duration::from_millis(ms), severity, facility, line)
        };
        lines.iter().map(level).collect()
    }

    #[test]
    fn retries_are_warnings_only_once_they_last() {
        let retry = |ms| (ms, 4, "GETPID", LINE);
        let lines: Vec<_> = (0..=20).map(|n| retry(n * 500)).collect();
        let found = levels(&lines);
        assert!(found[..20].iter().all(|&level| level == Level::DEBUG), "{found:?}");
        assert_eq!(found[20], Level::WARN);
        // A pause begins another series.
        assert_eq!(levels(&[retry(0), retry(4_000), retry(9_500), retry(14_000)])[3], Level::DEBUG);
    }

    #[test]
    fn a_retry_after_another_problem_is_a_warning() {
        let lines = [
            (0, 4, "GETPID", LINE),
            (100, 6, "INFO", "connected"),
            (500, 4, "GETPID", LINE),
            (700, 3, "FAIL", "connection refused"),
            (1_000, 4, "GETPID", LINE),
        ];
        assert_eq!(levels(&lines), [Level::DEBUG, Level::DEBUG, Level::DEBUG, Level::WARN, Level::WARN]);
    }

    #[test]
    fn repeated_lines_are_counted_and_few_are_logged() {
        let start = Instant::now();
        let mut repeats = Repeats(BTreeMap::new());
        let mut admit = |ms, level, subject: &str| repeats.admit(start + Duration::from_millis(ms), level, subject);
        let logged = (0..200).filter(|n| admit(n * 50, Level::ERROR, "ALLBROKERSDOWN").is_some()).count();
        assert_eq!(logged, 10, "20 per second for 10 s");
        assert_eq!(admit(9_999, Level::ERROR, "FAIL"), Some(0), "another subject");
        assert_eq!(admit(9_999, Level::WARN, "ALLBROKERSDOWN"), Some(0), "another level");
        assert_eq!(admit(10_000, Level::ERROR, "ALLBROKERSDOWN"), Some(190));
        assert_eq!(admit(10_001, Level::ERROR, "ALLBROKERSDOWN"), Some(0));
        assert!((0..50).all(|n| admit(n, Level::DEBUG, "FETCH").is_some()), "whoever asks for debug lines gets them");
    }

    #[test]
    fn severities_keep_their_meaning() {
        let lines = [(0, 2, "X", "a"), (0, 3, "X", "b"), (0, 5, "X", "c"), (0, 7, "X", "d"), (0, 3, "TERMINATE", "e")];
        assert_eq!(levels(&lines), [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::DEBUG]);
        assert_eq!(levels(&[(0, 4, "GETPID", "Failed to acquire PID: fatal")]), [Level::WARN]);
    }
}
