//! A receiver that lies to the product's lanes and offers of a sender.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sender::{CreditUsage, Router};
use wire::codec::encode_control;
use wire::control::{Control, LaneClosedReason};
use wire::halt::HaltReason;
use wire::ids::{Epoch, LaneId, Position, Sequence, Slot};
use wire::lanes::ClassTable;

use crate::dice::Dice;
use crate::frame_reader::FrameReader;
use crate::lies::{Reasons, note, odd_number, odd_position};
use crate::scenario::Scenario;
use crate::sender_end::SenderEnd;
use crate::source::SharedSource;

/// Epochs by which each session begins later than the one before.
const EPOCHS: u64 = 1000;

type SlotId = (LaneId, Epoch, Slot);

/// Receiver without any target, and the sender that believes it.
pub(crate) struct LyingReceiver {
    dice: Dice,
    scenario: Scenario,
    source: SharedSource,
    sender: SenderEnd,
    reader: FrameReader,
    session: u64,
    now: Duration,
    base: Instant,
    /// Greatest epoch of each lane that it has named.
    epochs: BTreeMap<LaneId, u64>,
    /// Offers that it has not answered.
    offers: Vec<SlotId>,
    /// Slots that it has ever heard of in this session.
    slots: Vec<SlotId>,
    /// Frames that it has received in this session.
    frames: Vec<(LaneId, Epoch, Sequence)>,
    /// Lanes that the sender asks to open.
    asked: Vec<LaneId>,
    /// Position at which the next run of each open slot must begin.
    expected: BTreeMap<SlotId, Position>,
}

impl LyingReceiver {
    pub(crate) fn new(dice: Dice) -> Self {
        let mut scenario = Scenario::draw(&dice);
        scenario.classes = ClassTable::new(dice.within(1, 3) as u16);
        let source = SharedSource::default();
        source.lock().unwrap().has_templates = scenario.is_shaped();
        for topic in ["orders", "payments", "orders"] {
            source.lock().unwrap().add_partition(topic, &dice);
        }
        let sender = SenderEnd::new(&scenario, Router::plain(scenario.lanes()), &source, &dice);
        let reader = FrameReader::new(scenario.state, None);
        Self {
            reader,
            dice,
            scenario,
            source,
            sender,
            session: 0,
            now: Duration::ZERO,
            base: Instant::now(),
            epochs: BTreeMap::new(),
            offers: Vec::new(),
            slots: Vec::new(),
            frames: Vec::new(),
            asked: Vec::new(),
            expected: BTreeMap::new(),
        }
    }

    /// Sends `steps` messages. Error: a promise is broken.
    pub(crate) fn run(&mut self, steps: u64, reasons: &mut Reasons) -> Result<(), String> {
        let lying = [50, 300, 900][self.dice.below(3) as usize];
        for _ in 0..steps {
            self.now += Duration::from_millis(self.dice.below(20));
            if self.sender.session.is_none() {
                self.begin();
            }
            if self.dice.chance(200) {
                self.source.lock().unwrap().append(&self.dice);
            }
            let message = if self.dice.chance(lying) { self.lie() } else { self.truth() };
            // What is not valid by itself, the decoder refuses.
            encode_control(&message);
            self.tell(message, reasons);
            self.take()?;
        }
        Ok(())
    }

    fn begin(&mut self) {
        self.session += 1;
        self.asked.clear();
        self.offers.clear();
        self.slots.clear();
        self.frames.clear();
        self.expected.clear();
        for message in self.sender.connect(self.session, self.scenario.credit()) {
            if let Control::OpenLane { lane } = message {
                self.asked.push(lane);
                self.epochs.insert(lane, self.session * EPOCHS);
            }
        }
    }

    /// Sends a message. A contradiction ends the session.
    fn tell(&mut self, message: Control, reasons: &mut Reasons) {
        let told = message.clone();
        match self.sender.handle(message, self.now) {
            Ok(()) => self.note_believed(&told),
            Err(error) => {
                note(reasons, &error.to_string());
                self.sender.disconnect();
            }
        }
    }

    /// Notes what the sender must do after a message that it has taken.
    fn note_believed(&mut self, message: &Control) {
        match *message {
            Control::PartitionOpen { lane, epoch, slot, position, .. } if self.sender.epoch(lane) == Some(epoch) => {
                self.expected.insert((lane, epoch, slot), position);
            }
            _ => {}
        }
    }

