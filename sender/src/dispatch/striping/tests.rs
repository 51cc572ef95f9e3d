//! Frames go to a channel with room. If a channel ends, each frame arrives and none arrives twice.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// 1 MB/s: 15 kB may wait.
const RATE: u64 = 1_000_000;

/// Returns the reading once `left` bytes have left a channel that was never dry.
impl Striping {
    /// Returns the bytes of the copies that are kept.
    fn kept_bytes(&self) -> u64 {
        let open = self.open.values().flat_map(|load| load.frames.values());
        open.chain(self.abandoned.values().flatten()).chain(&self.again).map(|frame| frame.len() as u64).sum()
    }
}

fn left(left: u64, rate: u64) -> Reading {
    Reading { sent: left, left, dry_at: 0, rate }
}

fn frame(bytes: usize) -> Bytes {
    Bytes::from(vec![0; bytes])
}

fn striping(channels: u32) -> Striping {
    let mut striping = Striping::default();
    for channel in 0..channels {
        striping.open(channel);
        striping.handle_gauge(channel, left(0, RATE));
    }
    striping
}

/// Sends a frame wherever there is room.
fn send(striping: &mut Striping, bytes: usize) -> Option<(ChannelId, FrameId)> {
    let channel = striping.poll_room(false)?;
    Some((channel, striping.hand(channel, frame(bytes)).unwrap()))
}

#[test]
fn frames_go_round_until_every_channel_has_enough_waiting() {
    let mut striping = striping(4);
    let mut took: Vec<_> = std::iter::from_fn(|| send(&mut striping, 20_000)).map(|(channel, _)| channel).collect();
    took.sort_unstable();
    assert_eq!(took, [0, 1, 2, 3], "20 kB are more than may wait");
    striping.handle_gauge(2, left(5_001, RATE));
    assert_eq!(send(&mut striping, 20_000).map(|(channel, _)| channel), Some(2));
    assert_eq!(send(&mut striping, 1), None);
}

#[test]
fn strict_frames_follow_immediately_and_do_not_pile_up() {
    let mut striping = striping(1);
    send(&mut striping, 100_000).unwrap();
    assert!(striping.poll_room(false).is_none(), "others wait until little is left of it");
    let mut frames = 0;
    while let Some(channel) = striping.poll_room(true) {
        striping.hand(channel, frame(10_000));
        frames += 1;
    }
    // Half a second of the rate, and what may wait.
    assert!((40..=43).contains(&frames), "{frames}");
}

#[test]
fn a_slow_channel_gets_what_it_can_carry() {
    let mut striping = striping(2);
    striping.handle_gauge(1, left(0, RATE / 10));
    let mut given = [0, 0];
    let mut gone = [0u64, 0];
    for _ in 0..10_000 {
        // A millisecond of each.
        for (channel, rate) in [(0, RATE), (1, RATE / 10)] {
            gone[channel] = (gone[channel] + rate / 1000).min(given[channel]);
            striping.handle_gauge(channel as u32, left(gone[channel], rate));
        }
        while let Some((channel, _)) = send(&mut striping, 4_000) {
            given[channel as usize] += 4_000;
        }
    }
    let share = given[1] as f64 / (given[0] + given[1]) as f64;
    assert!((0.07..0.11).contains(&share), "{given:?}");
}

#[test]
fn frames_of_a_closed_channel_are_sent_again() {
    let mut striping = striping(2);
    let sent: Vec<_> = (0..2).map(|_| send(&mut striping, 20_000).unwrap()).collect();
    assert!(striping.abandon(sent[0].0) && !striping.abandon(sent[0].0));
    assert!(striping.poll_again().is_none(), "the receiver could still have it");
    striping.handle_closed(sent[0].0);
    assert!(striping.poll_again().is_none(), "the other has no room");
    assert!(striping.poll_room(false).is_none(), "nothing new before it");
    striping.handle_gauge(sent[1].0, left(20_000, RATE));
    assert_eq!(striping.poll_again().map(|again| (again.channel, again.bytes.len())), Some((sent[1].0, 20_000)));
    assert!(striping.poll_again().is_none());
}

#[test]
fn a_frame_closed_for_a_channel_that_is_gone_is_not_lost() {
    let mut striping = striping(2);
    let channel = striping.poll_room(false).unwrap();
    striping.abandon(channel);
    assert_eq!(striping.hand(channel, frame(9)), None);
    assert_eq!(striping.poll_again().map(|again| (again.channel == channel, again.bytes.len())), Some((false, 9)));
}

