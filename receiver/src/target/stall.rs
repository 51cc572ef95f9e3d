//! Search for the cause when no delivery report arrives. Sans-IO.
//!
//! The client reports nothing about a partition without a leader or under its `min.insync.replicas` until its records
//! time out, and nothing at all while the transaction before waits for such a partition. Nor does it leave a broker that
//! hangs before its requests time out, although another broker leads the partition by then. In both cases the lane
//! continues sooner with a new producer. A target that is slow, or limits the producer's rate, shows neither: it is
//! waited for.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use kafka::catalog::Replicas;
use kafka::producer::Unreported;
use kafka::{KafkaError, KafkaFault};

use super::{TargetError, TargetPartition, Unwritable};

/// Time without a delivery report after which the cluster is asked for the cause.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same once a partition has another leader: time for the client to notice by itself.
const PATIENCE_AFTER_MOVE: Duration = Duration::from_secs(2);

/// Wait for delivery reports that do not arrive.
#[derive(Debug, Default)]
pub(super) struct Stall {
    /// First known leader of each partition.
    leaders: HashMap<TargetPartition, i32>,
    /// Partitions whose leader was another one before.
    moved: HashSet<TargetPartition>,
}

impl Stall {
    /// Returns the time without a report after which to ask the cluster.
    pub(super) fn patience(&self) -> Duration {
        if self.moved.is_empty() { PATIENCE } else { PATIENCE_AFTER_MOVE }
    }

    /// Takes the replicas of all partitions that the producer has written. An error names the cause of the stall.
    pub(super) fn handle_replicas(
        &mut self,
        written: &[TargetPartition],
        replicas: &[Result<Replicas, KafkaError>],
        unreported: &[Unreported],
    ) -> Result<(), TargetError> {
        let mut leaders = HashMap::new();
        for (partition, replicas) in written.iter().zip(replicas) {
            // A topic that was deleted: its records are refused soon.
            let Ok(replicas) = replicas else { continue };
            if let Some(reason) = replicas.refusal() {
                return Err(Unwritable { partition: partition.clone(), reason }.into());
            }
            leaders.extend(replicas.leader.map(|leader| (partition, leader)));
        }
        let mut moved = HashSet::new();
        for Unreported { partition, broker } in unreported {
            let Some(&leader) = leaders.get(partition) else { continue };
            let before = *self.leaders.entry(partition.clone()).or_insert_with(|| broker.unwrap_or(leader));
            if before == leader {
                continue;
            }
            if self.moved.contains(partition) {
                let reason = format!("broker {before} does not answer, and broker {leader} leads the partition now");
                let doing = format!("delivery to {partition}");
                return Err(KafkaError { doing, reason, fault: KafkaFault::Unavailable }.into());
            }
            moved.insert(partition.clone());
        }
        self.moved = moved;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(topic: &str) -> TargetPartition {
        TargetPartition::new(topic, 0)
    }

    fn led_by(leader: i32) -> Result<Replicas, KafkaError> {
        Ok(Replicas { leader: Some(leader), in_sync: 2, required: 2 })
    }

    fn unreported(topic: &str, broker: Option<i32>) -> Unreported {
        Unreported { partition: at(topic), broker }
    }

    #[test]
    fn partition_that_cannot_be_written_is_named_with_its_reason() {
        let written = [at("three"), at("one")];
        let mut stall = Stall::default();
        stall.handle_replicas(&written, &[led_by(1), led_by(3)], &[unreported("three", None)]).unwrap();
        let no_leader = Ok(Replicas { leader: None, in_sync: 1, required: 1 });
        let found = stall.handle_replicas(&written, &[led_by(1), no_leader], &[unreported("three", None)]);
        assert_eq!(found.unwrap_err().to_string(), "one/0: the partition has no leader");
        let short = Ok(Replicas { leader: Some(2), in_sync: 1, required: 2 });
        let found = stall.handle_replicas(&written, &[led_by(1), short], &[unreported("one", None)]);
        let reason = "one/0: the partition has 1 in-sync replicas, `min.insync.replicas` is 2";
        assert_eq!(found.unwrap_err().to_string(), reason);
    }

    #[test]
    fn slow_target_is_waited_for() {
        let mut stall = Stall::default();
        let gone = Err(KafkaError { doing: "x".into(), reason: "y".into(), fault: KafkaFault::UnknownTopic });
        for _ in 0..10 {
            let replicas = [led_by(1), gone.clone()];
            stall.handle_replicas(&[at("a"), at("b")], &replicas, &[unreported("a", Some(1))]).unwrap();
        }
        assert_eq!(stall.patience(), PATIENCE);
    }

    #[test]
    fn broker_that_lost_its_leadership_is_left_after_a_while() {
        for known in [Some(1), None] {
            let mut stall = Stall::default();
            let mut look = |leader| stall.handle_replicas(&[at("a")], &[led_by(leader)], &[unreported("a", known)]);
            look(1).unwrap();
            look(2).unwrap();
            let error = look(2).unwrap_err().to_string();
            assert!(error.contains("a/0: broker 1 does not answer, and broker 2 leads"), "{error}");
        }
        let mut stall = Stall::default();
        for reported in [unreported("a", Some(1)), unreported("b", Some(2))] {
            stall.handle_replicas(&[at("a"), at("b")], &[led_by(2), led_by(2)], &[reported]).unwrap();
        }
        assert_eq!(stall.patience(), PATIENCE, "the client has noticed");
    }
}
