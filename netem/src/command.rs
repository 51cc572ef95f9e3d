//! The command line: `causeway netem …`, and `netem …` for whoever wants the emulator alone.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::conditions::{Knob, parse_knobs};
use crate::flow::Flowing;
use crate::profile::{PROFILES, Profile};
use crate::relay::Relay;
use crate::report::Report;
use crate::script::Script;
use crate::selftest::{self, CHECKS, Way};
use crate::tun::{self, Down, SiteSettings, TunError};
use crate::wan::{Direction, Wan};

/// What can be asked of the emulator.
#[derive(Debug, Subcommand)]
pub enum NetemCommand {
    /// Run a command with a WAN of its own; nothing is left when it ends
    ///
    /// Two network namespaces are joined by the WAN. COMMAND runs in the source's, and reaches the target's at
    /// $NETEM_TARGET; `netem exec target -- …` inside of it runs something there. Needs root and /dev/net/tun.
    #[command(after_help = RUN_EXAMPLES)]
    Run {
        #[command(flatten)]
        site: SiteArgs,
        /// Write what the emulator did to this file, as JSON
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        /// What to run
        #[arg(required = true, last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Bring a WAN up and leave it there, for `exec`, until `down`
    Up {
        #[command(flatten)]
        site: SiteArgs,
    },
    /// Run a command at one end of the WAN that is up, or that this shell runs in
    Exec {
        /// Which end
        end: EndArg,
        /// What to run
        #[arg(required = true, last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Take down the WAN that is up and everything that runs in it, and say what the emulator did
    Down,
    /// Relay UDP over a WAN on loopback, for a client that is given this address instead of its server's
    ///
    /// Needs no privileges; runs until SIGINT or SIGTERM, then says what the emulator did.
    Relay {
        #[command(flatten)]
        wan: WanArgs,
        /// Where clients send to
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Where the server listens, which need not be there yet
        #[arg(long, value_name = "HOST:PORT")]
        target: SocketAddr,
    },
    /// Measure how accurate the emulator is on this machine
    Selftest {
        /// What carries the packets
        #[arg(long, value_enum, default_value_t = Way::Tun)]
        over: Way,
        /// Only these checks
        #[arg(value_name = "CHECK", value_parser = PossibleValuesParser::new(CHECKS.iter().map(|check| check.name)))]
        only: Vec<String>,
    },
    /// List the named profiles and what they are
    Profiles,
}

const RUN_EXAMPLES: &str = "\
Examples:
  causeway netem run --profile fra-sin -- ping -c 5 198.19.0.1
  causeway netem run --path 'delay 100 ms, loss 2 %' --tcp cubic -- \\
      sh -c 'causeway netem exec target -- iperf3 -s -D; sleep 1; iperf3 -c $NETEM_TARGET'
  causeway netem run --profile fra-sin --script 'at 5 s: down for 3 s; at 20 s: rate 200 Mbit/s' -- bash";

/// One end of the WAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EndArg {
    /// Where packets start that go forward
    Source,
    /// Where they arrive
    Target,
}

/// The WAN and its namespaces.
#[derive(Debug, Clone, Args)]
pub struct SiteArgs {
    #[command(flatten)]
    wan: WanArgs,
    /// MTU of both ends, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = tun::MTU)]
    mtu: u16,
    /// TCP's congestion control on this WAN, such as cubic or bbr [default: the machine's]
    #[arg(long, value_name = "NAME")]
    tcp: Option<String>,
}

/// The WAN itself.
#[derive(Debug, Clone, Args)]
pub struct WanArgs {
    /// A named profile; see `netem profiles`
    #[arg(long, value_name = "NAME", value_parser = Profile::named)]
    profile: Option<Profile>,
    /// Knobs of both directions, such as `delay 100 ms, loss 2 %`, on top of the profile
    #[arg(long, value_name = "KNOBS", value_parser = knobs)]
    path: Option<Knobs>,
    /// Knobs from source to target alone
    #[arg(long, value_name = "KNOBS", value_parser = knobs)]
    forward: Option<Knobs>,
    /// Knobs from target to source alone
    #[arg(long, value_name = "KNOBS", value_parser = knobs)]
    back: Option<Knobs>,
    /// What changes, and when: `at 5 s: down for 3 s; at 20 s: rate 200 Mbit/s`
    #[arg(long, value_name = "SCRIPT")]
    script: Option<Script>,
    /// Decides every die: the same packets are lost in every run
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
}

/// Knobs as one argument.
#[derive(Debug, Clone)]
struct Knobs(Vec<Knob>);

fn knobs(text: &str) -> Result<Knobs, crate::conditions::KnobError> {
    parse_knobs(text).map(Knobs)
}

impl WanArgs {
    /// The conditions that were asked for.
    pub fn profile(&self) -> Profile {
        let mut profile = self.profile.unwrap_or_default();
        for direction in Direction::BOTH {
            let own = match direction {
                Direction::Forward => &self.forward,
                Direction::Back => &self.back,
            };
            for Knobs(knobs) in [&self.path, own].into_iter().flatten() {
                profile.set(direction, knobs.iter().copied());
            }
        }
        profile
    }

