//! Readiness of a receiver, which `GET /ready` answers: whether it can do its work, and what prevents that. What is
//! partial, such as one failing lane of several, does not prevent it. `docs/operate.md` states the same rules.

/// Facts that decide whether a receiver is ready.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// True once the target cluster answered and senders are accepted.
    pub listens: bool,
    pub draining: bool,
    /// Problem of the target before it first answered.
    pub trouble: Option<String>,
    /// Sentence that says that the target was rebuilt, and is not accepted.
    pub rebuilt: Option<String>,
    /// Reason why the target counts as unreachable.
    pub unreachable: Option<String>,
    /// Open lanes, of all links, that have no trouble.
    pub working: usize,
    /// Reasons of lanes that do not commit or cannot be opened, and of links whose state cannot be prepared.
    pub failing: Vec<String>,
}

impl Facts {
    /// Returns whether the receiver can do its work. Error: a sentence that says what prevents it.
    pub(super) fn ready(self) -> Result<(), String> {
        if !self.listens {
            let reason = self.trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
            return Err(format!("waiting for the target cluster{reason}"));
        }
        if self.draining {
            return Err("draining".to_owned());
        }
        if let Some(rebuilt) = self.rebuilt {
            return Err(rebuilt);
        }
        if let Some(reason) = self.unreachable {
            return Err(format!("the target cluster is unreachable: {reason}"));
        }
        match self.failing.first() {
            Some(first) if self.working == 0 => Err(format!("no lane commits: {first}")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving() -> Facts {
        Facts { listens: true, working: 2, ..Facts::default() }
    }

    #[test]
    fn a_receiver_is_ready_unless_all_of_its_work_is_prevented() {
        assert_eq!(serving().ready(), Ok(()));
        assert_eq!(Facts { working: 0, ..serving() }.ready(), Ok(()), "no sender has come yet");
        let failing = |count: usize| vec!["lane 0: timed out".to_owned(); count];
        assert_eq!(Facts { failing: failing(1), ..serving() }.ready(), Ok(()), "one of three lanes");
        assert_eq!(Facts { failing: failing(64), ..serving() }.ready(), Ok(()), "all lanes of another link");
        let prevented = [
            (Facts::default(), "waiting for the target cluster"),
            (
                Facts { trouble: Some("no route".into()), ..Facts::default() },
                "waiting for the target cluster: no route",
            ),
            (Facts { draining: true, ..serving() }, "draining"),
            (Facts { rebuilt: Some("its id was a, is b".into()), ..serving() }, "its id was a, is b"),
            (
                Facts { unreachable: Some("no answer for 15 s".into()), ..serving() },
                "the target cluster is unreachable: no answer for 15 s",
            ),
            (Facts { working: 0, failing: failing(1), ..serving() }, "no lane commits: lane 0: timed out"),
        ];
        for (facts, reason) in prevented {
            assert_eq!(facts.ready(), Err(reason.to_owned()));
        }
    }
}
