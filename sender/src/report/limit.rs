//! Finds what keeps a sender from being faster, or from having caught up: one answer, by evidence. Sans-IO.
//!
//! The lane that idles least is the witness. If it idles, the source has nothing more. If it works, the processor is the
//! limit. If it waits for room, the transport is: the budget if that is used up, and else the path. If it waits for
//! credit, sent frames are not being acked; the recent acks show whether they are held up on the path or at the target.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use transport::congestion;

use crate::board::State;
use crate::lane::latency::RecentDelays;
use crate::report::sampler::TimeUse;

/// Part of its time that the busiest lane must spend on something for that to be the limit.
const MOST: f64 = 0.5;
/// Part of the budget from which on it counts as used up: pacing and small frames keep a link from the last of it.
const USED_UP: f64 = 0.9;
/// Part of the time that packets must wait for the budget for it to count as used up.
const WAITS: f64 = 0.5;
/// Round trips of transit from which on bytes were not in flight all the time, but in the sender's own queue.
const QUEUED: f64 = 2.0;
/// Time without acks, and at least four round trips, after which a receiver counts as holding on to its records.
const SILENT: Duration = Duration::from_secs(3);
/// Time within which a live receiver answers a question about its clock; it is asked every 2 s.
const ALIVE: Duration = Duration::from_secs(7);

wire::words! {
    /// Limit of a sender; its sentence says what it means, and where to look.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Limit {
        #[default]
        Nothing = "nothing" "nothing",
        Standby = "standby" "another sender holds the link: ask that one",
        Session = "session" "no session is open: see the problems above, then the receiver",
        Lanes = "lanes" "lanes are closed: see the target and the receiver's log",
        Source = "source" "the source: it has no further records to read, or partitions are halted",
        Cpu = "cpu" "the processor: a lane packs and compresses all the time; use more lanes, or `wan.compression` `auto` or a cheaper one",
        Budget = "budget" "the budget: `wan.rate` is used up",
        Path = "path" "the path: it carries less than the budget",
        Receiver = "receiver" "the receiver: all its credit is in use; raise its `memory` for this path",
        Target = "target" "the target: records at the receiver wait to be committed, or its lanes fail or partitions wait",
    }
}

#[derive(Debug, Clone, Default)]
pub struct Evidence {
    pub state: State,
    pub lanes: usize,
    pub lanes_open: usize,
    /// Lanes that do not commit, as the receiver says.
    pub lanes_failing: usize,
    /// Partitions that wait for the target.
    pub waiting_at_target: usize,
    pub lag_records: Option<u64>,
    /// Longest time for which a lane with frames in flight has had no ack; `None` with none in flight.
    pub unacked: Option<Duration>,
    /// Time use of the lane that idles least, over the last seconds.
    pub busiest: TimeUse,
    /// Part of the rate that was used over the last seconds; 0 without a rate.
    pub budget_used: f64,
    /// Part of the last seconds in which packets waited for the rate.
    pub budget_waits: f64,
    pub controller: Option<congestion::Limit>,
    /// Round-trip time of the path without queues.
    pub base_rtt_seconds: Option<f64>,
    /// Times that recently acked frames spent.
    pub recent_delays: RecentDelays,
}

