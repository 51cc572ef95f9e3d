//! A producer quota at the target: transactions stay so small that the brokers' delays do not time them out.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::files::LinkFiles;
use harness::journal::Load;
use harness::pair::Pair;
use harness::reader::{Isolation, read};
use harness::rights::Rights;
use harness::{topics, verify, wait};

const DELIVERED: Duration = Duration::from_secs(120);
/// Bytes per second that the receiver may write. The broker allows 11 s of it at first, and the records take 15 to 20 s more.
const QUOTA: u64 = 200_000;

#[test]
fn producer_quota_aborts_a_fifth_of_the_records_at_most() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "quota", 16)?;
    let written = Load::new(&topic, 16).limit(2_000).value_max(64 << 10).start(&pair.source)?.finish()?.written;
    let link = topics::unique("quota");
    // The client id of a receiver has its name, here that of the link.
    Rights::of(&pair.target)?.limit_writes(&format!("causeway-{link}"), QUOTA)?;
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    files.receiver.set("", "instance", &format!("{link:?}"));
    let began = Instant::now();
    let (receiver, _sender) = files.start()?;
    let delayed = |status: &serde_json::Value| status["links"][0]["quota_delay_seconds"].as_f64() > Some(0.0);
    receiver.admin.wait_for("the brokers' delay to be shown", DELIVERED, delayed)?;
    let mut committed = (Instant::now(), 0);
    let mut longest = Duration::ZERO;
    wait::until_ok("every record to be committed", DELIVERED, || {
        let records = receiver.admin.status()?["links"][0]["counts"]["records"].as_u64().unwrap_or(0);
        if records > committed.1 {
            longest = longest.max(committed.0.elapsed());
            committed = (Instant::now(), records);
        }
        Ok((records >= written.len() as u64).then_some(()))
    })?;
    let took = began.elapsed();
    verify::ensure_exactly_once(&written, &pair.target, "{topic}")?;
    let appended = read(&pair.target, &[&topic], Isolation::Uncommitted)?.len();
    let counts = &receiver.admin.status()?["links"][0]["counts"];
    println!("{took:?}, longest time without a commit {longest:?}, {appended} of {} appended, {counts}", written.len());
    ensure!(appended * 5 <= written.len() * 6, "{appended} records were appended to commit {}", written.len());
    Ok(())
}
