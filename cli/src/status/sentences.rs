//! What a status says in sentences: the text of `causeway status`, `causeway top` and the page, in the same words.

use sender::{ClassStatus, State};
use service::format::{bytes, duration, grouped};
use service::status::{HaltedPartition, Tally};

use super::lifts::manual;

/// Age in seconds of the last answer of the source, from which on it says nothing about now.
const OUTDATED_SECONDS: f64 = 10.0;
/// Time within which a sender that keeps up has carried everything.
pub(crate) const SOON_SECONDS: f64 = 60.0;
/// Time to the loss of records below which it is a problem, as in the alert.
const LOSS_SECONDS: f64 = 86_400.0;

/// Whether a sender keeps up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    Yes,
    No,
    Unknown,
}

/// Whether a sender keeps up, and a sentence that begins with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeepingUp {
    pub(crate) answer: Keeps,
    pub(crate) sentence: String,
}

impl KeepingUp {
    fn yes(reason: &str) -> Self {
        Self { answer: Keeps::Yes, sentence: format!("yes: {reason}") }
    }

    fn no(reason: &str) -> Self {
        Self { answer: Keeps::No, sentence: format!("no: {reason}") }
    }

    fn unknown(reason: &str) -> Self {
        Self { answer: Keeps::Unknown, sentence: format!("unknown: {reason}") }
    }

    pub(crate) fn of(status: &sender::Status) -> Self {
        let lag = match (status.lag_records, &status.state) {
            (_, State::Standby { behind }) => return Self::unknown(&format!("standing by, ask {}", named(behind))),
            (None, _) => return Self::unknown(&unknown_lag(status)),
            (Some(0), State::Active) => return Self::yes(&format!("the target has everything{}", stuck(status))),
            (Some(0), _) => return Self::unknown("no session with the receiver; no record waits at the source"),
            (Some(lag), _) => lag,
        };
        let behind = if lag == 1 { "1 record behind".to_owned() } else { format!("{} records behind", grouped(lag)) };
        if status.state != State::Active {
            return Self::no(&format!("no session with the receiver, {behind}"));
        }
        if !stuck(status).is_empty() {
            return Self::no(&format!("{behind}{}", stuck(status)));
        }
        match (status.forecast.drain_seconds, status.forecast.grows) {
            (_, true) => Self::no(&format!("{behind}, and it does not shrink")),
            _ if loss(status).is_some() => Self::no(&format!("{behind}, which the source will delete")),
            (Some(seconds), _) if seconds < 1.0 => Self::yes(&format!("{behind}, gone within a second")),
            (Some(seconds), _) if seconds <= SOON_SECONDS => {
                Self::yes(&format!("{behind}, gone in {}", duration(seconds)))
            }
            (Some(seconds), _) => Self::no(&format!("{behind}, gone in {}", duration(seconds))),
            (None, false) => Self::unknown(&format!("no trend yet, {behind}")),
        }
    }
}

fn unknown_lag(status: &sender::Status) -> String {
    match (silence(status), status.lag_age_seconds) {
        (Some(silent), _) => silent,
        (None, Some(_)) => unknown_partitions(status),
        (None, None) => "the source was not asked yet".to_owned(),
    }
}

/// Sentence for a source that has not answered for so long that its last answer says nothing about now.
pub(crate) fn silence(status: &sender::Status) -> Option<String> {
    let age = status.lag_age_seconds.filter(|age| *age > OUTDATED_SECONDS)?;
    Some(format!("the source has not answered for {}", duration(age)))
}

/// Sentence for records that the source will delete within a day, unless the link carries them before.
fn loss(status: &sender::Status) -> Option<String> {
    let forecast = &status.forecast;
    let seconds = forecast.loss_seconds.filter(|seconds| *seconds < LOSS_SECONDS && silence(status).is_none())?;
    if forecast.drain_seconds.is_some_and(|drain| drain < seconds) {
        return None;
    }
    let topic = forecast.loss_topic.as_deref().unwrap_or("a topic");
    Some(format!("{topic}: the source deletes records that are not carried in {}", duration(seconds)))
}

