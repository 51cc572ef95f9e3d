//! The budget under real QUIC, in virtual time. A witness behind the budget counts the packets that are sent.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Connection, Endpoint, UdpPoller};
use tokio::time::{Instant, sleep};
use transport::budget::{Budget, BudgetSockets};
use transport::endpoint::{Dialer, Sockets};
use wire::units::Rate;

use crate::ends::Ends;
use crate::in_virtual_time;

const SECOND: Duration = Duration::from_secs(1);
const TENTH: Duration = Duration::from_millis(100);

/// Number of packets in one transmit, as with segmentation offload.
const SEGMENTS: usize = 10;

/// Bytes of the IPv4 and UDP headers.
const HEADERS: u64 = 28;

/// Transmits so far: time and IP bytes of each.
type Log = Arc<Mutex<Vec<(Instant, u64)>>>;

/// Sockets between the budget and the path, which log each transmit.
#[derive(Debug)]
struct Witness {
    inner: Arc<dyn Sockets>,
    log: Log,
}

#[derive(Debug)]
struct Watched {
    inner: Arc<dyn AsyncUdpSocket>,
    log: Log,
}

impl Sockets for Witness {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(Watched { inner: self.inner.bind(address)?, log: Arc::clone(&self.log) }))
    }
}

impl AsyncUdpSocket for Watched {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let &Transmit { destination, ecn, src_ip, .. } = transmit;
        let size = transmit.segment_size.unwrap_or(transmit.contents.len());
        let mut bytes = 0;
        for contents in transmit.contents.chunks(size) {
            bytes += contents.len() as u64 + HEADERS;
            self.inner.try_send(&Transmit { destination, ecn, contents, segment_size: None, src_ip })?;
        }
        self.log.lock().unwrap().push((Instant::now(), bytes));
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(context, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        SEGMENTS
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// Channels that share one budget, over a path without a limit.
struct Scene {
    ends: Ends,
    dialer: Dialer,
    budget: Budget,
    log: Log,
}

impl Scene {
    fn new(mbit: u64) -> Self {
        let ends = Ends::new("delay 10 ms", 1);
        tokio::spawn(take_everything(ends.listening.clone()));
        let budget = Budget::new(Some(rate(mbit)));
        let log = Log::default();
        let witness = Witness { inner: ends.near(), log: Arc::clone(&log) };
        let sockets = Arc::new(BudgetSockets::new(Arc::new(witness), budget.clone()));
        let dialer = ends.dialer.clone().over(sockets);
        Self { ends, dialer, budget, log }
    }

    async fn channel(&self) -> Connection {
        self.dialer.dial(std::slice::from_ref(&self.ends.address), None).await.unwrap().connection
    }

    async fn send_all_the_time(&self, channels: usize) {
        for _ in 0..channels {
            let connection = self.channel().await;
            tokio::spawn(async move { while send(&connection, 50_000).await.is_ok() {} });
        }
    }

    /// Returns the IP bytes sent from `from` to `to`.
    fn sent(&self, from: Instant, to: Instant) -> u64 {
        let log = self.log.lock().unwrap();
        log.iter().filter(|(at, _)| *at >= from && *at < to).map(|(_, bytes)| bytes).sum()
    }

    /// Returns the most bytes sent within any `window`, minus the largest transmit.
    fn most_within(&self, window: Duration) -> u64 {
        let log = self.log.lock().unwrap();
        let mut sum = 0;
        let mut first = 0;
        let mut most = 0;
        for &(at, bytes) in log.iter() {
            sum += bytes;
            while at - log[first].0 > window {
                sum -= log[first].1;
                first += 1;
            }
            most = most.max(sum);
        }
        most - log.iter().map(|(_, bytes)| bytes).max().unwrap()
    }
}

fn rate(mbit: u64) -> Rate {
    Rate::from_bits_per_second(mbit * 1_000_000)
}

async fn send(connection: &Connection, bytes: usize) -> Result<(), quinn::WriteError> {
    let mut stream = connection.open_uni().await?;
    stream.write_all(&vec![7; bytes]).await?;
    let _ = stream.finish();
    Ok(())
}

/// Accepts every connection, reads every stream, and echoes the bytes of bidirectional ones.
async fn take_everything(endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            let echoing = connection.clone();
            tokio::spawn(async move {
                while let Ok((mut send, mut recv)) = echoing.accept_bi().await {
                    let bytes = recv.read_to_end(1000).await.unwrap();
                    let _ = send.write_all(&bytes).await;
                    let _ = send.finish();
                }
            });
            while let Ok(mut stream) = connection.accept_uni().await {
                tokio::spawn(async move { stream.read_to_end(1 << 20).await });
            }
        });
    }
}

