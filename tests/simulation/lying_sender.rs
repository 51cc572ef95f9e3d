//! A sender that lies to the product's lanes and ledger of a receiver. One of its partitions is honest: its records must
//! arrive exactly, in the sessions that the lies leave.

use std::time::Duration;

use bytes::Bytes;
use receiver::{Admission, Ledger};
use testkit::topic_id;
use wire::codec::encode_control;
use wire::compress::Codec;
use wire::control::{Accepts, Control, Jump, LaneClosedReason, OfferedPartition};
use wire::frame::{Frame, FrameBuilder, FrameHead, Headers, IntactFrame, RecordRef, seal};
use wire::halt::HaltReason;
use wire::ids::{Epoch, LaneId, Offset, Position, Sequence, Slot};

use crate::cluster::SharedCluster;
use crate::dice::Dice;
use crate::lies::{Reasons, note, odd_number, odd_position};
use crate::logs::{Entry, Place};
use crate::receiver_end::{PEER, ReceiverEnd};
use crate::scenario::Scenario;

/// Topic whose only partition is honest.
const HONEST: &str = "honest";
/// First slot of the honest partition.
const HONEST_SLOTS: u32 = 1_000_000;
const LIES: [&str; 2] = ["orders", "payments"];
/// Offset after the last record of every log.
const LOG_END: i64 = 1_000_000;
/// Records of the honest partition that must arrive after the last lie.
const AT_LAST: u64 = 20;
/// Steps in which they must.
const AT_LAST_STEPS: u64 = 3_000;

/// What the sender knows of a lane in its session.
#[derive(Default)]
struct LaneView {
    epoch: Option<Epoch>,
    /// Lowest sequence that was never used.
    sequence: u64,
    slots: u32,
    /// Slots that the receiver has opened, with the position of each.
    open: Vec<(Slot, i64)>,
}

/// Sender without any source, and the receiver that takes its word.
pub(crate) struct LyingSender {
    dice: Dice,
    scenario: Scenario,
    cluster: SharedCluster,
    receiver: ReceiverEnd,
    ledger: Ledger,
    session: u64,
    now: Duration,
    lanes: Vec<LaneView>,
    honest: Honest,
    traced: bool,
}

/// The honest partition.
#[derive(Default)]
struct Honest {
    lane: LaneId,
    /// Slot of its last offer in this epoch.
    slot: Option<Slot>,
    /// Position of the next record to be sent, while the slot is open.
    position: Option<i64>,
    /// Number of its records in the target.
    arrived: u64,
}

impl LyingSender {
    pub(crate) fn new(dice: Dice) -> Self {
        let mut scenario = Scenario::draw(&dice);
        scenario.poisons = 0;
        scenario.state = None;
        let cluster = SharedCluster::default();
        {
            let mut cluster = cluster.lock().unwrap();
            cluster.transaction_timeout = scenario.transaction_timeout;
            (0..scenario.lanes()).for_each(|lane| {
                cluster.logs.create(Place::State(lane));
                cluster.logs.create(Place::Map(lane));
            });
        }
        let receiver = ReceiverEnd::new(&scenario, &cluster, &dice, 1);
        let lanes = scenario.lanes();
        Self {
            receiver,
            ledger: Ledger::new(scenario.credit(), lanes),
            session: 0,
            now: Duration::ZERO,
            lanes: Vec::new(),
            honest: Honest { lane: scenario.classes.default_class().lane(HONEST, 0), ..Honest::default() },
            traced: crate::number("SEED").is_some(),
            dice,
            scenario,
            cluster,
        }
    }

    /// Sends `steps` messages and frames, and then nothing but the truth. Error: a promise is broken.
    pub(crate) fn run(&mut self, steps: u64, reasons: &mut Reasons) -> Result<(), String> {
        let lying = [50, 300, 800][self.dice.below(3) as usize];
        for _ in 0..steps {
            let lies = self.dice.chance(lying);
            self.step(lies, reasons)?;
        }
        self.receiver.process.lock().unwrap().failing = 0;
        self.cluster.lock().unwrap().heal(&self.dice);
        self.end();
        let before = self.honest.arrived;
        for _ in 0..AT_LAST_STEPS {
            self.now += Duration::from_millis(80);
            self.step(false, reasons)?;
            if self.honest.arrived >= before + AT_LAST {
                return Ok(());
            }
        }
        Err(format!("{} honest records arrived after the last lie", self.honest.arrived - before))
    }

