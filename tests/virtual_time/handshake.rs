//! Handshakes over long paths and lossy paths.

use std::time::Duration;

use quinn::Endpoint;
use tokio::time::Instant;

use crate::ends::Ends;
use crate::in_virtual_time;

/// Number of seeds for lossy paths.
const SEEDS: u64 = 40;

/// Accepts every connection, until the runtime ends.
async fn accept_all(endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            if let Ok(connection) = incoming.await {
                connection.closed().await;
            }
        });
    }
}

/// Returns the time until the first channel is open, and the packets that crossed the path meanwhile.
fn first_channel(knobs: &str, seed: u64) -> (Duration, [[u64; 3]; 2]) {
    in_virtual_time(async {
        let ends = Ends::new(knobs, seed);
        tokio::spawn(accept_all(ends.listening.clone()));
        let began = Instant::now();
        let dialled = ends.dial().await;
        let took = (began.elapsed(), ends.trace());
        drop(dialled);
        took
    })
}

#[test]
fn handshake_takes_one_round_trip_of_600_ms() {
    let (took, _) = first_channel("delay 300 ms", 1);
    println!("took {took:?}");
    assert!((600..=650).contains(&took.as_millis()), "{took:?}");
}

#[test]
fn channel_opens_with_30_percent_loss() {
    let mut took: Vec<Duration> = (0..SEEDS).map(|seed| first_channel("delay 100 ms, loss 30 %", seed).0).collect();
    took.sort_unstable();
    println!("median {:?}, longest {:?}", took[took.len() / 2], took.last());
    assert!(took[took.len() / 2] < Duration::from_secs(3), "{took:?}");
    assert!(took.iter().all(|took| *took < Duration::from_secs(30)), "{took:?}");
}

#[test]
fn one_seed_makes_one_trace() {
    let run = |seed| first_channel("delay 100 ms, loss 30 %", seed);
    for seed in 0..SEEDS {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    let traces: Vec<_> = (0..SEEDS).map(run).collect();
    assert!(traces.iter().any(|trace| *trace != traces[0]), "every seed makes the same trace");
}
