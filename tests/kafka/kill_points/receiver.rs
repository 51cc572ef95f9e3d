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
    Appended, KafkaStates, KafkaTarget, KafkaWriter, Parts, Target, TargetError, TargetPartition, TargetWriter,
};
use service::shutdown;
use wire::frame::RecordRef;

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
    type Writer = DoomedWriter;
    type States = KafkaStates;

    fn writer(&self) -> Result<DoomedWriter, KafkaError> {
        let writer = self.target.writer()?;
        Ok(DoomedWriter { writer, point: self.point, records_left: self.records, in_transaction: 0 })
    }

    fn states(&self) -> Result<KafkaStates, KafkaError> {
        self.target.states()
    }
}

struct DoomedWriter {
    writer: KafkaWriter,
    point: KillPoint,
    records_left: u64,
    in_transaction: u64,
}

impl DoomedWriter {
    fn pass(&mut self, point: KillPoint) -> Result<(), TargetError> {
        if point != self.point || self.records_left > 0 || self.in_transaction == 0 {
            return Ok(());
        }
        if point != KillPoint::Committed {
            // Records that are still in the client would be lost, and the kill would be at an earlier point.
            self.writer.drain()?;
        }
        let _ = Command::new("kill").args(["-s", "KILL", &process::id().to_string()]).status();
        loop {
            thread::park();
        }
    }
}

impl TargetWriter for DoomedWriter {
    fn fence(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError> {
        self.writer.fence(writer, within)
    }

    fn begin(&mut self) -> Result<(), TargetError> {
        self.in_transaction = 0;
        self.writer.begin()
    }

    fn produce(&mut self, to: &TargetPartition, record: &RecordRef<'_>, frame: &Bytes) -> Result<(), TargetError> {
        self.writer.produce(to, record, frame)?;
        self.in_transaction += 1;
        self.records_left = self.records_left.saturating_sub(1);
        self.pass(KillPoint::Produced)
    }

    fn write_state(&mut self, state: &TargetPartition, key: &[u8], value: Option<&[u8]>) -> Result<(), TargetError> {
        self.writer.write_state(state, key, value)?;
        self.pass(KillPoint::PositionsWritten)
    }

    fn drain(&mut self) -> Result<Vec<Appended>, TargetError> {
        self.writer.drain()
    }

    fn commit(&mut self) -> Result<(), TargetError> {
        self.writer.commit()?;
        self.pass(KillPoint::Committed)
    }

    fn discard(&mut self) {
        self.writer.discard();
    }
}
