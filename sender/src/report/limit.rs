//! What keeps a sender from being faster, or from having caught up: one answer, by evidence. Sans-IO.
//!
//! The lane that idles least is the witness. It idles where the source has nothing more; it works where the
//! processor is the limit; it waits for room where the transport is, which is the budget's fault as long as the
//! budget is used up, and else the path's; it waits for credit where what it sent comes to no end. What was acked of
//! late then tells where that hangs: under way, or in the target.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use transport::congestion;

use crate::report::latency::Lately;
use crate::report::sampler::Shares;
use crate::report::status::State;

/// The busiest lane must spend this part of its time on something for that to be the limit.
const MOST: f64 = 0.5;

/// The budget is used up from this part of it on: pacing and small frames keep a link from the last of it.
const USED_UP: f64 = 0.9;

/// So it is, for an operator, once packets wait for it half of the time.
const WAITS: f64 = 0.5;

/// Bytes that take so many round trips were not under way all the time: they stood in the sender's own queue.
const QUEUED: f64 = 2.0;

/// A receiver that acks nothing for so long, and at least four round trips, holds on to what it has.
const SILENT: Duration = Duration::from_secs(3);

/// A receiver is alive that answered a question about its clock within this time; it is asked every 2 s.
const ALIVE: Duration = Duration::from_secs(7);

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
    /// Lanes have nothing more to read.
    Source,
    /// A lane's thread is busy.
    Cpu,
    /// The rate is used up.
    Budget,
    /// The path takes no more.
    Path,
    /// The receiver grants no more credit, and it is not the target that it waits for.
    Receiver,
    /// What the receiver has waits for the target.
    Target,
}

/// What is known of a sender.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Where it stands.
    pub state: State,
    /// How many lanes there are.
    pub lanes: usize,
    /// How many of them are open.
    pub lanes_open: usize,
    /// How far behind the target is.
    pub lag_records: Option<u64>,
    /// The time of the lane that idles least, over the last seconds.
    pub busiest: Shares,
    /// The part of the rate that left over the last seconds; 0 without a rate.
    pub budget_used: f64,
    /// The part of the last seconds in which packets waited for the rate.
    pub budget_waits: f64,
    /// What keeps the congestion controller from allowing more, in a session.
    pub controller: Option<congestion::Limit>,
    /// The path's round trip without queues.
    pub base_rtt_seconds: Option<f64>,
    /// Where acked frames spent their time.
    pub lately: Lately,
}

impl Evidence {
    /// What limits the rate of a sender that has its lanes and is behind.
    fn rate_limit(&self) -> Limit {
        let Shares { works, credit, room } = self.busiest;
        if credit + room + works < MOST {
            return Limit::Source;
        }
        if works >= credit.max(room) {
            Limit::Cpu
        } else if room >= credit || self.budget_is_used_up() {
            self.transport()
        } else {
            self.credit()
        }
    }

    fn budget_is_used_up(&self) -> bool {
        let full = self.controller == Some(congestion::Limit::Budget);
        full || self.budget_used >= USED_UP || self.budget_waits >= WAITS
    }

    fn transport(&self) -> Limit {
        if self.budget_is_used_up() { Limit::Budget } else { Limit::Path }
    }

    /// There is no credit: what was sent is not acked. Why not?
    fn credit(&self) -> Limit {
        let Lately { transit, held, acked, heard } = self.lately;
        let rtt = self.base_rtt_seconds.unwrap_or_default();
        let silence = SILENT.max(Duration::from_secs_f64(4.0 * rtt));
        if acked.is_none_or(|acked| acked > silence) {
            // Nothing at all comes back but, as long as the path is there, the time.
            return if heard.is_some_and(|heard| heard <= ALIVE) { Limit::Target } else { Limit::Path };
        }
        match (transit, held) {
            (Some(transit), Some(held)) if held < transit => {
                if transit.as_secs_f64() > QUEUED * rtt {
                    self.transport()
                } else {
                    Limit::Receiver
                }
            }
            (Some(_), Some(_)) => Limit::Target,
            _ => Limit::Receiver,
        }
    }
}

impl Limit {
    /// Every one.
    pub const ALL: &[Self] = &[
        Self::Nothing,
        Self::Standby,
        Self::Session,
        Self::Lanes,
        Self::Source,
        Self::Cpu,
        Self::Budget,
        Self::Path,
        Self::Receiver,
        Self::Target,
    ];

    /// What limits a sender of which this is known.
    pub fn of(evidence: &Evidence) -> Self {
        match evidence.state {
            State::Standby { .. } => Self::Standby,
            State::Starting => Self::Source,
            State::Connecting => Self::Session,
            State::Active if evidence.lanes_open < evidence.lanes => Self::Lanes,
            State::Active if evidence.lag_records == Some(0) => Self::Nothing,
            State::Active => evidence.rate_limit(),
        }
    }

