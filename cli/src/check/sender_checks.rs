//! Checks of a sender: the values derived from its settings, its source cluster, and its receiver.

use std::sync::Arc;
use std::time::Duration;

use kafka::Properties;
use kafka::catalog::Catalog;
use sender::config::{Config, derived};
use sender::{Class, KafkaStateLog, RatePlan as Plan, SessionEnd, TopicLister, ask_admission, matches_nothing};
use service::config::list_of;
use service::format::{bytes, megabits};
use service::tls::{Credentials, PeerIdentity};
use transport::endpoint::{ChannelFault, DialError, Dialer};
use wire::close::{Close, CloseCode};

use super::Checked;
use super::cluster::Cluster;
use super::findings::Findings;
use crate::exit::Failure;

/// Time for the receiver to accept our certificate, after its own part of the handshake.
const ACCEPT: Duration = Duration::from_secs(5);
const ACCEPT_STEP: Duration = Duration::from_millis(20);

impl Checked for Config {
    const CLUSTER: &'static str = "source";

    fn title(&self) -> String {
        format!("a sender of link {}", &*self.link)
    }

    fn derived(&self) -> Vec<(String, String)> {
        let packing = derived::packing(self);
        let frame = derived::frame_bytes(self.wan.rate);
        let mut lines = vec![
            ("read ahead".to_owned(), format!("{}, a quarter of memory", bytes(derived::prefetch(self).bytes))),
            (
                "largest record".to_owned(),
                format!("{}, a quarter of memory, or half of the credit pool", bytes(packing.credit_max)),
            ),
            ("frame".to_owned(), format!("up to {} before compression", bytes(frame))),
            ("send window".to_owned(), bytes(derived::endpoint(self).send_window())),
        ];
        lines.extend(self.classes.0.iter().map(|class| (format!("class {}", class.name), words_of(class))));
        if !self.classes.0.is_empty() {
            let lanes = derived::lanes(self);
            lines.push(("class default".to_owned(), format!("{} lanes of {lanes}; the rest of the rate", self.lanes)));
        }
        if !self.wan.schedule.is_empty() {
            let mut plan = Plan::default();
            plan.configure(self.wan.rate, self.wan.schedule.clone());
            lines.push(("rate now".to_owned(), plan.rule(jiff::Timestamp::now()).to_string()));
        }
        lines
    }

    fn rates_at(&self, rtt: Duration) -> String {
        let allowed = derived::rate_allowed(self, rtt);
        let window = format!("the window allows {}", megabits(allowed));
        let Some(rate) = self.wan.rate else { return window };
        let short = if allowed < rate { ", less than `wan.rate`: raise `memory`" } else { "" };
        format!("bdp {}; {window}{short}", bytes(rate.bytes_in(rtt)))
    }

    fn check_cluster(&self, findings: &mut Findings, cluster: &Cluster, properties: &Properties) {
        let filter = self.source.filter();
        let mut lister = TopicLister::new(Arc::new(KafkaStateLog::new(properties, &self.link)));
        let links = self.source.other_links();
        let look = move |catalog: &dyn Catalog| lister.list(catalog, &filter, &links);
        let Some(found) = cluster.ask(findings, "topics", look) else { return };
        for unread in &found.unread {
            findings.failed("topics", unread, format!("{}; until then new topics wait", unread.remedy));
        }
        let topics = found.topics;
        let unmatched = found.unmatched;
        let (topics, left_out): (Vec<_>, Vec<_>) =
            topics.iter().partition(|topic| topic.origin.not_carried_reason(None).is_none());
        if let Some(first) = left_out.first() {
            let count = left_out.len();
            findings.note(
                "topics",
                format!("{count} left out, brought here by links: {}; see `source.forward`", first.name),
            );
        }
        let partitions: i32 = topics.iter().map(|topic| topic.partitions).sum();
        match topics.len() {
            0 => findings.note("topics", "no topic is carried yet; a new one is carried within 5 s"),
            1 => findings.ok("topics", format!("1 matches, with {partitions} partitions: {}", topics[0].name)),
            count => findings.ok("topics", format!("{count} match, with {partitions} partitions")),
        }
        for entry in unmatched {
            findings.failed(
                "topics",
                matches_nothing(&entry),
                "correct the entry, create the topic, or give this sender Describe and Read on it",
            );
        }
        check_groups(self, findings, cluster);
        check_acls(self, findings, cluster);
    }