    /// Takes what the sender says and sends, and checks it.
    fn take(&mut self) -> Result<(), String> {
        let mut messages = if self.dice.chance(300) { self.sender.offer(self.now) } else { Vec::new() };
        if self.dice.chance(50) {
            self.sender.skip_halted();
        }
        let (halts, frames) = self.sender.pump(self.base + self.now);
        messages.extend(halts);
        for message in messages {
            encode_control(&message);
            match message {
                Control::OpenLane { lane } => self.asked.push(lane),
                Control::Offer { lane, epoch, partitions, .. } => {
                    let slots = partitions.iter().map(|offered| (lane, epoch, offered.slot));
                    self.offers.extend(slots.clone());
                    self.slots.extend(slots);
                }
                _ => {}
            }
        }
        for bytes in frames {
            let (_, frame) = self.reader.read(bytes)?;
            let head = frame.header().head;
            self.frames.push((head.lane, head.epoch, head.sequence));
            for run in frame.runs() {
                let id = (head.lane, head.epoch, run.slot);
                let expected = self.expected.insert(id, run.next);
                if expected != Some(run.from) {
                    return Err(format!("{id:?}: a run begins at {}, expected {expected:?}", run.from));
                }
            }
        }
        let CreditUsage { used, total } = self.sender.dispatcher.credit_usage();
        if used > total { Err(format!("{used} bytes of credit in use, there are {total}")) } else { Ok(()) }
    }

    /// Returns a message of an honest receiver, if one is due.
    fn truth(&mut self) -> Control {
        if let Some(lane) = self.asked.pop() {
            let epoch = self.epochs.entry(lane).or_default();
            *epoch += 1;
            return Control::LaneOpen { lane, epoch: Epoch(*epoch) };
        }
        if let Some((lane, epoch, slot)) = self.offers.pop() {
            let position = Position(self.dice.below(60) as i64);
            return Control::PartitionOpen { lane, epoch, slot, position, leader_epoch: -1 };
        }
        match self.frames.last() {
            Some(&(lane, epoch, sequence)) => Control::Ack { lane, epoch, sequence, timing: None },
            None => Control::Clock { asked: 1, answered: 2 },
        }
    }

    fn lie(&self) -> Control {
        let dice = &self.dice;
        let lane = LaneId(dice.below(u64::from(self.scenario.lanes()) + u64::from(dice.chance(20))) as u16);
        let Some(Epoch(known)) = self.sender.epoch(lane).or_else(|| dice.chance(20).then_some(Epoch(1))) else {
            return Control::Clock { asked: 1, answered: 2 };
        };
        let epoch = Epoch(if dice.chance(980) { known } else { odd_number(dice, &[known, known - 1], known) });
        let (lane, epoch, slot) = match self.slots.get(dice.below(self.slots.len().max(1) as u64) as usize) {
            Some(&known) if dice.chance(800) => known,
            _ => (lane, epoch, Slot(odd_number(dice, &[], self.slots.len() as u64) as u32)),
        };
        match dice.below(9) {
            0 => Control::LaneOpen { lane, epoch },
            1 => {
                let reason = LaneClosedReason::ALL[dice.below(LaneClosedReason::ALL.len() as u64) as usize];
                Control::LaneClosed { lane, epoch, reason, detail: "a lie".to_owned() }
            }
            2..=4 => {
                let position = Position(odd_position(dice, 20));
                let leader_epoch = [-1, 0, i32::MAX][dice.below(3) as usize];
                Control::PartitionOpen { lane, epoch, slot, position, leader_epoch }
            }
            5 | 6 => {
                let position = Position(odd_position(dice, 20) - i64::from(dice.chance(100)));
                let position = position.max(Position(-1));
                let known = HaltReason::ALL[dice.below(HaltReason::ALL.len() as u64) as usize];
                let reason = if dice.chance(900) { known.word() } else { "of-a-newer-version" }.to_owned();
                Control::PartitionHalted { lane, epoch, slot, position, reason, detail: "a lie".to_owned() }
            }
            7 => {
                let acked: Vec<_> = self.frames.iter().map(|(_, _, sequence)| sequence.0).collect();
                let sequence = Sequence(odd_number(dice, &acked, acked.len() as u64));
                Control::Ack { lane, epoch, sequence, timing: None }
            }
            _ => Control::StoredAt { lane, epoch, slot, at: odd_position(dice, 20) },
        }
    }
}
