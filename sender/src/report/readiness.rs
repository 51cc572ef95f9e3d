//! Readiness of a sender, which `GET /ready` answers: whether it can do its work, and what prevents that. What is
//! partial, such as one partition of many, does not prevent it. `docs/operate.md` states the same rules.

use crate::board::State;

/// Facts that decide whether a sender is ready.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub state: State,
    /// Problem of the source before it first answered.
    pub source_trouble: Option<String>,
    /// End of the session or attempt before this one.
    pub last_end: Option<String>,
    /// Reason why the source counts as unreachable.
    pub unreachable: Option<String>,
    pub lanes: usize,
    pub lanes_open: usize,
    /// Lanes that do not commit, as the receiver says, and the reason of the first.
    pub lanes_failing: usize,
    pub failing: Option<String>,
    /// Reason why the receiver closed a lane.
    pub closed: Option<String>,
    /// Partitions that match, as last measured.
    pub partitions: usize,
    /// Partitions among them that are halted or wait.
    pub stuck: usize,
}

impl Facts {
    /// Returns whether the sender can do its work. Error: a sentence that says what prevents it.
    pub(super) fn ready(self) -> Result<(), String> {
        let because = |reason: Option<String>| reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        if self.state == State::Starting {
            return Err(format!("waiting for the source cluster{}", because(self.source_trouble)));
        }
        if let Some(reason) = self.unreachable {
            return Err(format!("the source cluster is unreachable: {reason}"));
        }
        match self.state {
            State::Starting | State::Standby { .. } => return Ok(()),
            State::Connecting => return Err(self.last_end.unwrap_or_else(|| "dialling the receiver".to_owned())),
            State::Active => {}
        }
        if self.lanes_open == 0 {
            return Err(format!("no lane is open{}", because(self.closed)));
        }
        if self.lanes_failing >= self.lanes {
            return Err(format!("no lane commits at the receiver{}", because(self.failing)));
        }
        if self.partitions > 0 && self.stuck >= self.partitions {
            return Err(format!("every partition is halted or waits: {}", self.partitions));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active() -> Facts {
        Facts { state: State::Active, lanes: 8, lanes_open: 8, partitions: 5, ..Facts::default() }
    }

    #[test]
    fn a_sender_is_ready_while_part_of_its_work_is_possible() {
        let standby = State::Standby { behind: "b".into() };
        for facts in [
            active(),
            Facts { lanes_open: 1, ..active() },
            Facts { lanes_failing: 7, ..active() },
            Facts { stuck: 4, ..active() },
            Facts { partitions: 0, ..active() },
            Facts { state: standby, ..Facts::default() },
        ] {
            assert_eq!(facts.clone().ready(), Ok(()), "{facts:?}");
        }
    }

    #[test]
    fn a_sender_that_cannot_do_its_work_says_why() {
        let text = |text: &str| Some(text.to_owned());
        let connecting = Facts { state: State::Connecting, ..active() };
        for (facts, reason) in [
            (Facts::default(), "waiting for the source cluster"),
            (
                Facts { source_trouble: text("no route"), ..Facts::default() },
                "waiting for the source cluster: no route",
            ),
            (
                Facts { unreachable: text("no answer for 15 s"), ..active() },
                "the source cluster is unreachable: no answer for 15 s",
            ),
            (
                Facts {
                    unreachable: text("no answer"),
                    state: State::Standby { behind: "b".into() },
                    ..Facts::default()
                },
                "the source cluster is unreachable: no answer",
            ),
            (connecting.clone(), "dialling the receiver"),
            (Facts { last_end: text("session lost"), ..connecting }, "session lost"),
            (Facts { lanes_open: 0, closed: text("timed out"), ..active() }, "no lane is open: timed out"),
            (
                Facts { lanes_failing: 8, failing: text("lane 0: timed out"), ..active() },
                "no lane commits at the receiver: lane 0: timed out",
            ),
            (Facts { stuck: 5, ..active() }, "every partition is halted or waits: 5"),
        ] {
            assert_eq!(facts.ready(), Err(reason.to_owned()));
        }
    }
}
