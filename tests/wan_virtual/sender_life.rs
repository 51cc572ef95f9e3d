//! The sender's own life over a path that goes dark: its dialling, its back-off, its sessions. The receiver is a
//! stand-in that welcomes everybody and opens no lane.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use kafka::KafkaError;
use kafka::catalog::{Bounds, Catalog, ConfigEntry, Isolation, NewTopic, TopicDescription, TopicSummary};
use kafka::log::{Entry, LogError};
use kafka::properties::forbidden;
use quinn::Endpoint;
use sender::config::Config;
use sender::rate::Request;
use sender::report::status::{Board, State};
use sender::run::{Parts, run};
use sender::source::origins::reading::StateLog;
use sender::source::{Assignment, Event, LaneReader, Source};
use service::bell::Bell;
use service::shutdown::{self, Phase};
use tokio::time::{Instant, sleep};
use transport::control::{ControlReader, ControlWriter};
use wire::control::{Control, CreditTerms, Welcome};
use wire::hello::{FEATURE_CHANNELS, FEATURES};
use wire::ids::{LaneId, Position, Slot};
use wire::lanes::ClassTable;
use wire::partition::Partition;

use crate::ends::Ends;
use crate::in_virtual_time;

/// How often the sender is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// After so much silence a channel is given up, whatever else happens.
const SILENCE: Duration = Duration::from_secs(10);

/// How soon there is a session once the path is back: a dial that began in the dark and fails (5 s from its start,
/// of which its last probe was sent at 3 s), the longest wait (2 s), and two round trips.
const BACK_MAX: Duration = Duration::from_secs(5);

/// A cluster without a topic.
pub(crate) struct Empty;

impl Catalog for Empty {
    fn cluster_id(&self) -> Result<String, KafkaError> {
        Ok("source".to_owned())
    }
    fn topics(&self) -> Result<Vec<TopicSummary>, KafkaError> {
        Ok(Vec::new())
    }
    fn describe(&self, _: &[String]) -> Result<Vec<TopicDescription>, KafkaError> {
        Ok(Vec::new())
    }
    fn configs(&self, _: &str) -> Result<Vec<ConfigEntry>, KafkaError> {
        Ok(Vec::new())
    }
    fn bounds(&self, _: &[Partition], _: Isolation) -> Result<Vec<Bounds>, KafkaError> {
        Ok(Vec::new())
    }
    fn positions_at(&self, _: &[Partition], _: i64) -> Result<Vec<Position>, KafkaError> {
        Ok(Vec::new())
    }
    fn create(&self, _: &[NewTopic]) -> Result<(), KafkaError> {
        Ok(())
    }
    fn grow(&self, _: &str, _: i32) -> Result<(), KafkaError> {
        Ok(())
    }
}

impl StateLog for Empty {
    fn read(&self, _: &str, _: i32, _: Bounds) -> Result<Vec<Entry>, LogError> {
        Ok(Vec::new())
    }
}

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

fn config(ends: &Ends) -> Config {
    let (file, pki) = (ends.pki.path().join("sender.toml"), ends.pki.path().display());
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

/// Welcomes every sender, and listens to it until it is gone.
async fn welcome_all(endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            let Ok((send, recv)) = connection.accept_bi().await else { return };
            let (mut writer, mut reader) = (ControlWriter::new(send), ControlReader::new(recv));
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
            while reader.next().await.is_ok() {}
        });
    }
}

/// Waits in virtual time; says how long.
async fn until(what: &str, within: Duration, holds: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < within, "waited {within:?} in vain for {what}");
        sleep(LOOK).await;
    }
    began.elapsed()
}

/// How soon the sender sees that a path is dark, and how soon it is in session again once that is over.
fn black_out(dark: Duration) -> (Duration, Duration) {
    in_virtual_time(async {
        let ends = Ends::new("delay 100 ms", 1);
        tokio::spawn(welcome_all(ends.listening.clone()));
        let (trigger, shutdown) = shutdown::channel();
        let board = Arc::new(Board::default());
        let (catalog, states) = (Arc::new(Empty), Arc::new(Empty));
        let parts = Parts { source: Empty, catalog, states, sockets: ends.near() };
        let life = tokio::spawn(run(config(&ends), parts, Arc::clone(&board), shutdown));
        let active = || matches!(board.status().state, State::Active);
        until("the first session", Duration::from_secs(5), active).await;
        // Long enough for keep-alives to be the only traffic.
        sleep(Duration::from_secs(20)).await;
        assert_eq!(board.status().sessions, 1);
        ends.set("down");
        let noticed = until("the sender to notice", dark, || !active()).await;
        assert!(board.status().last_end.is_some_and(|end| end.contains("timed out")), "{:?}", board.status().last_end);
        sleep(dark - noticed).await;
        assert_eq!(board.status().sessions, 1);
        ends.set("up");
        let back = until("a session after the black-out", BACK_MAX, active).await;
        assert_eq!(board.status().sessions, 2);
        trigger.advance(Phase::Drain);
        life.await.unwrap().unwrap();
        (noticed, back)
    })
}

#[test]
fn a_sender_gives_a_dark_path_up_after_10_s_of_silence_and_is_back_within_5_s_of_its_return() {
    let mut backs = Vec::new();
    // The longer ones end at many moments of a dial and of the wait after it.
    let darks = [30_000, 120_000].into_iter().chain((0..40).map(|part| 30_000 + part * 175));
    for dark in darks {
        let (noticed, back) = black_out(Duration::from_millis(dark));
        assert!(
            (SILENCE - Duration::from_secs(3)..=SILENCE + Duration::from_secs(1)).contains(&noticed),
            "{noticed:?}"
        );
        backs.push(back);
    }
    println!("back after {:?} and {:?}; of all {:?} at most", backs[0], backs[1], backs.iter().max());
}

#[test]
fn another_rate_in_the_file_or_by_command_holds_within_a_second_in_the_session_that_stands() {
    in_virtual_time(async {
        let ends = Ends::new("delay 100 ms", 1);
        tokio::spawn(welcome_all(ends.listening.clone()));
        let (trigger, shutdown) = shutdown::channel();
        let board = Arc::new(Board::default());
        let (catalog, states) = (Arc::new(Empty), Arc::new(Empty));
        let parts = Parts { source: Empty, catalog, states, sockets: ends.near() };
        let first = config(&ends);
        let (publisher, live) = service::live::channel(first.clone());
        let life = tokio::spawn(run(live, parts, Arc::clone(&board), shutdown));
        let active = || matches!(board.status().state, State::Active);
        until("the first session", Duration::from_secs(5), active).await;
        let kept = || board.rates().budget().rate().map_or(0, |rate| rate.bits_per_second() / 1_000_000);
        assert_eq!(kept(), 50);

        let mut second = first.clone();
        second.wan.rate = Some("20 Mbit/s".parse().unwrap());
        publisher.publish(second);
        until("the rate of another file", Duration::from_secs(1), || kept() == 20).await;
        let request = Request { rate: Some("30 Mbit/s".to_owned()), seconds: None };
        let now = "2026-01-14T09:00:00Z".parse().unwrap();
        board.rates().ask(&request, now).unwrap();
        assert_eq!(kept(), 30, "a command, at once");
        publisher.publish(first);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(kept(), 30, "which no file takes back");
        board.rates().ask(&Request::default(), now).unwrap();
        assert_eq!(kept(), 50);

        assert!(active() && board.status().sessions == 1, "{:?}", board.status().closes);
        assert!(board.status().rate.sent_bytes > 0, "what it sends passes the budget");
        trigger.advance(Phase::Drain);
        life.await.unwrap().unwrap();
    });
}
