//! `causeway failover` and `causeway switch-over`: promote a link at its receiver, and print what is lost.

mod own_receiver;

use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use receiver::{FailoverAnswer, FailoverRequest, GroupResume, PartitionLoss, Statement, SwitchOverRequest};
use serde::Serialize;
use service::format::{duration, grouped};

use crate::admin::{self, AdminPort};
use crate::args;
use crate::exit::Failure;
use own_receiver::OwnReceiver;

/// The time for one answer: a receiver says within 6 s which step is in progress.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The time for what follows once the source is quiet.
const PROMOTED_WITHIN: Duration = Duration::from_secs(120);
/// Longest name of the user, in bytes.
const BY_MAX: usize = 64;

/// Asks for a promotion, or for what would be lost.
pub(crate) fn run(arguments: &args::Failover) -> Result<(), Failure> {
    let request = FailoverRequest {
        link: Some(arguments.link.clone()),
        by: user(),
        reason: arguments.reason.clone().unwrap_or_default(),
        dry_run: arguments.dry_run,
    };
    let asked = Asked { json: arguments.json, within: arguments.timeout, is_lossless: false, done: "promoted" };
    if let Some(file) = arguments.admin.config.as_ref().filter(|_| arguments.without_receiver) {
        let own = OwnReceiver::start(file)?;
        return asked.follow(|| own.ask(&request), Failure::failed);
    }
    let port = AdminPort::new(&arguments.admin, admin::RECEIVER, TIMEOUT)?;
    asked.follow(|| ask(&port, "failover", &request), |words| port.failed(words))
}

/// Asks for a promotion of which the source has everything carried.
pub(crate) fn switch_over(arguments: &args::SwitchOver) -> Result<(), Failure> {
    let port = AdminPort::new(&arguments.admin, admin::RECEIVER, TIMEOUT)?;
    let request = SwitchOverRequest {
        link: Some(arguments.link.clone()),
        by: user(),
        reason: arguments.reason.clone().unwrap_or_default(),
        topics: arguments.topics.iter().cloned().collect(),
        quiet_seconds: arguments.quiet.as_secs_f64(),
        within_seconds: arguments.timeout.as_secs_f64(),
    };
    // The receiver itself keeps to the time; what follows afterwards is not cut short.
    let within = arguments.timeout + PROMOTED_WITHIN;
    let done = if arguments.topics.is_empty() { "promoted" } else { "switched over" };
    let asked = Asked { json: arguments.json, within, is_lossless: true, done };
    asked.follow(|| ask(&port, "switch-over", &request), |words| port.failed(words))
}

fn ask(port: &AdminPort, endpoint: &str, request: &impl Serialize) -> Result<FailoverAnswer, Failure> {
    let answer = port.post(endpoint, request)?;
    serde_json::from_str(&answer).map_err(|error| port.failed(error))
}

/// A promotion that is asked for.
struct Asked {
    json: bool,
    /// Longest wait.
    within: Duration,
    /// Anything that is missing is a failure.
    is_lossless: bool,
    /// Word for what is done.
    done: &'static str,
}

impl Asked {
    /// Asks again until there is a statement, and prints it. `failed` makes the failure of these words.
    fn follow(
        &self,
        ask: impl Fn() -> Result<FailoverAnswer, Failure>,
        failed: impl Fn(String) -> Failure,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let mut has_waited = false;
        let mut shown = String::new();
        loop {
            let answer = ask()?;
            if let Some(statement) = &answer.statement {
                // What this command itself has waited for was not done before.
                let already = answer.already && !has_waited;
                print(self.json, already, statement).map_err(Failure::failed)?;
                if let Some(left) = answer.unfinished {
                    return Err(failed(format!("every lane is promoted, but {left}; ask again")));
                }
                let missing = answer.missing.filter(|_| self.is_lossless);
                return missing.map_or(Ok(()), |missing| Err(failed(format!("it is {}, and {missing}", self.done))));
            }
            let step = answer.step.unwrap_or_default();
            if began.elapsed() > self.within {
                let waited = duration(began.elapsed().as_secs_f64());
                let words = format!("after {waited} it is still {step}; asking again is safe");
                return Err(failed(words));
            }
            has_waited = true;
            if shown != step {
                eprintln!("{step} ...");
                shown = step;
            }
        }
    }
}

fn user() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let mut user = named.filter(|user| !user.is_empty()).unwrap_or_else(|| "an unknown user".to_owned());
    wire::text::shorten(&mut user, BY_MAX);
    user
}

fn print(json: bool, already: bool, statement: &Statement) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match json {
        true => writeln!(out, "{}", serde_json::to_string(statement)?),
        false => write!(out, "{}", text(statement, already)),
    }
}

