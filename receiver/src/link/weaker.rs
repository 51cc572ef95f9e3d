//! Target topics of a link with settings that delete earlier, or accept less, than those of their source topics, for
//! `status`.

use std::collections::BTreeMap;

use kafka::topic_settings::WeakerSetting;
use service::lock::Lock;

/// Most topics of a link that status names.
const NAMED_MAX: usize = 100;
/// Most topics that the problems of a link name.
const PROBLEMS_MAX: usize = 5;

/// Result of the last comparison; empty without a session.
#[derive(Debug, Default)]
pub struct WeakerTopics(Lock<Option<Compared>>);

/// Comparison of the settings of a link's topics at both ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    /// Weaker settings by target topic.
    pub(crate) weaker: BTreeMap<String, Vec<WeakerSetting>>,
    /// Target topics whose settings cannot be read, and the reason of the first.
    pub(crate) unread: Option<(usize, String)>,
}

impl Compared {
    fn sentences(&self) -> impl Iterator<Item = String> {
        self.weaker.iter().map(|(topic, settings)| sentence(topic, settings))
    }
}

fn sentence(topic: &str, settings: &[WeakerSetting]) -> String {
    let settings: Vec<_> = settings.iter().map(ToString::to_string).collect();
    format!("{topic}: {}", settings.join("; "))
}

fn unread(topics: usize, reason: &str) -> String {
    format!("the settings of {topics} target topics cannot be compared with the source's: {reason}")
}

impl WeakerTopics {
    /// Takes a comparison, and logs the topics that are new in it.
    pub(crate) fn set(&self, compared: Compared) {
        let mut known = self.0.lock();
        let before = known.as_ref();
        let is_new = |(topic, settings): &(&String, &Vec<WeakerSetting>)| {
            before.is_none_or(|before| before.weaker.get(*topic) != Some(settings))
        };
        for (topic, settings) in compared.weaker.iter().filter(is_new).take(NAMED_MAX) {
            let settings = sentence(topic, settings);
            tracing::warn!(settings, "the target topic deletes earlier or accepts less than its source topic");
        }
        if before.is_none_or(|before| before.unread.is_none())
            && let Some((topics, reason)) = &compared.unread
        {
            tracing::warn!("{}", unread(*topics, reason));
        }
        *known = Some(compared);
    }

    /// Forgets the comparison: its session has ended.
    pub(crate) fn clear(&self) {
        *self.0.lock() = None;
    }

    /// Returns a sentence for each weaker topic, in order, at most a hundred.
    pub fn named(&self) -> Vec<String> {
        self.0.lock().iter().flat_map(Compared::sentences).take(NAMED_MAX).collect()
    }

    /// Returns the number of weaker topics; `None` before the first comparison of a session.
    pub fn count(&self) -> Option<usize> {
        self.0.lock().as_ref().map(|compared| compared.weaker.len())
    }

    /// Returns what an operator must know, in a few sentences.
    pub fn problems(&self) -> Vec<String> {
        let known = self.0.lock();
        let Some(compared) = &*known else { return Vec::new() };
        let weaker = |words| format!("the target deletes earlier or accepts less than the source: {words}");
        let mut problems: Vec<_> = compared.sentences().take(PROBLEMS_MAX).map(weaker).collect();
        if let Some(others) = compared.weaker.len().checked_sub(PROBLEMS_MAX).filter(|others| *others > 0) {
            problems
                .push(format!("the target deletes earlier or accepts less than the source in {others} more topics"));
        }
        problems.extend(compared.unread.as_ref().map(|(topics, reason)| unread(*topics, reason)));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weaker_topics_are_counted_and_some_are_named() {
        let weaker = |count: usize| {
            let setting = WeakerSetting { name: "retention.ms", target: "60000".into(), source: "-1".into() };
            let topic = |n| (format!("t{n:03}"), vec![setting.clone()]);
            WeakerTopics(Lock::new(Some(Compared { weaker: (0..count).map(topic).collect(), unread: None })))
        };
        let one = weaker(1);
        assert_eq!(one.named(), ["t000: retention.ms is 60000, at the source -1"]);
        assert_eq!(one.problems().len(), 1);
        let many = weaker(300);
        assert_eq!((many.count(), many.named().len(), many.problems().len()), (Some(300), NAMED_MAX, 6));
        assert!(many.problems()[5].contains("in 295 more topics"), "{:?}", many.problems());
        many.clear();
        assert_eq!((many.count(), many.named().len(), many.problems().len()), (None, 0, 0));
    }
}
