//! `causeway resume`, `causeway adopt` and `causeway jumps`: halts, lifted and looked up on the admin port.

use std::time::Duration;

use sender::partitions::resume::{Request, ResumeAction};

use crate::admin::AdminPort;
use crate::args::{self, AdminAccess};
use crate::exit::Failure;

/// A sender waits for its receiver for 8 s and answers within 10.
const TIMEOUT: Duration = Duration::from_secs(12);

/// Asks the sender to let one partition go on.
pub(crate) fn run(asked: args::Resume) -> Result<(), Failure> {
    let (topic, partition) = asked.partition;
    let action = match asked.from {
        Some(position) => ResumeAction::From(position),
        None if asked.skip => ResumeAction::Skip,
        None => ResumeAction::Here,
    };
    let port = Port::new(&asked.admin, &asked.access)?;
    println!("{}", port.ask(&Request { topic, partition, action })?);
    Ok(())
}

/// Asks the sender to let every partition of a topic go on whose target is not as the link left it.
pub(crate) fn adopt(asked: &args::Adopt) -> Result<(), Failure> {
    let (port, action) = (Port::new(&asked.admin, &asked.access)?, ResumeAction::Adopt);
    if let Ok((topic, partition)) = args::partition(&asked.topic) {
        println!("{}", port.ask(&Request { topic, partition, action })?);
        return Ok(());
    }
    let body = port.get("status")?;
    let status: sender::Status = serde_json::from_str(&body).map_err(Failure::failed)?;
    let halted = status
        .halted
        .into_iter()
        .filter(|halt| halt.topic == asked.topic && ["target-not-empty", "target-replaced"].contains(&&*halt.reason));
    let (mut adopted, mut refused) = (0, Vec::new());
    for halt in halted {
        match port.ask(&Request { topic: halt.topic, partition: halt.partition, action }) {
            Ok(sentence) => {
                println!("{sentence}");
                adopted += 1;
            }
            Err(failure) => refused.push(failure.to_string()),
        }
    }
    match (adopted, refused.is_empty()) {
        (0, true) => Err(Failure::Failed(format!("no partition of {} is halted for its target", asked.topic))),
        (_, true) => Ok(()),
        _ => Err(Failure::Failed(refused.join("\n"))),
    }
}

/// Prints the receiver's log of jumps.
pub(crate) fn jumps(admin: &str, access: &AdminAccess) -> Result<(), Failure> {
    let body = Port::new(admin, access)?.get("jumps")?;
    let jumps: Vec<serde_json::Value> = serde_json::from_str(&body).map_err(Failure::failed)?;
    jumps.iter().for_each(|jump| println!("{jump}"));
    Ok(())
}

/// One admin port, which must answer.
struct Port<'a> {
    address: &'a str,
    port: AdminPort,
}

impl<'a> Port<'a> {
    fn new(address: &'a str, access: &AdminAccess) -> Result<Self, Failure> {
        Ok(Self { address, port: AdminPort::new(access, TIMEOUT)? })
    }

    fn ask(&self, request: &Request) -> Result<String, Failure> {
        let body = serde_json::to_string(request).map_err(Failure::failed)?;
        let answer = self.port.post(self.address, "resume", body);
        answer.map(|sentence| sentence.trim_end().to_owned()).map_err(|reason| self.failed(&reason))
    }

    fn get(&self, page: &str) -> Result<String, Failure> {
        self.port.get(self.address, page).map_err(|reason| self.failed(&reason))
    }

    fn failed(&self, reason: &str) -> Failure {
        Failure::Failed(format!("{}: {reason}", self.address))
    }
}