/// Returns the statement for people.
fn text(statement: &Statement, already: bool) -> String {
    let Statement { link, promoted, topics, made, quiet_since, partitions, groups, groups_heard, problems, .. } =
        statement;
    let mut page = String::new();
    let mut line = |text: String| {
        page.push_str(&text);
        page.push('\n');
    };
    line(match promoted {
        None if !topics.is_empty() => {
            let before = if already { ". It was done before" } else { "" };
            format!("switched over: {}; link {link} carries its other topics{before}.", topics.join(", "))
        }
        Some(record) if already => format!("{}. It was done before.", record.sentence(link)),
        Some(record) => format!("{}.", record.sentence(link)),
        None if already => {
            format!("dry run: link {link} is being promoted; run the command without --dry-run to finish")
        }
        None => format!("dry run: link {link} would be promoted; nothing was changed"),
    });
    line(format!("statement of {}:", time(Some(*made))));
    if quiet_since.is_some() {
        line(format!("nothing was written to the source since {}, and all of it is carried", time(*quiet_since)));
    }
    line(summary(partitions, *made));
    for problem in problems {
        line(format!("problem: {problem}"));
    }
    line(String::new());
    line(format!(
        "{:<40} {:>14} {:>20} {:>14} {:>12} {:>20}",
        "partition", "carried up to", "last written", "not carried", "open there", "unknown since"
    ));
    partitions.iter().for_each(|partition| line(row(partition)));
    line(String::new());
    let age = groups_heard.map(|at| format!("as of {}", time(Some(at))));
    line(match (groups.is_empty(), age) {
        (true, _) => "no offsets of consumer groups".to_owned(),
        (false, Some(age)) => format!("consumer groups, {age}:"),
        (false, None) => "consumer groups, by what the target has:".to_owned(),
    });
    groups.iter().for_each(|group| line(resumption(group)));
    page
}

fn summary(partitions: &[PartitionLoss], made: i64) -> String {
    let known: Vec<_> = partitions.iter().filter_map(|one| one.not_carried).collect();
    let unknown = partitions.len() - known.len();
    let mut words =
        format!("{} partitions; {} offsets known and not carried", partitions.len(), grouped(known.iter().sum()));
    if unknown > 0 {
        let _ = write!(words, "; of {unknown} partitions unknown");
    }
    if let Some(oldest) = partitions.iter().filter_map(|one| one.unknown_since).min() {
        let age = duration((made - oldest).max(0) as f64 / 1_000.0);
        let _ = write!(words, "; the source was last heard of {age} before, what it got since is unknown");
    }
    words
}

fn row(partition: &PartitionLoss) -> String {
    let number = |value: Option<u64>| value.map_or_else(|| "unknown".to_owned(), grouped);
    let carried = partition.carried_to.map_or_else(|| "nothing".to_owned(), |offset| offset.to_string());
    let halt = partition.halt.as_ref().map(|halt| format!(" halted: {halt}")).unwrap_or_default();
    let skipped =
        if partition.skipped > 0 { format!(" left out: {}", grouped(partition.skipped)) } else { String::new() };
    format!(
        "{:<40} {carried:>14} {:>20} {:>14} {:>12} {:>20}{skipped}{halt}",
        format!("{}/{}", partition.topic, partition.partition),
        time(partition.last_written),
        number(partition.not_carried),
        number(partition.in_open_transactions),
        time(partition.unknown_since),
    )
}

fn resumption(group: &GroupResume) -> String {
    let GroupResume { group, topic, partition, resumes_at, again, state } = group;
    let at = resumes_at.map_or_else(|| "no offset".to_owned(), |offset| format!("@{offset}"));
    let again = again.map_or_else(|| "unknown how many".to_owned(), |again| format!("{} offsets", grouped(again)));
    format!("{group} {topic}/{partition}{at} reads again: {again} ({state})")
}

/// A time to the second.
fn time(millis: Option<i64>) -> String {
    let at = millis.and_then(|millis| Timestamp::from_second(millis.div_euclid(1_000)).ok());
    at.map_or_else(|| "unknown".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> Statement {
        let known = PartitionLoss {
            topic: "orders".to_owned(),
            topic_id: None,
            partition: 3,
            target_topic: Some("fra.orders".to_owned()),
            carried_to: Some(70_000),
            last_written: Some(1_700_000_000_000),
            source_end: Some(70_012),
            not_carried: Some(12),
            in_open_transactions: Some(2),
            unknown_since: Some(1_700_000_000_500),
            skipped: 7,
            halt: None,
        };
        let unknown = PartitionLoss { topic: "bills".to_owned(), ..PartitionLoss::default() };
        let group = GroupResume {
            group: "billing".to_owned(),
            topic: "fra.orders".to_owned(),
            partition: 3,
            resumes_at: Some(69_999),
            again: Some(0),
            state: "synced".to_owned(),
        };
        Statement {
            link: "fra".to_owned(),
            made: 1_700_000_010_500,
            partitions: vec![known, unknown],
            groups: vec![group],
            groups_heard: None,
            ..Statement::default()
        }
    }

    #[test]
    fn what_is_unknown_is_printed_as_unknown() {
        let page = text(&statement(), false);
        let lines: Vec<_> = page.lines().collect();
        assert_eq!(lines[0], "dry run: link fra would be promoted; nothing was changed");
        assert_eq!(
            lines[2],
            "2 partitions; 12 offsets known and not carried; of 1 partitions unknown; the source was last heard of 10 s \
             before, what it got since is unknown"
        );
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            words(lines[5]),
            ["orders/3", "70000", "2023-11-14T22:13:20Z", "12", "2", "2023-11-14T22:13:20Z", "left", "out:", "7"]
        );
        assert_eq!(words(lines[6]), ["bills/0", "nothing", "unknown", "unknown", "unknown", "unknown"]);
        assert_eq!(lines[9], "billing fra.orders/3@69999 reads again: 0 offsets (synced)");
    }

    #[test]
    fn a_link_that_is_promoted_already_says_so() {
        let promoted = serde_json::from_str(r#"{"generation":1,"at":1700000000000,"by":"ann","reason":""}"#).unwrap();
        let page = text(&Statement { promoted: Some(promoted), ..statement() }, true);
        assert!(
            page.starts_with("link fra was promoted at 2023-11-14T22:13:20Z by ann. It was done before.\n"),
            "{page}"
        );
    }
}
