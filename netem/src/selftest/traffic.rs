//! Traffic of the self-test: numbered packets with timestamps, sent at a rate, and a record of their arrival.

use std::io;
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_timerslack;
use wire::units::Rate;

/// Bytes of a whole IP packet of Ethernet's MTU.
pub(super) const PACKET: usize = 1500;
/// Bytes of the IP and UDP headers.
const HEADERS: usize = 28;
/// Silence after which all packets are considered to have arrived or to be lost.
const SILENCE: Duration = Duration::from_millis(700);
/// Time between two checks for packets that are due.
const TICK: Duration = Duration::from_micros(250);

#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Number of packets, of [`PACKET`] bytes each.
    pub(super) packets: u64,
    /// Rate in bits of whole IP packets per second.
    pub(super) rate: Rate,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) number: u64,
    /// Time of arrival, since the first packet was sent.
    pub(super) at: Duration,
    /// Time from sending to arrival.
    pub(super) took: Duration,
}

/// Sends `load` from one socket to the other. Returns the packets that arrived, in the order of their arrival.
pub(super) fn send_and_receive(load: Load, from: &UdpSocket, to: &UdpSocket) -> io::Result<Vec<Arrival>> {
    let start = Instant::now();
    thread::scope(|scope| {
        let arrivals = scope.spawn(move || receive(to, start));
        send(load, from, start)?;
        arrivals.join().unwrap_or_else(|_| Err(io::Error::other("the receiving thread died")))
    })
}

fn send(load: Load, socket: &UdpSocket, start: Instant) -> io::Result<()> {
    // Without this the ticks are 50 us late.
    let _ = set_timerslack(1);
    let mut packet = [0_u8; PACKET - HEADERS];
    let mut number = 0;
    while number < load.packets {
        let due = load.rate.bytes_in(start.elapsed()) / PACKET as u64 + 1;
        while number < due.min(load.packets) {
            packet[..8].copy_from_slice(&number.to_le_bytes());
            packet[8..16].copy_from_slice(&nanos(start.elapsed()).to_le_bytes());
            socket.send(&packet)?;
            number += 1;
        }
        thread::sleep(TICK);
    }
    Ok(())
}

fn receive(socket: &UdpSocket, start: Instant) -> io::Result<Vec<Arrival>> {
    let mut arrivals = Vec::new();
    let mut packet = [0_u8; PACKET];
    socket.set_read_timeout(Some(SILENCE))?;
    loop {
        match socket.recv(&mut packet) {
            Ok(_) => {
                let at = start.elapsed();
                let word = |from: usize| u64::from_le_bytes(std::array::from_fn(|index| packet[from + index]));
                let [number, sent] = [0, 8].map(word);
                let took = at.saturating_sub(Duration::from_nanos(sent));
                arrivals.push(Arrival { number, at, took });
            }
            Err(error) if is_silence(&error) => return Ok(arrivals),
            Err(error) => return Err(error),
        }
    }
}

/// Sends small packets, one per `pause`, to a socket that returns them. Returns their round-trip times.
pub(super) fn ping(pings: u32, pause: Duration, from: &UdpSocket, to: &UdpSocket) -> io::Result<Vec<Duration>> {
    let start = Instant::now();
    thread::scope(|scope| {
        let echo = scope.spawn(move || echo(to));
        let arrivals = scope.spawn(move || receive(from, start));
        let mut packet = [0_u8; 16];
        for number in 0..u64::from(pings) {
            packet[..8].copy_from_slice(&number.to_le_bytes());
            packet[8..].copy_from_slice(&nanos(start.elapsed()).to_le_bytes());
            from.send(&packet)?;
            thread::sleep(pause);
        }
        echo.join().unwrap_or_else(|_| Err(io::Error::other("the echoing thread died")))?;
        let arrivals = arrivals.join().unwrap_or_else(|_| Err(io::Error::other("the receiving thread died")))?;
        Ok(arrivals.iter().map(|arrival| arrival.took).collect())
    })
}

fn echo(socket: &UdpSocket) -> io::Result<()> {
    socket.set_read_timeout(Some(SILENCE))?;
    let mut packet = [0_u8; PACKET];
    loop {
        match socket.recv_from(&mut packet) {
            Ok((length, from)) => socket.send_to(&packet[..length], from).map(drop)?,
            Err(error) if is_silence(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
