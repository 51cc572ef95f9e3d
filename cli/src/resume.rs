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
    let scopes = match arguments.all {
        Some(all) => vec![Scope::Reason { all }],
        None => arguments.what,
    };
    if scopes.len() > 1 && arguments.from.is_some() {
        return Err(Failure::Config("a position is that of one partition: name only one".to_owned()));
    }
    resume(&arguments.admin, scopes, action)
}

/// Asks the sender to resume partitions that are halted because of their target topic.
pub(crate) fn adopt(arguments: args::Adopt) -> Result<(), Failure> {
    resume(&arguments.admin, arguments.what, ResumeAction::Adopt)
}

fn resume(options: &AdminOptions, scopes: Vec<Scope>, action: ResumeAction) -> Result<(), Failure> {
    let requests: Vec<_> = scopes.into_iter().map(|scope| Request { scope, action }).collect();
    requests.iter().try_for_each(Request::validate).map_err(Failure::Config)?;
    ask_each(options, "resume", requests)
}

/// Asks the sender to drop the positions of each topic.
pub(crate) fn forget(arguments: args::Forget) -> Result<(), Failure> {
    let requests = arguments.topics.into_iter().map(|topic| serde_json::json!({ "topic": topic }));
    ask_each(&arguments.admin, "forget", requests)
}

/// Makes each request and prints its answer. Continues after a refusal, and fails at the end.
fn ask_each<R: serde::Serialize>(
    options: &AdminOptions,
    endpoint: &str,
    requests: impl IntoIterator<Item = R>,
) -> Result<(), Failure> {
    let port = AdminPort::new(options, admin::SENDER, TIMEOUT)?;
    let mut result = Ok(());
    for request in requests {
        match port.post(endpoint, &request) {
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
