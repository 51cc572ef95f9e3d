//! A client whose only broker answers without any broker for a moment, as one does that its controller takes for dead.
//! The mock cluster cannot do that, so a few lines here speak the two requests that a client begins with.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kafka::Properties;
use kafka::admin::KafkaCatalog;
use kafka::catalog::Catalog;
use kafka::consumer::{Consumer, ConsumerConfig, ConsumerMemory};

use crate::record_errors::{read_frame, write_frame};

const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const UNSUPPORTED_VERSION: i16 = 35;
/// So many that the client takes its broker away well before it has gone through them, and so cancels its own remedy.
const TOPICS: i32 = 5_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// Clients that may keep their brokers.
const CLIENTS: u32 = 10;
/// Time in which a client that does not lose its brokers is asked.
const LOST_WITHIN: Duration = Duration::from_secs(2);

/// Broker that answers `Metadata` up to version 2.
struct Broker {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    topics: i32,
    /// True while the broker is in its own answers.
    is_known: AtomicBool,
    /// Time of the last request for metadata of each client.
    asked: Mutex<HashMap<Vec<u8>, Instant>>,
}

impl Broker {
    /// Starts a broker that has this number of topics.
    fn start(topics: i32) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State { topics, is_known: true.into(), ..State::default() });
        let shared = Arc::clone(&state);
        // The thread ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let state = Arc::clone(&shared);
                std::thread::spawn(move || drop(serve(stream, address.port(), &state)));
            }
        });
        Ok(Self { address, state })
    }

    fn properties(&self) -> Properties {
        Properties { bootstrap_servers: vec![self.address.to_string()], ..Properties::default() }
    }

    fn set_known(&self, is_known: bool) {
        self.state.is_known.store(is_known, Ordering::SeqCst);
    }

    /// Waits until this number of clients has asked for metadata after `since`.
    fn wait_for_clients(&self, count: u32, since: Instant) {
        let began = Instant::now();
        loop {
            let asked = self.state.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let found = asked.values().filter(|asked| **asked > since).count();
            drop(asked);
            if found == count as usize {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{found} of {count} clients asked");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn serve(mut stream: TcpStream, port: u16, state: &State) -> std::io::Result<()> {
    loop {
        let request = read_frame(&mut stream)?;
        let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
        let mut answer = request[4..8].to_vec();
        match (number(0), number(2)) {
            (METADATA, _) => {
                let client = request[10..10 + number(8) as usize].to_vec();
                metadata(&mut answer, port, state.is_known.load(Ordering::SeqCst), state.topics);
                state.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(client, Instant::now());
            }
            (API_VERSIONS, version) => api_versions(&mut answer, version),
            (other, _) => panic!("request {other} is not spoken here"),
        }
        write_frame(&mut stream, &answer)?;
    }
}

fn api_versions(answer: &mut Vec<u8>, version: i16) {
    let error = if version == 0 { 0 } else { UNSUPPORTED_VERSION };
    answer.extend(error.to_be_bytes());
    answer.extend(2_i32.to_be_bytes());
    for [key, newest] in [[METADATA, 2], [API_VERSIONS, 0]] {
        [key, 0, newest].iter().for_each(|number| answer.extend(number.to_be_bytes()));
    }
}

fn metadata(answer: &mut Vec<u8>, port: u16, with_the_broker: bool, topics: i32) {
    let text = |answer: &mut Vec<u8>, text: &str| {
        answer.extend((text.len() as i16).to_be_bytes());
        answer.extend(text.as_bytes());
    };
    answer.extend(i32::from(with_the_broker).to_be_bytes());
    if with_the_broker {
        answer.extend(1_i32.to_be_bytes());
        text(answer, "127.0.0.1");
        answer.extend(i32::from(port).to_be_bytes());
        // No rack.
        answer.extend((-1_i16).to_be_bytes());
    }
    text(answer, "the cluster");
    let controller = if with_the_broker { 1_i32 } else { -1 };
    answer.extend(controller.to_be_bytes());
    answer.extend(topics.to_be_bytes());
    for number in 0..topics {
        answer.extend(0_i16.to_be_bytes());
        text(answer, &format!("orders-{number:0>200}"));
        answer.push(0);
        // No partitions.
        answer.extend(0_i32.to_be_bytes());
    }
}

/// Asks until the answer is one that is wanted, or for `patience`. Returns whether it is.
fn ping_until(catalog: &KafkaCatalog, patience: Duration, is_wanted: impl Fn(bool) -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < patience {
        if is_wanted(catalog.ping().is_ok()) {
            return true;
        }
    }
    false
}

#[test]
fn a_client_that_lost_all_brokers_finds_them_again() {
    let broker = Broker::start(TOPICS).unwrap();
    let properties = broker.properties();
    // Whether a client loses its brokers depends on the order of its threads: most do.
    for _ in 0..CLIENTS {
        broker.set_known(true);
        let catalog = KafkaCatalog::start(&properties, "test").unwrap();
        assert!(ping_until(&catalog, PATIENCE, |ok| ok), "the broker does not answer");
        broker.set_known(false);
        if ping_until(&catalog, LOST_WITHIN, |ok| !ok) {
            broker.set_known(true);
            assert!(ping_until(&catalog, PATIENCE, |ok| ok), "the client never finds its broker again");
            return;
        }
    }
    panic!("no client lost its brokers: if librdkafka's issue 5301 is fixed, `bootstrap.rs` can go");
}

/// Starts consumers of which nothing but their own probe asks for metadata. Their broker does not know itself for a
/// moment; waits until all of them have asked after that.
fn consumers_find_again(broker: &Broker) {
    let memory = ConsumerMemory { bytes: 64 << 20, lanes: 1 };
    let began = Instant::now();
    let start = |number| {
        let link = format!("test-{number}");
        let config = ConsumerConfig { link: &link, memory, fetch_wait: Duration::from_millis(10) };
        Consumer::start(broker.properties(), &config).expect("a consumer")
    };
    let _consumers: Vec<_> = (0..CLIENTS).map(start).collect();
    broker.wait_for_clients(CLIENTS, began);
    broker.set_known(false);
    broker.wait_for_clients(CLIENTS, Instant::now());
    broker.set_known(true);
    broker.wait_for_clients(CLIENTS, Instant::now());
}

#[test]
fn consumers_that_lost_all_brokers_find_them_again() {
    consumers_find_again(&Broker::start(TOPICS).unwrap());
}

#[test]
fn an_answer_without_brokers_and_topics_ends_no_process() {
    consumers_find_again(&Broker::start(0).unwrap());
}
