//! Thread of one lane: moves commands, credit and room into the [`Lane`] and its frames out. It decides nothing;
//! compression happens here, off the async threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kafka::KafkaError;
use service::bell::Bell;
use service::mailbox::Mailbox;
use service::processor::thread_time;
use tokio::sync::mpsc;
use wire::control::{Control, Timing};
use wire::error::PeerMisbehaved;
use wire::halt::HaltReason;
use wire::ids::{Epoch, LaneId, Sequence, Slot};

use crate::dispatch::dispatcher::{Dispatcher, Turn};
use crate::lane::activity::{Activity, ActivityMeter};
use crate::lane::compression::Choice;
use crate::lane::latency::{FrameTimes, Latency, Packed, Taken};
use crate::lane::progress::Progress;
use crate::lane::{Lane, LaneError, OutFrame, Packing};
use crate::source::{Assignment, LaneReader};

/// Command of a session to a lane's thread.
#[derive(Debug)]
pub enum Command {
    /// The receiver opened the lane.
    Open { epoch: Epoch, session: SessionPart },
    /// The receiver stated the positions of these partitions.
    Partitions(Epoch, Vec<Assignment>),
    /// The receiver halted a partition.
    Halted(Epoch, Slot),
    /// The source has changed under a partition.
    Fault(Epoch, Slot, HaltReason, String),
    /// Frames up to a sequence are committed; with the timing of one of them.
    Ack(Epoch, Sequence, Option<Timing>),
    /// The receiver closed the lane, or the session ended.
    Close,
    /// The lane shall stop reading, and send the records that it has read.
    Drain,
    /// The thread shall end.
    Stop,
}

#[derive(Debug, Clone)]
pub struct SessionPart {
    pub dispatcher: Dispatcher,
    pub control: mpsc::Sender<Control>,
    pub packing: Packing,
    pub latency: Arc<Latency>,
    /// Takes the first message of the receiver that contradicts what a lane has sent; it ends the session.
    pub faults: mpsc::Sender<PeerMisbehaved>,
}

#[derive(Debug, Clone)]
pub struct LaneHandle {
    pub id: LaneId,
    pub mailbox: Mailbox<Command>,
    pub bell: Bell,
    pub progress: Arc<Progress>,
    /// Raw bytes at which a frame is full at the current rate; one number for all lanes.
    pub frame_bytes: Arc<AtomicU64>,
    pub activity: Arc<ActivityMeter>,
    pub choice: Arc<Choice>,
}

/// Commands that may wait for a lane. A lane that lets this many wait is stuck, and its session ends.
pub(crate) const MAILBOX_CAPACITY: usize = 16 * 1024;
/// Longest sleep of a lane that waits for nothing but its bell.
const IDLE: Duration = Duration::from_secs(60);

/// Sleep of a lane, and what the lane waits for.
struct Sleep {
    until: Option<Instant>,
    activity: Activity,
}

/// Runs a lane until [`Command::Stop`]. Returns the first error of its reader: the whole sender must then start over.
pub(crate) fn run<R: LaneReader>(mut lane: Lane<R>, handle: &LaneHandle) -> Result<(), KafkaError> {
    let mut session: Option<SessionPart> = None;
    let mut watch = FrameWatch::default();
    loop {
        handle.activity.turn_to(Activity::Works, Instant::now());
        while let Some(command) = handle.mailbox.pop() {
            if matches!(command, Command::Stop) {
                return lane.close();
            }
            match obey(&mut lane, &mut session, &mut watch, command, handle) {
                Err(LaneError::Source(error)) => return Err(error),
                // The session that ends closes the lane.
                Err(LaneError::Peer(misbehaved)) => drop(session.as_ref().map(|part| part.faults.try_send(misbehaved))),
                Ok(()) => {}
            }
        }
        let sleep = match &session {
            Some(session) => pump(&mut lane, session, &mut watch, handle)?,
            None => Sleep { until: None, activity: Activity::Idles },
        };
        handle.progress.handle_drained(lane.is_drained());
        let now = Instant::now();
        handle.activity.turn_to(sleep.activity, now);
        handle.bell.wait(sleep.until.map_or(IDLE, |until| until.saturating_duration_since(now)));
    }
}

