//! The steps of the gate, in order: steps that fail often and fast come first.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::step::{Steps, cargo, printed, remove_tree, run as run_command};
use crate::{asan, chart, deny, java, package, suite, tidy};

/// Variable of `std::backtrace`. A failed test's error has a sentence, which the frames of the test runner would hide; a
/// panic keeps its backtrace.
const BACKTRACES_OF_ERRORS: &str = "RUST_LIB_BACKTRACE";
/// Names of test binaries that need real Kafka begin with this.
const KAFKA: &str = "kafka";
/// Variable that leaves out the tests with a browser.
const NO_BROWSER: &str = "CAUSEWAY_TEST_NO_BROWSER";
/// The test binary of the attacks, which needs real Kafka too.
const ATTACKS: &str = "hostile";

/// Options of `cargo xtask check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    fast: bool,
    system_kafka: bool,
    rounds: u32,
}

impl Options {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self> {
        let mut options = Self { fast: false, system_kafka: false, rounds: 12 };
        let mut arguments = arguments.iter();
        while let Some(&argument) = arguments.next() {
            match argument {
                "--fast" => options.fast = true,
                "--system-kafka" => options.system_kafka = true,
                "--rounds" => {
                    let number = arguments.next().context("--rounds requires a number")?;
                    options.rounds = number.parse().with_context(|| format!("--rounds {number}: not a number"))?;
                }
                other => bail!("unknown option {other}; see cargo xtask --help"),
            }
        }
        Ok(options)
    }
}

/// Runs the gate and prints how long each step took.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::default();
    let result = take_all(options, &mut steps);
    print!("{}", steps.summary());
    println!("{}", if result.is_ok() { "check: ok" } else { "check: FAILED" });
    result
}

fn take_all(options: &Options, steps: &mut Steps) -> Result<()> {
    let cargo = |arguments: &[&str]| workspace(options, arguments);
    if !options.fast {
        steps.take("set-up", || {
            java::require()?;
            deny::install()
        })?;
    }
    steps.take("fmt", || run_command(&mut crate::step::cargo(&["fmt", "--all", "--check"])))?;
    steps.take("tidy", || tidy::run(&tidy::Options::default()))?;
    steps.take("clippy", || run_command(cargo(&["clippy", "--all-targets"]).args(["--", "-D", "warnings"])))?;
    if !options.fast {
        let mut doc = cargo(&["doc", "--no-deps", "--document-private-items"]);
        steps.take("rustdoc", || run_command(doc.env("RUSTDOCFLAGS", "-D warnings")))?;
        let mut note = None;
        steps.take("deny", || {
            note = deny::check()?;
            Ok(())
        })?;
        note.into_iter().for_each(|note| steps.note(note));
    }
    let tests = plain_tests()?;
    let mut plain = cargo(&["test", "--lib", "--bins"]);
    plain.env(BACKTRACES_OF_ERRORS, "0");
    plain.args(tests.iter().flat_map(|name| ["--test", name]));
    steps.take("tests", || run_command(&mut plain))?;
    if !tun_is_available() {
        steps.note("netem's tun mode: NOT RUN, it needs root and /dev/net/tun".to_owned());
    }
    steps.take("doc tests", || run_command(&mut cargo(&["test", "--doc"])))?;
    if options.fast {
        let left_out =
            "rustdoc, deny, AddressSanitizer, package, chart, the short bench, the real-Kafka tests and the attacks";
        steps.note(format!("--fast: {left_out} were NOT RUN"));
        return Ok(());
    }
    take_slow(options, steps)
}