/// Reason why the lag of some partitions is unknown.
fn unknown_partitions(status: &sender::Status) -> String {
    let count = |count: usize, words: &str| {
        let partitions = if count == 1 { "partition" } else { "partitions" };
        (count > 0).then(|| format!("{count} {partitions} {words}"))
    };
    let joining = status.lag_unknown_partitions.saturating_sub(status.waiting_at_source);
    let waiting = count(status.waiting_at_source, "waiting for the source");
    let joining = count(joining, "not joined");
    let reasons: Vec<_> = waiting.into_iter().chain(joining).collect();
    if reasons.is_empty() { "not every partition has joined".to_owned() } else { reasons.join(", ") }
}

/// Number of partitions that are not carried, behind the lag, which they are part of.
fn stuck(status: &sender::Status) -> String {
    let words = [(status.halted.len(), "halted"), (status.waiting_at_source + status.waiting_at_target, "waiting")];
    let words = words.into_iter().filter(|(count, _)| *count > 0);
    let words: Vec<_> = words.map(|(count, word)| format!("{} {word}", grouped(count as u64))).collect();
    if words.is_empty() { String::new() } else { format!("; partitions: {}", words.join(", ")) }
}

pub(crate) fn sender_state(status: &sender::Status) -> String {
    let rtt = status.rtt_seconds.map_or_else(String::new, |rtt| format!(", round trip {:.0} ms", rtt * 1000.0));
    let to = status.receiver.as_deref().unwrap_or("the receiver");
    match &status.state {
        State::Starting => "starting: waiting for the source cluster".to_owned(),
        State::Connecting => "connecting to the receiver".to_owned(),
        State::Standby { behind } => format!("standby behind {}", named(behind)),
        State::Active => {
            let seconds = status.session_seconds.unwrap_or_default();
            format!("active: sending to {to} for {}{rtt}, session {}", duration(seconds), status.sessions)
        }
    }
}

pub(crate) fn backlog(status: &sender::Status) -> String {
    if let Some(silent) = silence(status) {
        return format!("unknown: {silent}");
    }
    let forecast = &status.forecast;
    let size = forecast.backlog_bytes.map(|size| bytes(size as u64));
    let goodput = forecast.goodput_bytes_per_second.map(|goodput| format!("{}/s", bytes(goodput as u64)));
    let size = size.unwrap_or_else(|| "unknown".to_owned());
    let goodput = goodput.unwrap_or_default();
    let kept = match (forecast.loss_seconds, &forecast.loss_topic) {
        (Some(seconds), Some(topic)) => format!("; the source keeps it for {} ({topic})", duration(seconds)),
        _ => String::new(),
    };
    let words = match (forecast.drain_seconds, forecast.grows) {
        (_, true) => format!("{size}, growing: the source writes more than the {goodput} that the target commits"),
        (Some(seconds), _) if seconds < 1.0 => format!("{size}, {goodput} committed"),
        (Some(seconds), _) => format!("{size}, {goodput} committed: gone in {}", duration(seconds)),
        (None, _) if goodput.is_empty() => size,
        (None, _) => format!("{size}, {goodput} committed"),
    };
    words + &kept
}

pub(crate) fn problems(status: &sender::Status) -> Vec<String> {
    let halts = HaltedPartition::sentences(&status.halted);
    let closed = status.lanes_closed.iter().map(|lane| format!("a lane was closed, {}: {}", lane.reason, lane.detail));
    let held = status.source_transactions_open.iter().map(sender::OpenTransaction::sentence);
    status.trouble.iter().cloned().chain(closed).chain(halts).chain(held).chain(loss(status)).collect()
}

/// Credit in use, in a session.
pub(crate) fn credit(status: &sender::Status) -> Option<String> {
    let (used, all) = status.credit_used_bytes.zip(status.credit_bytes)?;
    Some(format!("{} of {} in use", bytes(used), bytes(all)))
}

/// Whether a consumer group is in use at the source.
pub(crate) fn members(group: &sender::GroupStatus) -> &'static str {
    if group.has_members { "has members" } else { "no members" }
}

