//! `compression = "auto"` on a link in virtual time: which codec each situation ends at, how soon, and that it stays.
//!
//! The session, the dispatcher, the budget, congestion control and QUIC are the product's, and so is all that `auto`
//! measures. The lanes are played, with a model of records and processors: a codec has a ratio, and takes a processor
//! for a time per byte. Frames have the size that the model says, with any bytes in them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use kafka::properties::forbidden;
use sender::config::{Config, derived};
use sender::{Activity, Choice, Compression, EverySecond, Freed, OutFrame, Report, Turn};
use sender::{LaneCommand as Command, LaneHandle, SessionEnd, SessionPart};
use service::shutdown::{self, Phase};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use transport::budget::BudgetSockets;
use transport::congestion::Flow;
use wire::compress::Codec;
use wire::ids::{LaneId, Sequence};
use wire::lanes::ClassTable;
use wire::limits::frame_charge;

use crate::channels::frame_of;
use crate::ends::Ends;
use crate::in_virtual_time;
use crate::sessions::{EPOCH, LOOK, Sending, host, lane_handle};

/// Bytes of a frame before compression.
const RAW: usize = 128 << 10;
const SECOND: Duration = Duration::from_secs(1);

/// Records, and the processors that compress them.
#[derive(Debug, Clone, Copy)]
struct Model {
    /// Bytes before compression per byte, for none, lz4, zstd:1, shape:1 and shape:3.
    ratios: [f64; 5],
    /// Bytes before compression per second and processor.
    speeds: [f64; 5],
    cores: usize,
}

const CODECS: [Codec; 5] = [Codec::None, Codec::Lz4, Codec::Zstd(1), Codec::Shape(1), Codec::Shape(3)];

/// Flights of docs/bytes.md, at a 500th of the speeds.
const FLIGHTS: Model =
    Model { ratios: [1.0, 4.8, 9.7, 31.0, 31.2], speeds: [6.6e6, 2.0e6, 1.06e6, 0.88e6, 0.8e6], cores: 2 };
const NOISE: Model = Model { ratios: [1.0; 5], ..FLIGHTS };

impl Model {
    fn of(&self, codec: Codec) -> (f64, f64) {
        let at = CODECS.iter().position(|other| *other == codec).unwrap();
        (self.ratios[at], self.speeds[at])
    }

    /// Bytes before compression per second on a link with this rate in bytes per second.
    fn speed(&self, codec: Codec, rate: f64) -> f64 {
        let (ratio, speed) = self.of(codec);
        (ratio * rate).min(speed * self.cores as f64)
    }

    fn best(&self, rate: f64) -> f64 {
        CODECS.iter().map(|codec| self.speed(*codec, rate)).fold(0.0, f64::max)
    }
}

type Shared = Arc<(Mutex<Model>, Semaphore)>;

/// A lane that always has records, and the credit of its next frame.
struct Played {
    handle: LaneHandle,
    part: Option<SessionPart>,
    next: u64,
    asked: bool,
    granted: bool,
    unacked: VecDeque<(u64, u64)>,
    shared: Shared,
}

impl Played {
    async fn play(mut self) {
        loop {
            while let Some(command) = self.handle.mailbox.pop() {
                match command {
                    Command::Open { session, epoch } => {
                        self.handle.progress.handle_open(epoch, session.packing.codec);
                        self.part = Some(session);
                    }
                    Command::Ack(_, Sequence(acked), _) => self.handle_ack(acked),
                    Command::Close => return,
                    _ => {}
                }
            }
            let waits = match self.part.clone() {
                Some(part) => self.send_one(&part).await,
                None => Some(Activity::Idles),
            };
            if let Some(activity) = waits {
                self.turn_to(activity);
                sleep(LOOK).await;
            }
        }
    }

    fn turn_to(&self, activity: Activity) {
        self.handle.activity.turn_to(activity, Instant::now().into_std());
    }

    fn handle_ack(&mut self, acked: u64) {
        while self.unacked.front().is_some_and(|(sequence, _)| *sequence <= acked) {
            let (_, charge) = self.unacked.pop_front().unwrap();
            self.part.iter().for_each(|part| part.dispatcher.free(self.handle.id, charge));
        }
    }

    /// Makes and sends a frame, or returns what the lane has to wait for.
    async fn send_one(&mut self, part: &SessionPart) -> Option<Activity> {
        let lane = self.handle.id;
        let charge = frame_charge(RAW * 2);
        self.granted |= part.dispatcher.credit(lane, (!self.asked).then_some(charge)).is_some();
        self.asked = true;
        if !self.granted {
            return Some(Activity::WaitsForCredit);
        }
        let Turn::Send(room) = part.dispatcher.poll(lane, RAW as u64, Instant::now().into_std()) else {
            return Some(Activity::WaitsForRoom);
        };
        self.turn_to(Activity::Works);
        let (ratio, speed) = self.shared.0.lock().unwrap().of(self.handle.choice.codec());
        let cpu = Duration::from_secs_f64(RAW as f64 / speed);
        let permit = self.shared.1.acquire().await.unwrap();
        sleep(cpu).await;
        drop(permit);
        let bytes = frame_of(lane, self.next, &vec![0; (RAW as f64 / ratio) as usize]);
        let used = frame_charge(bytes.len());
        part.dispatcher.free(lane, charge - used);
        self.unacked.push_back((self.next, used));
        let out = OutFrame {
            bytes: bytes.clone(),
            shaped_bytes: 0,
            records: 1,
            raw_bytes: RAW as u64,
            surplus: 0,
            sequence: Sequence(self.next),
            first_record: None,
            topics: Vec::new(),
        };
        self.handle.progress.handle_frame(&out, cpu, 1);
        // Progress times acks by the system's clock: a slow machine would make them late.
        self.handle.progress.handle_ack(EPOCH, Sequence(self.next), &Freed::default(), 0);
        part.dispatcher.send(room, bytes, Box::new(|| {}), Instant::now().into_std());
        self.next += 1;
        self.asked = false;
        self.granted = false;
        None
    }
}