    fn step(&mut self, lies: bool, reasons: &mut Reasons) -> Result<(), String> {
        self.now += Duration::from_millis(self.dice.below(20));
        self.cluster.lock().unwrap().tick(self.now, &self.dice);
        if self.receiver.session.is_none() {
            self.begin();
        }
        let said = if lies { self.lie() } else { self.tell_the_truth() };
        let answered = match said {
            Ok(()) => self.receiver.pump().map_err(|error| error.strip_prefix(PEER).map(str::to_owned).ok_or(error)),
            Err(misbehaved) => Err(Ok(misbehaved)),
        };
        match answered {
            Ok(replies) => replies.into_iter().for_each(|reply| self.hear(&reply)),
            Err(misbehaved) => {
                let misbehaved = misbehaved?;
                self.trace(|| format!("session {} ends: {misbehaved}", self.session));
                note(reasons, &misbehaved);
                self.end();
            }
        }
        self.check()
    }

    fn begin(&mut self) {
        self.session += 1;
        self.receiver.accept(self.session);
        self.ledger = Ledger::new(self.scenario.credit(), self.scenario.lanes());
        self.lanes = (0..self.scenario.lanes()).map(|_| LaneView::default()).collect();
        self.honest = Honest { lane: self.honest.lane, arrived: self.honest.arrived, ..Honest::default() };
        for lane in (0..self.scenario.lanes()).map(LaneId) {
            let _ = self.receiver.handle(Control::OpenLane { lane });
        }
    }

    /// Ends the session, as the product does after a contradiction.
    fn end(&mut self) {
        self.receiver.disconnect();
    }

    fn say(&mut self, message: Control) -> Result<(), String> {
        // What is not valid by itself, the decoder refuses.
        encode_control(&message);
        self.trace(|| format!("says {message:?}"));
        if let Control::Offer { lane, .. } | Control::PartitionHalted { lane, .. } | Control::OpenLane { lane } =
            message
            && usize::from(lane.0) >= self.lanes.len()
        {
            return Err(wire::error::PeerMisbehaved::UnknownLane(lane).to_string());
        }
        self.receiver.handle(message)
    }

    fn send(&mut self, frame: Bytes) -> Result<(), String> {
        self.trace(|| format!("sends {:?}", Frame::decode(frame.clone())));
        let header = *IntactFrame::check(frame.clone()).map_err(|error| error.to_string())?.header();
        if usize::from(header.head.lane.0) >= self.lanes.len() {
            return Err(wire::error::PeerMisbehaved::UnknownLane(header.head.lane).to_string());
        }
        match self.ledger.handle_frame(&header.head, header.frame_len()).map_err(|error| error.to_string())? {
            Admission::Drop => Ok(()),
            Admission::Hold => self.receiver.handle_frame(frame),
        }
    }

    fn hear(&mut self, reply: &Control) {
        encode_control(reply);
        self.trace(|| format!("hears {reply:?}"));
        match *reply {
            Control::LaneOpen { lane, epoch } => {
                self.ledger.open_lane(lane, epoch);
                self.lanes[usize::from(lane.0)] = LaneView { epoch: Some(epoch), ..LaneView::default() };
                self.forget_honest(lane);
            }
            Control::LaneClosed { lane, reason, .. } => {
                self.ledger.close_lane(lane);
                self.lanes[usize::from(lane.0)] = LaneView::default();
                self.forget_honest(lane);
                if reason != LaneClosedReason::SessionEnded {
                    let _ = self.receiver.handle(Control::OpenLane { lane });
                }
            }
            Control::Ack { lane, sequence, .. } => self.ledger.handle_ack(lane, sequence),
            Control::PartitionOpen { lane, slot, position, .. } => {
                if lane == self.honest.lane && self.honest.slot == Some(slot) {
                    self.honest.position = Some(position.0);
                } else if !is_honest(slot) {
                    self.lanes[usize::from(lane.0)].open.push((slot, position.0));
                }
            }
            Control::PartitionHalted { lane, slot, .. } if self.honest.slot == Some(slot) => self.forget_honest(lane),
            _ => {}
        }
    }

    fn forget_honest(&mut self, lane: LaneId) {
        if lane == self.honest.lane {
            self.honest.slot = None;
            self.honest.position = None;
        }
    }

