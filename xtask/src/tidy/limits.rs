//! The numbers that the gate keeps down, each with its limit.

use super::circles::files_in_circles;
use super::tree::{Fault, File};
use super::{comments, crates, dialect, size, words};

/// The limits, as the table prints them.
pub(super) const LIMITS: &[Limit] = &[
    places("files over 600 lines", size::long_files, 0),
    places("functions over 80 lines", size::long_functions, 0),
    places("functions with more than 6 parameters", size::many_parameters, 0),
    places("functions with a tuple as parameter", size::tuple_parameters, 0),
    places("folded lets", size::folded_lets, 0),
    places("names of functions over 60 characters", size::long_names, 0),
    places("files in circles", files_in_circles, 0),
    number("top-level modules of sender", |files| crates::rooms("sender", files), 12),
    number("top-level modules of receiver", |files| crates::rooms("receiver", files), 12),
    places("crates without forbid(unsafe_code)", crates::not_forbidding_unsafe, 0),
    comments("doc comments that begin with a pronoun", comments::pronouns, 60),
    comments("doc comments of three words or fewer", comments::short, 40),
    places("dialect words beyond 3 uses of each", dialect::too_many, 0),
    number("words of documents", words::in_documents, 52_600),
    number("words of README.md", words::in_readme, 900),
    places("table cells over 120 characters", words::long_cells, 0),
];

/// A number of the tree and the most that is allowed. The number of a share is in tenths of a percent.
pub(super) struct Limit {
    pub(super) name: &'static str,
    measure: Measure,
    /// The most that the tree shall have.
    pub(super) limit: usize,
}

/// The way to get a number from the tree.
enum Measure {
    /// The number of places that a rule finds.
    Places(fn(&[File]) -> Vec<Fault>),
    /// The share of doc comments that a rule finds.
    Comments(fn(&[File]) -> Vec<Fault>),
    Number(fn(&[File]) -> usize),
}

/// The result of a measurement, with the places that count if there are any.
pub(super) struct Measured {
    pub(super) value: usize,
    pub(super) places: Vec<Fault>,
}

const fn places(name: &'static str, rule: fn(&[File]) -> Vec<Fault>, limit: usize) -> Limit {
    Limit { name, measure: Measure::Places(rule), limit }
}

const fn comments(name: &'static str, rule: fn(&[File]) -> Vec<Fault>, limit: usize) -> Limit {
    Limit { name, measure: Measure::Comments(rule), limit }
}

const fn number(name: &'static str, measure: fn(&[File]) -> usize, limit: usize) -> Limit {
    Limit { name, measure: Measure::Number(measure), limit }
}

impl Limit {
    pub(super) fn measure(&self, files: &[File]) -> Measured {
        match self.measure {
            Measure::Places(rule) => {
                let places = rule(files);
                Measured { value: places.len(), places }
            }
            Measure::Comments(rule) => {
                let places = rule(files);
                Measured { value: share(places.len(), comments::number(files)), places }
            }
            Measure::Number(number) => Measured { value: number(files), places: Vec::new() },
        }
    }

    /// A value in the limit's unit.
    pub(super) fn show(&self, value: usize) -> String {
        match self.measure {
            Measure::Places(_) | Measure::Number(_) => value.to_string(),
            Measure::Comments(_) => format!("{}.{} %", value / 10, value % 10),
        }
    }
}

/// Tenths of a percent, rounded up.
fn share(part: usize, of: usize) -> usize {
    (part * 1_000).div_ceil(of.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_shown_as_percentages_and_rounded_up() {
        assert_eq!([share(1, 3), share(1, 999), share(0, 0)], [334, 2, 0]);
        let limit = LIMITS.iter().find(|limit| matches!(limit.measure, Measure::Comments(_))).unwrap();
        assert_eq!(limit.show(334), "33.4 %");
    }
}