fn obey<R: LaneReader>(
    lane: &mut Lane<R>,
    session: &mut Option<SessionPart>,
    watch: &mut FrameWatch,
    command: Command,
    handle: &LaneHandle,
) -> Result<(), LaneError> {
    match command {
        Command::Open { epoch, session: part } => {
            lane.open(epoch, part.packing)?;
            part.dispatcher.close_lane(handle.id);
            handle.progress.handle_open(epoch, part.packing.codec);
            *watch = FrameWatch::default();
            *session = Some(part);
        }
        Command::Partitions(epoch, assignments) => {
            lane.handle_partitions(epoch, &assignments)?;
            if lane.epoch() == Some(epoch) {
                handle.progress.handle_partitions(&assignments);
            }
        }
        Command::Halted(epoch, slot) => lane.handle_halted(epoch, slot)?,
        Command::Fault(epoch, slot, reason, detail) => lane.handle_fault(epoch, slot, reason, detail)?,
        Command::Ack(epoch, sequence, timing) => {
            let freed = lane.handle_ack(epoch, sequence)?;
            if let Some(session) = session {
                session.dispatcher.free(handle.id, freed.credit);
                if lane.epoch() == Some(epoch) {
                    watch.handle_ack(sequence, timing, &session.latency);
                }
            }
            handle.progress.handle_ack(epoch, sequence, &freed, lane.in_flight_bytes());
        }
        Command::Close => {
            lane.close()?;
            if let Some(session) = session.take() {
                session.dispatcher.close_lane(handle.id);
                session.dispatcher.leave(handle.id);
            }
            handle.progress.handle_close();
        }
        Command::Drain => lane.drain(),
        Command::Stop => {}
    }
    Ok(())
}

/// Packs and sends frames until the lane has to wait.
fn pump<R: LaneReader>(
    lane: &mut Lane<R>,
    session: &SessionPart,
    watch: &mut FrameWatch,
    handle: &LaneHandle,
) -> Result<Sleep, KafkaError> {
    let SessionPart { dispatcher, control, latency, .. } = session;
    loop {
        lane.set_frame_bytes(handle.frame_bytes.load(Ordering::Relaxed));
        if let Some(granted) = dispatcher.credit(handle.id, lane.poll_credit_request()) {
            lane.handle_granted(granted);
        }
        let surplus = lane.fill(Instant::now())?;
        dispatcher.free(handle.id, surplus);
        while let Some(halt) = lane.poll_halt() {
            handle.progress.handle_halt(&halt);
            // A full queue means that the session is stuck; it ends by its own rules.
            let _ = control.blocking_send(halt);
        }
        if surplus > 0 {
            continue;
        }
        let now = Instant::now();
        if lane.next_timeout().is_none_or(|due| due > now) {
            dispatcher.leave(handle.id);
            return Ok(idle(lane));
        }
        let room = match dispatcher.poll(handle.id, lane.open_bytes(), now) {
            Turn::Send(room) => room,
            Turn::Wait(until) => {
                watch.handle_no_room(now);
                return Ok(Sleep { until, activity: Activity::WaitsForRoom });
            }
        };
        lane.set_codec(handle.choice.codec());
        let began = thread_time();
        let Some(frame) = lane.poll_frame(now) else {
            return Ok(Sleep { until: None, activity: Activity::Idles });
        };
        dispatcher.free(handle.id, frame.surplus);
        let cpu = thread_time().zip(began).map(|(now, began)| now.saturating_sub(began)).unwrap_or_default();
        handle.progress.handle_frame(&frame, cpu, lane.in_flight_bytes());
        let when_taken = watch.handle_frame(&frame, now, latency);
        dispatcher.send(room, frame.bytes, Box::new(when_taken), Instant::now());
    }
}

fn idle<R: LaneReader>(lane: &Lane<R>) -> Sleep {
    let until = lane.next_timeout();
    let activity = if until.is_none() && lane.lacks_credit() { Activity::WaitsForCredit } else { Activity::Idles };
    Sleep { until, activity }
}

/// Measures how long frames take, for reports. The lane knows nothing of it.
#[derive(Default)]
struct FrameWatch {
    times: FrameTimes,
    /// Time since when the frame that is due has found no room.
    no_room: Option<Instant>,
}

impl FrameWatch {
    fn handle_no_room(&mut self, now: Instant) {
        self.no_room.get_or_insert(now);
    }

    /// Records that a frame, with room at `room_at`, is handed over. Returns the callback for when QUIC has taken it.
    fn handle_frame(
        &mut self,
        frame: &OutFrame,
        room_at: Instant,
        latency: &Arc<Latency>,
    ) -> impl FnOnce() + Send + use<> {
        let now = Instant::now();
        let taken = Taken::default();
        let room = self.no_room.take().map_or(Duration::ZERO, |since| room_at.saturating_duration_since(since));
        if let Some(first) = frame.first_record {
            let lasted = now.saturating_duration_since(first.packed_at);
            let read = age_when_packed(first.timestamp, lasted);
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

/// Returns how old a record was when it was packed, `ago` before now, by its timestamp, which is the time of day.
fn age_when_packed(timestamp: i64, ago: Duration) -> Option<Duration> {
    let written = Duration::from_millis(u64::try_from(timestamp).ok()?);
    let now = Duration::from_nanos(transport::clock::unix_nanos());
    Some(now.saturating_sub(ago).saturating_sub(written))
}
