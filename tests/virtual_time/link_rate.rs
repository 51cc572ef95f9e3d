//! The rate that a receiver allows the sender of a link.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quinn::Connection;
use sender::{Handshaken, Report, SessionEnd};
use service::shutdown::{self, Phase};
use tokio::time::{Instant, sleep};
use transport::budget::BudgetSockets;
use transport::congestion::{Flow, FlowSettings};
use wire::control::Control;
use wire::units::Rate;

use crate::channels::{VALUE, frame, join, sending};
use crate::ends::Ends;
use crate::in_virtual_time;
use crate::sessions::{host_with, shaken};

/// Setting of the link, and its value.
const SETTING: &str = "rate = \"20 Mbit/s\"";
const LIMIT: f64 = 20.0;

/// Bytes of a full packet on the path.
const PACKET: u64 = 1_480;

/// Bytes of the headers of IP and UDP.
const HEADERS: u64 = 28;

/// Returns the rate of the sender's packets over `span`, in Mbit/s.
async fn sent_over(ends: &Ends, span: Duration) -> f64 {
    let before = ends.trace()[0][0];
    sleep(span).await;
    ((ends.trace()[0][0] - before) * PACKET * 8) as f64 / span.as_secs_f64() / 1e6
}

#[test]
fn a_sender_keeps_to_the_rate_that_its_receiver_allows() {
    in_virtual_time(async {
        let ends = Ends::guarded("delay 50 ms, loss 0.5 %", 1);
        let report = Arc::new(Report::default());
        let rates = report.board().rates();
        let fast = Rate::from_bits_per_second(150_000_000);
        let flow = Flow::new(FlowSettings::new(Some(fast)));
        let sockets = BudgetSockets::new(ends.near(), rates.budget().clone());
        let dialer = ends.dialer.clone().over(Arc::new(sockets)).guided_by(flow.clone());
        let ends = Ends { dialer, ..ends };
        rates.follow(move |rate| flow.set_rate(rate));
        let taken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&taken);
        let host = host_with(&ends, SETTING, move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let (trigger, shutdown) = shutdown::channel();
        tokio::spawn(receiver::serve(ends.listening.clone(), host, shutdown.clone()));
        let story = async {
            sleep(Duration::from_secs(5)).await;
            let before = taken.load(Ordering::Relaxed);
            let span = Duration::from_secs(20);
            let sent = sent_over(&ends, span).await;
            let frames = taken.load(Ordering::Relaxed) - before;
            let values = (frames * VALUE * 8) as f64 / span.as_secs_f64() / 1e6;
            let status = report.status();
            println!("{sent:.2} Mbit/s sent, {values:.2} Mbit/s of values; {:?}", status.rate);
            assert!(sent <= 1.02 * LIMIT, "{sent:.2} Mbit/s");
            assert!(values >= 0.9 * LIMIT, "{values:.2} Mbit/s of values");
            assert_eq!((status.rate.bits_per_second, &*status.rate.reason), (Some(20_000_000), "receiver"));
            assert_eq!((status.sessions, status.dead_channels, status.channel_redials), (1, 0, 0));
            trigger.advance(Phase::Now);
        };
        let (end, ()) = tokio::join!(sending().run(&ends, report.board(), shutdown), story);
        assert_eq!(end, SessionEnd::Drained);
        assert_eq!(rates.rate(), None, "no limit of its own, as before");
    });
}

/// Sends frames that the receiver drops, because their lane is not open: no credit counts them.
async fn flood(connection: Connection) {
    let mut streams = tokio::task::JoinSet::new();
    for number in 0..64 {
        let connection = connection.clone();
        streams.spawn(async move {
            while let Ok(mut stream) = connection.open_uni().await {
                if stream.write_chunk(frame(number)).await.is_err() {
                    return;
                }
                let _ = stream.finish();
            }
        });
    }
    streams.join_all().await;
}

#[test]
fn a_flood_stays_within_its_links_rate_over_sessions() {
    in_virtual_time(async {
        let ends = Ends::guarded("delay 5 ms, rate 500 Mbit/s, limit 50 ms", 1);
        let host = host_with(&ends, SETTING, |_, _| ());
        let (_trigger, shutdown) = shutdown::channel();
        tokio::spawn(receiver::serve(ends.listening.clone(), host, shutdown));
        let attack = async {
            let mut slowest = Duration::ZERO;
            let mut sent = 0;
            for _ in 0..6 {
                let (first, Handshaken { welcome, mut reader, mut writer }) = shaken(&ends, 1).await;
                tokio::spawn(flood(first.connection.clone()));
                let mut channels = Vec::new();
                for channel in 1..4 {
                    let (dialled, _) = join(&ends, &first, welcome.token, channel).await;
                    tokio::spawn(flood(dialled.connection.clone()));
                    channels.push(dialled);
                }
                let until = Instant::now() + Duration::from_secs(3);
                while Instant::now() < until {
                    let asked = Instant::now();
                    writer.send(&Control::Clock { asked: 7, answered: 0 }).await.unwrap();
                    while !matches!(reader.next().await.unwrap(), Control::Clock { .. }) {}
                    slowest = slowest.max(asked.elapsed());
                    sleep(Duration::from_millis(100)).await;
                }
                for dialled in channels.iter().chain([&first]) {
                    let udp = dialled.connection.stats().udp_tx;
                    sent += udp.bytes + HEADERS * udp.datagrams;
                    dialled.connection.close(0u32.into(), b"");
                }
            }
            (sent, slowest)
        };
        let began = Instant::now();
        let (sent, slowest) = attack.await;
        let span = began.elapsed();
        let sent = (sent * 8) as f64 / span.as_secs_f64() / 1e6;
        println!("{sent:.2} Mbit/s in {span:?}, slowest answer {slowest:?}");
        assert!(sent <= 1.1 * LIMIT, "{sent:.2} Mbit/s");
        assert!(sent >= 0.5 * LIMIT, "it did not flood: {sent:.2} Mbit/s");
        assert!(slowest < Duration::from_secs(3), "control messages waited {slowest:?}");
    });
}