    /// Offers the honest partition, or sends its next records.
    fn tell_the_truth(&mut self) -> Result<(), String> {
        let lane = self.honest.lane;
        let view = &mut self.lanes[usize::from(lane.0)];
        let Some(epoch) = view.epoch else { return Ok(()) };
        let Some(slot) = self.honest.slot else {
            let slot = Slot(HONEST_SLOTS + view.slots);
            view.slots += 1;
            self.honest.slot = Some(slot);
            let partitions = vec![offered(slot, HONEST, 0)];
            return self.say(Control::Offer { lane, epoch, partitions, last: false });
        };
        let Some(from) = self.honest.position.filter(|_| self.ledger.held() < self.scenario.credit().reserve) else {
            return Ok(());
        };
        let count = self.dice.within(1, 5) as i64;
        let frame =
            frame(FrameHead { lane, epoch, sequence: Sequence(view.sequence) }, &[(slot, from, count)], Codec::None);
        view.sequence += 1;
        self.honest.position = Some(from + count);
        self.send(frame)
    }

    fn lie(&mut self) -> Result<(), String> {
        let dice = self.dice.clone();
        let lane = LaneId(dice.below(u64::from(self.scenario.lanes()) + u64::from(dice.chance(20))) as u16);
        let view = self.lanes.get(usize::from(lane.0));
        let known = view.and_then(|view| view.epoch).map_or(1, |epoch| epoch.0);
        let epoch = Epoch(if dice.chance(980) { known } else { odd_number(&dice, &[known, known - 1], known) });
        let next = view.map_or(0, |view| view.slots);
        let open = view.map(|view| view.open.clone()).unwrap_or_default();
        let place = open.get(dice.below(open.len().max(1) as u64) as usize).copied();
        let (slot, position) = match place {
            Some(place) if dice.chance(700) => place,
            _ => (Slot(odd_number(&dice, &[], u64::from(next)) as u32), odd_position(&dice, 20)),
        };
        // Without an open slot there is little to contradict.
        match if place.is_none() && dice.chance(900) { dice.below(4) } else { dice.below(10) } {
            0 => self.say(Control::OpenLane { lane }),
            1..=3 => {
                let count = dice.within(1, 3);
                let partitions = (0..count).map(|_| self.lying_offer(lane)).collect();
                self.say(Control::Offer { lane, epoch, partitions, last: dice.chance(300) })
            }
            4 => {
                let known = HaltReason::ALL[dice.below(HaltReason::ALL.len() as u64) as usize].word();
                let reason = if dice.chance(900) { known } else { "of-a-newer-version" };
                // A halt that is stored is the sender's to lift.
                let reason = if is_honest(slot) { HaltReason::SourceGone.word() } else { reason }.to_owned();
                let position = Position(-1);
                self.say(Control::PartitionHalted { lane, epoch, slot, position, reason, detail: "a lie".to_owned() })
            }
            5 => {
                let topic = LIES[dice.below(2) as usize].to_owned();
                match dice.chance(500) {
                    true => self.say(Control::TopicsGone { topics: vec![topic] }),
                    false => self.say(Control::Forget { topic, asked: i64::MAX, reason: "a lie".to_owned() }),
                }
            }
            _ => self.lying_frame(lane, epoch, slot, position),
        }
    }

    fn lying_offer(&mut self, lane: LaneId) -> OfferedPartition {
        let dice = &self.dice.clone();
        let view = self.lanes.get_mut(usize::from(lane.0));
        let slot = match view {
            Some(view) if dice.chance(850) => {
                view.slots += 1;
                Slot(view.slots - 1)
            }
            view => Slot(odd_number(dice, &[], view.map_or(0, |view| u64::from(view.slots))) as u32),
        };
        if dice.chance(50) {
            // The honest partition, which another lane or slot may have.
            return offered(Slot(HONEST_SLOTS + slot.0 % HONEST_SLOTS), HONEST, 0);
        }
        let mut offered = offered(slot, LIES[dice.below(2) as usize], dice.below(3) as i32);
        offered.log_start = Position(odd_position(dice, 5));
        offered.log_end = Position(odd_position(dice, 20)).max(offered.log_start);
        offered.start = Position(odd_position(dice, 10));
        if dice.chance(300) {
            let expected = Position(odd_position(dice, 10) - i64::from(dice.chance(200)));
            let accepts = [Accepts::Nothing, Accepts::NewIncarnation, Accepts::Target, Accepts::CarriedOnly]
                [dice.below(4) as usize];
            let to = Position(odd_position(dice, 10));
            offered.jump = Some(Jump { expected, to, accepts, asked: 0, reason: "a lie".to_owned() });
        }
        if dice.chance(100) {
            offered.topic_id = topic_id("recreated");
        }
        offered
    }

