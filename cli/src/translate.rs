//! `causeway translate`: where the record at an offset is on the other side of a link.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use receiver::{PartitionOffset, TranslateRequest, Translation, TranslationState};

use crate::admin::{self, AdminPort};
use crate::args;
use crate::exit::Failure;

/// The time for an answer: a receiver searches for at most 7 s.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most offsets of one request.
const OFFSETS_MAX: usize = 1_000;

/// Translates the offsets of the command line, or else those of standard input. Fails at the end if one has no
/// counterpart.
pub(crate) fn run(arguments: &args::Translate) -> Result<(), Failure> {
    let port = AdminPort::new(&arguments.admin, admin::RECEIVER, TIMEOUT)?;
    let mut translator = Translator { port, arguments, found_all: true };
    if arguments.offsets.is_empty() {
        let input = std::io::stdin();
        if input.is_terminal() {
            let words = "name offsets such as orders/3@12345, or write them to standard input";
            return Err(Failure::Config(words.to_owned()));
        }
        let mut offsets = Vec::new();
        for line in input.lock().lines() {
            for text in line.map_err(Failure::failed)?.split_whitespace() {
                offsets.push(text.parse().map_err(Failure::Config)?);
            }
            if offsets.len() >= OFFSETS_MAX {
                translator.print(&std::mem::take(&mut offsets))?;
            }
        }
        translator.print(&offsets)?;
    } else {
        arguments.offsets.chunks(OFFSETS_MAX).try_for_each(|offsets| translator.print(offsets))?;
    }
    match translator.found_all {
        true => Ok(()),
        false => Err(Failure::Failed("some offsets have no counterpart".to_owned())),
    }
}

struct Translator<'a> {
    port: AdminPort,
    arguments: &'a args::Translate,
    found_all: bool,
}

impl Translator<'_> {
    /// Prints the answers to these offsets. Those that a receiver cannot search in its time are asked for in parts: it has
    /// kept in memory what it read.
    fn print(&mut self, offsets: &[PartitionOffset]) -> Result<(), Failure> {
        if offsets.is_empty() {
            return Ok(());
        }
        let args::Translate { link, reverse, json, .. } = self.arguments;
        let request = TranslateRequest { link: link.clone(), reverse: *reverse, offsets: offsets.to_vec() };
        let answer = match self.port.post("translate", &request) {
            Ok(answer) => answer,
            Err(_) if offsets.len() > 1 => {
                let (first, last) = offsets.split_at(offsets.len() / 2);
                self.print(first)?;
                return self.print(last);
            }
            Err(failure) => return Err(failure),
        };
        let answers: Vec<Translation> = serde_json::from_str(&answer).map_err(|error| self.port.failed(error))?;
        let mut out = std::io::stdout().lock();
        for answer in &answers {
            self.found_all &= matches!(answer.state, TranslationState::Record | TranslationState::NoRecord);
            let line = if *json { serde_json::to_string(answer).map_err(Failure::failed)? } else { line(answer) };
            writeln!(out, "{line}").map_err(Failure::failed)?;
        }
        Ok(())
    }
}

fn line(answer: &Translation) -> String {
    let Translation { asked, state, topic, partition, offset, asked_offset, carried_to } = answer;
    let partition = || format!("{}/{}", topic.as_deref().unwrap_or_default(), partition.unwrap_or_default());
    let place = || match offset {
        Some(offset) => format!("{}@{offset}", partition()),
        None => format!("{}, which has no record yet", partition()),
    };
    let carried = || carried_to.unwrap_or_default();
    let here = || format!("{}@{}", asked.split('@').next().unwrap_or(asked), asked_offset.unwrap_or_default());
    match state {
        TranslationState::Record if asked_offset.is_some() => {
            format!("{asked} {} the first record since then, {}", place(), here())
        }
        TranslationState::Later => {
            format!("{asked} {} no record since then before this one, {}; more was not read", place(), here())
        }
        TranslationState::Record => format!("{asked} {}", place()),
        TranslationState::NoRecord => format!("{asked} {} no record there, this is the next", place()),
        TranslationState::NotCarried => {
            format!("{asked} - not carried yet: the link has carried it up to {}", carried())
        }
        TranslationState::BeforeMap => format!("{asked} - before the map"),
        TranslationState::UnknownPartition => format!("{asked} - the link has not carried such a partition"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_one_line_that_begins_with_the_offset() {
        let answer = |state, offset| Translation {
            asked: "orders/3@12".to_owned(),
            state,
            topic: Some("fra.orders".to_owned()),
            partition: Some(3),
            offset,
            asked_offset: None,
            carried_to: Some(40),
        };
        for (state, offset, expected) in [
            (TranslationState::Record, Some(7), "orders/3@12 fra.orders/3@7"),
            (TranslationState::NoRecord, Some(8), "orders/3@12 fra.orders/3@8 no record there, this is the next"),
            (TranslationState::NotCarried, None, "orders/3@12 - not carried yet: the link has carried it up to 40"),
            (TranslationState::BeforeMap, None, "orders/3@12 - before the map"),
        ] {
            assert_eq!(line(&answer(state, offset)), expected);
        }
        let of_time = Translation {
            asked: "orders/3@2026-11-30T01:00:00Z".to_owned(),
            asked_offset: Some(12),
            ..answer(TranslationState::Record, Some(7))
        };
        let expected = "orders/3@2026-11-30T01:00:00Z fra.orders/3@7 the first record since then, orders/3@12";
        assert_eq!(line(&of_time), expected);
    }
}
