//! Who may send on a link. Sans-IO.
//!
//! One session holds the link; further ones stand by and take over when it ends: a hot standby for
//! nothing. The same process reconnecting, or another process of the same instance name (a restart),
//! replaces its predecessor. Two live processes that keep replacing each other are contested, and the one
//! that comes back within a minute stays out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use wire::close::CloseCode;

/// A replaced process that comes back within this, without having been told to stand by, is contested.
const CONTESTED: Duration = Duration::from_secs(60);

/// Standbys beyond this are turned away.
const STANDBYS_MAX: usize = 8;

/// Names a session within the process.
pub type SessionId = u64;

/// Who asks for the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The session.
    pub session: SessionId,
    /// The sender's instance name.
    pub instance: String,
    /// The sender process's random number.
    pub process: u128,
    /// The sender was replaced before: it waits rather than replaces.
    pub stand_by: bool,
    /// The sender's topic filter.
    pub filter_hash: u64,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The link is this session's.
    Activate(SessionId),
    /// This session waits behind the named instance.
    StandBy {
        /// Who waits.
        session: SessionId,
        /// The instance that holds the link.
        behind: String,
    },
    /// This session ends.
    End {
        /// Which.
        session: SessionId,
        /// Why.
        code: CloseCode,
        /// For people.
        detail: String,
    },
}

/// The sessions of one link.
#[derive(Debug, Default)]
pub struct Arbiter {
    active: Option<Candidate>,
    standbys: VecDeque<Candidate>,
    /// The process last replaced by another of its name, and when.
    replaced: Option<(u128, Instant)>,
}

impl Arbiter {
    /// A sender asks for the link.
    pub fn handle_hello(&mut self, now: Instant, candidate: Candidate) -> Vec<Verdict> {
        let Some(active) = &self.active else { return vec![self.activate(candidate)] };
        let same_process = candidate.process == active.process;
        let replaces = same_process || (candidate.instance == active.instance && !candidate.stand_by);
        if !replaces {
            return vec![self.stand_by(candidate)];
        }
        let returning = self
            .replaced
            .is_some_and(|(process, at)| process == candidate.process && now.saturating_duration_since(at) < CONTESTED);
        if returning && !same_process {
            let detail = format!(
                "instance {:?} was replaced {} s ago by another live process of that name; give each sender its own `instance`",
                candidate.instance,
                self.replaced.map_or(0, |(_, at)| now.saturating_duration_since(at).as_secs())
            );
            return vec![Verdict::End { session: candidate.session, code: CloseCode::Contested, detail }];
        }
        let ended = self.replace(now, same_process, &candidate);
        vec![ended, self.activate(candidate)]
    }

