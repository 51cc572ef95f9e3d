//! The `causeway` command.

#![forbid(unsafe_code)]

mod acls;
mod admin;
mod answers;
mod args;
mod bytes;
mod check;
mod credentials;
mod example;
mod exit;
mod failback;
mod failover;
mod history;
mod import;
mod manual;
mod overview;
mod page;
mod process;
mod rate;
mod receive;
mod reload;
mod resume;
mod role;
mod salvage;
mod send;
mod status;
mod top;
mod translate;

use clap::Parser;
use netem::command::NetemCommand;
use service::names::{LinkName, PeerName};
use service::pki::{self, Request};

use crate::args::{Args, Command, FailbackCommand, PkiCommand, PkiInit, PkiIssue};
use crate::exit::Failure;

fn main() {
    let command = Args::parse().command;
    match &command {
        // A link and the demo continue without a reader of their output, and `--watch` sees its end.
        Command::Send { .. } | Command::Receive { .. } | Command::Demo { .. } => {}
        Command::Status(status) if status.watch => {}
        // On a terminal it restores the terminal at its end.
        Command::Top(top) if !top.once => {}
        _ => netem::command::end_with_reader(),
    }
    let result = match command {
        Command::Send { file } => process::run::<sender::config::Config>(&file),
        Command::Receive { file } => process::run::<receiver::config::Config>(&file),
        Command::Check { file } => check::run(&file),
        Command::Status(arguments) => status::run(&arguments),
        Command::Top(arguments) => top::run(&arguments),
        Command::Resume(arguments) => resume::run(arguments),
        Command::Rate(arguments) => rate::run(&arguments),
        Command::Adopt(arguments) => resume::adopt(arguments),
        Command::Forget(arguments) => resume::forget(arguments),
        Command::Jumps(options) => resume::jumps(&options),
        Command::Translate(arguments) => translate::run(&arguments),
        Command::Acls(arguments) => acls::run(&arguments),
        Command::Failover(arguments) => failover::run(&arguments),
        Command::SwitchOver(arguments) => failover::switch_over(&arguments),
        Command::Failback { command: FailbackCommand::Plan(arguments) } => failback::run(&arguments),
        Command::Salvage(arguments) => salvage::run(&arguments),
        Command::Bytes(arguments) => bytes::run(&arguments),
        Command::ImportMm2(arguments) => import::run(&arguments),
        Command::Demo { seconds } => run_demo(seconds),
        Command::Netem { command } => emulate(*command),
        Command::Pki { command: PkiCommand::Init(init) } => init_pki(&init),
        Command::Pki { command: PkiCommand::Issue(issue) } => issue_certificate(&issue),
        Command::Completions { shell } => {
            manual::print_completions(shell);
            Ok(())
        }
        Command::Man { directory } => manual::write_pages(&directory),
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

/// Runs an emulator command; this process ends with the exit code of the program that it ran.
fn emulate(command: NetemCommand) -> Result<(), Failure> {
    match netem::command::run(command) {
        Ok(0) => Ok(()),
        // An exit code is one byte; a larger failure code must not become 0.
        Ok(code) => kafka::leave(u8::try_from(code).unwrap_or(1)),
        Err(error) => Err(Failure::failed(error)),
    }
}

/// Makes a further certificate, and prints what it is for.
fn issue_certificate(issue: &PkiIssue) -> Result<(), Failure> {
    for name in &issue.names {
        PeerName::parse(name).map_err(Failure::Config)?;
    }
    let issued = pki::issue(&issue.dir, &issue.name, &issue.names).map_err(Failure::failed)?;
    println!("{issued}");
    Ok(())
}

/// Makes an authority and the certificates of both sides, and prints which file goes where.
fn init_pki(init: &PkiInit) -> Result<(), Failure> {
    let link = LinkName::parse(&init.link).map_err(Failure::Config)?;
    for name in init.senders.iter().chain(&init.receivers) {
        PeerName::parse(name).map_err(Failure::Config)?;
    }
    let request = Request { link: &link, sender: &init.senders, receiver: &init.receivers };
    let written = pki::init(&init.dir, &request).map_err(Failure::failed)?;
    println!("{written}");
    Ok(())
}
