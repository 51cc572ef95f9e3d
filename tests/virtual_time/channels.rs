//! Sessions of several channels: the product's session at each end over real QUIC, with lanes that the tests play.
//! These send numbered frames and receive them in order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kafka::properties::forbidden;
use receiver::Host;
use sender::Packing;
use sender::Report;
use sender::Turn;
use sender::config::Config;
use sender::{Handshaken, SessionEnd};
use sender::{LaneCommand as Command, SessionPart};
use service::mailbox::Mailbox;
use service::shutdown::{self, Phase, Trigger};
use tokio::time::{Instant, sleep};
use transport::congestion::{Flow, FlowSettings};
use transport::control::{ControlReader, ControlWriter};
use transport::endpoint::Dialled;
use wire::close::{Close, CloseCode};
use wire::compress::Codec;
use wire::control::Control;
use wire::frame::{FrameBuilder, FrameHead, Headers, RecordRef};
use wire::hello::FEATURES;
use wire::ids::{LaneId, Offset, Position, Sequence, Slot};
use wire::lanes::ClassTable;
use wire::limits::{CHANNELS_MAX, frame_charge};
use wire::units::Rate;

use crate::ends::Ends;
use crate::in_virtual_time;
use crate::sessions::{EPOCH, HOST, LOOK, Sending, host, lane_handle, shaken};

const LANE: LaneId = LaneId(0);
pub(crate) const VALUE: usize = 30_000;

/// Arrival time of each frame, in the order of the lane.
type Taken = Arc<Mutex<Vec<Instant>>>;

fn mbit(rate: u64) -> Rate {
    Rate::from_bits_per_second(rate * 1_000_000)
}

/// Makes a path, and a dialer whose channels are one flow of this rate.
fn guided(knobs: &str, rate: Rate) -> Ends {
    let ends = Ends::new(knobs, 1);
    let dialer = ends.dialer.clone().guided_by(Flow::new(FlowSettings::new(Some(rate))));
    Ends { dialer, ..ends }
}

pub(crate) fn frame(sequence: u64) -> Bytes {
    frame_of(LANE, sequence, &[sequence as u8; VALUE])
}

/// Makes a frame of one record with this value, not compressed.
pub(crate) fn frame_of(lane: LaneId, sequence: u64, value: &[u8]) -> Bytes {
    let mut builder = FrameBuilder::new();
    let offset = Offset(sequence as i64);
    let record = RecordRef { offset, timestamp: 0, key: None, value: Some(value), headers: Headers::EMPTY };
    builder.push(Slot(0), Position(sequence as i64), -1, &record);
    builder.finish(FrameHead { lane, epoch: EPOCH, sequence: Sequence(sequence) }, Codec::None)
}

/// Plays a lane at the sender that always has another frame.
async fn play_sender(mailbox: Mailbox<Command>) {
    let mut part: Option<SessionPart> = None;
    let mut next = 0;
    let mut asked = false;
    let mut granted = false;
    let mut unacked = VecDeque::new();
    loop {
        while let Some(command) = mailbox.pop() {
            match command {
                Command::Open { session, .. } => part = Some(session),
                Command::Ack(_, Sequence(acked), _) => {
                    let part = part.as_ref().unwrap();
                    while unacked.front().is_some_and(|(sequence, _)| *sequence <= acked) {
                        part.dispatcher.free(LANE, unacked.pop_front().unwrap().1);
                    }
                }
                Command::Close => return,
                _ => {}
            }
        }
        while let Some(part) = &part {
            let bytes = frame(next);
            let charge = frame_charge(bytes.len());
            granted |= part.dispatcher.credit(LANE, (!asked).then_some(charge)).is_some();
            asked = true;
            if !granted {
                break;
            }
            let now = Instant::now().into_std();
            let Turn::Send(room) = part.dispatcher.poll(LANE, bytes.len() as u64, now) else { break };
            part.dispatcher.send(room, bytes, Box::new(|| {}), now);
            unacked.push_back((next, charge));
            next += 1;
            asked = false;
            granted = false;
        }
        sleep(LOOK).await;
    }
}