    /// The word in `status --json` and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Standby => "standby",
            Self::Session => "session",
            Self::Lanes => "lanes",
            Self::Source => "source",
            Self::Cpu => "cpu",
            Self::Budget => "budget",
            Self::Path => "path",
            Self::Receiver => "receiver",
            Self::Target => "target",
        }
    }

    /// For people: what it means, and where to look.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Standby => "another sender holds the link: ask that one",
            Self::Session => "there is no session: look at what is wrong, then at the receiver",
            Self::Lanes => "lanes are closed: look at the target and at the receiver's log",
            Self::Source => "the source: what is missing is not read yet, or halted",
            Self::Cpu => "the processor: a lane packs and compresses all the time; more lanes, or a cheaper `codec`",
            Self::Budget => "the budget: `rate` is used up",
            Self::Path => "the path: it takes no more, and the budget is not used up",
            Self::Receiver => "the receiver: all its credit is in use; its `memory` is too little for this path",
            Self::Target => "the target: what has arrived waits to be committed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A sender whose busiest lane has half a second of every second to spare for what a case says.
    fn active() -> Evidence {
        Evidence {
            state: State::Active,
            lanes: 8,
            lanes_open: 8,
            lag_records: Some(5),
            busiest: Shares::default(),
            budget_used: 0.5,
            budget_waits: 0.1,
            controller: Some(congestion::Limit::Path),
            base_rtt_seconds: Some(0.2),
            lately: Lately {
                transit: Some(MS * 100),
                held: Some(MS * 20),
                acked: Some(MS * 10),
                heard: Some(MS * 1500),
            },
        }
    }

    type Case = (fn(&mut Evidence), Limit);

    fn assert_table(table: &[Case]) {
        for (case, (change, expected)) in table.iter().enumerate() {
            let mut evidence = active();
            change(&mut evidence);
            assert_eq!(Limit::of(&evidence), *expected, "case {case}: {evidence:?}");
        }
    }

    #[test]
    fn what_stops_a_sender_comes_before_what_slows_it() {
        assert_table(&[
            (|e| e.lag_records = Some(0), Limit::Nothing),
            (|e| e.lanes_open = 7, Limit::Lanes),
            (|e| e.state = State::Connecting, Limit::Session),
            (|e| e.state = State::Starting, Limit::Source),
            (|e| e.state = State::Standby { behind: "b".into() }, Limit::Standby),
        ]);
    }

    #[test]
    fn a_lane_that_idles_waits_for_the_source() {
        assert_table(&[
            (|_| (), Limit::Source),
            (|e| e.lag_records = None, Limit::Source),
            (|e| e.busiest = Shares { works: 0.2, credit: 0.1, room: 0.1 }, Limit::Source),
        ]);
    }

    #[test]
    fn a_lane_that_works_all_the_time_is_limited_by_the_processor() {
        assert_table(&[
            (|e| e.busiest.works = 0.9, Limit::Cpu),
            (|e| e.busiest = Shares { works: 0.6, credit: 0.1, room: 0.3 }, Limit::Cpu),
        ]);
    }

    #[test]
    fn a_lane_that_waits_for_room_is_limited_by_the_budget_if_that_is_used_up_and_else_by_the_path() {
        assert_table(&[
            (|e| e.busiest.room = 0.8, Limit::Path),
            (|e| (e.busiest.room, e.controller) = (0.8, None), Limit::Path),
            (|e| (e.busiest.room, e.budget_used) = (0.8, 0.9), Limit::Budget),
            (|e| (e.busiest.room, e.budget_waits) = (0.8, 0.5), Limit::Budget),
            (|e| (e.busiest.room, e.controller) = (0.8, Some(congestion::Limit::Budget)), Limit::Budget),
            (|e| (e.busiest, e.budget_used) = (Shares { works: 0.1, credit: 0.5, room: 0.4 }, 0.95), Limit::Budget),
        ]);
    }

    #[test]
    fn a_lane_without_credit_is_limited_by_whatever_holds_on_to_what_it_sent() {
        fn without_credit(evidence: &mut Evidence) -> &mut Lately {
            evidence.busiest.credit = 0.9;
            &mut evidence.lately
        }
        assert_table(&[
            (|e| _ = without_credit(e), Limit::Receiver),
            (|e| without_credit(e).held = Some(MS * 101), Limit::Target),
            (|e| without_credit(e).transit = Some(MS * 401), Limit::Path),
            (
                |e| {
                    without_credit(e).transit = Some(MS * 401);
                    e.budget_used = 0.95;
                },
                Limit::Budget,
            ),
            (|e| (without_credit(e).transit, e.lately.held) = (None, None), Limit::Receiver),
            // Acks stay away.
            (|e| without_credit(e).acked = Some(MS * 3001), Limit::Target),
            (|e| (without_credit(e).acked, e.base_rtt_seconds) = (Some(MS * 3001), Some(1.0)), Limit::Receiver),
            (|e| (without_credit(e).acked, e.lately.heard) = (Some(MS * 3001), Some(MS * 7001)), Limit::Path),
            (|e| (without_credit(e).acked, e.lately.heard) = (None, None), Limit::Path),
        ]);
    }

    #[test]
    fn every_limit_has_one_word() {
        assert!(Limit::ALL.iter().all(|limit| serde_json::json!(limit) == limit.word()));
    }
}
