//! `cargo xtask check`: the whole gate, on any machine, as CI runs it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

mod check;
mod deny;
mod java;
mod step;
mod tidy;

use check::Options;

const HELP: &str = "\
cargo xtask check [--fast] [--system-kafka] [--rounds N]
    everything that CI asks of a change, in order, up to the first failure

    --fast          while you work: leaves out rustdoc, cargo-deny, the bench and the real-Kafka tests, and says so
    --system-kafka  builds librdkafka against this machine's libssl and zlib: faster
                    (Debian, Ubuntu: apt-get install libssl-dev zlib1g-dev pkg-config)
    --rounds N      random kill rounds of the real-Kafka tests; 20 unless stated

cargo xtask tidy
    only the rules of the house, which need no compiler";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["check", rest @ ..] => match Options::parse(rest) {
            Ok(options) => check::run(&options),
            Err(error) => Err(error),
        },
        ["tidy"] => tidy::run(),
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
