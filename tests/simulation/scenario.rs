//! The settings of one run, drawn from its seed. Probabilities are per thousand.

use std::time::Duration;

use receiver::{MapTerms, Terms};
use sender::Packing;
use sender::config::Start;
use wire::compress::Codec;
use wire::control::CreditTerms;
use wire::frame::StateBound;
use wire::hello::FEATURES;
use wire::lanes::{ClassRequest, ClassTable, LANE_HASH};

use crate::bugs::Bug;
use crate::dice::Dice;

const FRAME_BYTES: u64 = 2048;

#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    /// Lanes of the default class and of the other classes.
    pub(crate) classes: ClassTable,
    /// Steps per thousand in which the topics of a sender change their classes.
    pub(crate) moving: u64,
    pub(crate) start: Start,
    codec: Codec,
    /// Bound of what both ends remember of a lane's frames; `None` for frames that refer to no others.
    pub(crate) state: Option<StateBound>,
    linger: Duration,
    pub(crate) pool: u64,
    decode_memory: u64,
    /// Number of times that the size of a receiver's transactions was halved before the run.
    pub(crate) size_halved: u32,
    /// Receivers measure how long transactions take.
    pub(crate) measures: bool,
    /// Calls to the target per thousand that fail.
    pub(crate) failing: u64,
    /// Steps per thousand that end a session.
    pub(crate) losing: u64,
    /// Number of channels of each session.
    pub(crate) channels: u32,
    /// Steps per thousand that kill an extra channel.
    pub(crate) dying: u64,
    /// Steps per thousand that kill a process, for each end.
    pub(crate) killing: u64,
    /// Steps per thousand in which a state partition changes its leader, and the former one does not know it yet.
    pub(crate) deposing: u64,
    /// First and last steps of further links with the same name, started by mistake.
    pub(crate) others: Vec<(u64, u64)>,
    /// Receivers have the transactional ids of others.
    pub(crate) twins: bool,
    /// Sessions per thousand that begin with new lanes in place of those that still work, as if the link was removed and
    /// added again.
    pub(crate) renewing: u64,
    /// Rounds per thousand before which the credentials for the target change.
    pub(crate) turning: u64,
    /// Lanes per thousand and round that go to another writer.
    pub(crate) homing: u64,
    /// Rounds of a receiver's lanes per thousand that may pause within a call.
    pub(crate) pausing: u64,
    /// Steps per thousand in which a target partition loses its leader for a while.
    pub(crate) troubling: u64,
    /// Steps per thousand in which a transaction coordinator cannot append to its log for a while.
    pub(crate) hanging: u64,
    /// Steps per thousand in which an unused transactional id expires.
    pub(crate) expiring: u64,
    /// Age at which the target aborts an open transaction.
    pub(crate) transaction_timeout: Duration,
    /// Number of records that cannot be carried.
    pub(crate) poisons: u64,
    /// Share of them, per thousand, that are too large for a frame; the target rejects the others.
    pub(crate) huge: u64,
    /// Probability, per thousand, that the policy of a session leaves out the records that the target rejects.
    pub(crate) skipping: u64,
    /// Steps per thousand in which retention deletes records at the source.
    pub(crate) trimming: u64,
    /// Steps per thousand in which an operator resumes a partition.
    pub(crate) lifting: u64,
    /// Steps per thousand in which another program writes to a target partition.
    pub(crate) foreign: u64,
    /// Step at which the link is promoted for the first time, if it is.
    pub(crate) promoted_at: Option<u64>,
    /// Number of steps before faults end and everything must arrive.
    pub(crate) steps: u64,
    pub(crate) bug: Option<Bug>,
}

