//! Tests of bursts: a burst that the kernel sends as one packet is many packets on the path.

use std::net::UdpSocket;
use std::time::Duration;

use netem::tun::{ADDRESSES, Site, SiteSettings};
use netem::{Conditions, DropCause, Profile, Script, Wan, parse_knobs};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBufForce, UdpGsoSegment};

use crate::processes::is_fit;

const SEGMENT: usize = 1000;
const SEGMENTS: usize = 40;
const BURSTS: usize = 25;

/// Receive buffer in bytes: all packets fit, should the system not schedule the test.
const SOCKET_BUFFER: usize = 16 << 20;

/// Longer than a packet takes on a busy machine. The test waits this long once, after the last packet.
const SILENCE: Duration = Duration::from_secs(2);

#[test]
fn packets_of_a_burst_are_lost_one_by_one() {
    if !is_fit() {
        return;
    }
    let knobs = parse_knobs("delay 2 ms, loss 10 %").unwrap();
    let wan = Wan::new(&Profile::both(Conditions::default().with(knobs)), Script::default(), 1);
    let site = Site::build(wan, &SiteSettings::default()).unwrap();
    let [here, there] = ADDRESSES;
    let target = site.target.within(|| UdpSocket::bind((there, 0))).unwrap();
    setsockopt(&target, RcvBufForce, &SOCKET_BUFFER).unwrap();
    let source = site.source.within(|| UdpSocket::bind((here, 0))).unwrap();
    source.connect(target.local_addr().unwrap()).unwrap();
    setsockopt(&source, UdpGsoSegment, &(i32::try_from(SEGMENT).unwrap())).unwrap();

    let numbers: Vec<u16> = (0..u16::try_from(SEGMENTS * BURSTS).unwrap()).collect();
    let packets: Vec<Vec<u8>> = numbers.iter().map(|number| number.to_le_bytes().repeat(SEGMENT / 2)).collect();
    for burst in packets.chunks(SEGMENTS) {
        source.send(&burst.concat()).unwrap();
    }
    let mut arrived = vec![0; BURSTS];
    let mut buffer = [0; 2 * SEGMENT];
    target.set_read_timeout(Some(SILENCE)).unwrap();
    while let Ok(length) = target.recv(&mut buffer) {
        let number = usize::from(u16::from_le_bytes([buffer[0], buffer[1]]));
        assert_eq!(buffer[..length], packets[number], "packet {number}");
        arrived[number / SEGMENTS] += 1;
    }

    let forward = site.emulator.stop().unwrap().forward;
    let lost = forward.dropped_for(DropCause::Loss);
    assert_eq!(forward.offered, packets.len() as u64);
    assert_eq!(arrived.iter().sum::<usize>() as u64, packets.len() as u64 - lost);
    assert!(arrived.iter().any(|&of_burst| of_burst > 0 && of_burst < SEGMENTS), "lost as whole bursts: {arrived:?}");
}
