//! A link between clusters that ask who one is: with exactly the rights that the documentation lists, and
//! with each of them missing in turn; what it never says in its logs; and the oldest line of Kafka.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::cluster::Pair;
use harness::files::LinkFiles;
use harness::halts::{lift, wait_until_halted};
use harness::journal::Load;
use harness::process::Process;
use harness::raw::{self, RawRecord};
use harness::reader::{self, Isolation};
use harness::secure::{Listed, Right, Rights, listed};
use harness::wait::until;
use harness::{topics, verify};

const DELIVERED: Duration = Duration::from_secs(60);
const SAID: Duration = Duration::from_secs(20);

/// Nothing that may be said contains these.
const SENDER_PASSWORD: &str = "sender-s3cret-9f2c";
const RECEIVER_PASSWORD: &str = "receiver-s3cret-71ab";

/// Key, value and header of a record that would be seen if it were said.
const MARK: &str = "payload-mark-5d1e";

/// A link whose sides come in by the secure listeners, over a topic that the target does not have and one
/// that has too few partitions there.
fn secure_link(pair: &Pair, stem: &str) -> Result<(LinkFiles, [String; 2])> {
    secure_link_over(pair, stem, [stem, stem], |_| ())
}

fn secure_link_over(
    pair: &Pair,
    stem: &str,
    stems: [&str; 2],
    configure: impl Fn(&mut LinkFiles),
) -> Result<(LinkFiles, [String; 2])> {
    let carried = stems.map(topics::unique);
    for topic in &carried {
        topics::create(&pair.source, topic, 2, &[])?;
    }
    topics::create(&pair.target, &carried[1], 1, &[])?;
    let names: Vec<_> = carried.iter().map(String::as_str).collect();
    let mut files = LinkFiles::new(&topics::unique(stem), &pair.source, &pair.target, &names)?;
    pair.source.secure()?.admit(&mut files.sender, "source", "sender", SENDER_PASSWORD)?;
    pair.target.secure()?.admit(&mut files.receiver, "target", "receiver", RECEIVER_PASSWORD)?;
    configure(&mut files);
    Ok((files, carried))
}

#[test]
fn a_link_runs_with_exactly_the_listed_rights_and_says_which_one_is_missing() -> Result<()> {
    let pair = Pair::start_secure()?;
    let (mut source, mut target) = (Rights::of(&pair.source)?, Rights::of(&pair.target)?);
    source.add_user("sender", SENDER_PASSWORD)?;
    target.add_user("receiver", RECEIVER_PASSWORD)?;
    let listed = listed("secure-")?;
    for Listed { source: at_source, right, .. } in &listed {
        if *at_source { source.allow(right)? } else { target.allow(right)? }
    }
    runs_and_keeps_its_secrets(&pair)?;
    halts_what_a_right_was_taken_from_and_nothing_else(&pair, &mut source, &mut target)?;
    let mut silent = Vec::new();
    for Listed { source: at_source, right, sentence } in &listed {
        let rights = if *at_source { &mut source } else { &mut target };
        let (files, carried) = secure_link(&pair, "secure-less")?;
        for topic in &carried {
            Load::new(topic, 2).limit(20).seed(1).start(&pair.source)?.finish()?;
        }
        if !at_source && right.prefix.starts_with("__causeway.") && right.operation != "Create" {
            // What a first session leaves is what a second one has to read and to check.
            let (_receiver, sender) = (files.receiver.start()?, files.sender.start()?);
            sender.admin.wait_for("a first session", DELIVERED, |status| status["lag_records"] == 0)?;
        }
        rights.forget(right)?;
        let (receiver, sender) = (files.receiver.start()?, files.sender.start()?);
        let said = until("the missing right to be named", SAID, || {
            let log = receiver.log().ok()? + &sender.log().ok()?;
            log.lines().find(|line| line.contains(sentence)).map(str::to_owned)
        });
        match said {
            Ok(line) => println!("without {right:?}: {line}"),
            Err(_) => silent.push(format!("{right:?}\n{}\n{}", receiver.log()?, sender.log()?)),
        }
        rights.allow(right)?;
    }
    ensure!(
        silent.is_empty(),
        "nothing, or something else, was said of {} rights: {}",
        silent.len(),
        silent.join("\n")
    );
    Ok(())
}

