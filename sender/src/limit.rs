//! What keeps a sender from being faster, or from having caught up: one answer, from what it shows of itself.

use serde::{Deserialize, Serialize};

use crate::status::{State, Status};

/// Credit is used up, for an operator, from this part of it on: the last of it is seldom a whole frame.
const USED_UP: f64 = 0.9;

/// The budget is what limits, for an operator, once something waits for it half of the time.
const WAITS: f64 = 0.5;

/// What limits a sender now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Nothing: the target has everything.
    #[default]
    Nothing,
    /// Another sender holds the link.
    Standby,
    /// There is no session.
    Session,
    /// Lanes are closed.
    Lanes,
    /// The rate is used up: packets wait for it.
    Budget,
    /// All credit is in use: what was sent is not committed yet.
    Credit,
    /// What was sent is under way, and there is credit for more.
    Path,
    /// Nothing is under way: what is missing was not read yet, or is halted.
    Source,
}

impl Limit {
    /// Every one.
    pub const ALL: &[Self] = &[
        Self::Nothing,
        Self::Standby,
        Self::Session,
        Self::Lanes,
        Self::Budget,
        Self::Credit,
        Self::Path,
        Self::Source,
    ];

    /// What limits the sender that shows `status`.
    pub fn of(status: &Status) -> Self {
        let credit = status.credit_used_bytes.zip(status.credit_bytes);
        match status.state {
            State::Standby { .. } => Self::Standby,
            State::Starting => Self::Source,
            State::Connecting => Self::Session,
            State::Active if status.lanes_open < status.lanes => Self::Lanes,
            State::Active if status.lag_records == Some(0) => Self::Nothing,
            State::Active if status.rate.waiting >= WAITS => Self::Budget,
            State::Active if credit.is_some_and(|(used, all)| used as f64 >= all as f64 * USED_UP) => Self::Credit,
            State::Active if status.in_flight_bytes > 0 => Self::Path,
            State::Active => Self::Source,
        }
    }

    /// The word in `status --json` and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Standby => "standby",
            Self::Session => "session",
            Self::Lanes => "lanes",
            Self::Budget => "budget",
            Self::Credit => "credit",
            Self::Path => "path",
            Self::Source => "source",
        }
    }

    /// For people: what it means, and where to look.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Standby => "another sender holds the link: ask that one",
            Self::Session => "there is no session: look at what is wrong, then at the receiver",
            Self::Lanes => "lanes are closed: look at the target and at the receiver's log",
            Self::Budget => "the budget: packets wait for the rate that holds; `causeway rate` shows it",
            Self::Credit => "all credit is in use: the target commits slower, or `memory` is too little for this path",
            Self::Path => "the path: frames are under way and there is credit for more",
            Self::Source => "the source: nothing is under way; what is missing is not read yet, or halted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_limits_a_sender_is_told_from_what_it_shows() {
        let active = Status {
            state: State::Active,
            lanes: 8,
            lanes_open: 8,
            lag_records: Some(5),
            credit_bytes: Some(100),
            credit_used_bytes: Some(10),
            in_flight_bytes: 10,
            ..Status::default()
        };
        type Change = fn(&mut Status);
        let table: &[(Change, Limit)] = &[
            (|_| (), Limit::Path),
            (|s| s.in_flight_bytes = 0, Limit::Source),
            (|s| s.credit_used_bytes = Some(90), Limit::Credit),
            (|s| s.credit_used_bytes = Some(89), Limit::Path),
            (|s| (s.rate.waiting, s.credit_used_bytes) = (0.5, Some(90)), Limit::Budget),
            (|s| s.rate.waiting = 0.49, Limit::Path),
            (|s| s.lag_records = Some(0), Limit::Nothing),
            (|s| s.lag_records = None, Limit::Path),
            (|s| s.lanes_open = 7, Limit::Lanes),
            (|s| s.state = State::Connecting, Limit::Session),
            (|s| s.state = State::Starting, Limit::Source),
            (|s| s.state = State::Standby { behind: "b".into() }, Limit::Standby),
        ];
        for (case, (change, expected)) in table.iter().enumerate() {
            let mut status = active.clone();
            change(&mut status);
            assert_eq!(Limit::of(&status), *expected, "case {case}");
        }
        assert!(Limit::ALL.iter().all(|limit| serde_json::json!(limit) == limit.word()));
    }
}