fn config(rate: &str) -> Config {
    let wan = format!("[wan]\nrate = \"{rate}\"\n");
    let text = format!("{}\n[lanes]\ncount = 4\n", sender::config::EXAMPLE.replace("[wan]", &wan));
    service::config::parse::<Config>(&text, "sender.toml", forbidden).unwrap()
}

/// Codec after each second of a link with a rate, whose records are those of `model`, and `later` after `change`.
fn codecs(rate: &str, model: Model, change: u64, later: Model, seconds: u64) -> Vec<Codec> {
    in_virtual_time(async {
        let config = config(rate);
        let report = Arc::new(Report::default());
        let board = report.board();
        board.rates().configure(&config.wan, Timestamp::now());
        let ends = Ends::new("delay 20 ms, rate 1 Gbit/s", 1);
        let sockets = BudgetSockets::new(ends.near(), board.rates().budget().clone());
        let flow = Flow::new(derived::flow(&config));
        board.publish(|published| published.flow = Some(flow.clone()));
        let dialer = ends.dialer_with(derived::endpoint(&config)).over(Arc::new(sockets)).guided_by(flow);
        let ends = Ends { dialer, ..ends };
        let (trigger, shutdown) = shutdown::channel();
        tokio::spawn(receiver::serve(ends.listening.clone(), host(&ends, |_, _| ()), shutdown.clone()));

        let shared: Shared = Arc::new((Mutex::new(model), Semaphore::new(model.cores)));
        let table = ClassTable::new(config.lanes);
        let lanes: Vec<_> = (0..table.lanes()).map(LaneId).map(lane_handle).collect();
        let lanes: Vec<_> = lanes
            .into_iter()
            .map(|lane| LaneHandle { choice: Arc::new(Choice::new(Compression::Auto)), ..lane })
            .collect();
        board.publish(|published| {
            published.lanes = lanes.iter().map(|lane| Arc::clone(&lane.progress)).collect();
            published.activities = lanes.iter().map(|lane| Arc::clone(&lane.activity)).collect();
            published.choices = lanes.iter().map(|lane| Arc::clone(&lane.choice)).collect();
        });
        for handle in lanes.iter().cloned() {
            let shared = Arc::clone(&shared);
            let unacked = VecDeque::new();
            let played = Played { handle, part: None, next: 0, asked: false, granted: false, unacked, shared };
            tokio::spawn(played.play());
        }
        let packing = derived::packing(&config);
        let sending = Sending { config, table, lanes: lanes.clone(), packing, channels: 4 };
        let session = sending.run(&ends, board, shutdown);
        let story = async {
            let mut work = EverySecond::new(None);
            let mut codecs = Vec::new();
            for second in 0..seconds {
                if second == change {
                    *shared.0.lock().unwrap() = later;
                }
                sleep(SECOND).await;
                work.tick(Instant::now().into_std(), Some(2.0), &report);
                codecs.push(lanes[0].choice.codec());
            }
            let class = &report.status().classes[0];
            println!("{rate}: {codecs:?}; {} because {:?}", class.compression, class.compression_reason);
            trigger.advance(Phase::Now);
            codecs
        };
        let (end, codecs) = tokio::join!(session, story);
        assert_eq!(end, SessionEnd::Drained);
        codecs
    })
}

/// Asserts that within 10 s the codec makes the link as fast as it can be, less a tenth, and that later it is another one
/// only while a step is tried, which becomes rare.
fn assert_stays(codecs: &[Codec], model: Model, bytes_per_second: f64) {
    let good = |codec: &Codec| model.speed(*codec, bytes_per_second) >= 0.9 * model.best(bytes_per_second);
    let after = &codecs[10..];
    let part = after.iter().filter(|codec| good(codec)).count() as f64 / after.len() as f64;
    let steps = after.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(part >= 0.85, "good in {part:.2} of the time: {codecs:?}");
    assert!(steps <= 10, "{steps} steps: {codecs:?}");
    assert!(good(codecs.last().unwrap()), "{codecs:?}");
}

#[test]
fn a_narrow_budget_ends_at_shapes() {
    // Half of what two processors can compress by shapes.
    let codecs = codecs("200 kbit/s", FLIGHTS, u64::MAX, FLIGHTS, 90);
    assert_stays(&codecs, FLIGHTS, 25_000.0);
    assert!(codecs[10..].iter().all(|codec| matches!(codec, Codec::Shape(_))), "{codecs:?}");
}

#[test]
fn a_fast_path_ends_at_what_two_processors_can_compress() {
    let codecs = codecs("20 Mbit/s", FLIGHTS, u64::MAX, FLIGHTS, 90);
    assert_stays(&codecs, FLIGHTS, 2_500_000.0);
}

#[test]
fn incompressible_records_on_a_fast_path_are_not_compressed() {
    // Faster than two processors can compress with any codec.
    let codecs = codecs("80 Mbit/s", NOISE, u64::MAX, NOISE, 90);
    assert_stays(&codecs, NOISE, 10_000_000.0);
    assert_eq!(codecs.last(), Some(&Codec::None), "{codecs:?}");
}

#[test]
fn records_that_change_get_another_codec() {
    let codecs = codecs("8 Mbit/s", NOISE, 40, FLIGHTS, 130);
    assert_stays(&codecs[40..], FLIGHTS, 1_000_000.0);
}
