//! Log lines about events that strangers cause, which must not fill a disk: a few per kind and time.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::lock::Lock;

/// Lines of one kind that are written per [`WINDOW`].
const LINES: u32 = 5;
/// Time for which lines of a kind are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// Decides which lines are written. Kinds are few, and known to the program.
#[derive(Debug, Default)]
pub struct Sparing(Lock<HashMap<&'static str, Kind>>);

#[derive(Debug)]
struct Kind {
    since: Instant,
    written: u32,
    left_out: u64,
}

impl Sparing {
    /// Returns the number of lines of this kind that were left out since the last one; `None` leaves this one out too.
    pub fn admit(&self, kind: &'static str, now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock();
        let kind = kinds.entry(kind).or_insert(Kind { since: now, written: 0, left_out: 0 });
        if now.duration_since(kind.since) >= WINDOW {
            kind.since = now;
            kind.written = 0;
        }
        if kind.written >= LINES {
            kind.left_out += 1;
            return None;
        }
        kind.written += 1;
        Some(std::mem::take(&mut kind.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_few_and_say_how_many_were_left_out() {
        let sparing = Sparing::default();
        let start = Instant::now();
        let written = |at: Duration| sparing.admit("a", start + at);
        let first: Vec<_> = (0..1_000).filter_map(|_| written(Duration::ZERO)).collect();
        assert_eq!(first, [0; LINES as usize]);
        assert_eq!(sparing.admit("b", start), Some(0), "kinds are counted apart");
        assert_eq!(written(WINDOW), Some(1_000 - u64::from(LINES)));
        assert_eq!(written(WINDOW), Some(0));
    }
}