/// The steps that take longest, with programs and real Kafka.
fn take_slow(options: &Options, steps: &mut Steps) -> Result<()> {
    let cargo = |arguments: &[&str]| workspace(options, arguments);
    let built = target()?;
    let sanitized = built.join("asan");
    match asan::obstacle(&sanitized)? {
        None => steps.take("shim under ASan", || asan::run(&sanitized, &built, features(options)))?,
        Some(reason) => steps.note(format!("shim under AddressSanitizer: NOT RUN, {reason}")),
    }
    // With the tests, whose features the libraries were built with: alone, the programs would have them built again.
    let kafka_tests = format!("{KAFKA}*");
    run_command(&mut cargo(&["build", "--bins", "--test", &kafka_tests, "--test", ATTACKS]))?;
    match package::obstacle() {
        None => steps.take("package", || package::check(&binary("causeway")?, &built))?,
        Some(reason) => steps.note(format!("package: NOT RUN, {reason}")),
    }
    match chart::obstacle() {
        None => steps.take("chart", || chart::check(&binary("causeway")?))?,
        Some(reason) => steps.note(format!("chart: NOT RUN, {reason}")),
    }
    if tun_is_available() {
        steps.take("short bench", || run_command(&mut short_bench()?))?;
    } else {
        steps.note("short bench: NOT RUN, it needs root and /dev/net/tun".to_owned());
    }
    if std::env::var_os(NO_BROWSER).is_some() {
        steps.note(format!("tests of the page in a browser: NOT RUN, {NO_BROWSER} is set"));
    }
    for (step, tests) in [("real Kafka", kafka_tests.as_str()), ("attacks", ATTACKS)] {
        let mut alone = Vec::new();
        steps.take(step, || {
            alone = suite::run(|| {
                let mut kafka = cargo(&["test", "--test", tests]);
                kafka.env(BACKTRACES_OF_ERRORS, "0");
                kafka.env("CAUSEWAY_BIN", binary("causeway")?).env("CAUSEWAY_ROUNDS", options.rounds.to_string());
                Ok(kafka)
            })?;
            Ok(())
        })?;
        if !alone.is_empty() {
            steps.note(format!("{step}: PASSED ONLY ALONE, at a second try: {}", alone.join(", ")));
        }
    }
    Ok(())
}

/// A cargo command over the whole workspace. Every step uses the whole workspace, so that all of them resolve the same
/// features and nothing is built twice.
fn workspace(options: &Options, arguments: &[&str]) -> Command {
    let mut cargo = cargo(arguments);
    cargo.args(["--workspace", "--locked"]).args(features(options));
    cargo
}

/// Arguments of cargo that choose the build of librdkafka.
fn features(options: &Options) -> &'static [&'static str] {
    if options.system_kafka { &["--no-default-features", "--features", "kafka-system"] } else { &[] }
}

/// Test binaries of the workspace that do not need Kafka.
fn plain_tests() -> Result<Vec<String>> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let targets = packages.iter().filter_map(|package| package["targets"].as_array()).flatten();
    let tests = targets.filter(|target| target["kind"][0] == "test").filter_map(|target| target["name"].as_str());
    Ok(tests.filter(|name| !needs_kafka(name)).map(str::to_owned).collect())
}

fn needs_kafka(test: &str) -> bool {
    test.starts_with(KAFKA) || test == ATTACKS
}

/// Returns whether the tests of netem's tun mode can run here; those tests check the same.
fn tun_is_available() -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    root && Path::new("/dev/net/tun").exists()
}

/// The command of the short bench, without results of an earlier run.
fn short_bench() -> Result<Command> {
    let results = target()?.join("short-bench");
    remove_tree(&results)?;
    let mut bench = Command::new(binary("benches")?);
    bench.args(["wan", "--short", "--resume"]).arg(results);
    Ok(bench)
}

/// The path of the program `name` that `cargo build` makes.
pub(crate) fn binary(name: &str) -> Result<PathBuf> {
    Ok(target()?.join("debug").join(name))
}

/// The directory of cargo's builds.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata = metadata()?;
    Ok(metadata["target_directory"].as_str().context("cargo metadata names no target directory")?.into())
}

fn metadata() -> Result<Value> {
    Ok(serde_json::from_str(&printed(&mut cargo(&["metadata", "--no-deps", "--format-version", "1"]))?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_parsed_or_refused() {
        let parsed = Options::parse(&["--fast", "--rounds", "3"]).unwrap();
        assert_eq!(parsed, Options { fast: true, system_kafka: false, rounds: 3 });
        assert_eq!(Options::parse(&[]).unwrap().rounds, 12);
        for wrong in [&["--rounds"][..], &["--rounds", "many"], &["--quick"]] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn kafka_tests_are_recognised_by_name() {
        let plain = plain_tests().unwrap();
        assert!(plain.iter().all(|name| !name.starts_with(KAFKA) && name != ATTACKS));
    }
}
