//! A lane's own thread: moves commands, credit and room into the [`Lane`] and its frames out. It decides
//! nothing; compression happens here, off the async threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use link::bell::Bell;
use link::kafka::KafkaError;
use link::mailbox::Mailbox;
use tokio::sync::mpsc;
use wire::control::Control;
use wire::halt::HaltReason;
use wire::ids::{Epoch, LaneId, Sequence, Slot};

use crate::bank::CreditBank;
use crate::gate::{Gate, Wait};
use crate::lane::{Lane, Packing};
use crate::progress::Progress;
use crate::source::{Assignment, LaneReader};
use crate::transport::Channels;

/// What a session tells a lane's thread.
#[derive(Debug)]
pub enum Command {
    /// The receiver opened the lane.
    Open {
        /// Counted in the target.
        epoch: Epoch,
        /// The session it belongs to.
        session: SessionPart,
    },
    /// The receiver stated these partitions' positions.
    Partitions(Epoch, Vec<Assignment>),
    /// The receiver halted a partition.
    Halted(Epoch, Slot),
    /// The source has changed under a partition.
    Fault(Epoch, Slot, HaltReason, String),
    /// Frames are committed.
    Ack(Epoch, Sequence),
    /// The receiver closed the lane, or the session ended.
    Close,
    /// Read no more; send what was read.
    Drain,
    /// End the thread.
    Stop,
}

/// What a lane needs of its session.
#[derive(Debug, Clone)]
pub struct SessionPart {
    /// The session's credit.
    pub bank: Arc<CreditBank>,
    /// Whose frame is next.
    pub gate: Arc<Gate>,
    /// Where frames go.
    pub channels: Channels,
    /// Where control messages go.
    pub control: mpsc::Sender<Control>,
    /// How frames are packed in this session.
    pub packing: Packing,
}

/// A lane's thread, seen from outside.
#[derive(Debug, Clone)]
pub struct LaneHandle {
    /// The lane's number.
    pub id: LaneId,
    /// Its commands.
    pub mailbox: Mailbox<Command>,
    /// What wakes it.
    pub bell: Bell,
    /// What it has done, for `status` and metrics.
    pub progress: Arc<Progress>,
    /// Raw bytes at which a frame is full at the rate of the moment; one number for all lanes.
    pub frame_bytes: Arc<AtomicU64>,
}

/// Commands that may wait for a lane: acks, opens of its partitions, and a few more. A lane that lets
/// this many wait is stuck, and its session ends.
pub const MAILBOX_CAPACITY: usize = 16 * 1024;

/// How long a lane sleeps when it has nothing to wait for.
const IDLE: Duration = Duration::from_secs(60);

/// Runs a lane until [`Command::Stop`]. Returns the first error of its reader: the sender as a whole then
/// has to start over.
pub fn run<R: LaneReader>(mut lane: Lane<R>, handle: &LaneHandle) -> Result<(), KafkaError> {
    let mut session: Option<SessionPart> = None;
    loop {
        while let Some(command) = handle.mailbox.pop() {
            if matches!(command, Command::Stop) {
                return lane.close();
            }
            obey(&mut lane, &mut session, command, handle)?;
        }
        let wait = match &session {
            Some(session) => pump(&mut lane, session, handle)?,
            None => IDLE,
        };
        handle.progress.handle_drained(lane.is_drained());
        handle.bell.wait(wait);
    }
}

fn obey<R: LaneReader>(
    lane: &mut Lane<R>,
    session: &mut Option<SessionPart>,
    command: Command,
    handle: &LaneHandle,
) -> Result<(), KafkaError> {
    match command {
        Command::Open { epoch, session: part } => {
            lane.open(epoch, part.packing)?;
            part.bank.close_lane(handle.id);
            handle.progress.handle_open(epoch);
            *session = Some(part);
        }
        Command::Partitions(epoch, assignments) => {
            lane.handle_partitions(epoch, &assignments)?;
            handle.progress.handle_partitions(&assignments);
        }
        Command::Halted(epoch, slot) => lane.handle_halted(epoch, slot)?,
        Command::Fault(epoch, slot, reason, detail) => lane.handle_fault(epoch, slot, reason, detail)?,
        Command::Ack(epoch, sequence) => {
            let freed = lane.handle_ack(epoch, sequence);
            if let Some(session) = session {
                session.bank.free(handle.id, freed.credit);
            }
            handle.progress.handle_ack(epoch, &freed, lane.in_flight_bytes());
        }
        Command::Close => {
            lane.close()?;
            if let Some(session) = session.take() {
                session.bank.close_lane(handle.id);
                session.gate.leave(handle.id);
            }
            handle.progress.handle_close();
        }
        Command::Drain => lane.drain(),
        Command::Stop => {}
    }
    Ok(())
}

/// Packs and sends what can be; says how long nothing more can happen by itself.
fn pump<R: LaneReader>(lane: &mut Lane<R>, session: &SessionPart, handle: &LaneHandle) -> Result<Duration, KafkaError> {
    loop {
        lane.set_frame_bytes(handle.frame_bytes.load(Ordering::Relaxed));
        if let Some(bytes) = lane.poll_credit_request() {
            session.bank.request(handle.id, bytes);
        }
        if let Some(granted) = session.bank.take(handle.id) {
            lane.handle_granted(granted);
        }
        let surplus = lane.fill(Instant::now())?;
        session.bank.free(handle.id, surplus);
        while let Some(halt) = lane.poll_halt() {
            handle.progress.handle_halt(&halt);
            // A full queue means that the session is stuck; it ends by its own rules.
            let _ = session.control.blocking_send(halt);
        }
        if surplus > 0 {
            continue;
        }
        let now = Instant::now();
        let due = lane.next_timeout();
        if due.is_none_or(|due| due > now) {
            session.gate.leave(handle.id);
            return Ok(due.map_or(IDLE, |due| due - now));
        }
        let taken = lane.open_bytes();
        let room = match session.gate.enter(handle.id, taken, now, |urgency| session.channels.room(urgency)) {
            Ok(room) => room,
            Err(Wait::ForBell) => return Ok(IDLE),
            Err(Wait::For(time)) => return Ok(time),
        };
        let frame = lane.poll_frame(now);
        let bytes = frame.as_ref().map_or(0, |frame| frame.bytes.len());
        session.gate.handle_made(handle.id, taken, bytes, Instant::now());
        let Some(frame) = frame else { return Ok(IDLE) };
        session.bank.free(handle.id, frame.surplus);
        handle.progress.handle_frame(&frame, lane.in_flight_bytes());
        session.channels.send(room, frame.bytes);
    }
}