    fn check_peer(
        &self,
        findings: &mut Findings,
        credentials: &Credentials,
        cluster_id: Option<String>,
    ) -> Result<(), Failure> {
        let runtime = tokio::runtime::Runtime::new().map_err(Failure::failed)?;
        runtime.block_on(dial(findings, self, credentials, cluster_id));
        runtime.shutdown_background();
        Ok(())
    }
}

/// Tells which consumer groups match, and whether their offsets can be read.
fn check_groups(config: &Config, findings: &mut Findings, cluster: &Cluster) {
    const WHAT: &str = "groups";
    let filter = config.groups.filter();
    if filter.topics().is_empty() {
        return findings.note(WHAT, "off: name the consumer groups to carry in `groups.include`");
    }
    let named: Vec<String> = filter.topics().iter().filter_map(|entry| entry.exact()).map(str::to_owned).collect();
    let ask = move |catalog: &dyn Catalog| {
        let listed: Vec<String> = catalog.groups()?.groups.into_iter().map(|group| group.name).collect();
        let mut names: Vec<String> = listed.iter().chain(&named).filter(|name| filter.matches(name)).cloned().collect();
        names.sort();
        names.dedup();
        let answers = catalog.committed(&names)?;
        Ok(names
            .into_iter()
            .zip(answers)
            .map(|(name, answer)| (listed.contains(&name), name, answer))
            .collect::<Vec<_>>())
    };
    let Some(found) = cluster.ask(findings, WHAT, ask) else { return };
    let mut readable = Vec::new();
    for (is_listed, name, answer) in found {
        match answer {
            Ok(offsets) if offsets.is_empty() && !is_listed => {
                let words = format!("the source has no consumer group {name}; share groups are not carried");
                findings.note(WHAT, words);
            }
            Ok(_) => readable.push(name),
            Err(error) => findings.failed(WHAT, error, "give this sender Describe on the group"),
        }
    }
    match readable.as_slice() {
        [] => findings.note(WHAT, "no group that this sender may describe matches now"),
        [one] => findings.ok(WHAT, format!("1 matches: {one}")),
        [first, ..] => findings.ok(WHAT, format!("{} match, the first is {first}", readable.len())),
    }
}

/// Tells whether the access control lists of the source can be read.
fn check_acls(config: &Config, findings: &mut Findings, cluster: &Cluster) {
    const WHAT: &str = "acls";
    if !config.acls.follow {
        return findings.note(WHAT, "off: `acls.follow` tells the receiver the access control lists of carried topics");
    }
    match cluster.ask(findings, WHAT, |catalog| catalog.acls()) {
        None => {}
        Some(Some(rules)) => findings.ok(WHAT, format!("{} rules about topics and groups can be read", rules.len())),
        Some(None) => findings.failed(
            WHAT,
            "the source states no access control lists at all",
            "give this sender Describe on the cluster, or remove `acls.follow` if the cluster has no authorizer",
        ),
    }
}

fn words_of(class: &Class) -> String {
    let mut words = vec![format!("{} lanes", class.lanes)];
    if class.terms.strict {
        words.push("before all that are not strict".to_owned());
    }
    words.extend(class.terms.share.map(|share| format!("{share} guaranteed")));
    match class.terms.ceiling {
        Some(ceiling) => words.push(format!("at most {ceiling}")),
        None if class.terms.strict => words.push("no `ceiling`: it can starve the others".to_owned()),
        None => {}
    }
    words.join("; ")
}

