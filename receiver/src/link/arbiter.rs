//! Decides which sender may send on a link. Sans-IO.
//!
//! One session has the link; others stand by and take over when it ends, which gives a hot standby without further
//! means. The same process after a reconnect, or another process of the same instance name after a restart, replaces
//! its predecessor. Two live processes that keep replacing each other are contested: the one that comes back within
//! a minute is refused.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use wire::close::{Close, CloseCode};

/// Time within which a replaced process that comes back, and does not stand by, is contested.
const CONTESTED: Duration = Duration::from_secs(60);

/// Number of a session, unique within the process.
pub(crate) type SessionId = u64;

/// A session that requests the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub session: SessionId,
    pub instance: String,
    /// Random number of the sender's process.
    pub process: u128,
    /// Set by a sender that was replaced before: it waits and does not replace.
    pub stand_by: bool,
    /// Hash of the sender's topic filter.
    pub filter_hash: u64,
}

/// A decision about one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Activate(SessionId),
    /// This session waits behind the named instance.
    StandBy {
        session: SessionId,
        behind: String,
    },
    End {
        session: SessionId,
        close: Close,
    },
}

/// The process that was replaced last by another of its name.
#[derive(Debug)]
struct Replaced {
    process: u128,
    at: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Arbiter {
    active: Option<Candidate>,
    standbys: VecDeque<Candidate>,
    replaced: Option<Replaced>,
}

impl Arbiter {
    /// Decides about a sender that requests the link, where at most `standbys` stand by.
    pub(crate) fn handle_hello(&mut self, now: Instant, candidate: Candidate, standbys: usize) -> Vec<Verdict> {
        let Some(active) = &self.active else { return vec![self.activate(candidate)] };
        let same_process = candidate.process == active.process;
        let replaces = same_process || (candidate.instance == active.instance && !candidate.stand_by);
        if !replaces {
            return vec![self.stand_by(candidate, standbys)];
        }
        let replaced = self.replaced.as_ref().filter(|replaced| replaced.process == candidate.process);
        let ago = replaced.map(|replaced| now.saturating_duration_since(replaced.at)).filter(|&ago| ago < CONTESTED);
        if let Some(ago) = ago.filter(|_| !same_process) {
            let detail = format!(
                "instance {:?} was replaced {} s ago by another live process of that name; give each sender its own `instance`",
                candidate.instance,
                ago.as_secs()
            );
            return vec![end(candidate.session, CloseCode::Contested, detail)];
        }
        let detail = format!("instance {:?} connected again", candidate.instance);
        let ended = end(active.session, CloseCode::Replaced, detail);
        if !same_process {
            self.replaced = Some(Replaced { process: active.process, at: now });
        }
        vec![ended, self.activate(candidate)]
    }

    pub(crate) fn handle_end(&mut self, session: SessionId) -> Vec<Verdict> {
        self.standbys.retain(|standby| standby.session != session);
        if self.active.as_ref().is_none_or(|active| active.session != session) {
            return Vec::new();
        }
        self.active = None;
        let Some(next) = self.standbys.pop_front() else { return Vec::new() };
        let mut verdicts = vec![self.activate(next)];
        verdicts.extend(self.waiting());
        verdicts
    }

    pub(crate) fn active(&self) -> Option<&Candidate> {
        self.active.as_ref()
    }

    pub(crate) fn standbys(&self) -> usize {
        self.standbys.len()
    }

    fn activate(&mut self, candidate: Candidate) -> Verdict {
        let session = candidate.session;
        self.active = Some(candidate);
        Verdict::Activate(session)
    }

    fn stand_by(&mut self, candidate: Candidate, most: usize) -> Verdict {
        let session = candidate.session;
        let Some(active) = &self.active else { return self.activate(candidate) };
        if active.filter_hash != candidate.filter_hash {
            let detail = format!("the sender {:?}, which has the link, has another topic filter", active.instance);
            return end(session, CloseCode::StandbyFilter, detail);
        }
        let behind = active.instance.clone();
        self.standbys.retain(|standby| standby.process != candidate.process);
        if self.standbys.len() >= most {
            let detail =
                format!("{most} senders of the link stand by already: raise `links.standbys_max` of the receiver");
            return end(session, CloseCode::Busy, detail);
        }
        self.standbys.push_back(candidate);
        Verdict::StandBy { session, behind }
    }

