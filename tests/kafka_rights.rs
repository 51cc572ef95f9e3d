//! Rights that are missing for good or for a while: the partitions they are about halt by name, their lane's neighbours
//! go on, and they themselves do once the right, or what it was for, is there.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::cluster::Pair;
use harness::command::run;
use harness::files::LinkFiles;
use harness::halts::{is_halted, lift, wait_until_halted};
use harness::journal;
use harness::record::{Contents, Record};
use harness::secure::{Listed, Right, Rights, listed};
use harness::{topics, verify, wait};

const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "a-password";

fn records(numbers: std::ops::Range<i64>) -> Vec<Record> {
    let record = |n: i64| Record {
        key: Some(n.to_be_bytes().to_vec()),
        value: Some(format!("value {n}").into_bytes()),
        headers: Vec::new(),
        timestamp: 1_790_000_000_000 + n,
    };
    numbers.map(record).collect()
}

/// A pair of clusters, who gives rights there, and every listed right of links and topics that begin with `prefix`
/// given, as far as `wanted` has it so.
fn admitted(prefix: &str, wanted: impl Fn(&Listed) -> bool) -> Result<(&'static Pair, Rights, Rights)> {
    let pair = Pair::shared_secure()?;
    let (mut source, mut target) = (Rights::of(&pair.source)?, Rights::of(&pair.target)?);
    source.add_user("sender", PASSWORD)?;
    target.add_user("receiver", PASSWORD)?;
    for listed in listed(prefix)?.iter().filter(|listed| wanted(listed)) {
        if listed.source { source.allow(&listed.right)? } else { target.allow(&listed.right)? }
    }
    Ok((pair, source, target))
}

/// A link of one lane whose sides come in by the secure listeners.
fn secure_link(pair: &Pair, stem: &str, carried: &[&str]) -> Result<LinkFiles> {
    let mut files = LinkFiles::new(&topics::unique(stem), &pair.source, &pair.target, carried)?;
    pair.source.secure()?.admit(&mut files.sender, "source", "sender", PASSWORD)?;
    pair.target.secure()?.admit(&mut files.receiver, "target", "receiver", PASSWORD)?;
    files.sender.set("lanes", "count", "1");
    Ok(files)
}

#[test]
fn a_target_with_too_few_partitions_halts_those_it_lacks_until_an_operator_adds_them() -> Result<()> {
    let (pair, _source, _target) = admitted("few-", |listed| listed.right.operation != "Alter")?;
    let topic = topics::create_unique(&pair.source, "few-partitions", 3)?;
    topics::create(&pair.target, &topic, 1, &[])?;
    let mut written = Vec::new();
    for partition in 0..3 {
        written.push(journal::write(&pair.source, &topic, partition, &records(0..10))?.written);
    }
    let files = secure_link(pair, "few-link", &[&topic])?;
    let (_receiver, mut sender) = (files.receiver.start()?, files.sender.start()?);
    for partition in 1..3 {
        let halt = wait_until_halted(&sender, &topic, partition, "target-too-few-partitions", PATIENCE)?;
        println!("{}: {}", halt["reason"], halt["detail"]);
        let sentence = "has 1 partitions, the source's topic 3, and the target does not let it grow";
        ensure!(halt["detail"].to_string().contains(sentence), "{halt}");
    }
    ensure!(sender.log()?.contains("and cannot be grown: add partitions to it."), "no remedy");
    let asked = [&format!("{topic}/1"), "--admin", &sender.admin.address().to_string()];
    let (code, said) = run(&[&["resume"], &asked[..]].concat())?;
    ensure!(code == 1 && said.contains("stays halted, target-too-few-partitions"), "{code}: {said}");

    // What the target has is carried, and it is given nothing of its own.
    written[0].merge(&journal::write(&pair.source, &topic, 0, &records(10..20))?.written);
    verify::wait_until_delivered(&written[0], &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&written[0], &pair.target, "{topic}")?;
    ensure!(topics::partitions(&pair.target, &topic)? == 1, "it grew");

    topics::grow(&pair.target, &topic, 3)?;
    println!("{}", lift(&sender, "resume", &[&format!("{topic}/1")])?);
    verify::wait_until_delivered(&written[1], &pair.target, "{topic}", PATIENCE)?;
    // The next session looks again without being asked.
    sender.kill();
    let _sender = files.sender.start()?;
    let mut all = Contents::default();
    written.iter().for_each(|partition| all.merge(partition));
    verify::wait_until_delivered(&all, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&all, &pair.target, "{topic}").map(drop)
}

#[test]
fn the_right_to_read_a_topic_taken_from_a_link_at_work_halts_it_until_it_is_given_back() -> Result<()> {
    let is_read = |listed: &Listed| listed.source && listed.right.operation == "Read";
    let (pair, mut source, _target) = admitted("barred-", |listed| !is_read(listed))?;
    let read = |prefix: &str| Right {
        user: "sender".to_owned(),
        resource: "topic".to_owned(),
        prefix: prefix.to_owned(),
        operation: "Read".to_owned(),
    };
    source.allow(&read("barred-a"))?;
    source.allow(&read("barred-b"))?;
    let [barred, other] = ["barred-a", "barred-b"].map(|stem| topics::create_unique(&pair.source, stem, 1));
    let (barred, other) = (barred?, other?);
    let mut expected = journal::write(&pair.source, &barred, 0, &records(0..10))?.written;
    expected.merge(&journal::write(&pair.source, &other, 0, &records(0..10))?.written);
    let files = secure_link(pair, "barred-link", &[&barred, &other])?;
    let (_receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;

    source.forget(&read("barred-a"))?;
    let halt = wait_until_halted(&sender, &barred, 0, "source-unauthorized", PATIENCE)?;
    println!("{}: {}", halt["reason"], halt["detail"]);
    ensure!(halt["position"] == 10, "{halt}");
    let behind = journal::write(&pair.source, &barred, 0, &records(10..20))?.written;
    expected.merge(&journal::write(&pair.source, &other, 0, &records(10..20))?.written);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;

    source.allow(&read("barred-a"))?;
    // A topic that may not be read is not even seen; it is again within seconds, and then may go on before it is asked.
    wait::until_ok("the topic to go on", PATIENCE, || {
        let resumed = lift(&sender, "resume", &[&format!("{barred}/0")]).inspect_err(|error| println!("{error:#}"));
        Ok((resumed.is_ok() || !is_halted(&sender, &barred, 0)?).then_some(()))
    })?;
    expected.merge(&behind);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}").map(drop)
}
