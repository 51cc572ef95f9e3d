//! The product's receiver, with a target that kills the process at a named point. The product has no switch for that:
//! the receiver takes its target as a parameter, and this one passes every call on to the real target.

use std::path::Path;
use std::process::{self, Command};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use kafka::properties::forbidden;
use kafka::{KafkaError, Properties};
use receiver::custody::WriterId;
use receiver::status::Board;
use receiver::{
    Delivered, Extent, KafkaLane, KafkaTarget, LaneTarget, Parts, StateEntry, Target, TargetError, TargetPartition,
    Unwritable,
};
use service::shutdown;
use wire::frame::RecordRef;
use wire::ids::LaneId;

/// Point of a transaction with records at which the receiver is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KillPoint {
    /// The target's log has the records, and not the positions.
    Produced,
    /// The target's log has records and positions; the transaction is open.
    PositionsWritten,
    /// The transaction is committed; the sender has no ack.
    Committed,
}

/// Runs a receiver that is killed at `point`, once a lane has appended this number of records.
pub(super) fn run(file: &Path, point: KillPoint, records: u64) -> Result<()> {
    let config = match service::config::load::<receiver::config::Config>(file, forbidden) {
        Ok(config) => config,
        Err(problems) => bail!("{problems}"),
    };
    config.process.log.start()?;
    let bootstrap_servers = config.target.bootstrap_servers.iter().map(ToString::to_string).collect();
    let properties = Properties { bootstrap_servers, extra: config.target.client.resolve()? };
    let Parts { target, catalog } = Parts::kafka(&config, &properties)?;
    let parts = Parts { target: Doomed { target, point, records }, catalog };
    let (_trigger, shutdown) = shutdown::channel();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(runtime.block_on(receiver::run(config, parts, Arc::new(Board::default()), shutdown))?)
}

struct Doomed {
    target: KafkaTarget,
    point: KillPoint,
    records: u64,
}

impl Target for Doomed {
    type Lane = DoomedLane;

    fn open(&self, link: &str, lane: LaneId) -> Result<DoomedLane, KafkaError> {
        let lane = self.target.open(link, lane)?;
        Ok(DoomedLane { lane, point: self.point, records_left: self.records, in_transaction: 0 })
    }
}

struct DoomedLane {
    lane: KafkaLane,
    point: KillPoint,
    records_left: u64,
    in_transaction: u64,
}

impl DoomedLane {
    fn pass(&mut self, point: KillPoint) -> Result<(), TargetError> {
        if point != self.point || self.records_left > 0 || self.in_transaction == 0 {
            return Ok(());
        }
        if point != KillPoint::Committed {
            // Records that are still in the client would be lost, and the kill would be at an earlier point.
            self.lane.drain()?;
        }
        let _ = Command::new("kill").args(["-s", "KILL", &process::id().to_string()]).status();
        loop {
            thread::park();
        }
    }
}

impl LaneTarget for DoomedLane {
    fn read_state(&mut self, extent: Extent) -> Result<Vec<StateEntry>, TargetError> {
        self.lane.read_state(extent)
    }

    fn fence(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError> {
        self.lane.fence(writer, within)
    }

    fn expel(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError> {
        self.lane.expel(writer, within)
    }

    fn begin(&mut self) -> Result<(), TargetError> {
        self.in_transaction = 0;
        self.lane.begin()
    }

    fn produce(&mut self, to: &TargetPartition, record: &RecordRef<'_>, frame: &Bytes) -> Result<(), TargetError> {
        self.lane.produce(to, record, frame)?;
        self.in_transaction += 1;
        self.records_left = self.records_left.saturating_sub(1);
        self.pass(KillPoint::Produced)
    }

    fn write_state(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TargetError> {
        self.lane.write_state(key, value)?;
        self.pass(KillPoint::PositionsWritten)
    }

    fn drain(&mut self) -> Result<Delivered, TargetError> {
        self.lane.drain()
    }

    fn unwritable(&mut self, partitions: &[TargetPartition]) -> Result<Vec<Unwritable>, TargetError> {
        self.lane.unwritable(partitions)
    }

    fn commit(&mut self) -> Result<(), TargetError> {
        self.lane.commit()?;
        self.pass(KillPoint::Committed)
    }

    fn discard(&mut self) {
        self.lane.discard();
    }
}
