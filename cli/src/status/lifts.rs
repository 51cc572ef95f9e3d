//! Commands that lift halts, ready to copy. A command does what a person read: it names the partitions that are shown
//! with it. Only a command that leaves nothing out and accepts nothing may name the whole topic.

use std::collections::BTreeMap;

use service::status::HaltedPartition;
use wire::halt::{HaltReason, Skip};

/// Partitions that a command names at most.
const NAMED_MAX: usize = 50;
/// Partitions of a group whose detail is shown.
pub(crate) const DETAILS_MAX: usize = 5;

/// Halts as a status lists them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Halts<'a> {
    pub(crate) listed: &'a [HaltedPartition],
    /// Number of all; a receiver lists those of a lane up to a limit.
    pub(crate) count: usize,
}

/// Halted partitions of one topic and reason, and what lifts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HaltGroup<'a> {
    pub(crate) reason: &'a str,
    pub(crate) topic: &'a str,
    /// The halts, in order of their partitions.
    pub(crate) halts: Vec<&'a HaltedPartition>,
    /// True if the topic has no other halts, as far as the status knows.
    is_whole: bool,
}

/// A command, and when it is the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lift {
    pub(crate) when: String,
    pub(crate) command: String,
}

/// Partitions that a command names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The topic where that is the same, so that the command stays short.
    Topic,
    /// Each partition, and no other.
    Partitions,
}

impl<'a> HaltGroup<'a> {
    /// Groups halts by topic and reason, in their order.
    pub(crate) fn all(halts: Halts<'a>) -> Vec<Self> {
        let mut groups: BTreeMap<(&str, &str), Vec<&HaltedPartition>> = BTreeMap::new();
        let mut of_topic: BTreeMap<&str, usize> = BTreeMap::new();
        for halt in halts.listed {
            groups.entry((&halt.topic, &halt.reason)).or_default().push(halt);
            *of_topic.entry(&halt.topic).or_default() += 1;
        }
        let is_complete = halts.listed.len() >= halts.count;
        let group = |((topic, reason), mut halts): ((&'a str, &'a str), Vec<&'a HaltedPartition>)| {
            halts.sort_by_key(|halt| halt.partition);
            // A command for the topic lifts its halts of every reason.
            let is_whole = is_complete && halts.len() > 1 && of_topic[topic] == halts.len();
            Self { reason, topic, halts, is_whole }
        };
        groups.into_iter().map(group).collect()
    }

    /// What is halted, and the reason.
    pub(crate) fn heading(&self) -> String {
        match *self.halts {
            [halt] => format!("{}/{} halted, {}", self.topic, halt.partition, self.reason),
            _ => format!("{}: {} partitions halted, {}", self.topic, self.halts.len(), self.reason),
        }
    }

    /// What the reason means, and what to do; a reason of a newer version has no sentence.
    pub(crate) fn sentence(&self) -> &'static str {
        HaltReason::of(self.reason).map_or("", HaltReason::sentence)
    }

    /// Section of the manual.
    pub(crate) fn manual(&self) -> String {
        manual(self.reason)
    }

    /// The commands that lift the halts; `options` name the admin port of the sender.
    pub(crate) fn lifts(&self, options: &str) -> Vec<Lift> {
        let lift = |when: &str, words: &str, scope| self.lift(when, words, scope, options);
        let repaired = || lift("after the cause is repaired", "resume", Scope::Topic);
        let skip = |when| lift(when, "resume --skip", Scope::Partitions);
        match HaltReason::of(self.reason) {
            Some(HaltReason::TargetNotEmpty | HaltReason::TargetReplaced) => {
                vec![lift("to write after the records that are there", "adopt", Scope::Partitions)]
            }
            Some(HaltReason::DeletesLost) => vec![lift("to accept it", "resume", Scope::Partitions)],
            Some(reason) => match reason.skip() {
                Skip::OneRecord if self.halts.len() > 1 => {
                    vec![repaired(), skip("or to leave out one record of each")]
                }
                Skip::OneRecord => vec![repaired(), skip("or to leave out this record")],
                Skip::LogStart => vec![skip("to leave out the deleted records")],
                Skip::LogEnd => vec![repaired(), skip("or to continue at the end of the source's log")],
                Skip::NewIncarnation => vec![skip("to carry the new topic from its start")],
                Skip::InPlace | Skip::Nowhere => vec![repaired()],
            },
            None => vec![repaired()],
        }
    }

    fn lift(&self, when: &str, words: &str, scope: Scope, options: &str) -> Lift {
        let is_topic = scope == Scope::Topic && self.is_whole;
        let named: Vec<_> = match is_topic {
            true => vec![self.topic.to_owned()],
            false => {
                self.halts.iter().take(NAMED_MAX).map(|halt| format!("{}/{}", halt.topic, halt.partition)).collect()
            }
        };
        let is_cut = !is_topic && self.halts.len() > NAMED_MAX;
        let first = if is_cut { format!("; the first {NAMED_MAX} partitions, then the others") } else { String::new() };
        Lift { when: format!("{when}{first}"), command: command_line(words, &named, options) }
    }
}

