//! Tests of the relay with real sockets.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::*;
use crate::{Conditions, DropCause, Knob, Profile, Script, parse_knobs};
use clients::CLIENTS_MAX;

const ANY: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// Longer than any step of a test takes, on any machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longer than a packet takes that still arrives.
const QUIET: Duration = Duration::from_millis(300);

fn relay(target: SocketAddr, knobs: &str) -> Relay {
    let profile = Profile::both(Conditions::default().with(parse_knobs(knobs).unwrap()));
    Relay::start(ANY.into(), target, Wan::new(&profile, Script::default(), 7)).unwrap()
}

/// A server that returns every datagram with the client's port number in front.
struct Echo {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn start() -> Self {
        Self::on(UdpSocket::bind(SocketAddr::from(ANY)).unwrap())
    }

    fn on(socket: UdpSocket) -> Self {
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut bytes = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                    let mut answer = from.port().to_be_bytes().to_vec();
                    answer.extend_from_slice(&bytes[..length]);
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Client(UdpSocket);

impl Client {
    fn of(relay: &Relay) -> Self {
        let socket = UdpSocket::bind(SocketAddr::from(ANY)).unwrap();
        socket.connect(relay.address).unwrap();
        Self(socket)
    }

    fn send(&self, payload: &[u8]) {
        self.0.send(payload).unwrap();
    }

    /// Receives the port that the target saw, and the payload that came back.
    fn receive(&self, within: Duration) -> Option<(u16, Vec<u8>)> {
        self.0.set_read_timeout(Some(within)).unwrap();
        let mut bytes = [0; 2048];
        let length = self.0.recv(&mut bytes).ok()?;
        Some((u16::from_be_bytes([bytes[0], bytes[1]]), bytes[2..length].to_vec()))
    }

    fn round_trip(&self) -> Duration {
        let sent = Instant::now();
        self.send(b"ping");
        self.receive(PATIENCE).expect("an answer");
        sent.elapsed()
    }
}

#[test]
fn a_round_trip_takes_the_delay_and_a_new_one_applies_now() {
    let echo = Echo::start();
    let relay = relay(echo.address, "delay 20 ms");
    let client = Client::of(&relay);
    let fastest = |client: &Client| (0..10).map(|_| client.round_trip()).min().unwrap();
    let took = fastest(&client);
    assert!((40..50).contains(&took.as_millis()), "{took:?} instead of 40 ms");
    relay.emulator.set_both(&[Knob::Delay(Duration::from_millis(5))]);
    let took = fastest(&client);
    assert!((10..20).contains(&took.as_millis()), "{took:?} instead of 10 ms");
}

#[test]
fn every_packet_that_does_not_return_is_counted_as_lost() {
    let echo = Echo::start();
    let relay = relay(echo.address, "delay 1 ms, loss 10 %");
    let client = Client::of(&relay);
    let mut back = 0;
    // Packets are sent a few at a time, so that no socket's buffer overflows, the echo server's included.
    for _ in 0..50 {
        (0..20).for_each(|_| client.send(&[0; 100]));
        while client.receive(Duration::from_millis(20)).is_some() {
            back += 1;
        }
    }
    while client.receive(QUIET).is_some() {
        back += 1;
    }
    let report = relay.emulator.stop().unwrap();
    let lost = |direction| report.direction(direction).dropped_for(DropCause::Loss);
    assert_eq!(report.forward.offered, 1000);
    assert_eq!(report.forward.offered_bytes, 1000 * 128, "IP and UDP headers count");
    assert_eq!(report.back.offered, 1000 - lost(Direction::Forward));
    assert_eq!(back, 1000 - lost(Direction::Forward) - lost(Direction::Back), "{report}");
    assert!((50..150).contains(&lost(Direction::Forward)), "{report}");
    assert_eq!(report.refused, 0);
    assert_eq!(report.missed, 0);
}

#[test]
fn each_client_receives_its_own_answers() {
    let echo = Echo::start();
    let relay = relay(echo.address, "delay 1 ms");
    let one = Client::of(&relay);
    let other = Client::of(&relay);
    let mut ports = Vec::new();
    for round in 0..50_u8 {
        one.send(&[1, round]);
        other.send(&[2, round]);
        let first = one.receive(PATIENCE).unwrap();
        let second = other.receive(PATIENCE).unwrap();
        assert_eq!((first.1, second.1), (vec![1, round], vec![2, round]));
        ports.push((first.0, second.0));
    }
    ports.dedup();
    assert!(ports.len() == 1 && ports[0].0 != ports[0].1, "{ports:?}");
}

#[test]
fn a_target_that_starts_late_or_restarts_is_reached() {
    let place = UdpSocket::bind(SocketAddr::from(ANY)).unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let relay = relay(address, "delay 1 ms");
    let client = Client::of(&relay);
    for _ in 0..3 {
        // The system answers these with refusals, each of which would suppress the packet after it.
        (0..5).for_each(|_| client.send(b"lost"));
        assert_eq!(client.receive(QUIET), None);
        let echo = Echo::on(UdpSocket::bind(address).unwrap());
        client.send(b"answered");
        assert_eq!(client.receive(PATIENCE).expect("an answer").1, b"answered");
        drop(echo);
    }
    assert_eq!(relay.emulator.stop().unwrap().refused, 0);
}

#[test]
fn one_client_too_many_removes_the_silent_one() {
    let echo = Echo::start();
    let relay = relay(echo.address, "delay 1 ms");
    let port_of = |client: &Client| {
        client.send(b"who am I");
        client.receive(PATIENCE).expect("an answer").0
    };
    let clients: Vec<Client> = (0..=CLIENTS_MAX).map(|_| Client::of(&relay)).collect();
    let first: Vec<u16> = clients[..CLIENTS_MAX].iter().map(port_of).collect();
    // The first client sends again, so that the second is the one to be removed.
    assert_eq!(port_of(&clients[0]), first[0]);
    port_of(&clients[CLIENTS_MAX]);
    assert_eq!(port_of(&clients[0]), first[0]);
    assert_ne!(port_of(&clients[1]), first[1]);
}

#[test]
fn a_flipped_bit_arrives_flipped() {
    let echo = Echo::start();
    let relay = relay(echo.address, "corrupt 100 %");
    relay.emulator.set(Direction::Back, Knob::Corrupt(wire::share::Share::NONE));
    let client = Client::of(&relay);
    client.send(&[0; 64]);
    let (_, back) = client.receive(PATIENCE).expect("an answer");
    assert_eq!(back.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
}

#[test]
fn packets_that_the_system_drops_count_as_missed() {
    let listener = Socket::bind(ANY.into()).unwrap();
    let sender = UdpSocket::bind(SocketAddr::from(ANY)).unwrap();
    let to = listener.socket.local_addr().unwrap();
    // This is more than any buffer holds, and no one reads meanwhile.
    let sent = 4 * socket2::SockRef::from(&listener).recv_buffer_size().unwrap() / 8192;
    let send = || assert_eq!(sender.send_to(&[0; 8192], to).unwrap(), 8192);
    (0..sent).for_each(|_| send());
    let mut read = 0;
    let mut scratch = Box::new([0; PAYLOAD_MAX]);
    while listener.receive(&mut scratch).unwrap().is_some() {
        read += 1;
    }
    // The system reports its drops with the next packet.
    send();
    assert!(listener.receive(&mut scratch).unwrap().is_some());
    assert_eq!(listener.missed() as usize, sent - read);
    assert!(listener.missed() > 0);
}