/// The right to write one topic is taken from a link at work, and given back.
fn halts_what_a_right_was_taken_from_and_nothing_else(
    pair: &Pair,
    source: &mut Rights,
    target: &mut Rights,
) -> Result<()> {
    // The first topic has rights of its own, the rest of them are the links'.
    for Listed { source: at_source, right, .. } in listed("taken-")? {
        let rights = if at_source { &mut *source } else { &mut *target };
        let own = right.prefix == "taken-" && ["Read", "Write"].contains(&right.operation.as_str());
        let prefixes = if own { vec!["taken-a", "taken-b"] } else { vec![right.prefix.as_str()] };
        prefixes
            .into_iter()
            .try_for_each(|prefix| rights.allow(&Right { prefix: prefix.to_owned(), ..right.clone() }))?;
    }
    let (files, [first, second]) = secure_link_over(pair, "taken-link", ["taken-a", "taken-b"], |files| {
        files.sender.set("lanes", "count", "1");
    })?;
    let (mut receiver, mut sender) = (files.receiver.start()?, files.sender.start()?);
    let write = |topic: &str, seed| Load::new(topic, 2).limit(100).seed(seed).start(&pair.source)?.finish();
    let mut journal = write(&first, 1)?.written;
    let mut other = write(&second, 2)?.written;
    verify::wait_until_delivered(&journal, &pair.target, "{topic}", DELIVERED)?;
    verify::wait_until_delivered(&other, &pair.target, "{topic}", DELIVERED)?;

    let right = |user: &str, operation: &str| Right {
        user: user.to_owned(),
        resource: "topic".to_owned(),
        prefix: "taken-a".to_owned(),
        operation: operation.to_owned(),
    };
    target.forget(&right("receiver", "Write"))?;
    journal.merge(&write(&first, 3)?.written);
    other.merge(&write(&second, 4)?.written);
    for partition in 0..2 {
        let halt = wait_until_halted(&sender, &first, partition, "target-unauthorized", DELIVERED)?;
        println!("{}: {}", halt["reason"], halt["detail"]);
    }
    verify::wait_until_delivered(&other, &pair.target, "{topic}", DELIVERED)?;
    let recoveries = receiver.admin.status()?["links"][0]["counts"]["recoveries"].as_u64();
    // Two partitions, each found at its first refusal.
    ensure!(recoveries.is_some_and(|times| (1..=4).contains(&times)), "{recoveries:?} re-opens");

    sender.kill();
    receiver.kill();
    target.allow(&right("receiver", "Write"))?;
    let (receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    for partition in 0..2 {
        wait_until_halted(&sender, &first, partition, "target-unauthorized", DELIVERED)?;
        println!("{}", lift(&sender, "resume", &[&format!("{first}/{partition}")])?);
    }
    verify::wait_until_delivered(&journal, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&journal, &pair.target, "{topic}")?;
    verify::ensure_exactly_once(&other, &pair.target, "{topic}")?;
    drop(receiver);
    Ok(())
}

/// Every log at its loudest, over a whole life of a link, and nothing in it that is anybody's business.
fn runs_and_keeps_its_secrets(pair: &Pair) -> Result<()> {
    let (mut files, [created, grown]) = secure_link(pair, "secure-all")?;
    for side in [&mut files.sender, &mut files.receiver] {
        side.env("RUST_LOG", "trace");
    }
    let (mut receiver, mut sender) = (files.receiver.start()?, files.sender.start()?);
    let mut journal = Load::new(&created, 2).limit(2_000).seed(1).start(&pair.source)?.finish()?.written;
    journal.merge(&Load::new(&grown, 2).limit(2_000).seed(2).start(&pair.source)?.finish()?.written);
    verify::wait_until_delivered(&journal, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&journal, &pair.target, "{topic}")?;
    let before = reader::read(&pair.target, &[&created], Isolation::Committed)?.len();
    let marked = Some(MARK.as_bytes().to_vec());
    let headers = vec![(MARK.as_bytes().to_vec(), marked.clone())];
    raw::append(&pair.source, &created, 0, &[RawRecord { timestamp: 1, key: marked.clone(), value: marked, headers }])?;
    until("the marked record", DELIVERED, || {
        let now = reader::read(&pair.target, &[&created], Isolation::Committed).ok()?.len();
        (now == before + 1).then_some(())
    })?;
    let pages =
        |process: &Process| Ok::<_, anyhow::Error>(process.admin.get("/status")? + &process.admin.get("/metrics")?);
    let shown = pages(&sender)? + &pages(&receiver)?;
    ensure!(sender.terminate(DELIVERED)? == 0 && receiver.terminate(DELIVERED)? == 0);
    let said = sender.log()? + &receiver.log()? + &shown;
    ensure!(said.contains("TRACE"), "the log is not at its loudest");
    let mut secrets = vec![SENDER_PASSWORD.to_owned(), RECEIVER_PASSWORD.to_owned(), MARK.to_owned()];
    for key in ["sender.key", "receiver.key"] {
        let pem = std::fs::read_to_string(files.pki().join(key))?;
        secrets.extend(pem.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned));
    }
    for secret in secrets {
        let line = said.lines().find(|line| line.contains(&secret));
        ensure!(line.is_none(), "{secret:?} is said: {}", line.unwrap_or_default());
    }
    Ok(())
}

#[test]
fn a_link_runs_between_clusters_of_the_oldest_line() -> Result<()> {
    let pair = Pair::start_old()?;
    let topic = topics::create_unique(&pair.source, "old", 4)?;
    let files = LinkFiles::new("old", &pair.source, &pair.target, &[&topic])?;
    let (_receiver, _sender) = (files.receiver.start()?, files.sender.start()?);
    let load = Load::new(&topic, 4).limit(20_000).seed(1).transactional(20);
    let journal = load.start(&pair.source)?.finish()?.written;
    verify::wait_until_delivered(&journal, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&journal, &pair.target, "{topic}").map(drop)
}
