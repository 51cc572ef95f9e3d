//! A client whose only broker answers without any broker for a moment, as one does that its controller takes for dead.
//! The mock cluster cannot do that, so a few lines here speak the two requests that a client begins with.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kafka::Properties;
use kafka::admin::KafkaCatalog;
use kafka::catalog::Catalog;

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

/// Broker that answers `Metadata` up to version 2, and whether it is in its own answers.
struct Broker {
    address: SocketAddr,
    is_known: Arc<AtomicBool>,
}

impl Broker {
    fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let is_known = Arc::new(AtomicBool::new(true));
        let known = Arc::clone(&is_known);
        // The thread ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let known = Arc::clone(&known);
                std::thread::spawn(move || drop(serve(stream, address.port(), &known)));
            }
        });
        Ok(Self { address, is_known })
    }
}

fn serve(mut stream: TcpStream, port: u16, is_known: &AtomicBool) -> std::io::Result<()> {
    loop {
        let request = read_frame(&mut stream)?;
        let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
        let mut answer = request[4..8].to_vec();
        match (number(0), number(2)) {
            (METADATA, _) => metadata(&mut answer, port, is_known.load(Ordering::SeqCst)),
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

fn metadata(answer: &mut Vec<u8>, port: u16, with_the_broker: bool) {
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
    answer.extend(TOPICS.to_be_bytes());
    for number in 0..TOPICS {
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
    let broker = Broker::start().unwrap();
    let properties = Properties { bootstrap_servers: vec![broker.address.to_string()], ..Properties::default() };
    // Whether a client loses its brokers depends on the order of its threads: most do.
    for _ in 0..CLIENTS {
        broker.is_known.store(true, Ordering::SeqCst);
        let catalog = KafkaCatalog::start(&properties, "test").unwrap();
        assert!(ping_until(&catalog, PATIENCE, |ok| ok), "the broker does not answer");
        broker.is_known.store(false, Ordering::SeqCst);
        if ping_until(&catalog, LOST_WITHIN, |ok| !ok) {
            broker.is_known.store(true, Ordering::SeqCst);
            assert!(ping_until(&catalog, PATIENCE, |ok| ok), "the client never finds its broker again");
            return;
        }
    }
    panic!("no client lost its brokers: if librdkafka's issue 5301 is fixed, `bootstrap.rs` can go");
}