/// Dials until both sides have accepted each other, and asks whether the receiver would admit this sender. It begins no
/// session, so that none is disturbed.
async fn dial(findings: &mut Findings, config: &Config, credentials: &Credentials, cluster_id: Option<String>) {
    let dialer = match Dialer::new(credentials, derived::endpoint(config)) {
        Ok(dialer) => dialer,
        Err(error) => return findings.failed("receiver", error, "compare `certificate`, `key` and `ca` in [tls]"),
    };
    let server_name = config.wan.server_name.as_deref();
    let dialled = match dialer.dial(&config.wan.receiver, server_name).await {
        Ok(dialled) => dialled,
        Err(DialError { faults }) => {
            return faults.iter().for_each(|fault| findings.failed("receiver", fault, remedy(fault)));
        }
    };
    let connection = dialled.connection;
    match accepted(&connection).await {
        Ok(true) => {
            let names = PeerIdentity::of(&connection).map(|peer| peer.dns_names().join(", ")).unwrap_or_default();
            // A certificate may be for an address alone, which the handshake has compared.
            let names = if names.is_empty() { connection.remote_address().ip().to_string() } else { names };
            let rtt = connection.rtt().as_secs_f64() * 1000.0;
            let remote = connection.remote_address();
            findings.ok("receiver", format!("{remote} is {names}, accepts our certificate, round trip {rtt:.0} ms"));
            if let Some(cluster_id) = cluster_id {
                let answer = tokio::time::timeout(ACCEPT, ask_admission(&connection, config, cluster_id)).await;
                judge_admission(findings, config, answer.unwrap_or_else(|_| Err(silent())));
            }
        }
        Ok(false) => {
            let fault = ChannelFault::Unfinished { remote: connection.remote_address(), after: ACCEPT };
            findings.failed("receiver", &fault, remedy(&fault));
        }
        Err(fault) => findings.failed("receiver", &fault, remedy(&fault)),
    }
    connection.close(0u32.into(), b"check");
    let _ = tokio::time::timeout(Duration::from_secs(1), dialled.endpoint.wait_idle()).await;
}

fn silent() -> SessionEnd {
    SessionEnd::Lost(format!("no answer within {} s", ACCEPT.as_secs()))
}

/// Reports the receiver's answer to the question whether it would admit this sender.
fn judge_admission(findings: &mut Findings, config: &Config, answer: Result<Close, SessionEnd>) {
    const WHAT: &str = "link";
    let close = match answer {
        Ok(close) => close,
        Err(end) => return findings.failed(WHAT, end, "read the receiver's log"),
    };
    let source = list_of(&config.source.bootstrap_servers);
    match close.code {
        CloseCode::Normal => findings.ok(WHAT, close.detail),
        CloseCode::SameCluster if config.source.allow_same_cluster_id => findings.note(
            WHAT,
            format!(
                "{}; the source's are {source}; a probe topic must prove in each session that they are two",
                close.detail
            ),
        ),
        CloseCode::SameCluster => findings.failed(
            WHAT,
            format!("{}; the source's are {source}", close.detail),
            "correct `bootstrap_servers`; for two clusters that were given one id, set `source.allow_same_cluster_id`",
        ),
        // Older versions know no question without a session.
        CloseCode::BadFrame => {
            findings.note(WHAT, "the receiver is of an older version, which does not tell its cluster");
        }
        code => findings.failed(WHAT, close.detail, code.sentence()),
    }
}

/// Waits for the receiver to accept our certificate. In TLS 1.3 our handshake is done before the receiver has seen it;
/// the receiver accepts it a round trip later, with HANDSHAKE_DONE, or closes the connection.
async fn accepted(connection: &quinn::Connection) -> Result<bool, ChannelFault> {
    let deadline = tokio::time::Instant::now() + ACCEPT;
    while tokio::time::Instant::now() < deadline {
        if let Some(error) = connection.close_reason() {
            return Err(ChannelFault::of(connection.remote_address(), &error));
        }
        if connection.stats().frame_rx.handshake_done > 0 {
            return Ok(true);
        }
        tokio::time::sleep(ACCEPT_STEP).await;
    }
    Ok(false)
}

fn remedy(fault: &ChannelFault) -> &'static str {
    match fault {
        ChannelFault::Unresolved { .. } => {
            "is the host in `wan.receiver` right, and does this machine's resolver know it?"
        }
        ChannelFault::Socket { .. } | ChannelFault::Impossible { .. } => "compare `wan.receiver` and `wan.server_name`",
        ChannelFault::NoAnswer { .. } | ChannelFault::Unfinished { .. } | ChannelFault::Lost { .. } => {
            "start the receiver, and let every firewall between pass its UDP port both ways"
        }
        ChannelFault::Protocol { .. } => "is this the receiver's port, and are both sides' versions close?",
        ChannelFault::RefusedHere { .. } => {
            "`ca` here must hold the authority of the receiver's certificate, which must bear the host dialled or `wan.server_name`"
        }
        ChannelFault::RefusedThere { .. } => "the receiver's `ca` must hold the authority of this side's certificate",
    }
}