    /// A session ended, for whatever reason.
    pub fn handle_end(&mut self, session: SessionId) -> Vec<Verdict> {
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

    /// The session that holds the link.
    pub fn active(&self) -> Option<&Candidate> {
        self.active.as_ref()
    }

    /// How many wait.
    pub fn standbys(&self) -> usize {
        self.standbys.len()
    }

    fn activate(&mut self, candidate: Candidate) -> Verdict {
        let session = candidate.session;
        self.active = Some(candidate);
        Verdict::Activate(session)
    }

    fn replace(&mut self, now: Instant, same_process: bool, by: &Candidate) -> Verdict {
        let Some(old) = self.active.take() else { return Verdict::Activate(by.session) };
        if !same_process {
            self.replaced = Some((old.process, now));
        }
        let detail = format!("instance {:?} connected again", by.instance);
        Verdict::End { session: old.session, code: CloseCode::Replaced, detail }
    }

    fn stand_by(&mut self, candidate: Candidate) -> Verdict {
        let session = candidate.session;
        let end = |code, detail| Verdict::End { session, code, detail };
        let Some(active) = &self.active else { return self.activate(candidate) };
        if active.filter_hash != candidate.filter_hash {
            let detail = format!("the sender {:?}, which holds the link, has another topic filter", active.instance);
            return end(CloseCode::StandbyFilter, detail);
        }
        if self.standbys.len() >= STANDBYS_MAX {
            return end(CloseCode::Busy, format!("{STANDBYS_MAX} senders stand by already"));
        }
        let behind = active.instance.clone();
        self.standbys.retain(|standby| standby.process != candidate.process);
        self.standbys.push_back(candidate);
        Verdict::StandBy { session, behind }
    }

    fn waiting(&self) -> impl Iterator<Item = Verdict> {
        let behind = self.active.as_ref().map_or_else(String::new, |active| active.instance.clone());
        self.standbys.iter().map(move |standby| Verdict::StandBy { session: standby.session, behind: behind.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(session: SessionId, instance: &str, process: u128) -> Candidate {
        Candidate { session, instance: instance.to_owned(), process, stand_by: false, filter_hash: 1 }
    }

    fn ended(verdicts: &[Verdict]) -> Option<(SessionId, CloseCode)> {
        verdicts.iter().find_map(|verdict| match verdict {
            Verdict::End { session, code, .. } => Some((*session, *code)),
            _ => None,
        })
    }

    #[test]
    fn a_second_sender_stands_by_and_takes_over() {
        let now = Instant::now();
        let mut arbiter = Arbiter::default();
        assert_eq!(arbiter.handle_hello(now, candidate(1, "a", 1)), [Verdict::Activate(1)]);
        let behind = "a".to_owned();
        assert_eq!(arbiter.handle_hello(now, candidate(2, "b", 2)), [Verdict::StandBy { session: 2, behind }]);
        assert_eq!(arbiter.handle_end(1), [Verdict::Activate(2)]);
        assert_eq!(arbiter.handle_end(2), []);
    }

    #[test]
    fn a_standby_that_leaves_is_forgotten() {
        let now = Instant::now();
        let mut arbiter = Arbiter::default();
        arbiter.handle_hello(now, candidate(1, "a", 1));
        arbiter.handle_hello(now, candidate(2, "b", 2));
        assert_eq!(arbiter.handle_end(2), []);
        assert_eq!(arbiter.handle_end(1), []);
    }

    #[test]
    fn a_restart_and_a_reconnect_replace_the_old_session() {
        let now = Instant::now();
        let mut arbiter = Arbiter::default();
        arbiter.handle_hello(now, candidate(1, "a", 1));
        let reconnect = arbiter.handle_hello(now, candidate(2, "a", 1));
        assert_eq!(ended(&reconnect), Some((1, CloseCode::Replaced)));
        assert_eq!(reconnect[1], Verdict::Activate(2));
        let restart = arbiter.handle_hello(now, candidate(3, "a", 9));
        assert_eq!(ended(&restart), Some((2, CloseCode::Replaced)));
        assert_eq!(arbiter.handle_end(2), [], "the replaced session's end changes nothing");
        assert_eq!(arbiter.active().map(|active| active.session), Some(3));
    }

    #[test]
    fn two_live_processes_of_one_name_are_contested() {
        let now = Instant::now();
        let mut arbiter = Arbiter::default();
        arbiter.handle_hello(now, candidate(1, "a", 1));
        arbiter.handle_hello(now, candidate(2, "a", 2));
        let back = arbiter.handle_hello(now + Duration::from_secs(59), candidate(3, "a", 1));
        assert_eq!(ended(&back), Some((3, CloseCode::Contested)));
        assert_eq!(arbiter.active().map(|active| active.process), Some(2));
        let later = arbiter.handle_hello(now + Duration::from_secs(61), candidate(4, "a", 1));
        assert_eq!(later[1], Verdict::Activate(4));
    }

    #[test]
    fn a_replaced_sender_that_was_told_stands_by() {
        let now = Instant::now();
        let mut arbiter = Arbiter::default();
        arbiter.handle_hello(now, candidate(1, "a", 1));
        arbiter.handle_hello(now, candidate(2, "a", 2));
        let told = Candidate { stand_by: true, ..candidate(3, "a", 1) };
        assert!(matches!(arbiter.handle_hello(now, told)[0], Verdict::StandBy { session: 3, .. }));
    }

    #[test]
    fn a_standby_with_another_filter_is_refused() {
        let now = Instant::now();
        let mut arbiter = Arbiter::default();
        arbiter.handle_hello(now, candidate(1, "a", 1));
        let other = Candidate { filter_hash: 2, ..candidate(2, "b", 2) };
        assert_eq!(ended(&arbiter.handle_hello(now, other)), Some((2, CloseCode::StandbyFilter)));
    }
}
