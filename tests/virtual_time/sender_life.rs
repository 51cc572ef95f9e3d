//! The sender's main loop over a path that becomes unreachable: dialling, back-off and sessions. The tests play a
//! receiver that welcomes every sender and opens no lane.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use kafka::KafkaError;
use kafka::properties::forbidden;
use quinn::Endpoint;
use sender::RateRequest as Request;
use sender::config::Config;
use sender::{Assignment, Event, LaneReader, Source};
use sender::{Dependencies, Report, State, run};
use service::bell::Bell;
use service::shutdown::{self, Phase};
use testkit::MemoryCatalog;
use tokio::time::{Instant, sleep};
use transport::control::{ControlReader, ControlWriter};
use wire::close::{Close, CloseCode};
use wire::control::{Control, CreditTerms, Welcome};
use wire::hello::{FEATURE_CHANNELS, FEATURES};
use wire::ids::{LaneId, Slot};
use wire::lanes::ClassTable;

use crate::ends::Ends;
use crate::in_virtual_time;

/// Interval at which the sender's status is checked.
const CHECK: Duration = Duration::from_millis(10);

/// Time without a packet after which a channel ends.
const SILENCE: Duration = Duration::from_secs(10);

/// Time until there is a session once the path is back: a dial that began during the outage fails 5 s after its start,
/// of which its last probe was sent at 3 s. Then come the longest back-off, 1 s, and two round trips.
const BACK_MAX: Duration = Duration::from_secs(5);

/// Source without a record.
struct Empty;

impl Source for Empty {
    type Reader = Self;

    fn open(&self, _: LaneId, _: Bell) -> Result<Self, KafkaError> {
        Ok(Self)
    }
}

impl LaneReader for Empty {
    fn assign(&mut self, _: &[Assignment]) -> Result<(), KafkaError> {
        Ok(())
    }
    fn unassign(&mut self, _: &[Slot]) -> Result<(), KafkaError> {
        Ok(())
    }
    fn peek(&mut self) -> Option<Event<'_>> {
        None
    }
    fn advance(&mut self) {}
}

fn dependencies(ends: &Ends) -> Dependencies<Empty> {
    let cluster = Arc::new(MemoryCatalog::new("source"));
    Dependencies { source: Empty, catalog: cluster.clone(), states: cluster, sockets: ends.near(), promoted: None }
}

fn config(ends: &Ends) -> Config {
    let file = ends.pki.path().join("sender.toml");
    let pki = ends.pki.path().display();
    let text = format!(
        r#"link = "virtual"
instance = "sender"
[source]
bootstrap_servers = ["nowhere.invalid:9092"]
topics = ["none"]
[wan]
receiver = "{}"
rate = "50 Mbit/s"
[tls]
ca = "{pki}/ca.pem"
certificate = "{pki}/sender.pem"
key = "{pki}/sender.key"
"#,
        ends.address
    );
    fs::write(&file, text).unwrap();
    service::config::load::<Config>(&file, forbidden).unwrap()
}

/// Plays a receiver that welcomes every sender, and reads its messages until it is gone.
async fn welcome_all(endpoint: Endpoint) {
    welcome(endpoint, None).await;
}

/// The same for a receiver that closes the first session with `first_close`, 5 s after it began.
async fn welcome(endpoint: Endpoint, mut first_close: Option<Close>) {
    while let Some(incoming) = endpoint.accept().await {
        let close = first_close.take();
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            let Ok((send, recv)) = connection.accept_bi().await else { return };
            let mut writer = ControlWriter::new(send);
            let mut reader = ControlReader::new(recv);
            let Ok(Control::Hello(hello)) = reader.next().await else { panic!("no hello") };
            let welcome = Welcome {
                version: hello.versions.max,
                features: hello.features & FEATURES & !FEATURE_CHANNELS,
                cluster_id: "target".to_owned(),
                receiver: 1,
                token: 1,
                credit: CreditTerms { reserve: 16 << 20, pool: 64 << 20 },
                classes: ClassTable::new(hello.lanes).classes().to_vec(),
            };
            writer.send(&Control::Welcome(welcome)).await.unwrap();
            if let Some(close) = close {
                sleep(Duration::from_secs(5)).await;
                transport::control::close(&connection, &close);
            }
            while reader.next().await.is_ok() {}
        });
    }
}

/// Waits in virtual time until `is_reached`. Returns how long that took.
async fn until(what: &str, within: Duration, is_reached: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !is_reached() {
        assert!(began.elapsed() < within, "waited {within:?} for {what}");
        sleep(CHECK).await;
    }
    began.elapsed()
}

/// Times of a sender around an outage of its path.
struct Outage {
    /// Time from the beginning of the outage until the session ended.
    noticed: Duration,
    /// Time from the end of the outage until the next session.
    back: Duration,
}

