//! Batches of the source that cannot be read. The partition halts before the batch; an operator leaves it out.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::command::run_at;
use harness::files::LinkFiles;
use harness::halts;
use harness::pair::Pair;
use harness::record::{numbered, small};
use harness::{journal, topics, verify};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn corrupt_batch_halts_there_until_left_out() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "bad", 1)?;
    let mut expected = journal::write(&pair.source, &topic, 0, &small(0..10))?.written;
    journal::write(&pair.source, &topic, 0, &[numbered(10, b"never to be read".to_vec())])?;
    expected.merge(&journal::write(&pair.source, &topic, 0, &small(11..20))?.written);
    pair.source.damage(&topic, 0, b"never to be read")?;
    let files = LinkFiles::new(&topics::unique("bad"), &pair.source, &pair.target, &[&topic])?;
    let (receiver, sender) = files.start()?;
    halts::expect(&sender, &topic, 0, "corrupt", 10)?;

    // The sender cannot tell where the batch ends, so `--skip` is not enough.
    let partition = format!("{topic}/0");
    run_at(&sender, &["resume", &partition, "--skip"])?.expect(1, "--from N")?;
    halts::resume(&sender, &[&partition, "--from", "11"])?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    let jump = halts::only_jump(&receiver)?;
    ensure!(jump.is_between(10, 11), "{jump:?}");
    Ok(())
}

#[test]
fn unreadable_batch_halts_with_the_clients_words_until_left_out() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "unread", 2)?;
    let mut expected = journal::write(&pair.source, &topic, 0, &small(0..10))?.written;
    journal::write(&pair.source, &topic, 0, &small(10..11))?;
    pair.source.mislabel(&topic, 0, 10)?;
    let mut files = LinkFiles::new(&topics::unique("unread"), &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    let (_receiver, sender) = files.start()?;
    let detail = halts::expect(&sender, &topic, 0, "source-failed", 10)?;
    ensure!(detail.contains("MagicByte 9 at offset 10"), "{detail}");
    expected.merge(&journal::write(&pair.source, &topic, 1, &small(0..10))?.written);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;

    expected.merge(&journal::write(&pair.source, &topic, 0, &small(11..20))?.written);
    halts::resume(&sender, &[&format!("{topic}/0"), "--from", "11"])?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}").map(drop)
}
