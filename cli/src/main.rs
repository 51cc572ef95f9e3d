//! The one binary, `causeway`.

mod args;
mod check;
mod demo;
mod example;
mod exit;
mod pki;
mod receive;
mod send;
mod service;
mod shown;
mod side;
mod status;

use clap::Parser;

use crate::args::{Args, Command, PkiCommand};

fn main() {
    let result = match Args::parse().command {
        Command::Send { file } => send::run(&file),
        Command::Receive { file } => receive::run(&file),
        Command::Check { file } => check::run(&file),
        Command::Status(asked) => status::run(&asked),
        Command::Demo(demo) => demo::run(&demo),
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
    link::kafka::leave(code)
}