/// What drops the positions of a topic that is deleted at the source.
pub(crate) fn forget(topic: &str, options: &str) -> Lift {
    Lift { when: "to drop its positions".to_owned(), command: command_line("forget", &[topic.to_owned()], options) }
}

/// A section of the manual's page about problems.
pub(crate) fn manual(section: &str) -> String {
    format!("docs/troubleshoot.md#{section}")
}

/// A command with topics or partitions, for a shell. Behind `--` a name that begins with a dash is no option.
fn command_line(words: &str, names: &[String], options: &str) -> String {
    let quoted: Vec<_> = names.iter().map(|name| quoted(name)).collect();
    let quoted = quoted.join(" ");
    match names.iter().any(|name| name.starts_with('-')) {
        true => format!("causeway {words}{options} -- {quoted}"),
        false => format!("causeway {words} {quoted}{options}"),
    }
}

/// A word for a shell. A topic's name comes from elsewhere.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) && !word.starts_with('-') {
        return word.to_owned();
    }
    format!("'{}'", word.replace(char::is_control, "?").replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halt(topic: &str, partition: i32, reason: &str) -> HaltedPartition {
        let detail = String::new();
        HaltedPartition { topic: topic.into(), partition, position: 7, reason: reason.into(), detail }
    }

    fn lifts(listed: &[HaltedPartition], count: usize) -> Vec<Lift> {
        let all = HaltGroup::all(Halts { listed, count });
        all.iter().flat_map(|group| group.lifts(" --config s.toml")).collect()
    }

    fn commands(listed: &[HaltedPartition], count: usize) -> Vec<String> {
        lifts(listed, count).into_iter().map(|lift| lift.command.replace(" --config s.toml", "")).collect()
    }

    #[test]
    fn each_reason_has_its_command() {
        let of = |reason| commands(&[halt("orders", 3, reason)], 1);
        assert_eq!(of("record-rejected"), ["causeway resume orders/3", "causeway resume --skip orders/3"]);
        assert_eq!(of("target-not-empty"), ["causeway adopt orders/3"]);
        assert_eq!(of("topic-recreated"), ["causeway resume --skip orders/3"]);
        assert_eq!(of("of-a-newer-version"), ["causeway resume orders/3"]);
        assert!(HaltReason::ALL.iter().all(|reason| !of(reason.word()).is_empty()));
        assert_eq!(lifts(&[halt("a", 0, "corrupt")], 1)[0].command, "causeway resume a/0 --config s.toml");
    }

    #[test]
    fn a_topic_is_named_only_if_its_halts_have_one_reason() {
        let halts =
            [halt("a", 1, "corrupt"), halt("a", 0, "corrupt"), halt("b", 0, "corrupt"), halt("b", 1, "truncated")];
        let expected = ["resume a", "resume b/0", "resume b/1", "resume --skip b/1"];
        assert_eq!(commands(&halts, 4), expected.map(|words| format!("causeway {words}")));
        assert_eq!(HaltGroup::all(Halts { listed: &halts, count: 4 })[0].halts[0].partition, 0);
        assert_eq!(commands(&halts[..2], 3), ["causeway resume a/0 a/1"], "another halt is not in the list");
    }

    #[test]
    fn what_leaves_out_or_accepts_names_each_partition() {
        for reason in HaltReason::ALL {
            let halts: Vec<_> = (0..3).map(|partition| halt("a", partition, reason.word())).collect();
            for command in commands(&halts, 3).iter().filter(|command| !command.ends_with("resume a")) {
                assert!(command.ends_with(" a/0 a/1 a/2"), "{command}");
            }
            let accepts = reason.skip() == Skip::InPlace;
            assert!(!(accepts && commands(&halts, 3).contains(&"causeway resume a".to_owned())), "{reason:?}");
        }
        let rejected: Vec<_> = (0..2).map(|partition| halt("a", partition, "record-rejected")).collect();
        assert_eq!(lifts(&rejected, 2)[1].when, "or to leave out one record of each");
    }

    #[test]
    fn a_command_is_bounded_and_says_so() {
        let halts: Vec<_> = (0..120).map(|partition| halt("a", partition, "retention-overtook")).collect();
        let lift = &lifts(&halts, 120)[0];
        assert!(lift.command.contains(" a/49 --config") && !lift.command.contains("a/50"), "{}", lift.command);
        assert!(lift.when.ends_with("; the first 50 partitions, then the others"), "{}", lift.when);
    }

    #[test]
    fn a_name_with_a_dash_is_no_option() {
        assert_eq!(command_line("forget", &["a".into()], " --config b"), "causeway forget a --config b");
        assert_eq!(command_line("forget", &["-a".into()], " --config b"), "causeway forget --config b -- '-a'");
    }

    #[test]
    fn a_name_from_elsewhere_is_one_word_of_a_shell() {
        assert_eq!(quoted("orders.v1_x-2/3"), "orders.v1_x-2/3");
        assert_eq!(quoted("a; rm -rf /"), "'a; rm -rf /'");
        assert_eq!(quoted("a'$(b)\n"), r"'a'\''$(b)?'");
        assert_eq!(quoted("--skip"), "'--skip'");
        assert_eq!(quoted(""), "''");
    }
}
