//! Watch over the look-ups of a cluster, which tells whether it can be reached. Sans-IO.

use std::time::{Duration, Instant};

/// Interval between two look-ups of a cluster by which a process tells whether it is reachable.
pub const INTERVAL: Duration = Duration::from_millis(2500);
/// Silence of a cluster after which the status names it, whether or not the look-up in flight has failed yet.
const NAMED_AFTER: Duration = Duration::from_secs(8);
/// Silence after which a cluster whose last look-up failed is unreachable: one hung broker of several causes less.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(15);

/// Outcome of the look-ups so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterWatch {
    /// Time of the last answer.
    answered: Option<Instant>,
    /// Reason why the last look-up failed; `None` if it did not.
    failure: Option<String>,
}

impl ClusterWatch {
    /// Takes in a look-up: the cluster answered, or the look-up failed as a whole for this reason.
    pub fn handle(&mut self, now: Instant, answer: Result<(), String>) {
        if answer.is_ok() {
            self.answered = Some(now);
        }
        self.failure = answer.err();
    }

    /// Returns the time since the last answer; `None` before the first.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.answered.map(|at| now.saturating_duration_since(at))
    }

    /// Returns the problem of the cluster, if it has one.
    pub fn trouble(&self, now: Instant) -> Option<String> {
        let silence = self.age(now).filter(|age| *age >= NAMED_AFTER);
        let silence = silence.map(|age| format!("no answer for {} s", age.as_secs()));
        self.failure.clone().or(silence)
    }

    /// Returns why the cluster counts as unreachable, if it does.
    pub fn unreachable(&self, now: Instant) -> Option<String> {
        let failure = self.failure.as_ref()?;
        match self.age(now) {
            None => Some(failure.clone()),
            Some(age) => (age >= UNREACHABLE_AFTER).then(|| format!("no answer for {} s: {failure}", age.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_named_before_a_cluster_counts_as_unreachable() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watch = ClusterWatch::default();
        assert_eq!((watch.trouble(at(100)), watch.unreachable(at(100))), (None, None), "nothing was asked yet");
        watch.handle(start, Ok(()));
        assert_eq!((watch.trouble(at(7)), watch.unreachable(at(7))), (None, None));
        assert_eq!(watch.trouble(at(8)).as_deref(), Some("no answer for 8 s"));
        assert_eq!(watch.unreachable(at(60)), None, "a slow look-up has not failed");
        watch.handle(at(12), Err("timed out".into()));
        assert_eq!((watch.trouble(at(14)).as_deref(), watch.unreachable(at(14))), (Some("timed out"), None));
        assert_eq!(watch.unreachable(at(15)).as_deref(), Some("no answer for 15 s: timed out"));
        watch.handle(at(16), Ok(()));
        assert_eq!((watch.trouble(at(17)), watch.unreachable(at(40))), (None, None));
    }

    #[test]
    fn a_cluster_without_any_answer_is_unreachable_once_it_failed() {
        let mut watch = ClusterWatch::default();
        watch.handle(Instant::now(), Err("no route".into()));
        assert_eq!(watch.unreachable(Instant::now()).as_deref(), Some("no route"));
    }
}
