//! Suites of tests that measure time next to each other: what fails is repeated alone, once, and named either way.
//!
//! A machine of two cores runs several clusters together. A test whose limit passed because of its neighbours passes
//! alone; one that found a bug fails again, nearly always. Neither is hidden: the summary of the gate names both.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::step::line_of;

/// Tests that are repeated at most. More failures than this are no matter of load.
const REPEATED_MAX: usize = 4;

/// Runs a suite, and what failed once more. `suite` makes a `cargo test` command without arguments of the test binaries.
/// Returns the names of the tests that passed only alone.
pub(crate) fn run(mut suite: impl FnMut() -> Result<Command>) -> Result<Vec<String>> {
    let mut first = suite()?;
    first.arg("--no-fail-fast");
    let Err(error) = tee(&mut first)? else { return Ok(Vec::new()) };
    if error.failed.is_empty() || error.failed.len() > REPEATED_MAX {
        bail!("{}", error.message);
    }
    println!("== failed, repeated alone: {}", error.failed.join(", "));
    let mut again = suite()?;
    again.args(["--no-fail-fast", "--", "--test-threads", "1", "--exact"]).args(&error.failed);
    match tee(&mut again)? {
        Ok(passed) if passed == error.failed.len() => Ok(error.failed),
        Ok(passed) => bail!("{}; repeated alone, {passed} of {} ran", error.message, error.failed.len()),
        Err(again) => bail!("{}; repeated alone, failed again: {}", error.message, again.failed.join(", ")),
    }
}

/// A command that failed.
struct Failed {
    message: String,
    /// Names of the failed tests; empty if the output has none, for example because a build failed.
    failed: Vec<String>,
}

/// Runs a command, passes its output on, and returns how many tests passed.
fn tee(command: &mut Command) -> Result<Result<usize, Failed>> {
    let line = line_of(command);
    println!("$ {line}");
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {line}"))?;
    let mut read = Output::default();
    for text in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let text = text?;
        println!("{text}");
        read.handle_line(&text);
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(Ok(read.passed));
    }
    Ok(Err(Failed { message: format!("{line}: {status}"), failed: read.failed }))
}

/// What the output of test binaries says of their tests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Output {
    passed: usize,
    failed: Vec<String>,
}

impl Output {
    fn handle_line(&mut self, line: &str) {
        let Some((name, result)) = line.strip_prefix("test ").and_then(|test| test.rsplit_once(" ... ")) else {
            return;
        };
        match result {
            "ok" => self.passed += 1,
            "FAILED" => self.failed.push(name.to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILS: &str = "\
test groups::one ... ok
test groups::two has been running for over 60 seconds
test groups::two ... FAILED
test harness::three ... ignored
test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.00s";

    /// A suite that prints `first` and fails, and then prints `second` and exits with `code`.
    fn suite(first: &'static str, second: &'static str, code: u8) -> Result<Vec<String>> {
        let mut runs = [(first, 1), (second, code)].into_iter();
        run(|| {
            let (text, code) = runs.next().context("a third run")?;
            let mut command = Command::new("sh");
            command.args(["-c", &format!("printf '%s\\n' '{text}'; exit {code}"), "suite"]);
            Ok(command)
        })
    }

    #[test]
    fn failed_tests_are_read_from_the_output() {
        let mut read = Output::default();
        FAILS.lines().for_each(|line| read.handle_line(line));
        assert_eq!(read, Output { passed: 1, failed: vec!["groups::two".to_owned()] });
    }

    #[test]
    fn tests_that_pass_alone_are_named() {
        assert_eq!(suite(FAILS, "test groups::two ... ok", 0).unwrap(), ["groups::two"]);
    }

    #[test]
    fn a_second_failure_fails_the_suite() {
        let error = suite(FAILS, "test groups::two ... FAILED", 1).unwrap_err().to_string();
        assert!(error.contains("failed again: groups::two"), "{error}");
    }

    #[test]
    fn a_repetition_that_runs_no_test_fails_the_suite() {
        assert!(suite(FAILS, "running 0 tests", 0).is_err());
    }

    #[test]
    fn failures_without_a_test_are_not_repeated() {
        let error = suite("error: could not compile", "test groups::two ... ok", 0).unwrap_err().to_string();
        assert!(!error.contains("alone"), "{error}");
    }
}
