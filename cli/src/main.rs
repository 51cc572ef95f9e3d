//! The one binary, `causeway`.

#![forbid(unsafe_code)]

mod admin;
mod args;
mod check;
mod emulate;
mod example;
mod exit;
mod pki;
mod rate;
mod receive;
mod reload;
mod resume;
mod send;
mod service;
mod shown;
mod side;
mod status;

use clap::Parser;

use crate::args::{Args, Command, PkiCommand};
use crate::emulate::emulate;
use crate::exit::Failure;

fn main() {
    let result = match Args::parse().command {
        Command::Send { file } => send::run(&file),
        Command::Receive { file } => receive::run(&file),
        Command::Check { file } => check::run(&file),
        Command::Status(asked) => status::run(&asked),
        Command::Resume(asked) => resume::run(asked),
        Command::Rate(asked) => rate::run(&asked),
        Command::Adopt(asked) => resume::adopt(&asked),
        Command::Jumps { admin, access } => resume::jumps(&admin, &access),
        Command::Demo { seconds } => run_demo(seconds),
        Command::Netem { command } => emulate(*command),
        Command::Pki { command: PkiCommand::Init(init) } => pki::init(&init),
        Command::Example { side } => {
            example::print(side);
            Ok(())
        }
    };
    let code = result.map_or_else(
        |failure| {
            eprintln!("causeway: {failure}");
            failure.exit_code()
        },
        |()| 0,
    );
    kafka::leave(code)
}

fn run_demo(seconds: u64) -> Result<(), Failure> {
    match demo::run(seconds) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::Failed("records were lost, doubled, reordered or changed; see above".to_owned())),
        Err(error) => Err(Failure::Failed(format!("demo: {error:#}"))),
    }
}
