//! Scripts: changes to a path as time passes, such as `at 5 s: down for 3 s`, `at 20 s back: rate 200 Mbit/s`.

use std::str::FromStr;
use std::time::Duration;

use wire::units::{UnitError, parse_duration};

use crate::{Direction, Knob, KnobError, parse_knobs};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Time of the change, from the run's start.
    pub at: Duration,
    pub direction: Direction,
    pub knob: Knob,
}

/// Events in the order of their times. In text, events are separated by line breaks or `;`, and `#` begins a comment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script(Vec<Event>);

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{line}`: {why}")]
pub struct ScriptError {
    line: String,
    why: Why,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
enum Why {
    #[error("write it like `at 5 s: down for 3 s` or `at 20 s back: rate 200 Mbit/s, loss 1 %`")]
    Form,
    #[error(transparent)]
    Unit(#[from] UnitError),
    #[error(transparent)]
    Knob(#[from] KnobError),
}

impl Script {
    pub fn into_events(self) -> Vec<Event> {
        self.0
    }
}

impl FromIterator<Event> for Script {
    fn from_iter<I: IntoIterator<Item = Event>>(events: I) -> Self {
        let mut events: Vec<Event> = events.into_iter().collect();
        // The sort is stable: events of the same time keep the order in which they were written.
        events.sort_by_key(|event| event.at);
        Self(events)
    }
}

impl FromStr for Script {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<Self, ScriptError> {
        let lines = text.split(['\n', ';']).map(|line| line.split('#').next().unwrap_or_default().trim());
        let mut events = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            events.extend(parse_line(line).map_err(|why| ScriptError { line: line.to_owned(), why })?);
        }
        Ok(events.into_iter().collect())
    }
}

fn parse_line(line: &str) -> Result<Vec<Event>, Why> {
    let (when, change) = line.strip_prefix("at ").and_then(|line| line.split_once(':')).ok_or(Why::Form)?;
    let one_way = Direction::BOTH.into_iter().find_map(|way| Some((way, when.strip_suffix(way.name())?)));
    let (directions, at) = one_way.map_or_else(|| (Direction::BOTH.to_vec(), when), |(way, at)| (vec![way], at));
    let at = parse_duration(at)?;
    let changes = match change.trim().strip_prefix("down for") {
        Some(span) => vec![(at, Knob::Down(true)), (at.saturating_add(parse_duration(span)?), Knob::Down(false))],
        None => parse_knobs(change)?.into_iter().map(|knob| (at, knob)).collect(),
    };
    if changes.is_empty() {
        return Err(Why::Form);
    }
    let event = |direction| changes.iter().map(move |&(at, knob)| Event { at, direction, knob });
    Ok(directions.into_iter().flat_map(event).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_in_the_order_of_their_times() {
        let script: Script =
            "at 20 s back: loss 1 %, rate 200 Mbit/s # a comment\n\nat 5 s: down for 3 s".parse().unwrap();
        let shown: Vec<_> = script
            .into_events()
            .iter()
            .map(|Event { at, direction, knob }| format!("{} {} {knob:?}", at.as_secs(), direction.name()))
            .collect();
        assert_eq!(shown[..2], ["5 forward Down(true)", "5 back Down(true)"]);
        assert_eq!(shown[2..4], ["8 forward Down(false)", "8 back Down(false)"]);
        assert!(shown[4].starts_with("20 back Loss"), "{shown:?}");
        assert!(shown[5].starts_with("20 back Rate"), "{shown:?}");
        assert_eq!(shown.len(), 6);
    }

    #[test]
    fn refuses_an_invalid_event_with_its_line() {
        for (text, says) in [
            ("in 5 s: down", "write it like"),
            ("at 5 s down", "write it like"),
            ("at 5 s:", "write it like"),
            ("at 5: down", "has no unit"),
            ("at 5 s: down for", "number"),
            ("at 5 s: fast", "`fast` is not a knob"),
            ("at 5 s: up; at 6 s: lossy", "`at 6 s: lossy`"),
        ] {
            let error = text.parse::<Script>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
