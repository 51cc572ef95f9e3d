//! `causeway resume`, `causeway adopt` and `causeway jumps`: resume halted partitions, and show when it was done.

use std::time::Duration;

use sender::{ResumeAction, ResumeRequest as Request};

use crate::admin::{self, AdminPort};
use crate::args::{self, AdminOptions};
use crate::exit::Failure;

/// The time for an answer: a sender waits 8 s for its receiver and answers within 10 s.
const TIMEOUT: Duration = Duration::from_secs(12);

pub(crate) fn run(arguments: args::Resume) -> Result<(), Failure> {
    let (topic, partition) = arguments.partition;
    let action = match arguments.from {
        Some(position) => ResumeAction::From(position),
        None if arguments.skip => ResumeAction::Skip,
        None => ResumeAction::Here,
    };
    let port = AdminPort::new(&arguments.admin, admin::SENDER, TIMEOUT)?;
    println!("{}", port.post("resume", &Request { topic, partition, action })?);
    Ok(())
}

/// Asks the sender to resume every partition of a topic that is halted because of its target topic.
pub(crate) fn adopt(arguments: &args::Adopt) -> Result<(), Failure> {
    let port = AdminPort::new(&arguments.admin, admin::SENDER, TIMEOUT)?;
    let action = ResumeAction::Adopt;
    if let Ok((topic, partition)) = args::partition(&arguments.topic) {
        println!("{}", port.post("resume", &Request { topic, partition, action })?);
        return Ok(());
    }
    let status: sender::Status = serde_json::from_str(&port.get("status")?).map_err(Failure::failed)?;
    let of_target = |reason: &str| ["target-not-empty", "target-replaced"].contains(&reason);
    let halted = status.halted.into_iter().filter(|halt| halt.topic == arguments.topic && of_target(&halt.reason));
    let mut adopted = 0;
    let mut refused = Vec::new();
    for halt in halted {
        match port.post("resume", &Request { topic: halt.topic, partition: halt.partition, action }) {
            Ok(sentence) => {
                println!("{sentence}");
                adopted += 1;
            }
            Err(failure) => refused.push(failure.to_string()),
        }
    }
    if !refused.is_empty() {
        return Err(Failure::Failed(refused.join("\n")));
    }
    if adopted == 0 {
        return Err(port.failed(format!("no partition of {} is halted because of its target topic", arguments.topic)));
    }
    Ok(())
}

/// Prints the receiver's log of jumps, one line of JSON each.
pub(crate) fn jumps(options: &AdminOptions) -> Result<(), Failure> {
    let body = AdminPort::new(options, admin::RECEIVER, TIMEOUT)?.get("jumps")?;
    let jumps: Vec<serde_json::Value> = serde_json::from_str(&body).map_err(Failure::failed)?;
    jumps.iter().for_each(|jump| println!("{jump}"));
    Ok(())
}
