//! The one binary, `causeway`.

mod args;
mod demo;
mod pki;
mod receive;
mod send;
mod service;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command, PkiCommand};

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Send { file } => send::run(&file),
        Command::Receive { file } => receive::run(&file),
        Command::Demo(demo) => demo::run(&demo),
        Command::Pki { command: PkiCommand::Init(init) } => pki::init(&init),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("causeway: {failure}");
            failure.exit_code()
        }
    }
}