    /// The WAN that was asked for.
    pub fn wan<P: Clone + Flowing>(&self) -> Wan<P> {
        Wan::new(&self.profile(), self.script.clone().unwrap_or_default(), self.seed)
    }
}

impl SiteArgs {
    fn settings(&self) -> SiteSettings {
        SiteSettings { mtu: self.mtu, tcp: self.tcp.clone() }
    }
}

impl From<EndArg> for Direction {
    fn from(end: EndArg) -> Self {
        match end {
            EndArg::Source => Self::Forward,
            EndArg::Target => Self::Back,
        }
    }
}

/// Does what was asked; returns the exit code.
///
/// # Errors
/// The machine does not let us, or a command cannot be started.
pub fn run(command: NetemCommand) -> Result<i32, TunError> {
    match command {
        NetemCommand::Run { site, report, command } => {
            let done = |done: &Report| say(done, report.as_deref());
            tun::run(|| site.wan.wan(), &site.settings(), &command, done)
        }
        NetemCommand::Up { site } => tun::up(|| site.wan.wan(), &site.settings()).map(|holder| {
            let [source, target] = tun::ADDRESSES;
            eprintln!("netem: up, held by process {holder}: source {source}, target {target}");
            eprintln!("netem: {}", site.wan.profile());
            0
        }),
        NetemCommand::Exec { end, command } => tun::exec(end.into(), &command),
        NetemCommand::Down => tun::down().map(|down| {
            match down {
                Down::Taken(report) => eprintln!("{report}"),
                Down::Swept(record) => eprintln!("netem: had ended by itself; swept {}", record.display()),
            }
            0
        }),
        NetemCommand::Relay { wan, listen, target } => {
            relay(&wan, listen, target).map_err(|error| TunError::Machine { doing: "relaying", error })
        }
        NetemCommand::Selftest { over, only } => {
            let test = || {
                let kept = selftest::run(over, &only).map_err(|error| TunError::Machine { doing: "testing", error })?;
                Ok(i32::from(!kept))
            };
            if over == Way::Tun { tun::on_stage(test) } else { test() }
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
    eprintln!("netem: {} to {target}: {}", relay.address(), wan.profile());
    signals.forever().next();
    eprintln!("{}", relay.stop()?);
    Ok(0)
}

fn say(report: &Report, file: Option<&std::path::Path>) {
    eprintln!("{report}");
    let Some(file) = file else { return };
    let json = serde_json::to_vec_pretty(&report.summary()).unwrap_or_default();
    if let Err(error) = std::fs::write(file, json) {
        eprintln!("netem: the report was not written to {}: {error}", file.display());
    }
}
