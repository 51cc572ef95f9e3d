//! A lane's own thread: moves commands, credit and room into the [`Lane`] and its frames out. It decides
//! nothing; compression happens here, off the async threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kafka::KafkaError;
use service::bell::Bell;
use service::mailbox::Mailbox;
use tokio::sync::mpsc;
use wire::control::{Control, Timing};
use wire::halt::HaltReason;
use wire::ids::{Epoch, LaneId, Sequence, Slot};

use crate::dispatch::bank::CreditBank;
use crate::dispatch::channels::Channels;
use crate::dispatch::gate::{Gate, Wait};
use crate::lane::activity::{Activity, ActivityMeter};
use crate::lane::progress::Progress;
use crate::lane::{Lane, OutFrame, Packing};
use crate::report::latency::{FrameTimes, Latency, Packed, Taken};
use crate::source::{Assignment, LaneReader};

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
    /// Frames are committed, and how long one of them took.
    Ack(Epoch, Sequence, Option<Timing>),
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
    /// Where it is told how long they took.
    pub latency: Arc<Latency>,
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
    /// What it spends its time on.
    pub activity: Arc<ActivityMeter>,
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
    let mut watch = FrameWatch::default();
    loop {
        handle.activity.turn_to(Activity::Works, Instant::now());
        while let Some(command) = handle.mailbox.pop() {
            if matches!(command, Command::Stop) {
                return lane.close();
            }
            obey(&mut lane, &mut session, &mut watch, command, handle)?;
        }
        let (wait, activity) = match &session {
            Some(session) => pump(&mut lane, session, &mut watch, handle)?,
            None => (IDLE, Activity::Idles),
        };
        handle.progress.handle_drained(lane.is_drained());
        handle.activity.turn_to(activity, Instant::now());
        handle.bell.wait(wait);
    }
}

fn obey<R: LaneReader>(
    lane: &mut Lane<R>,
    session: &mut Option<SessionPart>,
    watch: &mut FrameWatch,
    command: Command,
    handle: &LaneHandle,
) -> Result<(), KafkaError> {
    match command {
        Command::Open { epoch, session: part } => {
            lane.open(epoch, part.packing)?;
            part.bank.close_lane(handle.id);
            handle.progress.handle_open(epoch);
            *watch = FrameWatch::default();
            *session = Some(part);
        }
        Command::Partitions(epoch, assignments) => {
            lane.handle_partitions(epoch, &assignments)?;
            handle.progress.handle_partitions(&assignments);
        }
        Command::Halted(epoch, slot) => lane.handle_halted(epoch, slot)?,
        Command::Fault(epoch, slot, reason, detail) => lane.handle_fault(epoch, slot, reason, detail)?,
        Command::Ack(epoch, sequence, timing) => {
            let freed = lane.handle_ack(epoch, sequence);
            if let Some(session) = session {
                session.bank.free(handle.id, freed.credit);
                if lane.epoch() == Some(epoch) {
                    watch.handle_ack(sequence, timing, &session.latency);
                }
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

/// Packs and sends what can be; says how long nothing more can happen by itself, and what is waited for.
fn pump<R: LaneReader>(
    lane: &mut Lane<R>,
    session: &SessionPart,
    watch: &mut FrameWatch,
    handle: &LaneHandle,
) -> Result<(Duration, Activity), KafkaError> {
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
        if let Some(wait) = idle_until_due(lane, now) {
            session.gate.leave(handle.id);
            return Ok(wait);
        }
        let bound = lane.open_bytes();
        let room = match session.gate.enter(handle.id, bound, now, |urgency| session.channels.room(handle.id, urgency))
        {
            Ok(room) => room,
            Err(wait) => {
                watch.handle_no_room(now);
                let wait = if let Wait::For(time) = wait { time } else { IDLE };
                return Ok((wait, Activity::WaitsForRoom));
            }
        };
        let frame = lane.poll_frame(now);
        let bytes = frame.as_ref().map_or(0, |frame| frame.bytes.len());
        session.gate.handle_made(handle.id, bound, bytes, Instant::now());
        let Some(frame) = frame else { return Ok((IDLE, Activity::Idles)) };
        session.bank.free(handle.id, frame.surplus);
        handle.progress.handle_frame(&frame, lane.in_flight_bytes());
        let taken = watch.handle_frame(&frame, now, &session.latency);
        session.channels.send(room, frame.bytes, Box::new(taken));
    }
}

/// How long until a frame is due, and what is waited for; `None` if one is due.
fn idle_until_due<R: LaneReader>(lane: &Lane<R>, now: Instant) -> Option<(Duration, Activity)> {
    match lane.next_timeout() {
        None if lane.lacks_credit() => Some((IDLE, Activity::WaitsForCredit)),
        None => Some((IDLE, Activity::Idles)),
        Some(due) => (due > now).then(|| (due - now, Activity::Idles)),
    }
}

/// Watches how long frames take, for reports. The lane knows nothing of it.
#[derive(Default)]
struct FrameWatch {
    times: FrameTimes,
    /// Since when the frame that is due has found no room.
    no_room: Option<Instant>,
}

impl FrameWatch {
    fn handle_no_room(&mut self, now: Instant) {
        self.no_room.get_or_insert(now);
    }

    /// A frame for which there was room at `room_at` is about to be handed over. What is returned wants to be called
    /// when QUIC has taken it.
    fn handle_frame(
        &mut self,
        frame: &OutFrame,
        room_at: Instant,
        latency: &Arc<Latency>,
    ) -> impl FnOnce() + Send + use<> {
        let (now, taken) = (Instant::now(), Taken::default());
        let room = self.no_room.take().map_or(Duration::ZERO, |since| room_at.saturating_duration_since(since));
        if let Some((packed, timestamp)) = frame.first_record {
            let lasted = now.saturating_duration_since(packed);
            let read = read_after(timestamp, lasted);
            let pack = lasted.saturating_sub(room);
            let packed = Packed { read, pack, room, handed: latency.now(), taken: taken.clone() };
            self.times.handle_sent(frame.sequence, packed);
        }
        let latency = Arc::clone(latency);
        move || taken.mark(latency.now())
    }

    fn handle_ack(&mut self, sequence: Sequence, timing: Option<Timing>, latency: &Latency) {
        let sample = self.times.handle_ack(sequence, timing, latency.ahead());
        latency.handle_ack(sample.as_ref());
    }
}

/// How old a record was when it was packed, `ago` before now: by its timestamp, which is the time of day.
fn read_after(timestamp: i64, ago: Duration) -> Option<Duration> {
    let written = Duration::from_millis(u64::try_from(timestamp).ok()?);
    let now = Duration::from_nanos(transport::clock::unix_nanos());
    Some(now.saturating_sub(ago).saturating_sub(written))
}