/// Makes the sender of a session of four channels, with one lane that always has another frame.
pub(crate) fn sending() -> Sending {
    let config = service::config::parse::<Config>(sender::config::EXAMPLE, "sender.toml", forbidden).unwrap();
    let lane = lane_handle(LANE);
    tokio::spawn(play_sender(lane.mailbox.clone()));
    let packing = Packing {
        codec: Codec::None,
        features: FEATURES,
        frame_bytes: 1 << 15,
        linger: LOOK,
        credit_max: 1 << 20,
        state: None,
    };
    Sending { config, table: ClassTable::new(1), lanes: vec![lane], packing, channels: 4 }
}

/// Makes a receiver that notes the arrival of each frame.
fn host_noting(ends: &Ends, taken: &Taken) -> Arc<Host> {
    let taken = Arc::clone(taken);
    host(ends, move |_, _| taken.lock().unwrap().push(Instant::now()))
}

/// Runs a session of four channels during `story`, which stops it with the trigger.
async fn during<F: Future<Output = ()>>(ends: &Ends, taken: &Taken, story: impl FnOnce(Arc<Report>, Trigger) -> F) {
    let (trigger, shutdown) = shutdown::channel();
    tokio::spawn(receiver::serve(ends.listening.clone(), host_noting(ends, taken), shutdown.clone()));
    let report = Arc::new(Report::default());
    let session = sending().run(ends, report.board(), shutdown);
    let (end, ()) = tokio::join!(session, story(report, trigger));
    assert_eq!(end, SessionEnd::Drained);
}

fn taken_between(taken: &Taken, from: Instant, span: Duration) -> usize {
    taken.lock().unwrap().iter().filter(|at| (from..from + span).contains(*at)).count()
}

#[test]
fn four_channels_fill_a_lossy_long_path_in_order() {
    in_virtual_time(async {
        let ends = guided("delay 100 ms, loss 2 %", mbit(60));
        let taken = Taken::default();
        during(&ends, &taken, async |report, trigger| {
            sleep(Duration::from_secs(5)).await;
            let from = Instant::now();
            let span = Duration::from_secs(5);
            let before = ends.trace()[0][0];
            sleep(span).await;
            let offered = ends.trace()[0][0] - before;
            // The lane at the receiver takes frames in order, and fails the test at a frame that arrives twice.
            let frames = taken_between(&taken, from, span);
            let arrived = (frames * VALUE * 8) as f64 / span.as_secs_f64() / 1e6;
            let status = report.status();
            println!("{arrived:.1} Mbit/s of values, {offered} packets; {status:?}");
            assert!(arrived >= 0.9 * 60.0 * 0.98, "{arrived:.1} Mbit/s of values");
            assert!(offered * 1_480 * 8 / 5 <= 61_500_000, "{offered} packets in 5 s are more than the rate");
            let sent: Vec<_> = status.by_channel.iter().map(|channel| channel.wire.sent_bytes).collect();
            let least = sent.iter().min().unwrap();
            let most = sent.iter().max().unwrap();
            assert!(sent.len() == 4 && most < &(least * 3), "one carries far more than another: {sent:?}");
            assert_eq!((status.sessions, status.dead_channels, status.channel_redials), (1, 0, 0));
            trigger.advance(Phase::Now);
        })
        .await;
    });
}

#[test]
fn dead_channel_costs_at_most_5_s_and_no_session() {
    in_virtual_time(async {
        let ends = guided("delay 50 ms, rate 50 Mbit/s, limit 100 ms", mbit(40));
        let taken = Taken::default();
        during(&ends, &taken, async |report, trigger| {
            sleep(Duration::from_secs(10)).await;
            assert_eq!(report.status().channels, 4);
            let before = Instant::now();
            let usual = taken_between(&taken, before - Duration::from_secs(5), Duration::from_secs(5));
            // The first flow is channel 0; this is another one.
            ends.set("flow 3 down");
            sleep(Duration::from_secs(20)).await;
            let status = report.status();
            let times = taken.lock().unwrap().clone();
            let pause = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
            let after = taken_between(&taken, before + Duration::from_secs(5), Duration::from_secs(5));
            println!("{usual} frames in 5 s before, {after} after; longest pause {pause:?}; {status:?}");
            assert!(pause > Duration::from_secs(2), "frames did not wait, so the flow was not interrupted: {pause:?}");
            assert!(pause < Duration::from_secs(5), "{pause:?}");
            assert!(after * 100 >= usual * 95, "{usual} frames in 5 s before, {after} after");
            assert_eq!((status.dead_channels, status.channels, status.sessions), (1, 4, 1));
            trigger.advance(Phase::Now);
        })
        .await;
    });
}