/// Runs a sender through an outage.
fn outage(lasts: Duration) -> Outage {
    in_virtual_time(async {
        let ends = Ends::new("delay 100 ms", 1);
        tokio::spawn(welcome_all(ends.listening.clone()));
        let (trigger, shutdown) = shutdown::channel();
        let board = Arc::new(Report::default());
        let parts = dependencies(&ends);
        let life = tokio::spawn(run(config(&ends), parts, Arc::clone(&board), shutdown));
        let active = || matches!(board.status().state, State::Active);
        until("the first session", Duration::from_secs(5), active).await;
        // Long enough for keep-alives to be the only traffic.
        sleep(Duration::from_secs(20)).await;
        assert_eq!(board.status().sessions, 1);
        ends.set("down");
        let noticed = until("the sender to notice", lasts, || !active()).await;
        assert!(board.status().last_end.is_some_and(|end| end.contains("timed out")), "{:?}", board.status().last_end);
        sleep(lasts - noticed).await;
        assert_eq!(board.status().sessions, 1);
        ends.set("up");
        let back = until("a session after the outage", BACK_MAX, active).await;
        assert_eq!(board.status().sessions, 2);
        trigger.advance(Phase::Drain);
        life.await.unwrap().unwrap();
        Outage { noticed, back }
    })
}

#[test]
fn session_ends_10_s_into_an_outage_and_is_back_5_s_after_it() {
    let mut backs = Vec::new();
    // Outages of different lengths end at different times of a dial and of the back-off after it.
    let lengths = [30_000, 120_000].into_iter().chain((0..40).map(|part| 30_000 + part * 175));
    for milliseconds in lengths {
        let Outage { noticed, back } = outage(Duration::from_millis(milliseconds));
        assert!(
            (SILENCE - Duration::from_secs(3)..=SILENCE + Duration::from_secs(1)).contains(&noticed),
            "{noticed:?}"
        );
        backs.push(back);
    }
    println!("back after {:?} and {:?}; the longest took {:?}", backs[0], backs[1], backs.iter().max());
}

#[test]
fn sender_whose_frame_state_is_lost_continues_without_one() {
    in_virtual_time(async {
        let ends = Ends::new("delay 100 ms", 1);
        let close = Close::new(CloseCode::StateLost, "frame 7 does not fit");
        tokio::spawn(welcome(ends.listening.clone(), Some(close)));
        let (trigger, shutdown) = shutdown::channel();
        let report = Arc::new(Report::default());
        let life = tokio::spawn(run(config(&ends), dependencies(&ends), Arc::clone(&report), shutdown));
        let active = |session| {
            let status = report.status();
            matches!(status.state, State::Active) && status.sessions == session
        };
        until("the first session", Duration::from_secs(5), || active(1)).await;
        assert_eq!(
            report.status().frame_state_bytes,
            Some(1 << 20),
            "a sixteenth of 256 MiB in eight lanes, less the codec's"
        );
        until("the second session", Duration::from_secs(15), || active(2)).await;
        assert_eq!(report.status().frame_state_bytes, None);
        trigger.advance(Phase::Drain);
        life.await.unwrap().unwrap();
    });
}

#[test]
fn new_rate_takes_effect_within_a_second_and_a_session() {
    in_virtual_time(async {
        let ends = Ends::new("delay 100 ms", 1);
        tokio::spawn(welcome_all(ends.listening.clone()));
        let (trigger, shutdown) = shutdown::channel();
        let report = Arc::new(Report::default());
        let parts = dependencies(&ends);
        let first = config(&ends);
        let (publisher, live) = service::live::channel(first.clone());
        let life = tokio::spawn(run(live, parts, Arc::clone(&report), shutdown));
        let active = || matches!(report.status().state, State::Active);
        until("the first session", Duration::from_secs(5), active).await;
        let kept = || report.board().rates().budget().rate().map_or(0, |rate| rate.bits_per_second() / 1_000_000);
        assert_eq!(kept(), 50);

        let mut second = first.clone();
        second.wan.rate = Some("20 Mbit/s".parse().unwrap());
        publisher.publish(second);
        until("the rate of another file", Duration::from_secs(1), || kept() == 20).await;
        let request = Request { rate: Some("30 Mbit/s".to_owned()), seconds: None };
        let now = "2026-01-14T09:00:00Z".parse().unwrap();
        report.board().rates().ask(&request, now).unwrap();
        assert_eq!(kept(), 30, "the command did not take effect immediately");
        publisher.publish(first);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(kept(), 30, "a new file replaced the rate of the command");
        report.board().rates().ask(&Request::default(), now).unwrap();
        assert_eq!(kept(), 50);

        assert!(active() && report.status().sessions == 1, "{:?}", report.status().closes);
        assert!(report.status().rate.sent_bytes > 0, "no bytes passed the budget");
        trigger.advance(Phase::Drain);
        life.await.unwrap().unwrap();
    });
}
