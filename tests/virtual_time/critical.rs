//! The promise of a strict class while bulk records fill the link: the 99th percentile of the time from the write of a
//! record until its frame is at its lane is at most the one-way delay and 100 ms, on a slow path and on a fast one.
//!
//! The tests play the lanes' threads and the target. Packing, credit, scheduling, striping, the budget, the congestion
//! controller and QUIC are the product's, with settings from a configuration file. The played lanes check for work
//! every millisecond; a real one is woken by its bell.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka::KafkaError;
use kafka::properties::forbidden;
use sender::Board;
use sender::Lane;
use sender::SessionEnd;
use sender::Turn;
use sender::config::Config;
use sender::config::derived;
use sender::{Assignment, Event, LaneReader};
use sender::{LaneCommand as Command, LaneHandle, SessionPart};
use service::shutdown::{self, Phase};
use tokio::time::{Instant, sleep};
use transport::budget::{Budget, BudgetSockets};
use transport::congestion::Flow;
use wire::frame::{Headers, IntactFrame, LaneDecoder, RecordRef};
use wire::ids::{LaneId, Offset, Position, Slot};
use wire::lanes::ClassTable;

use crate::ends::Ends;
use crate::in_virtual_time;
use crate::sessions::{LOOK, Sending, host, lane_handle};

const ONE_WAY: Duration = Duration::from_millis(50);

/// Promised latency at the 99th percentile.
const PROMISED: Duration = ONE_WAY.saturating_add(Duration::from_millis(100));

/// Required latency on a fast path. Without priority it would be 115 to 135 ms there, which is within the promise, so
/// the promise alone would not show a loss of priority.
const FAST: Duration = ONE_WAY.saturating_add(Duration::from_millis(30));

/// Interval between records of the critical class: short enough for a percentile, and out of step with bulk frames.
const EVERY: Duration = Duration::from_millis(23);

/// Time until bulk fills the link.
const START: Duration = Duration::from_secs(3);

const MEASURED: Duration = Duration::from_secs(10);

const BULK_VALUE: usize = 10_000;
const CRITICAL_VALUE: usize = 200;

/// Reader of one partition, which always has a record, or has one every interval.
struct Endless {
    value: Vec<u8>,
    next: i64,
    /// Write time of record 0, if records are written one by one.
    began: Option<Instant>,
}

impl LaneReader for Endless {
    fn assign(&mut self, _: &[Assignment]) -> Result<(), KafkaError> {
        Ok(())
    }

    fn unassign(&mut self, _: &[Slot]) -> Result<(), KafkaError> {
        Ok(())
    }

    fn peek(&mut self) -> Option<Event<'_>> {
        if self.began.is_some_and(|began| Instant::now() < written(began, self.next)) {
            return None;
        }
        let offset = Offset(self.next);
        let record = RecordRef { offset, timestamp: 0, key: None, value: Some(&self.value), headers: Headers::EMPTY };
        Some(Event::Record { slot: Slot(0), leader_epoch: -1, record })
    }

    fn advance(&mut self) {
        self.next += 1;
    }
}

/// Write time of a critical record.
fn written(began: Instant, offset: i64) -> Instant {
    began + EVERY * u32::try_from(offset).unwrap()
}

/// Plays a lane's thread in virtual time.
async fn play(mut lane: Lane<Endless>, handle: LaneHandle) {
    let from_the_first = Assignment {
        slot: Slot(0),
        topic: "any".into(),
        partition: 0,
        position: Position(0),
        leader_epoch: -1,
        is_late: false,
    };
    let mut session: Option<SessionPart> = None;
    loop {
        while let Some(command) = handle.mailbox.pop() {
            match command {
                Command::Open { epoch, session: part } => {
                    lane.open(epoch, part.packing).unwrap();
                    lane.handle_partitions(epoch, std::slice::from_ref(&from_the_first)).unwrap();
                    session = Some(part);
                }
                Command::Ack(epoch, sequence, _) => {
                    let freed = lane.handle_ack(epoch, sequence).unwrap();
                    session.iter().for_each(|part| part.dispatcher.free(handle.id, freed.credit));
                }
                Command::Close => return,
                _ => {}
            }
        }
        while session.as_ref().is_some_and(|part| send_one(&mut lane, part, handle.id)) {}
        sleep(LOOK).await;
    }
}

/// Packs records, and sends a frame if one is due and it is the lane's turn. Returns whether it did.
fn send_one(lane: &mut Lane<Endless>, session: &SessionPart, id: LaneId) -> bool {
    let dispatcher = &session.dispatcher;
    if let Some(granted) = dispatcher.credit(id, lane.poll_credit_request()) {
        lane.handle_granted(granted);
    }
    let now = Instant::now().into_std();
    dispatcher.free(id, lane.fill(now).unwrap());
    if lane.next_timeout().is_none_or(|due| due > now) {
        dispatcher.leave(id);
        return false;
    }
    let Turn::Send(room) = dispatcher.poll(id, lane.open_bytes(), now) else { return false };
    let frame = lane.poll_frame(now).unwrap();
    dispatcher.free(id, frame.surplus);
    dispatcher.send(room, frame.bytes, Box::new(|| {}), now);
    true
}

