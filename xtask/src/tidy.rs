//! The rules of this repository that no compiler checks, and a table of the tree in numbers. Each rule is one function
//! over the files and has a test in which it finds something.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::step::root;
use limits::{LIMITS, Measured};
use tree::{Fault, File};

mod binaries;
mod cases;
mod circles;
mod comments;
mod constants;
mod crates;
mod dialect;
mod documents;
mod limits;
mod metrics;
mod modules;
mod rust;
mod settings;
mod size;
mod table;
mod tree;
mod words;

type Rule = fn(&[File]) -> Vec<Fault>;

const RULES: [Rule; 17] = [
    rust::parses,
    rust::header,
    rust::tests_do_not_sleep,
    crates::unsafe_code,
    crates::dependencies,
    crates::wire_is_pure,
    documents::unfinished,
    documents::personal_paths,
    documents::links,
    documents::cited_documents,
    documents::rust_version,
    settings::named_settings,
    metrics::named_metrics,
    constants::named_constants,
    cases::complete,
    cases::sentences,
    cases::proofs,
];

/// Options of `cargo xtask tidy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Another checkout to measure, without failing.
    tree: Option<PathBuf>,
    /// Print every place that counts towards a limit.
    places: bool,
}

impl Options {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(&argument) = arguments.next() {
            match argument {
                "--places" => options.places = true,
                "--tree" => options.tree = Some(arguments.next().context("--tree requires a folder")?.into()),
                other => bail!("unknown option {other}; see cargo xtask --help"),
            }
        }
        Ok(options)
    }
}

/// Prints the table of the tree and every place that breaks a rule or exceeds a limit; fails if there is any.
pub(crate) fn run(options: &Options) -> Result<()> {
    let files = tree::read(options.tree.as_deref().unwrap_or(&root()))?;
    let measured: Vec<Measured> = LIMITS.iter().map(|limit| limit.measure(&files)).collect();
    if options.places {
        for (limit, measured) in LIMITS.iter().zip(&measured).filter(|(_, measured)| !measured.places.is_empty()) {
            println!("{}:", limit.name);
            measured.places.iter().for_each(|place| println!("  {place}"));
        }
        println!();
    }
    print!("{}", table::table(&files, &measured));
    if options.tree.is_some() {
        return Ok(());
    }
    let broken = print_faults(&files) + print_exceeded(&measured);
    if broken > 0 {
        bail!("{broken} places break a rule or exceed a limit");
    }
    println!("{} files are tidy", files.len());
    Ok(())
}

/// Prints places that break a rule; returns their number.
fn print_faults(files: &[File]) -> usize {
    let mut faults: Vec<Fault> = RULES.iter().flat_map(|rule| rule(files)).collect();
    faults.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    faults.iter().for_each(|fault| println!("{fault}"));
    faults.len()
}

/// Prints limits that are exceeded, with the places that count; returns their number.
fn print_exceeded(measured: &[Measured]) -> usize {
    let mut exceeded = 0;
    for (limit, measured) in LIMITS.iter().zip(measured).filter(|(limit, is)| is.value > limit.limit) {
        measured.places.iter().for_each(|place| println!("{place}"));
        let [is, allowed] = [measured.value, limit.limit].map(|value| limit.show(value));
        println!("{}: {is}, and at most {allowed} are allowed", limit.name);
        exceeded += 1;
    }
    exceeded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_understood_or_refused() {
        let parsed = Options::parse(&["--tree", "there", "--places"]).unwrap();
        assert_eq!(parsed, Options { tree: Some("there".into()), places: true });
        for wrong in [&["--tree"][..], &["--quick"]] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn only_what_exceeds_its_limit_is_broken() {
        let at_most = |beyond: usize| -> Vec<Measured> {
            let values = LIMITS.iter().map(|limit| limit.limit + beyond);
            values.map(|value| Measured { value, places: Vec::new() }).collect()
        };
        assert_eq!(print_exceeded(&at_most(0)), 0);
        assert_eq!(print_exceeded(&at_most(1)), LIMITS.len());
    }
}
