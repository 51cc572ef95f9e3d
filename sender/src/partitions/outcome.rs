//! Outcome of a request to resume partitions: the answer of each, in order, and their sum.

use std::collections::BTreeMap;
use std::fmt::Write;

use wire::partition::Partition;

/// Partitions that an outcome names; it only counts the others. All of them are resumed.
const NAMED_MAX: usize = 2_000;

/// Answer of the session about a request.
#[derive(Debug)]
pub enum Answer {
    /// The request covers these partitions. It comes before their answers.
    Covers(Vec<Partition>),
    /// The partition resumed or was refused: a sentence either way.
    Partition(Partition, Result<String, String>),
    /// The request covers nothing: a sentence that says so.
    Nothing(String),
}

/// Answers that have arrived for one request.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Answer of each covered partition; `None` until it arrives.
    partitions: BTreeMap<Partition, Option<Result<String, String>>>,
    nothing: Option<String>,
}

impl Outcome {
    pub(crate) fn handle(&mut self, answer: Answer) {
        match answer {
            Answer::Covers(partitions) => self.partitions.extend(partitions.into_iter().map(|at| (at, None))),
            Answer::Partition(at, answer) => drop(self.partitions.insert(at, Some(answer))),
            Answer::Nothing(sentence) => self.nothing = Some(sentence),
        }
    }

    /// Returns the sentence of one partition, or the sum and a line per partition: `Err` unless all of them resumed.
    /// `missing` says why an answer did not arrive.
    pub(crate) fn finish(self, missing: &str) -> Result<String, String> {
        if let Some(sentence) = self.nothing {
            return Err(sentence);
        }
        let covered = self.partitions.len();
        let mut partitions = self.partitions.into_iter();
        if covered <= 1 {
            return partitions.next().and_then(|(_, answer)| answer).unwrap_or_else(|| Err(missing.to_owned()));
        }
        let mut resumed = Vec::new();
        let mut refused = Vec::new();
        let mut unanswered = Vec::new();
        for (at, answer) in partitions {
            match answer {
                Some(Ok(sentence)) => resumed.push(sentence),
                Some(Err(sentence)) => refused.push(sentence),
                None => unanswered.push(format!("{at}: no answer")),
            }
        }
        let mut text = format!("{} of {covered} partitions resumed", resumed.len());
        if !refused.is_empty() {
            let _ = write!(text, ", {} refused", refused.len());
        }
        if !unanswered.is_empty() {
            let _ = write!(text, ", {} without an answer: {missing}", unanswered.len());
        }
        let all_resumed = resumed.len() == covered;
        for line in refused.into_iter().chain(unanswered).chain(resumed).take(NAMED_MAX) {
            text.push('\n');
            text.push_str(&line);
        }
        if covered > NAMED_MAX {
            let _ = write!(text, "\nand {} more", covered - NAMED_MAX);
        }
        if all_resumed { Ok(text) } else { Err(text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(answers: &[(i32, Option<Result<&str, &str>>)]) -> Outcome {
        let mut outcome = Outcome::default();
        let at = |partition| Partition::new("orders", partition);
        outcome.handle(Answer::Covers(answers.iter().map(|(partition, _)| at(*partition)).collect()));
        for (partition, answer) in answers {
            let Some(answer) = answer else { continue };
            outcome.handle(Answer::Partition(at(*partition), answer.map(str::to_owned).map_err(str::to_owned)));
        }
        outcome
    }

    #[test]
    fn one_partition_is_answered_with_its_own_sentence() {
        assert_eq!(outcome(&[(3, Some(Ok("it resumes")))]).finish("late"), Ok("it resumes".to_owned()));
        assert_eq!(outcome(&[(3, Some(Err("it stays")))]).finish("late"), Err("it stays".to_owned()));
        assert_eq!(outcome(&[(3, None)]).finish("late"), Err("late".to_owned()));
    }

    #[test]
    fn a_sum_comes_first_then_what_was_refused() {
        let all = outcome(&[(10, Some(Ok("ten"))), (2, Some(Ok("two")))]).finish("late");
        assert_eq!(all, Ok("2 of 2 partitions resumed\ntwo\nten".to_owned()));
        let some = outcome(&[(1, Some(Ok("one"))), (2, None), (3, Some(Err("three")))]).finish("too late");
        let words =
            "1 of 3 partitions resumed, 1 refused, 1 without an answer: too late\nthree\norders/2: no answer\none";
        assert_eq!(some, Err(words.to_owned()));
        let many: Vec<_> = (0..3_000).map(|partition| (partition, Some(Ok("resumed")))).collect();
        let text = outcome(&many).finish("late").unwrap();
        assert!(text.starts_with("3000 of 3000") && text.ends_with("\nand 1000 more"), "{text}");
    }
}