/// Where a receiver listens, or what it waits for.
pub(crate) fn listens(status: &receiver::status::Status) -> String {
    let listen = status.listen.map(|listen| format!("listening on {listen} (UDP)"));
    listen.unwrap_or_else(|| "waiting for the target cluster".to_owned())
}

/// Remedies for what is wrong: the section of the troubleshooting page for each halt reason.
pub(crate) fn remedies(status: &sender::Status) -> Vec<String> {
    let mut reasons: Vec<_> = status.halted.iter().map(|halt| halt.reason.as_str()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    let halted = reasons.iter().map(|reason| format!("see {}", manual(reason)));
    let closed = status.lanes_closed.iter().any(|lane| lane.reason == "superseded");
    let contested = closed.then(|| "run one receiver per link: stop one of the two".to_owned());
    let deleted = (!status.deleted_topics.is_empty()).then(|| format!("see {}", manual("source-deleted")));
    let waiting = (status.waiting_at_source + status.waiting_at_target > 0).then_some("waiting-partitions");
    let failing = status.receiver_condition.as_ref().is_some_and(|told| told.lanes_failing > 0);
    let expire = loss(status).is_some().then_some("records-expire-soon");
    let grows = (status.forecast.grows && silence(status).is_none()).then_some("lag-grows");
    let alerts = waiting.into_iter().chain(failing.then_some("failing-lanes")).chain(expire).chain(grows);
    halted.chain(alerts.map(|alert| format!("see {}", manual(alert)))).chain(deleted).chain(contested).collect()
}

/// The part of the rate that a class is guaranteed, and its ceiling.
pub(crate) fn promised(class: &ClassStatus) -> String {
    let share = match (class.strict, class.share_percent) {
        (true, _) => "strict".to_owned(),
        (false, Some(percent)) => format!("{percent} %"),
        (false, None) => "the rest".to_owned(),
    };
    match class.ceiling_bytes_per_second {
        Some(ceiling) => format!("{share}, at most {}/s", bytes(ceiling)),
        None => share,
    }
}

pub(crate) fn class_compression(class: &ClassStatus, is_named: bool) -> String {
    let name = if is_named { format!("{}: ", class.class) } else { String::new() };
    let codec = format!("{name}{}, {}", class.compression, class.compression_reason.sentence());
    if class.sent_bytes == 0 {
        return codec;
    }
    let ratio = class.raw_bytes as f64 / class.sent_bytes as f64;
    let shaped = class.shaped_bytes as f64 * 100.0 / class.raw_bytes.max(1) as f64;
    let saved = bytes(class.saved_bytes);
    format!("{codec}: {ratio:.1} B in frames per byte sent, {saved} saved, {shaped:.0} % of the bytes by shapes")
}

/// The states of offsets and their numbers, without those that no offset has.
pub(crate) fn states(offsets: &Tally) -> String {
    let counts = offsets.counts();
    let some: Vec<_> = counts.iter().filter(|(_, count)| *count > 0).collect();
    let words: Vec<_> = some.iter().map(|(state, count)| format!("{} {state}", grouped(*count))).collect();
    if words.is_empty() { "no offsets".to_owned() } else { words.join(", ") }
}

pub(crate) fn groups_read(groups: &sender::GroupsStatus) -> String {
    let (Some(matched), Some(offsets), Some(age)) = (groups.matched, groups.offsets, groups.age_seconds) else {
        return "unknown: they have not been read yet".to_owned();
    };
    let missing = match groups.unmatched.len() {
        0 => String::new(),
        count => format!("; {count} of `groups.include` missing, such as {}", groups.unmatched[0]),
    };
    format!("{matched} with {} offsets, read {} ago{missing}", grouped(offsets as u64), duration(age))
}

pub(crate) fn known(number: Option<u64>) -> String {
    number.map_or_else(|| "?".to_owned(), grouped)
}

pub(crate) fn named(name: &str) -> &str {
    if name.is_empty() { "(not known yet)" } else { name }
}