#[test]
fn a_channel_found_dry_has_room_whichever_the_count() {
    let mut striping = striping(1);
    send(&mut striping, 40_000).unwrap();
    striping.handle_gauge(0, Reading { sent: 21_000, left: 20_000, dry_at: 0, rate: RATE });
    assert!(striping.poll_room(false).is_none());
    assert_eq!(striping.room_at(0), RoomAt::Once { left: 25_000, sent: 0 }, "40,000 less the 15,000 that may wait");
    striping.handle_gauge(0, Reading { sent: 21_000, left: 20_000, dry_at: 21_000, rate: RATE });
    assert_eq!(striping.room_at(0), RoomAt::Now);
    send(&mut striping, 40_000).unwrap();
    striping.handle_gauge(0, Reading { sent: 41_000, left: 40_000, dry_at: 21_000, rate: RATE });
    assert!(striping.poll_room(false).is_none(), "it was dry before the second frame, of which 20,000 wait");
    assert_eq!(striping.room_at(0), RoomAt::Once { left: 45_000, sent: 21_000 });
}

#[test]
fn a_frame_that_the_receiver_refuses_makes_room() {
    let mut striping = striping(1);
    let (channel, id) = send(&mut striping, 40_000).unwrap();
    assert!(striping.poll_room(false).is_none());
    striping.handle_delivered(channel, id);
    assert!(striping.poll_room(false).is_some());
}

/// Event of a session's channels.
#[derive(Debug, Clone)]
enum Event {
    Send,
    /// The receiver gets the n-th frame in flight in full; the sender is notified of it, or not.
    Arrive(usize, bool),
    Die(usize),
    /// The receiver answers for a channel that was abandoned.
    Answer(usize),
    Join,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Send),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(n, heard)| Event::Arrive(n, heard)),
        1 => any::<usize>().prop_map(Event::Die),
        1 => any::<usize>().prop_map(Event::Answer),
        1 => Just(Event::Join),
    ]
}

/// Session whose frames differ in length.
struct Session {
    striping: Striping,
    next_channel: u32,
    sent: usize,
    /// Frames that a channel can still bring, by channel and number.
    in_flight: BTreeMap<(ChannelId, FrameId), usize>,
    open: Vec<ChannelId>,
    dying: Vec<ChannelId>,
    /// Count of arrivals of each frame.
    arrived: BTreeMap<usize, usize>,
}

impl Session {
    fn join(&mut self) {
        let channel = self.next_channel;
        self.next_channel += 1;
        self.striping.open(channel);
        self.striping.handle_gauge(channel, left(0, u64::MAX / 1000));
        self.open.push(channel);
    }

    fn step(&mut self, event: &Event) {
        match event {
            Event::Send => {
                let Some(channel) = self.striping.poll_room(false) else { return self.resend() };
                self.sent += 1;
                let id = self.striping.hand(channel, frame(self.sent)).unwrap();
                self.in_flight.insert((channel, id), self.sent);
            }
            Event::Arrive(n, heard) => {
                let Some((&(channel, id), &frame)) = self.in_flight.iter().nth(n % self.in_flight.len().max(1)) else {
                    return;
                };
                self.in_flight.remove(&(channel, id));
                *self.arrived.entry(frame).or_default() += 1;
                if *heard {
                    self.striping.handle_delivered(channel, id);
                }
            }
            Event::Die(n) if self.open.len() > 1 => {
                let channel = self.open.remove(n % self.open.len());
                assert!(self.striping.abandon(channel));
                self.dying.push(channel);
            }
            Event::Answer(n) if !self.dying.is_empty() => {
                let channel = self.dying.remove(n % self.dying.len());
                self.in_flight.retain(|(of, _), _| *of != channel);
                self.striping.handle_closed(channel);
                self.resend();
            }
            Event::Join if self.open.len() < 16 => self.join(),
            _ => {}
        }
    }

    fn resend(&mut self) {
        while let Some(Again { channel, id, bytes: frame }) = self.striping.poll_again() {
            let copies = self.in_flight.values().filter(|other| **other == frame.len()).count();
            assert_eq!(copies, 0, "frame {} could still arrive otherwise", frame.len());
            self.in_flight.insert((channel, id), frame.len());
        }
    }
}

proptest! {
    #[test]
    fn every_frame_arrives_and_no_copy_is_kept(events in proptest::collection::vec(event(), 1..400)) {
        let mut session = Session {
            striping: Striping::default(),
            next_channel: 0,
            sent: 0,
            in_flight: BTreeMap::new(),
            open: Vec::new(),
            dying: Vec::new(),
            arrived: BTreeMap::new(),
        };
        session.join();
        for event in &events {
            session.step(event);
        }
        while let Some(channel) = session.dying.pop() {
            session.in_flight.retain(|(of, _), _| *of != channel);
            session.striping.handle_closed(channel);
        }
        session.resend();
        while !session.in_flight.is_empty() {
            session.step(&Event::Arrive(0, true));
        }
        prop_assert!((1..=session.sent).all(|frame| session.arrived.contains_key(&frame)), "{:?}", session.arrived);
        // Frames that arrived without notice are kept by a channel that is open.
        for channel in session.open.clone() {
            session.striping.abandon(channel);
            session.striping.handle_closed(channel);
        }
        session.join();
        session.resend();
        while !session.in_flight.is_empty() {
            session.step(&Event::Arrive(0, true));
        }
        prop_assert_eq!(session.striping.kept_bytes(), 0);
    }
}
