//! `cargo xtask`: the gate that every change must pass, on any machine, as CI runs it.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGPIPE;
use signal_hook::flag::register_conditional_default;

mod asan;
mod chart;
mod check;
mod deny;
mod java;
mod package;
mod step;
mod suite;
mod tidy;

const HELP: &str = "\
cargo xtask check [--fast] [--system-kafka] [--rounds N]
    run everything that CI requires of a change, in order, up to the first failure. Up to four tests with real Kafka that
    fail next to others are repeated alone, once; the summary names them

    --fast          leave out rustdoc, cargo-deny, AddressSanitizer, the bench and the real-Kafka tests: for use while
                    you work
    --system-kafka  build librdkafka against this machine's libssl and zlib, which is faster
                    (Debian, Ubuntu: apt-get install libssl-dev zlib1g-dev pkg-config)
    --rounds N      number of random kill rounds in the real-Kafka tests (default: 12)

cargo xtask asan
    run only the tests of the librdkafka shim under AddressSanitizer

cargo xtask chart
    run only the checks of the Helm chart and the Compose file, with the program that `cargo build` made. Needs Go

cargo xtask package [--program FILE] [--out DIR | --check]
    make a Debian package: the program, systemd services, manual pages and completions

    --program FILE  pack this program (default: one that is built for release)
    --out DIR       directory of the package (default: target/package)
    --check         make it twice and compare, install it below a directory, run it, and have systemd verify the services

cargo xtask tidy [--places] [--tree DIR]
    check the rules that need no compiler, and print a table of the tree in numbers with the limit of each

    --places        also print every place that counts towards a limit
    --tree DIR      measure another checkout by the same rules and print its table; never fails";

fn main() -> ExitCode {
    // Ends this process quietly when the reader of its output has closed it, as `head` does. That is the default of the
    // system, which Rust turns off: without this, `println!` would panic.
    let _ = register_conditional_default(SIGPIPE, Arc::new(AtomicBool::new(true)));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["check", rest @ ..] => check::Options::parse(rest).and_then(|options| check::run(&options)),
        ["asan"] => check::target().and_then(|built| asan::alone(&built)),
        ["chart"] => check::binary("causeway").and_then(|program| chart::check(&program)),
        ["package", rest @ ..] => {
            package::Options::parse(rest).and_then(|options| package::run(options, &check::target()?))
        }
        ["tidy", rest @ ..] => tidy::Options::parse(rest).and_then(|options| tidy::run(&options)),
        ["--help" | "-h" | "help"] => {
            println!("{HELP}");
            Ok(())
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
