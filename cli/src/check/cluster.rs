//! Requests to a Kafka cluster, with a time limit and the messages of the Kafka client.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use kafka::admin::KafkaCatalog;
use kafka::catalog::Catalog;
use kafka::{KafkaError, KafkaFault, Properties};
use service::config::{Address, Configuration};
use service::lock::Lock;

use super::findings::Findings;
use crate::exit::Failure;

const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(15);

/// The messages of the Kafka client. They name the cause of an error; the result of a request does not.
#[derive(Clone, Default)]
struct Overheard(Arc<Lock<Vec<u8>>>);

pub(super) struct Cluster {
    catalog: Arc<dyn Catalog>,
    overheard: Overheard,
}

impl Cluster {
    /// Connects to each configured broker and starts a client if one accepts; `which` is `source` or `target`.
    pub(super) fn reach(
        findings: &mut Findings,
        which: &str,
        config: &impl Configuration,
        properties: &Properties,
    ) -> Result<Option<Self>, Failure> {
        let what = format!("{which} brokers");
        let brokers = config.brokers();
        let mut answering = 0;
        let mut silent = Vec::new();
        for broker in brokers {
            match connect(broker) {
                Ok(()) => answering += 1,
                Err(error) => silent.push(format!("{broker}: {error}")),
            }
        }
        if answering == 0 {
            let remedy = "is the cluster up, is `bootstrap_servers` right, and does every firewall between pass TCP?";
            findings.failed(&what, silent.join("; "), remedy);
            return Ok(None);
        }
        findings.ok(&what, format!("{answering} of {} accept connections", brokers.len()));
        silent.iter().for_each(|broker| findings.note(&what, broker));
        let overheard = Overheard::default();
        overheard.listen();
        let catalog = KafkaCatalog::start(properties, "check")?;
        Ok(Some(Self { catalog: Arc::new(catalog), overheard }))
    }

    /// Asks the cluster; returns `None` after a failure, which becomes a finding named `what`.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        findings: &mut Findings,
        what: &str,
        question: impl FnOnce(&dyn Catalog) -> Result<T, KafkaError> + Send + 'static,
    ) -> Option<T> {
        let (answer_in, answer) = mpsc::channel();
        let catalog = Arc::clone(&self.catalog);
        // Abandoned if it gets no answer: the process ends soon.
        thread::spawn(move || answer_in.send(question(&*catalog)));
        let because = |words: String, fault: KafkaFault| match self.overheard.last() {
            Some(line) => (format!("{words}; the client said: {line}"), remedy(fault, &line)),
            None => (words, remedy(fault, "")),
        };
        match answer.recv_timeout(ANSWER) {
            Ok(Ok(found)) => return Some(found),
            Ok(Err(error)) => {
                let (words, remedy) = because(error.to_string(), error.fault);
                findings.failed(what, words, remedy);
            }
            Err(_) => {
                let words = format!("no answer within {} s", ANSWER.as_secs());
                let (words, remedy) = because(words, KafkaFault::TimedOut(ANSWER));
                findings.failed(what, words, remedy);
            }
        }
        None
    }
}

fn connect(broker: &Address) -> io::Result<()> {
    let mut last = io::Error::other("resolves to no address");
    for address in (broker.host.as_str(), broker.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn remedy(fault: KafkaFault, heard: &str) -> &'static str {
    match fault {
        _ if heard.contains("certificate") => {
            "set `ssl.ca.location` in the [….client] section to the authority that signed the brokers' certificates"
        }
        _ if heard.contains("Authentication failed") => "compare the user and the password in the [….client] section",
        KafkaFault::Unauthorized => "give the user of [source.client] or [target.client] the rights that it lacks",
        KafkaFault::Misused => "compare the cluster's version and the client's properties with the docs",
        _ => {
            "does `security.protocol` in the [….client] section fit this port, and can its advertised names be reached from here?"
        }
    }
}

impl Overheard {
    fn listen(&self) {
        let writer = self.clone();
        // Once per process; a check asks one cluster.
        let _ = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .with_level(false)
            .with_target(true)
            .try_init();
    }

    fn last(&self) -> Option<String> {
        let heard = self.0.lock();
        let text = String::from_utf8_lossy(&heard);
        let mut lines = text.lines().filter(|line| line.starts_with("librdkafka"));
        // That brokers are down is said last; the reason comes before it.
        let is_reason = |line: &str| {
            ["certificate", "Authentication failed", "SSL handshake"].iter().any(|words| line.contains(words))
        };
        let line = lines.clone().rfind(|line| is_reason(line)).or_else(|| lines.next_back())?;
        // `librdkafka: [thrd:…]: host:port/bootstrap: words facility="FAIL"`
        let words = line.split_once("]: ").map_or(line, |(_, words)| words);
        Some(words.split(" facility=").next().unwrap_or(words).trim().to_owned())
    }
}

impl Write for Overheard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut heard = self.0.lock();
        // Only the last message counts; a client that repeats itself must not fill memory.
        if heard.len() > 64 << 10 {
            heard.clear();
        }
        heard.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
