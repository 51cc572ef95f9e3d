//! The commands around a link between two real clusters: what `check` and `status` say while it runs, and
//! how both ends leave when the other one is gone.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::cluster::Pair;
use harness::files::{LinkFiles, Side};
use harness::journal::Load;
use harness::process::binary;
use harness::topics;

const DELIVERED: Duration = Duration::from_secs(60);

/// What a process may take to leave, and what a slow machine may take to notice.
const LEFT: Duration = Duration::from_secs(11);

fn check(side: &Side) -> Result<String> {
    succeeded(Command::new(binary()?).arg("check").arg(side.write()?).output()?)
}

fn succeeded(output: Output) -> Result<String> {
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

#[test]
fn check_and_status_look_without_touching_and_both_ends_leave_in_time() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "commands", 4)?;
    let files = LinkFiles::new("commands", &pair.source, &pair.target, &[&topic])?;
    ensure!(check(&files.receiver)?.contains("__causeway.commands.state does not exist"));
    let (mut receiver, mut sender) = (files.receiver.start()?, files.sender.start()?);
    Load::new(&topic, 4).limit(1_000).seed(1).start(&pair.source)?.finish()?;
    sender.admin.wait_for("a lag of 0", DELIVERED, |status| status["lag_records"] == 0)?;

    let said = check(&files.sender)?;
    ensure!(said.contains(&format!("source cluster   {}", pair.source.id())), "{said}");
    ensure!(said.contains("1 matches, with 4 partitions") && said.contains("accepts our certificate"), "{said}");
    let said = check(&files.receiver)?;
    ensure!(said.contains("__causeway.commands.state: 8 lanes, compacted"), "{said}");

    let ask = |address: String| succeeded(Command::new(binary()?).args(["status", &address]).output()?);
    let said = ask(sender.admin.address().to_string())?;
    ensure!(
        said.contains("keeping up  yes: the target has everything") && said.contains("state       active"),
        "{said}"
    );
    let said = ask(receiver.admin.address().to_string())?;
    ensure!(said.contains("state       sender sender holds it") && said.contains("lanes       8 of 8 open"), "{said}");

    let of = |asked: &[&str]| {
        let address = sender.admin.address().to_string();
        succeeded(Command::new(binary()?).args(["status", &address]).args(asked).output()?)
    };
    let said = of(&["--topics"])?;
    ensure!(said.contains(&format!("{topic}           4       0               0")), "{said}");
    let said: serde_json::Value = serde_json::from_str(&of(&["--topic", &topic, "--json"])?)?;
    let all = said.as_array().map(Vec::as_slice).unwrap_or_default();
    let committed: i64 = all.iter().filter_map(|one| one["position"].as_i64()).sum();
    ensure!(all.len() == 4 && committed == 1_000, "{said}");
    ensure!(all.iter().all(|one| one["state"] == "carried" && one["position"] == one["log_end"]), "{said}");
    for (asked, process, sentence) in [
        (["--topic", "unheard-of"], &sender, "this sender carries no topic unheard-of: see `source.topics`"),
        (["--topic", topic.as_str()], &receiver, "the sender of the link knows the source's logs: ask it"),
    ] {
        let output =
            Command::new(binary()?).args(["status", &process.admin.address().to_string()]).args(asked).output()?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(1) && said.contains(sentence), "{said}");
    }

    let link = "{link=\"commands\"}";
    ensure!(
        sender.admin.metric(&format!("causeway_sender_sessions_total{link}"))? == 1.0,
        "check left the session alone"
    );
    ensure!(receiver.admin.metric(&format!("causeway_receiver_sessions_total{link}"))? == 1.0);
    ensure!(receiver.admin.metric(&format!("causeway_receiver_records_total{link}"))? == 1_000.0);
    ensure!(receiver.admin.status()?["refusals"] == serde_json::json!({}), "a check is no refusal");

    receiver.kill();
    ensure!(sender.terminate(LEFT)? == 0, "without its receiver");
    let (mut receiver, mut sender) = (files.receiver.start()?, files.sender.start()?);
    sender.admin.wait_for("a session", DELIVERED, |status| status["lanes_open"] == 8)?;
    ensure!(receiver.terminate(LEFT)? == 0);
    ensure!(sender.terminate(LEFT)? == 0);
    Ok(())
}