    fn waiting(&self) -> impl Iterator<Item = Verdict> {
        let behind = self.active.as_ref().map_or_else(String::new, |active| active.instance.clone());
        self.standbys.iter().map(move |standby| Verdict::StandBy { session: standby.session, behind: behind.clone() })
    }
}

fn end(session: SessionId, code: CloseCode, detail: String) -> Verdict {
    Verdict::End { session, close: Close::new(code, detail) }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Arbiter {
        fn hello(&mut self, now: Instant, candidate: Candidate) -> Vec<Verdict> {
            self.handle_hello(now, candidate, 2)
        }
    }

    fn candidate(session: SessionId, instance: &str, process: u128) -> Candidate {
        Candidate { session, instance: instance.to_owned(), process, stand_by: false, filter_hash: 1 }
    }

    fn ended(verdicts: &[Verdict]) -> Option<(SessionId, CloseCode)> {
        verdicts.iter().find_map(|verdict| match verdict {
            Verdict::End { session, close } => Some((*session, close.code)),
            _ => None,
        })
    }

    #[test]
    fn a_second_sender_stands_by_and_takes_over() {
        let now = Instant::now();
        let mut arbiter = Arbiter::default();
        assert_eq!(arbiter.hello(now, candidate(1, "a", 1)), [Verdict::Activate(1)]);
        let behind = "a".to_owned();
        assert_eq!(arbiter.hello(now, candidate(2, "b", 2)), [Verdict::StandBy { session: 2, behind }]);
        assert_eq!(arbiter.handle_end(1), [Verdict::Activate(2)]);
        assert_eq!(arbiter.handle_end(2), []);
    }

    #[test]
    fn a_standby_that_leaves_is_forgotten() {
        let now = Instant::now();
        let mut arbiter = Arbiter::default();
        arbiter.hello(now, candidate(1, "a", 1));
        arbiter.hello(now, candidate(2, "b", 2));
        assert_eq!(arbiter.handle_end(2), []);
        assert_eq!(arbiter.handle_end(1), []);
    }

    #[test]
    fn a_restart_and_a_reconnect_replace_the_old_session() {
        let now = Instant::now();
        let mut arbiter = Arbiter::default();
        arbiter.hello(now, candidate(1, "a", 1));
        let reconnect = arbiter.hello(now, candidate(2, "a", 1));
        assert_eq!(ended(&reconnect), Some((1, CloseCode::Replaced)));
        assert_eq!(reconnect[1], Verdict::Activate(2));
        let restart = arbiter.hello(now, candidate(3, "a", 9));
        assert_eq!(ended(&restart), Some((2, CloseCode::Replaced)));
        assert_eq!(arbiter.handle_end(2), [], "the replaced session's end changes nothing");
        assert_eq!(arbiter.active().map(|active| active.session), Some(3));
    }

    #[test]
    fn two_live_processes_of_one_name_are_contested() {
        let now = Instant::now();
        let mut arbiter = Arbiter::default();
        arbiter.hello(now, candidate(1, "a", 1));
        arbiter.hello(now, candidate(2, "a", 2));
        let back = arbiter.hello(now + Duration::from_secs(59), candidate(3, "a", 1));
        assert_eq!(ended(&back), Some((3, CloseCode::Contested)));
        assert_eq!(arbiter.active().map(|active| active.process), Some(2));
        let later = arbiter.hello(now + Duration::from_secs(61), candidate(4, "a", 1));
        assert_eq!(later[1], Verdict::Activate(4));
    }

    #[test]
    fn a_replaced_sender_stands_by_when_it_says_so() {
        let now = Instant::now();
        let mut arbiter = Arbiter::default();
        arbiter.hello(now, candidate(1, "a", 1));
        arbiter.hello(now, candidate(2, "a", 2));
        let told = Candidate { stand_by: true, ..candidate(3, "a", 1) };
        assert!(matches!(arbiter.hello(now, told)[0], Verdict::StandBy { session: 3, .. }));
    }

    #[test]
    fn a_standby_with_another_filter_is_refused() {
        let now = Instant::now();
        let mut arbiter = Arbiter::default();
        arbiter.hello(now, candidate(1, "a", 1));
        let other = Candidate { filter_hash: 2, ..candidate(2, "b", 2) };
        assert_eq!(ended(&arbiter.hello(now, other)), Some((2, CloseCode::StandbyFilter)));
    }

    #[test]
    fn further_standbys_are_refused_with_the_limit() {
        let now = Instant::now();
        let mut arbiter = Arbiter::default();
        (1..=3).for_each(|n| drop(arbiter.hello(now, candidate(n, &format!("s{n}"), u128::from(n)))));
        let refused = arbiter.hello(now, candidate(4, "s4", 4));
        let [Verdict::End { session: 4, close }] = &refused[..] else { panic!("{refused:?}") };
        assert_eq!(close.code, CloseCode::Busy);
        assert!(close.detail.starts_with("2 senders") && close.detail.contains("links.standbys_max"), "{close:?}");
        let again = arbiter.hello(now, candidate(5, "s3", 3));
        assert!(matches!(again[..], [Verdict::StandBy { session: 5, .. }]), "in place of its own old connection");
    }
}
