//! Frames over a path that becomes unreachable. As in the link, each frame has a stream of its own, and acks use the
//! control stream.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quinn::{Connection, ConnectionError, Endpoint};
use tokio::time::{Instant, sleep};
use transport::control::{ControlReader, ControlWriter};
use wire::control::Control;
use wire::ids::{Epoch, LaneId, Sequence};

use crate::ends::Ends;
use crate::in_virtual_time;

const FRAME: usize = 20_000;

/// Interval between two frames.
const EVERY: Duration = Duration::from_millis(50);

/// Numbers of the frames that the receiver has.
type Received = Arc<Mutex<BTreeSet<u64>>>;

/// Numbers of the frames that were acked.
type Acked = Mutex<BTreeSet<u64>>;

/// Makes a frame whose content follows from its number.
fn frame(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend((8..FRAME as u64).map(|place| (number.wrapping_mul(31) ^ place) as u8));
    bytes
}

/// Receives frames and acks each one.
async fn receive(endpoint: Endpoint, received: Received) {
    while let Some(incoming) = endpoint.accept().await {
        let received = Arc::clone(&received);
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            let Ok((send, _recv)) = connection.accept_bi().await else { return };
            let mut control = ControlWriter::new(send);
            while let Ok(mut stream) = connection.accept_uni().await {
                let Ok(bytes) = stream.read_to_end(FRAME).await else { continue };
                let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                assert!(bytes == frame(number), "frame {number} is damaged");
                received.lock().unwrap().insert(number);
                let ack = Control::Ack { lane: LaneId(0), epoch: Epoch(1), sequence: Sequence(number), timing: None };
                if control.send(&ack).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Sends the frames that are not acked yet, in order, until all are acked or the channel ends. Returns why it ended.
async fn send(connection: &Connection, acked: &Acked, total: u64) -> Option<ConnectionError> {
    let (mut control, recv) = connection.open_bi().await.ok()?;
    // The peer learns of a stream when something is sent on it.
    control.write_all(&[0]).await.ok()?;
    let mut reader = ControlReader::new(recv);
    let acks = async {
        while let Ok(message) = reader.next().await {
            let Control::Ack { sequence, .. } = message else { panic!("{message:?}") };
            acked.lock().unwrap().insert(sequence.0);
            if acked.lock().unwrap().len() as u64 == total {
                return;
            }
        }
    };
    let frames = async {
        for number in 0..total {
            if acked.lock().unwrap().contains(&number) {
                continue;
            }
            let Ok(mut stream) = connection.open_uni().await else { break };
            if stream.write_all(&frame(number)).await.is_err() {
                break;
            }
            let _ = stream.finish();
            sleep(EVERY).await;
        }
    };
    tokio::join!(acks, frames);
    connection.close_reason()
}

/// Sends frames over a path that is unreachable from 5 s on, for `outage`. Returns when and why channels ended.
fn across_an_outage(outage: Duration, seed: u64) -> Vec<(Duration, String)> {
    const TOTAL: u64 = 400;
    in_virtual_time(async {
        let ends = Ends::new("delay 80 ms, jitter 1 ms, loss 1 %, rate 100 Mbit/s", seed);
        let received = Received::default();
        let acked = Acked::default();
        tokio::spawn(receive(ends.listening.clone(), Arc::clone(&received)));
        let began = Instant::now();
        let mut lost = Vec::new();
        let story = async {
            sleep(Duration::from_secs(5)).await;
            ends.set("down");
            sleep(outage).await;
            ends.set("up");
        };
        let work = async {
            while (acked.lock().unwrap().len() as u64) < TOTAL {
                let dialled = ends.dial().await;
                if let Some(error) = send(&dialled.connection, &acked, TOTAL).await {
                    lost.push((began.elapsed(), error.to_string()));
                }
            }
        };
        tokio::join!(story, work);
        let acked = acked.into_inner().unwrap();
        let received = received.lock().unwrap();
        assert!(acked.iter().all(|number| received.contains(number)), "an acked frame is missing");
        assert!(received.iter().copied().eq(0..TOTAL), "a frame is missing");
        println!("an outage of {outage:?}, seed {seed}: {lost:?}, all frames arrived after {:?}", began.elapsed());
        lost
    })
}

#[test]
fn no_acked_frame_is_lost_with_its_channel() {
    for (seed, seconds) in [(0, 30), (1, 30), (2, 120)] {
        let lost = across_an_outage(Duration::from_secs(seconds), seed);
        let [(ended, why)] = &lost[..] else { panic!("{lost:?}") };
        assert_eq!(why, "timed out");
        assert!(
            (14..=17).contains(&ended.as_secs()),
            "unreachable from 5 s on, a time-out of 10 s, ended at {ended:?}"
        );
    }
}

#[test]
fn channel_survives_an_outage_of_three_seconds() {
    assert_eq!(across_an_outage(Duration::from_secs(3), 1), []);
}
