//! Time on the wire, measured with two clocks that differ. The sender must report the path's delay, for any difference
//! of the clocks, with and without jitter.

use std::sync::Arc;
use std::time::Duration;

use quinn::Endpoint;
use sender::lane::latency::{FrameTimes, Latency, Packed, Stage, Taken, Window};
use tokio::time::{Instant, sleep};
use transport::clock::Clock;
use transport::control::{ControlReader, ControlWriter};
use wire::control::{Control, Timing};
use wire::ids::{Epoch, LaneId, Sequence};

use crate::ends::Ends;
use crate::in_virtual_time;

/// Number of frames, for two minutes: old answers about the clock are forgotten meanwhile.
const FRAMES: u64 = 600;
const EVERY: Duration = Duration::from_millis(200);

/// Frames per question about the peer's clock, as in a session.
const ASK_EVERY: u64 = 10;

/// Bytes of a frame, which has ten packets.
const FRAME: usize = 12_000;

/// Start of the clocks, in ns since 1970: a time in 2023, so that a clock may be slow.
const BEGAN: u64 = 1_700_000_000_000_000_000;

/// Makes a clock of virtual time that is `skew` ns ahead and gains `ppm` millionths.
fn clock(skew: i64, ppm: i64) -> Clock {
    let origin = Instant::now();
    Clock::new(move || {
        let passed = i64::try_from(origin.elapsed().as_nanos()).unwrap();
        BEGAN.checked_add_signed(skew + passed + passed / 1_000_000 * ppm).unwrap()
    })
}

/// Answers questions about its clock, and acks each frame with its arrival time.
async fn receive(endpoint: Endpoint, clock: Clock) {
    let connection = endpoint.accept().await.unwrap().await.unwrap();
    let (send, recv) = connection.accept_bi().await.unwrap();
    let (outgoing, outgoing_out) = tokio::sync::mpsc::channel(64);
    tokio::spawn(ControlWriter::new(send).run(outgoing_out));
    let answers = outgoing.clone();
    let answering = clock.clone();
    tokio::spawn(async move {
        let mut reader = ControlReader::new(recv);
        while let Ok(Control::Clock { asked, .. }) = reader.next().await {
            let _ = answers.send(Control::Clock { asked, answered: answering.now() }).await;
        }
    });
    for number in 0.. {
        let Ok(mut stream) = connection.accept_uni().await else { return };
        stream.read_to_end(FRAME).await.unwrap();
        let sequence = Sequence(number);
        let timing = Timing { sequence, arrived: clock.now() / 1000, order: 0, commit: 0 };
        let ack = Control::Ack { lane: LaneId(0), epoch: Epoch(1), sequence, timing: Some(timing) };
        if outgoing.send(ack).await.is_err() {
            return;
        }
    }
}

/// Time on the wire as the sender reports it, in milliseconds.
struct Wire {
    p50: f64,
    p99: f64,
    /// Error that the clock may have.
    within: f64,
}

/// Sends frames over a path, to a receiver whose clock differs.
fn wire(knobs: &'static str, skew: i64, ppm: i64) -> Wire {
    in_virtual_time(async move {
        let ends = Ends::new(knobs, 1);
        tokio::spawn(receive(ends.listening.clone(), clock(skew, ppm)));
        let latency = Arc::new(Latency::new(clock(0, 0)));
        let dialled = ends.dial().await;
        let (send, recv) = dialled.connection.open_bi().await.unwrap();
        let mut writer = ControlWriter::new(send);
        let mut reader = ControlReader::new(recv);
        let (acks_in, mut acks) = tokio::sync::mpsc::channel(64);
        let hearing = Arc::clone(&latency);
        tokio::spawn(async move {
            while let Ok(message) = reader.next().await {
                match message {
                    // Handled immediately: a delay here would count as part of the round trip.
                    Control::Clock { asked, answered } => hearing.handle_answer(asked, answered),
                    Control::Ack { sequence, timing, .. } => acks_in.send((sequence, timing)).await.unwrap(),
                    other => panic!("{other:?}"),
                }
            }
        });
        let mut times = FrameTimes::default();
        for number in 0..FRAMES {
            if number % ASK_EVERY == 0 {
                writer.send(&latency.poll_question()).await.unwrap();
            }
            let taken = Taken::default();
            let packed = Packed { handed: latency.now(), taken: taken.clone(), ..Packed::default() };
            let mut stream = dialled.connection.open_uni().await.unwrap();
            stream.write_all(&[0; FRAME]).await.unwrap();
            stream.finish().unwrap();
            taken.mark(latency.now());
            times.handle_sent(Sequence(number), packed);
            let (sequence, timing) = acks.recv().await.unwrap();
            let sample = times.handle_ack(sequence, timing, latency.ahead());
            latency.handle_ack(sample.as_ref());
            sleep(EVERY).await;
        }
        let wire = latency.stage(Stage::Wire, Window::total);
        let within = latency.ahead().map(|ahead| ahead.within as f64 / 1e9);
        assert!(wire.frames > FRAMES * 9 / 10, "{wire:?}");
        let ms = |seconds: Option<f64>| seconds.unwrap() * 1e3;
        Wire { p50: ms(wire.p50_seconds), p99: ms(wire.p99_seconds), within: ms(within) }
    })
}

#[test]
fn time_on_the_wire_is_the_delay_for_any_clock() {
    const HOUR: i64 = 3_600_000_000_000;
    for (skew, ppm) in [(0, 0), (5 * HOUR, 50), (-24 * HOUR, -50), (3_000_000, 100)] {
        let Wire { p50, p99, within } = wire("delay 100 ms", skew, ppm);
        println!("{skew} ns and {ppm} ppm apart: p50 {p50:.2} ms, p99 {p99:.2} ms, within {within:.2} ms");
        assert!((98.0..=106.0).contains(&p50), "{p50}");
        assert!((98.0..=112.0).contains(&p99), "{p99}");
        assert!((99.0..=110.0).contains(&within), "{within}");
    }
}

#[test]
fn jitter_does_not_change_the_time_on_the_wire() {
    let Wire { p50, p99, within } = wire("delay 100 ms, jitter 10 ms", 7_000_000_000, 20);
    println!("p50 {p50:.2} ms, p99 {p99:.2} ms, within {within:.2} ms");
    // A frame arrives with its last packet, and the last of ten is later than most.
    assert!((95.0..=125.0).contains(&p50) && p99 < 160.0, "{p50} {p99}");
}