/// Frames that have arrived so far.
#[derive(Default)]
struct Arrived {
    /// Bytes of bulk frames.
    bulk: u64,
    /// Arrival time of each critical record.
    critical: Vec<Instant>,
}

fn config(mbit: u64, priority: &str) -> Config {
    let wan = format!("[wan]\nrate = \"{mbit} Mbit/s\"\ncompression = \"none\"");
    let class =
        format!("[[classes]]\nname = \"critical\"\ntopics = [\"critical\"]\npriority = \"{priority}\"\nlanes = 1");
    let text = format!("{}\n{class}\n", sender::config::EXAMPLE.replace("[wan]", &wan));
    service::config::parse::<Config>(&text, "sender.toml", forbidden).unwrap()
}

/// Starts lanes that always have another record, and one for critical records.
fn sending(config: Config, began: Instant) -> Sending {
    let table = ClassTable::new(config.lanes).append(&config.classes.requests()).unwrap();
    let packing = derived::packing(&config);
    let channels = derived::channels(&config);
    let lanes: Vec<_> = (0..table.lanes()).map(LaneId).map(lane_handle).collect();
    for handle in &lanes {
        let is_bulk = table.default_class().owns(handle.id);
        let value = vec![7; if is_bulk { BULK_VALUE } else { CRITICAL_VALUE }];
        let reader = Endless { value, next: 0, began: (!is_bulk).then_some(began) };
        let mut lane = Lane::new(handle.id, reader, packing);
        lane.set_frame_bytes(derived::frame_bytes(config.wan.rate));
        tokio::spawn(play(lane, handle.clone()));
    }
    Sending { config, table, lanes, packing, channels }
}

/// Makes a path as fast as the budget, and a dialer with the budget and the congestion controller.
fn path(config: &Config) -> Ends {
    let rate = config.wan.rate.unwrap();
    let ends = Ends::new(&format!("delay {} ms, rate {rate}, limit 50 ms", ONE_WAY.as_millis()), 1);
    let sockets = BudgetSockets::new(ends.near(), Budget::new(Some(rate)));
    let dialer = ends.dialer_with(derived::endpoint(config)).over(Arc::new(sockets));
    let dialer = dialer.guided_by(Flow::new(derived::flow(config)));
    Ends { dialer, ..ends }
}

/// Measures the latency of critical records while bulk has at least nine tenths of the link. Returns it in ascending
/// order.
fn latency_during_bulk(mbit: u64, priority: &str) -> Vec<Duration> {
    in_virtual_time(async {
        let config = config(mbit, priority);
        let ends = path(&config);
        let rate = config.wan.rate.unwrap();
        let arrived = Arc::new(Mutex::new(Arrived::default()));
        let bulk_lanes = config.lanes;
        let into = Arc::clone(&arrived);
        let host = host(&ends, move |lane, frame: &IntactFrame| {
            let mut arrived = into.lock().unwrap();
            if lane.0 < bulk_lanes {
                arrived.bulk += frame.header().frame_len() as u64;
            } else {
                let records: u32 =
                    LaneDecoder::new(None).decode(frame).unwrap().runs().iter().map(|run| run.count).sum();
                arrived.critical.extend((0..records).map(|_| Instant::now()));
            }
        });
        let (trigger, shutdown) = shutdown::channel();
        tokio::spawn(receiver::serve(ends.listening.clone(), host, shutdown.clone()));
        let began = Instant::now();
        let session = sending(config, began).run(&ends, Arc::new(Board::default()), shutdown);
        let story = async {
            sleep(START).await;
            let first = began.elapsed();
            let bulk_before = arrived.lock().unwrap().bulk;
            sleep(MEASURED).await;
            let bulk = arrived.lock().unwrap().bulk - bulk_before;
            // The last records are still in flight.
            sleep(Duration::from_secs(2)).await;
            trigger.advance(Phase::Now);
            (first, bulk as f64 / rate.bytes_in(MEASURED) as f64)
        };
        let (end, (first, bulk)) = tokio::join!(session, story);
        assert_eq!(end, SessionEnd::Drained);
        let arrived = arrived.lock().unwrap();
        let number = |time: Duration| (time.as_micros() / EVERY.as_micros()) as usize;
        let measured = number(first)..number(first + MEASURED);
        assert!(arrived.critical.len() >= measured.end, "{} critical records", arrived.critical.len());
        let mut took: Vec<_> = measured.map(|at| arrived.critical[at] - written(began, at as i64)).collect();
        took.sort();
        println!("{mbit} Mbit/s, {priority}: bulk had {bulk:.3}; median {:?}, {:?}", took[took.len() / 2], p99(&took));
        assert!(bulk > 0.9, "bulk had only {bulk:.3} of the rate, so the link was not full");
        took
    })
}

/// Returns the 99th percentile of ascending durations.
fn p99(took: &[Duration]) -> Duration {
    took[took.len() * 99 / 100]
}

#[test]
fn critical_records_cross_a_full_slow_path_within_100_ms() {
    let took = p99(&latency_during_bulk(5, "strict"));
    assert!(took <= PROMISED, "{took:?}");
}

#[test]
fn critical_records_cross_a_full_fast_path_within_30_ms() {
    let took = p99(&latency_during_bulk(500, "strict"));
    assert!(took <= FAST, "{took:?}");
}
