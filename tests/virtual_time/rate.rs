//! The congestion controller under real QUIC, with quinn's pacer, ACKs and loss detection. Its own tests use a
//! simulated pipe.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quinn::Endpoint;
use tokio::time::{Instant, sleep};
use transport::congestion::{Flow, FlowReport, FlowSettings, Limit, Mode};
use transport::endpoint::{Dialer, Dialled, keep_windows};
use wire::units::Rate;

use crate::ends::Ends;
use crate::in_virtual_time;

/// Bytes of a frame. As in the link, each frame has a stream of its own.
const FRAME: usize = 128 << 10;

/// Number of open frames of all channels; one channel has at most half of them. With half as many, one channel of
/// 100 Mbit/s over 100 ms would stop while lost packets are sent again.
const OPEN: usize = 64;

/// Share of payload in a full packet: of 1480 bytes on the wire 1452 are QUIC's, of which some 30 are not payload.
const PAYLOAD_SHARE: f64 = 1_420.0 / 1_480.0;

fn mbit(rate: u64) -> Rate {
    Rate::from_bits_per_second(rate * 1_000_000)
}

/// Counts the bytes that arrive.
async fn receive(endpoint: Endpoint, arrived: Arc<AtomicU64>) {
    while let Some(incoming) = endpoint.accept().await {
        let arrived = Arc::clone(&arrived);
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            while let Ok(mut stream) = connection.accept_uni().await {
                let arrived = Arc::clone(&arrived);
                tokio::spawn(async move {
                    while let Ok(Some(chunk)) = stream.read_chunk(FRAME, true).await {
                        arrived.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
                    }
                });
            }
        });
    }
}

/// Sends frames until the channel ends.
async fn send(dialled: Dialled, open: usize) {
    let writing = async {
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..open {
            let connection = dialled.connection.clone();
            writers.spawn(async move {
                let frame = bytes::Bytes::from(vec![7; FRAME]);
                while let Ok(mut stream) = connection.open_uni().await {
                    if stream.write_chunk(frame.clone()).await.is_err() {
                        return;
                    }
                    let _ = stream.finish();
                    // Waits until the frame has arrived, so that every open frame is in flight.
                    let _ = stream.stopped().await;
                }
            });
        }
        writers.join_all().await;
    };
    tokio::select! {
        () = writing => {}
        never = keep_windows(|| vec![dialled.clone()]) => match never {},
    }
}

/// Link in virtual time that sends at full speed.
struct Running {
    ends: Ends,
    flow: Flow,
    arrived: Arc<AtomicU64>,
}

impl Running {
    async fn start(rate: Option<Rate>, channels: usize, knobs: &str) -> Self {
        let ends = Ends::new(knobs, 3);
        let flow = Flow::new(FlowSettings::new(rate));
        let arrived = Arc::new(AtomicU64::new(0));
        tokio::spawn(receive(ends.listening.clone(), Arc::clone(&arrived)));
        let dialer: Dialer = ends.dialer.clone().guided_by(flow.clone());
        for _ in 0..channels {
            let dialled = dialer.dial(std::slice::from_ref(&ends.address), None).await.unwrap();
            tokio::spawn(send(dialled, OPEN / channels.max(2)));
        }
        Self { ends, flow, arrived }
    }

    /// Measures the payload that arrives from now on, in Mbit/s.
    async fn goodput_over(&self, time: Duration) -> f64 {
        let before = self.arrived.load(Ordering::Relaxed);
        let began = Instant::now();
        sleep(time).await;
        let arrived = self.arrived.load(Ordering::Relaxed) - before;
        arrived as f64 * 8.0 / began.elapsed().as_secs_f64() / 1e6
    }

    fn report(&self) -> FlowReport {
        self.flow.report()
    }
}

#[test]
fn lossy_long_path_is_filled_up_to_the_rate() {
    for (knobs, channels, arrives) in
        [("delay 50 ms, loss 1 %", 1, 0.99), ("delay 100 ms, loss 2 %", 4, 0.98), ("delay 20 ms, loss 5 %", 2, 0.95)]
    {
        in_virtual_time(async {
            let running = Running::start(Some(mbit(100)), channels, knobs).await;
            sleep(Duration::from_secs(3)).await;
            let goodput = running.goodput_over(Duration::from_secs(4)).await;
            let limit = 100.0 * arrives * PAYLOAD_SHARE;
            println!("{knobs}, {channels} channels: {goodput:.1} of {limit:.1} Mbit/s, {:?}", running.report());
            assert!(goodput >= 0.95 * limit, "{knobs}: {goodput:.1} of {limit:.1} Mbit/s: {:?}", running.report());
            assert!(goodput <= 1.03 * limit, "{knobs}: {goodput:.1} of {limit:.1} Mbit/s");
            assert_eq!(running.report().limit, Limit::Budget);
        });
    }
}

#[test]
fn slow_path_is_filled_with_a_short_queue() {
    in_virtual_time(async {
        let running = Running::start(Some(mbit(100)), 4, "delay 40 ms, rate 60 Mbit/s, limit 80 ms, loss 1 %").await;
        sleep(Duration::from_secs(4)).await;
        let goodput = running.goodput_over(Duration::from_secs(4)).await;
        let limit = 60.0 * 0.99 * PAYLOAD_SHARE;
        let report = running.report();
        println!("{goodput:.1} of {limit:.1} Mbit/s, {report:?}");
        assert!(goodput >= 0.93 * limit, "{goodput:.1} of {limit:.1} Mbit/s: {report:?}");
        assert!(report.queue <= Duration::from_millis(15), "{report:?}");
        assert_eq!((report.mode, report.limit), (Mode::Steady, Limit::Path));
    });
}

#[test]
fn full_rate_returns_two_seconds_after_an_outage() {
    in_virtual_time(async {
        let running = Running::start(Some(mbit(60)), 4, "delay 50 ms, loss 1 %").await;
        sleep(Duration::from_secs(3)).await;
        running.ends.set("down");
        sleep(Duration::from_secs(3)).await;
        assert_eq!(running.report().mode, Mode::Unreachable);
        running.ends.set("up");
        sleep(Duration::from_secs(1)).await;
        let goodput = running.goodput_over(Duration::from_secs(1)).await;
        assert!(goodput >= 0.9 * 60.0 * PAYLOAD_SHARE, "{goodput:.1} Mbit/s: {:?}", running.report());
    });
}