#[test]
fn channels_use_all_of_the_rate_and_no_window_has_more() {
    for (mbit, channels) in [(1, 2), (20, 4), (150, 4), (150, 1)] {
        in_virtual_time(async {
            let scene = Scene::new(mbit);
            scene.send_all_the_time(channels).await;
            sleep(2 * SECOND).await;
            let from = Instant::now();
            sleep(3 * SECOND).await;
            let used = scene.sent(from, from + 3 * SECOND) as f64 / rate(mbit).bytes_in(3 * SECOND) as f64;
            assert!(used > 0.98, "{used} of {mbit} Mbit/s used by {channels} channels");
            for (window, part) in [(SECOND, 1.005), (TENTH, 1.05)] {
                let most = scene.most_within(window);
                let promised = rate(mbit).bytes_in(window) as f64 * part;
                assert!(most as f64 <= promised, "{most} bytes in {window:?} at {mbit} Mbit/s, {promised} promised");
            }
            let usage = scene.budget.usage();
            let counted: u64 = scene.log.lock().unwrap().iter().map(|(_, bytes)| bytes).sum();
            assert_eq!(usage.wire_bytes, counted, "the budget and the witness count differently");
            assert!(usage.waited > 3 * SECOND, "the channels did not wait for the budget: {:?}", usage.waited);
            println!("{mbit} Mbit/s, {channels} channels: {used:.4} used");
        });
    }
}

#[test]
fn another_rate_is_reached_within_a_second_to_2_percent() {
    in_virtual_time(async {
        let scene = Scene::new(20);
        scene.send_all_the_time(3).await;
        sleep(2 * SECOND).await;
        for mbit in [100, 5, 40] {
            scene.budget.set_rate(Some(rate(mbit)));
            sleep(SECOND).await;
            let from = Instant::now();
            sleep(2 * SECOND).await;
            let follows = scene.sent(from, Instant::now()) as f64 / rate(mbit).bytes_in(2 * SECOND) as f64;
            assert!((0.98..=1.02).contains(&follows), "{follows} of {mbit} Mbit/s");
        }
        scene.budget.set_rate(None);
        let from = Instant::now();
        let before = scene.budget.usage().waited;
        sleep(SECOND).await;
        assert!(scene.sent(from, Instant::now()) > rate(100).bytes_in(SECOND), "there is still a limit");
        assert_eq!(scene.budget.usage().waited, before, "a channel waited without a limit");
    });
}

#[test]
fn quiet_channel_has_low_latency_among_busy_ones() {
    in_virtual_time(async {
        let scene = Scene::new(10);
        let quiet = scene.channel().await;
        scene.send_all_the_time(3).await;
        sleep(2 * SECOND).await;
        for _ in 0..20 {
            let began = Instant::now();
            let (mut send, mut recv) = quiet.open_bi().await.unwrap();
            send.write_all(b"are you there").await.unwrap();
            send.finish().unwrap();
            assert_eq!(recv.read_to_end(100).await.unwrap(), b"are you there");
            let took = began.elapsed();
            // The round trip is 20 ms. A packet takes 1.2 ms, and each busy channel may have one before it.
            assert!(took < Duration::from_millis(35), "{took:?}");
            sleep(Duration::from_millis(77)).await;
        }
    });
}

#[test]
fn closed_channel_that_waited_delays_no_other() {
    in_virtual_time(async {
        let scene = Scene::new(2);
        let ended = scene.channel().await;
        scene.send_all_the_time(2).await;
        for _ in 0..20 {
            let ended = ended.clone();
            tokio::spawn(async move { send(&ended, 50_000).await });
        }
        sleep(SECOND).await;
        // The handle is kept, as the board keeps it.
        ended.close(0u32.into(), b"");
        sleep(SECOND).await;
        let from = Instant::now();
        sleep(2 * SECOND).await;
        let used = scene.sent(from, Instant::now()) as f64 / rate(2).bytes_in(2 * SECOND) as f64;
        assert!(used > 0.97, "{used}");
    });
}