impl Scenario {
    pub(crate) fn draw(dice: &Dice) -> Self {
        let steps = dice.within(300, 600);
        let span = |_| {
            let from = dice.below(steps);
            (from, from + dice.below(300))
        };
        let others = [0, 0, 0, 1, 1, 2][dice.below(6) as usize];
        let drawn = Self {
            classes: classes(dice),
            moving: [0, 5, 40][dice.below(3) as usize],
            start: if dice.chance(500) { Start::Earliest } else { Start::Latest },
            codec: [Codec::None, Codec::Lz4, Codec::Zstd(1)][dice.below(3) as usize],
            state: None,
            linger: Duration::from_millis(dice.below(6)),
            pool: dice.within(8, 32) * 1024,
            decode_memory: dice.within(1, 16) * 1024,
            size_halved: dice.below(14) as u32,
            measures: dice.chance(500),
            failing: [0, 3, 20, 80][dice.below(4) as usize],
            losing: [0, 5, 30][dice.below(3) as usize],
            channels: [1, 2, 4, 16][dice.below(4) as usize],
            dying: [0, 10, 60][dice.below(3) as usize],
            killing: [0, 3, 20][dice.below(3) as usize],
            deposing: [0, 0, 20][dice.below(3) as usize],
            others: (0..others).map(span).collect(),
            twins: dice.chance(300),
            renewing: [0, 0, 300][dice.below(3) as usize],
            turning: 0,
            homing: [0, 0, 5, 30][dice.below(4) as usize],
            pausing: [0, 20, 100][dice.below(3) as usize],
            troubling: [0, 0, 5, 20][dice.below(4) as usize],
            hanging: [0, 0, 5, 20][dice.below(4) as usize],
            expiring: [0, 0, 2][dice.below(3) as usize],
            transaction_timeout: Duration::from_secs([3, 30][dice.below(2) as usize]),
            poisons: if dice.chance(200) { dice.within(1, 6) } else { 0 },
            huge: 500,
            skipping: [0, 500, 1000][dice.below(3) as usize],
            trimming: [0, 0, 0, 0, 10][dice.below(5) as usize],
            lifting: [0, 20, 100][dice.below(3) as usize],
            foreign: 0,
            promoted_at: None,
            steps,
            bug: None,
        };
        // Drawn from no dice: the runs of earlier seeds stay what they were.
        let drawn = Self { turning: if steps % 4 == 3 { 50 } else { 0 }, ..drawn };
        match steps % 5 {
            0 | 1 => Self {
                codec: Codec::Shape(1),
                state: StateBound::within([0, 512 << 10, 1 << 20][(steps / 5 % 3) as usize]),
                ..drawn
            },
            _ => drawn,
        }
    }

    /// Returns whether frames may be shaped.
    pub(crate) const fn is_shaped(&self) -> bool {
        matches!(self.codec, Codec::Shape(_))
    }

    /// Makes three links contend for the lanes of a target whose transactions hang.
    pub(crate) fn contend(&mut self) {
        self.others = vec![(self.steps / 8, self.steps), (self.steps / 4, self.steps)];
        self.losing = 30;
        self.pausing = 100;
        self.troubling = 20;
        self.hanging = 20;
        self.deposing = 20;
        self.failing = 20;
        self.killing = 10;
    }

    pub(crate) fn lanes(&self) -> u16 {
        self.classes.lanes()
    }

    pub(crate) fn packing(&self) -> Packing {
        let credit_max = self.credit().reserve.max(self.pool / 2);
        Packing {
            codec: self.codec,
            features: FEATURES,
            frame_bytes: FRAME_BYTES,
            linger: self.linger,
            credit_max,
            state: self.state,
        }
    }

    /// Memory of a receiver for decoded frames, and for what its lanes remember of earlier ones.
    pub(crate) fn decode_memory(&self) -> u64 {
        self.decode_memory + self.remembered_max()
    }

    /// Most bytes that all lanes remember of earlier frames.
    pub(crate) fn remembered_max(&self) -> u64 {
        self.state.map_or(0, |bound| bound.bytes() as u64) * u64::from(self.lanes())
    }

    /// Has every sender send frames with state.
    pub(crate) fn remember(&mut self) {
        self.codec = Codec::Shape(1);
        self.state = StateBound::within(512 << 10);
    }

    pub(crate) fn credit(&self) -> CreditTerms {
        CreditTerms { reserve: FRAME_BYTES, pool: self.pool }
    }

    pub(crate) fn terms(&self) -> Terms {
        Terms {
            link: "sim".to_owned(),
            classes: self.classes.clone(),
            lane_hash: LANE_HASH.to_owned(),
            source_cluster: "source".to_owned(),
            target_cluster: "target".to_owned(),
            filter_hash: 7,
            sender: "sim".to_owned(),
            accepts: None,
            // Short ranges in the records: blocks are many.
            map: MapTerms { stored: true, recent_bytes: (self.steps % 30) as usize },
            state: self.state,
        }
    }
}

fn classes(dice: &Dice) -> ClassTable {
    let request = |name: &str| ClassRequest { name: name.to_owned(), lanes: dice.within(1, 2) as u16, strict: false };
    let requests: Vec<_> = ["critical", "bulk"].into_iter().take(dice.below(3) as usize).map(request).collect();
    ClassTable::new(dice.within(1, 3) as u16).append(&requests).unwrap()
}