    fn lying_frame(&mut self, lane: LaneId, epoch: Epoch, slot: Slot, position: i64) -> Result<(), String> {
        let dice = self.dice.clone();
        let view = self.lanes.get_mut(usize::from(lane.0));
        let next = view.as_ref().map_or(0, |view| view.sequence);
        let sequence = if dice.chance(800) { next } else { odd_number(&dice, &[next.saturating_sub(1)], next) };
        let count = [0, 1, 3, 200][dice.below(4) as usize].min(i64::MAX - 1 - position);
        if let Some(view) = view.filter(|view| view.epoch == Some(epoch)) {
            view.sequence = view.sequence.max(sequence.saturating_add(1).min(next + 1));
            if let Some(at) = view.open.iter_mut().find(|(open, _)| *open == slot).filter(|_| dice.chance(900)) {
                at.1 = position.saturating_add(count.max(1));
            }
        }
        if is_honest(slot) {
            return Ok(());
        }
        let mut runs = vec![(slot, position, count)];
        if lane == self.honest.lane
            && let Some((honest, from)) = self.honest.slot.zip(self.honest.position).filter(|_| dice.chance(30))
        {
            // Records of the honest partition at a wrong position.
            runs.push((honest, from + dice.within(1, 9) as i64, 1));
        }
        let codec = [Codec::None, Codec::Lz4, Codec::Zstd(1)][dice.below(3) as usize];
        let mut bytes = frame(FrameHead { lane, epoch, sequence: Sequence(sequence) }, &runs, codec).to_vec();
        if dice.chance(100) {
            let at = dice.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << dice.below(8);
            if dice.chance(700) {
                seal(&mut bytes);
            }
            let meant = Frame::decode(bytes.clone().into());
            let meant = meant.map(|frame| frame.runs().iter().any(|run| is_honest(run.slot)));
            if meant == Ok(true) {
                return Ok(());
            }
        }
        self.send(bytes.into())
    }

    fn trace(&self, line: impl FnOnce() -> String) {
        if self.traced {
            eprintln!("{:?} {}", self.now, line());
        }
    }

    /// Checks the honest records that were committed, and the memory.
    fn check(&mut self) -> Result<(), String> {
        let decided = self.cluster.lock().unwrap().take_decided();
        for committed in decided.into_iter().flatten() {
            let Place::Data(topic, _) = &committed.place else { continue };
            let Entry::Record(record) = &committed.entry else { continue };
            if &**topic != "copy.honest" {
                continue;
            }
            let expected = key(self.honest.arrived as i64);
            if record.key.as_deref() != Some(&expected[..]) {
                return Err(format!("honest record {} is {:?}", self.honest.arrived, record.key));
            }
            self.honest.arrived += 1;
        }
        let credit = self.scenario.credit();
        let limit = credit.pool + credit.reserve * u64::from(self.scenario.lanes());
        let held = self.ledger.held();
        if held > limit { Err(format!("{held} bytes are held, credit is {limit}")) } else { Ok(()) }
    }
}

/// Returns whether only the honest partition is offered under a slot. No lie has records of such a slot at its position:
/// they would be the sender's own, which the receiver cannot doubt.
fn is_honest(slot: Slot) -> bool {
    (HONEST_SLOTS..2 * HONEST_SLOTS).contains(&slot.0)
}

fn key(offset: i64) -> [u8; 8] {
    offset.to_be_bytes()
}

/// Returns the offer of a partition whose log begins at 0.
fn offered(slot: Slot, topic: &str, partition: i32) -> OfferedPartition {
    OfferedPartition {
        slot,
        topic: topic.to_owned(),
        partition,
        topic_id: topic_id(topic),
        partitions: 3,
        log_start: Position(0),
        log_end: Position(LOG_END),
        start: Position(0),
        jump: None,
    }
}

/// Makes a frame with runs of a slot, a first offset and a number of records; a run of none covers one position.
fn frame(head: FrameHead, runs: &[(Slot, i64, i64)], codec: Codec) -> Bytes {
    let mut builder = FrameBuilder::new();
    for &(slot, from, count) in runs {
        for offset in from..from + count {
            let key = key(offset);
            let headers = Headers::EMPTY;
            let record =
                RecordRef { offset: Offset(offset), timestamp: 1, key: Some(&key), value: Some(b"v"), headers };
            builder.push(slot, Position(offset), -1, &record);
        }
        if count == 0 {
            builder.advance(slot, Position(from), Position(from.saturating_add(1)));
        }
    }
    if builder.is_empty() {
        builder.advance(runs[0].0, Position(0), Position(1));
    }
    builder.finish(head, codec)
}
