//! `causeway resume`, `adopt`, `forget` and `jumps`: resume halted partitions, forget topics, and show when it was done.

use std::time::Duration;

use sender::{ResumeAction, ResumeRequest as Request, ResumeScope as Scope};

use crate::admin::{self, AdminPort};
use crate::args::{self, AdminOptions};
use crate::exit::Failure;

/// The time for an answer: a sender waits 8 s for its receiver and answers within 10 s.
const TIMEOUT: Duration = Duration::from_secs(12);

pub(crate) fn run(arguments: args::Resume) -> Result<(), Failure> {
    let action = match arguments.from {
        Some(position) => ResumeAction::From(position),
        None if arguments.skip => ResumeAction::Skip,
        None => ResumeAction::Here,
    };
    let scope = match (arguments.what, arguments.all) {
        (Some(what), _) => what,
        (None, Some(all)) => Scope::Reason { all },
        (None, None) => return Err(Failure::Config("name a partition, a topic, or --all REASON".to_owned())),
    };
    let request = Request { scope, action };
    request.validate().map_err(Failure::Config)?;
    resume(&arguments.admin, &request)
}

/// Asks the sender to resume every partition of a topic that is halted because of its target topic.
pub(crate) fn adopt(arguments: args::Adopt) -> Result<(), Failure> {
    resume(&arguments.admin, &Request { scope: arguments.what, action: ResumeAction::Adopt })
}

/// Asks the sender to drop the positions of each topic. Continues after a refusal, and fails at the end.
pub(crate) fn forget(arguments: args::Forget) -> Result<(), Failure> {
    let port = AdminPort::new(&arguments.admin, admin::SENDER, TIMEOUT)?;
    let mut result = Ok(());
    for topic in arguments.topics {
        match port.post("forget", &serde_json::json!({ "topic": topic })) {
            Ok(sentence) => println!("{sentence}"),
            Err(refused) if result.is_ok() => result = Err(refused),
            Err(refused) => eprintln!("{refused}"),
        }
    }
    result
}

/// Prints the receiver's log of jumps, one line of JSON each.
pub(crate) fn jumps(options: &AdminOptions) -> Result<(), Failure> {
    let body = AdminPort::new(options, admin::RECEIVER, TIMEOUT)?.get("jumps")?;
    let jumps: Vec<serde_json::Value> = serde_json::from_str(&body).map_err(Failure::failed)?;
    jumps.iter().for_each(|jump| println!("{jump}"));
    Ok(())
}

fn resume(options: &AdminOptions, request: &Request) -> Result<(), Failure> {
    let port = AdminPort::new(options, admin::SENDER, TIMEOUT)?;
    println!("{}", port.post("resume", request)?);
    Ok(())
}
