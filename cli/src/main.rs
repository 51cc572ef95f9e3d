//! The `causeway` command.

#![forbid(unsafe_code)]

mod admin;
mod args;
mod check;
mod emulate;
mod example;
mod exit;
mod format;
mod pki;
mod process;
mod rate;
mod receive;
mod reload;
mod resume;
mod role;
mod send;
mod status;

use clap::Parser;

use crate::args::{Args, Command, PkiCommand};
use crate::emulate::emulate;
use crate::exit::Failure;

fn main() {
    let result = match Args::parse().command {
        Command::Send { file } => process::run::<send::Sender>(&file),
        Command::Receive { file } => process::run::<receive::Receiver>(&file),
        Command::Check { file } => check::run(&file),
        Command::Status(arguments) => status::run(&arguments),
        Command::Resume(arguments) => resume::run(arguments),
        Command::Rate(arguments) => rate::run(&arguments),
        Command::Adopt(arguments) => resume::adopt(&arguments),
        Command::Jumps(arguments) => resume::jumps(&arguments.admin),
        Command::Demo { seconds } => run_demo(seconds),
        Command::Netem { command } => emulate(*command),
        Command::Pki { command: PkiCommand::Init(init) } => pki::init(&init),
        Command::Example { role } => {
            example::print(role);
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