#[test]
fn session_ends_when_all_channels_are_unreachable() {
    in_virtual_time(async {
        let ends = guided("delay 50 ms", mbit(20));
        let (_trigger, shutdown) = shutdown::channel();
        tokio::spawn(receiver::serve(ends.listening.clone(), host_noting(&ends, &Taken::default()), shutdown.clone()));
        let report = Report::default();
        let session = sending().run(&ends, report.board(), shutdown);
        let story = async {
            sleep(Duration::from_secs(5)).await;
            ends.set("down");
            Instant::now()
        };
        let (end, down_since) = tokio::join!(session, story);
        assert!(matches!(end, SessionEnd::Lost(_)), "{end:?}");
        // QUIC's time-out ends it. No channel counts as dead, since no other one made progress.
        assert!(down_since.elapsed() < Duration::from_secs(13), "{:?}", down_since.elapsed());
        assert_eq!(report.status().dead_channels, 0);
    });
}

/// Requests to join a session with another channel. Returns the channel and the receiver's reply.
pub(crate) async fn join(ends: &Ends, first: &Dialled, token: u128, channel: u32) -> (Dialled, Control) {
    join_at(ends, first, Joining { token, receiver: HOST, channel }).await
}

/// Request to join a session.
struct Joining {
    token: u128,
    receiver: u128,
    channel: u32,
}

async fn join_at(ends: &Ends, first: &Dialled, joining: Joining) -> (Dialled, Control) {
    let Joining { token, receiver, channel } = joining;
    let dialled = ends.dialer.dial_again(first).await.unwrap();
    let (send, recv) = dialled.connection.open_bi().await.unwrap();
    let mut writer = ControlWriter::new(send);
    let mut reader = ControlReader::new(recv);
    writer.send(&Control::JoinChannel { token, receiver, channel }).await.unwrap();
    let answer = reader.next().await.unwrap();
    (dialled, answer)
}

fn code(answer: &Control) -> Option<CloseCode> {
    if let Control::Close(Close { code, .. }) = answer { Some(*code) } else { None }
}

#[test]
fn only_channels_of_the_session_join_it_up_to_sixteen() {
    in_virtual_time(async {
        let ends = Ends::new("delay 5 ms", 1);
        let (_trigger, shutdown) = shutdown::channel();
        tokio::spawn(receiver::serve(ends.listening.clone(), host_noting(&ends, &Taken::default()), shutdown));
        let (first, Handshaken { welcome, reader, writer }) = shaken(&ends, 1).await;
        let stranger = join(&ends, &first, welcome.token ^ 1, 1).await.1;
        assert_eq!(code(&stranger), Some(CloseCode::NoSession), "{stranger:?}");
        let elsewhere =
            join_at(&ends, &first, Joining { token: welcome.token, receiver: HOST + 1, channel: 1 }).await.1;
        assert_eq!(code(&elsewhere), Some(CloseCode::NoSession), "{elsewhere:?}");
        let mut joined = Vec::new();
        for channel in 1..u32::from(CHANNELS_MAX) {
            let (dialled, answer) = join(&ends, &first, welcome.token, channel).await;
            assert_eq!(answer, Control::ChannelOpen { channel });
            joined.push(dialled);
        }
        let twice = join(&ends, &first, welcome.token, 3).await.1;
        assert_eq!(code(&twice), Some(CloseCode::Misbehaved), "{twice:?}");
        let one_more = join(&ends, &first, welcome.token, 16).await.1;
        assert_eq!(code(&one_more), Some(CloseCode::Busy), "{one_more:?}");
        // A channel that closes makes room for another, and closes no other.
        joined.pop().unwrap().connection.close(0u32.into(), b"");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(join(&ends, &first, welcome.token, 17).await.1, Control::ChannelOpen { channel: 17 });
        assert!(first.connection.close_reason().is_none());
        drop((reader, writer));
        first.connection.close(0u32.into(), b"");
        sleep(Duration::from_secs(1)).await;
        assert!(
            joined.iter().all(|one| one.connection.close_reason().is_some()),
            "a channel is open after channel 0 has closed"
        );
        let late = join(&ends, &first, welcome.token, 18).await.1;
        assert_eq!(code(&late), Some(CloseCode::NoSession), "{late:?}");
    });
}
