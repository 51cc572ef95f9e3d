//! The command line of `causeway netem`, and of `netem`, which is the emulator alone.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use signal_hook::consts::{SIGINT, SIGPIPE, SIGTERM};
use signal_hook::flag::register_conditional_default;
use signal_hook::iterator::Signals;

use crate::selftest::{self, CarrierKind};
use crate::tun::{self, SiteSettings, TakenDown, TunError};
use crate::{Direction, Flowing, Knob, PROFILES, Profile, Relay, Report, Script, Wan, parse_knobs};

/// Commands of the emulator.
#[derive(Debug, Subcommand)]
pub enum NetemCommand {
    /// Run a command with a WAN of its own; nothing is left when it ends
    ///
    /// The WAN joins two network namespaces. COMMAND runs in the source's namespace and reaches the target's at
    /// $NETEM_TARGET; `netem exec target -- …` in COMMAND runs a command in the target's. Needs root and /dev/net/tun.
    #[command(after_help = RUN_EXAMPLES)]
    Run {
        #[command(flatten)]
        site: SiteArgs,
        /// Write the emulator's report to this file, as JSON
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        /// Command to run, with its arguments
        #[arg(required = true, last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Bring a WAN up for `exec`; it stays up until `down`
    Up {
        #[command(flatten)]
        site: SiteArgs,
    },
    /// Run a command at one end of the WAN that is up, or of the WAN that this shell runs in
    Exec {
        /// End of the WAN at which the command runs
        #[arg(value_enum)]
        end: Direction,
        /// Command to run, with its arguments
        #[arg(required = true, last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Take down the WAN that is up, with every process in it, and print the emulator's report
    Down,
    /// Relay UDP over a WAN on loopback: clients send to the relay instead of the server
    ///
    /// Needs no privileges. Runs until SIGINT or SIGTERM, then prints the emulator's report.
    Relay {
        #[command(flatten)]
        wan: WanArgs,
        /// Address that clients send to
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Address of the server, which may start later
        #[arg(long, value_name = "HOST:PORT")]
        target: SocketAddr,
    },
    /// Measure how accurate the emulator is on this machine
    Selftest {
        /// Carrier of the packets
        #[arg(long, value_enum, default_value_t = CarrierKind::Tun)]
        over: CarrierKind,
        /// Run only these checks
        #[arg(value_name = "CHECK", value_parser = PossibleValuesParser::new(selftest::names()))]
        only: Vec<String>,
    },
    /// List the named profiles and their conditions
    Profiles,
}

const RUN_EXAMPLES: &str = "\
Examples:
  causeway netem run --profile fra-sin -- ping -c 5 198.19.0.1
  causeway netem run --path 'delay 100 ms, loss 2 %' --tcp cubic -- \\
      sh -c 'causeway netem exec target -- iperf3 -s -D; sleep 1; iperf3 -c $NETEM_TARGET'
  causeway netem run --profile fra-sin --script 'at 5 s: down for 3 s; at 20 s: rate 200 Mbit/s' -- bash";

/// Arguments of the WAN and its namespaces.
#[derive(Debug, Clone, Args)]
pub struct SiteArgs {
    #[command(flatten)]
    wan: WanArgs,
    #[command(flatten)]
    settings: SiteSettings,
}

/// Arguments of the WAN itself.
#[derive(Debug, Clone, Args)]
pub struct WanArgs {
    /// A named profile; see `netem profiles`
    #[arg(long, value_name = "NAME", value_parser = Profile::named)]
    profile: Option<Profile>,
    /// Knobs of both directions, such as `delay 100 ms, loss 2 %`; they override the profile
    #[arg(long, value_name = "KNOBS", value_parser = parse_knobs)]
    path: Option<Knobs>,
    /// Knobs from source to target only
    #[arg(long, value_name = "KNOBS", value_parser = parse_knobs)]
    forward: Option<Knobs>,
    /// Knobs from target to source only
    #[arg(long, value_name = "KNOBS", value_parser = parse_knobs)]
    back: Option<Knobs>,
    /// Changes with their times: `at 5 s: down for 3 s; at 20 s: rate 200 Mbit/s`
    #[arg(long, value_name = "SCRIPT")]
    script: Option<Script>,
    /// Seed of all random decisions: with the same seed, every run loses the same packets
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

/// Knobs in one argument, where clap takes a `Vec` for several arguments.
type Knobs = Vec<Knob>;

impl WanArgs {
    fn profile(&self) -> Profile {
        let mut profile = self.profile.unwrap_or_default();
        for (direction, own) in Direction::BOTH.into_iter().zip([&self.forward, &self.back]) {
            profile.set(direction, [&self.path, own].into_iter().flatten().flatten().copied());
        }
        profile
    }

    fn wan<P: Clone + Flowing>(&self) -> Wan<P> {
        Wan::new(&self.profile(), self.script.clone().unwrap_or_default(), self.seed)
    }
}

/// Makes this process end quietly when the reader of its output has closed it, as `head` does. That is the default of the
/// system, which Rust turns off: without this, `println!` would panic.
pub fn end_with_reader() {
    // Only a signal that does not exist or must not be caught is refused.
    let _ = register_conditional_default(SIGPIPE, Arc::new(AtomicBool::new(true)));
}

/// Runs a command and returns its exit code.
pub fn run(command: NetemCommand) -> Result<i32, TunError> {
    match command {
        NetemCommand::Run { site, report: report_file, command } => {
            let print = |report: &Report| print(report, report_file.as_deref());
            tun::run(|| site.wan.wan(), &site.settings, &command, print)
        }
        NetemCommand::Up { site } => tun::up(|| site.wan.wan(), &site.settings).map(|holder| {
            let [source, target] = tun::ADDRESSES;
            eprintln!("netem: up, held by process {holder}: source {source}, target {target}");
            eprintln!("netem: {}", site.wan.profile());
            0
        }),
        NetemCommand::Exec { end, command } => tun::exec(end, &command),
        NetemCommand::Down => tun::down().map(|down| {
            match down {
                TakenDown::Running(report) => eprintln!("{report}"),
                TakenDown::StaleRecord(directory) => {
                    eprintln!("netem: the WAN had already ended; removed its record from {}", directory.display());
                }
            }
            0
        }),
        NetemCommand::Relay { wan, listen, target } => {
            relay(&wan, listen, target).map_err(TunError::system("relaying"))
        }
        NetemCommand::Selftest { over, only } => {
            let test = || {
                let kept = selftest::run(over, &only).map_err(TunError::system("testing"))?;
                Ok(i32::from(!kept))
            };
            if over == CarrierKind::Tun { tun::run_as_first_process(test) } else { test() }
        }
        NetemCommand::Profiles => {
            for named in PROFILES {
                println!("{:<14} {}\n{:<14} {}", named.name, named.about, "", named.profile());
            }
            Ok(0)
        }
    }
}

fn relay(wan: &WanArgs, listen: SocketAddr, target: SocketAddr) -> io::Result<i32> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let relay = Relay::start(listen, target, wan.wan())?;
    eprintln!("netem: {} to {target}: {}", relay.address, wan.profile());
    signals.forever().next();
    eprintln!("{}", relay.emulator.stop()?);
    Ok(0)
}

fn print(report: &Report, file: Option<&std::path::Path>) {
    eprintln!("{report}");
    let Some(file) = file else { return };
    let json = serde_json::to_vec_pretty(report).unwrap_or_default();
    if let Err(error) = std::fs::write(file, json) {
        eprintln!("netem: cannot write the report to {}: {error}", file.display());
    }
}