impl Evidence {
    /// Returns the limit of a sender whose lanes are open and that is behind.
    fn rate_limit(&self) -> Limit {
        let TimeUse { works, credit, room } = self.busiest;
        if self.unacked.is_some_and(|unacked| unacked > self.silence()) {
            // The lane may idle: it has sent everything that it has read, and that is not committed.
            return self.silent_end();
        }
        if credit + room + works < MOST {
            return if self.waiting_at_target > 0 { Limit::Target } else { Limit::Source };
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

    /// Time without acks after which they are held up somewhere.
    fn silence(&self) -> Duration {
        SILENT.max(Duration::from_secs_f64(4.0 * self.base_rtt_seconds.unwrap_or_default()))
    }

    /// Returns which end of the path acks do not come from. While the path works, answers about the clock come back.
    fn silent_end(&self) -> Limit {
        if self.recent_delays.heard.is_some_and(|heard| heard <= ALIVE) { Limit::Target } else { Limit::Path }
    }

    /// Returns the limit of a sender without credit: its frames are not acked.
    fn credit(&self) -> Limit {
        let RecentDelays { transit, held, acked, .. } = self.recent_delays;
        let rtt = self.base_rtt_seconds.unwrap_or_default();
        if acked.is_none_or(|acked| acked > self.silence()) {
            return self.silent_end();
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
    pub fn by(evidence: &Evidence) -> Self {
        match evidence.state {
            State::Standby { .. } => Self::Standby,
            State::Starting => Self::Source,
            State::Connecting => Self::Session,
            // The end that writes knows better than any evidence at this one.
            State::Active if evidence.lanes_failing > 0 => Self::Target,
            State::Active if evidence.lanes_open < evidence.lanes => Self::Lanes,
            State::Active if evidence.lag_records == Some(0) => Self::Nothing,
            State::Active => evidence.rate_limit(),
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
            lanes_failing: 0,
            waiting_at_target: 0,
            lag_records: Some(5),
            unacked: None,
            busiest: TimeUse::default(),
            budget_used: 0.5,
            budget_waits: 0.1,
            controller: Some(congestion::Limit::Path),
            base_rtt_seconds: Some(0.2),
            recent_delays: RecentDelays {
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
            assert_eq!(Limit::by(&evidence), *expected, "case {case}: {evidence:?}");
        }
    }

    #[test]
    fn reasons_to_stop_come_before_reasons_to_be_slow() {
        assert_table(&[
            (|e| e.lag_records = Some(0), Limit::Nothing),
            (|e| e.lanes_open = 7, Limit::Lanes),
            (|e| e.state = State::Connecting, Limit::Session),
            (|e| e.state = State::Starting, Limit::Source),
            (|e| e.state = State::Standby { behind: "b".into() }, Limit::Standby),
        ]);
    }

    #[test]
    fn lanes_that_fail_at_the_receiver_are_the_targets_fault() {
        assert_table(&[
            (|e| e.lanes_failing = 1, Limit::Target),
            (|e| (e.lanes_failing, e.lag_records) = (1, Some(0)), Limit::Target),
            (|e| (e.lanes_failing, e.lanes_open) = (1, 7), Limit::Target),
            (|e| (e.lanes_failing, e.busiest.works) = (1, 0.9), Limit::Target),
            (|e| (e.lanes_failing, e.state) = (1, State::Connecting), Limit::Session),
            (|e| e.waiting_at_target = 1, Limit::Target),
            (|e| (e.waiting_at_target, e.busiest.works) = (1, 0.9), Limit::Cpu),
        ]);
    }

    #[test]
    fn a_lane_that_idles_waits_for_the_source() {
        assert_table(&[
            (|_| (), Limit::Source),
            (|e| e.lag_records = None, Limit::Source),
            (|e| e.busiest = TimeUse { works: 0.2, credit: 0.1, room: 0.1 }, Limit::Source),
        ]);
    }

    #[test]
    fn a_lane_that_works_all_the_time_is_limited_by_the_processor() {
        assert_table(&[
            (|e| e.busiest.works = 0.9, Limit::Cpu),
            (|e| e.busiest = TimeUse { works: 0.6, credit: 0.1, room: 0.3 }, Limit::Cpu),
        ]);
    }

    #[test]
    fn without_room_the_limit_is_a_used_up_budget_or_the_path() {
        assert_table(&[
            (|e| e.busiest.room = 0.8, Limit::Path),
            (|e| (e.busiest.room, e.controller) = (0.8, None), Limit::Path),
            (|e| (e.busiest.room, e.budget_used) = (0.8, 0.9), Limit::Budget),
            (|e| (e.busiest.room, e.budget_waits) = (0.8, 0.5), Limit::Budget),
            (|e| (e.busiest.room, e.controller) = (0.8, Some(congestion::Limit::Budget)), Limit::Budget),
            (|e| (e.busiest, e.budget_used) = (TimeUse { works: 0.1, credit: 0.5, room: 0.4 }, 0.95), Limit::Budget),
        ]);
    }

    #[test]
    fn without_credit_the_limit_is_where_frames_are_held_up() {
        fn without_credit(evidence: &mut Evidence) -> &mut RecentDelays {
            evidence.busiest.credit = 0.9;
            &mut evidence.recent_delays
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
            (|e| (without_credit(e).transit, e.recent_delays.held) = (None, None), Limit::Receiver),
            // Acks stay away.
            (|e| without_credit(e).acked = Some(MS * 3001), Limit::Target),
            (|e| (without_credit(e).acked, e.base_rtt_seconds) = (Some(MS * 3001), Some(1.0)), Limit::Receiver),
            (|e| (without_credit(e).acked, e.recent_delays.heard) = (Some(MS * 3001), Some(MS * 7001)), Limit::Path),
            (|e| (without_credit(e).acked, e.recent_delays.heard) = (None, None), Limit::Path),
        ]);
    }

    #[test]
    fn frames_without_an_ack_for_long_are_never_the_sources_fault() {
        assert_table(&[
            (|e| e.unacked = Some(MS * 2999), Limit::Source),
            (|e| e.unacked = Some(MS * 3001), Limit::Target),
            (|e| (e.unacked, e.recent_delays.heard) = (Some(MS * 3001), Some(MS * 7001)), Limit::Path),
            (|e| (e.unacked, e.base_rtt_seconds) = (Some(MS * 3001), Some(1.0)), Limit::Source),
            (|e| (e.unacked, e.lag_records) = (Some(MS * 3001), None), Limit::Target),
        ]);
    }

    #[test]
    fn every_limit_has_one_word() {
        assert!(Limit::ALL.iter().all(|limit| serde_json::json!(limit) == limit.word()));
    }
}
