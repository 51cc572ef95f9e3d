//! Ends that lie to each other within a session: each contradiction ends the session with one code and one sentence, no
//! process ends, and no flood of words fills a log.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::files::LinkFiles;
use harness::journal;
use harness::pair::Pair;
use harness::record::small;
use harness::topics;
use tokio::runtime::Runtime;

use crate::attacker::messages::{Message, kind};
use crate::attacker::receiver::{FalseReceiver, FalseSession, partition_halted, partition_open, welcome};
use crate::attacker::tls::Authority;
use crate::stage::Stage;

/// Partitions of the topic that the senders carry.
const PARTITIONS: i32 = 60;
/// Lines of one kind that a flood of words may cause.
const LINES: usize = 25;
/// Bytes of a log line with texts of a peer.
const LINE_BYTES: usize = 1_200;
const LEAVES_WITHIN: Duration = Duration::from_secs(10);

/// Codes of the protocol.
const BAD_FRAME: u64 = 16;
const MISBEHAVED: u64 = 17;
const VERSION: u64 = 32;

/// Lie to a sender: its name, and the code and words with which the sender must close, if it must.
struct Lie {
    name: &'static str,
    closes: Option<(u64, &'static str)>,
}

const LIES: &[Lie] = &[
    Lie { name: "open, halt, open", closes: Some((MISBEHAVED, "slot 0 was halted before, and stays closed")) },
    Lie { name: "version 9", closes: Some((VERSION, "we speak 1, the peer speaks 9")) },
    Lie { name: "credit of half a frame", closes: Some((BAD_FRAME, "reserve below the least cost of a frame")) },
    Lie { name: "the same epoch twice", closes: Some((MISBEHAVED, "is open or was used before")) },
    Lie { name: "an ack of nothing", closes: Some((MISBEHAVED, "is acked, but the next one to be sent is 0")) },
    Lie { name: "garbage", closes: Some((BAD_FRAME, "unknown control kind 255")) },
    Lie { name: "a halt of no word", closes: Some((MISBEHAVED, "the reason of a halt is no word")) },
    Lie { name: "a flood of halts", closes: None },
    Lie { name: "a flood of stand-bys", closes: None },
];

impl Lie {
    async fn tell(&self, session: &mut FalseSession) -> Result<()> {
        let long = "x".repeat(1_000);
        match self.name {
            "open, halt, open" => {
                session.open_lane().await?;
                let messages = [partition_open(0, 0), partition_halted(0, "corrupt", "a lie"), partition_open(0, 0)];
                let bytes: Vec<u8> = messages.iter().flat_map(Message::bytes).collect();
                session.control.send.write_all(&bytes).await?;
            }
            "version 9" => session.control.send(&welcome(9, 1 << 20, 1 << 20)).await?,
            "credit of half a frame" => session.control.send(&welcome(1, 500, 0)).await?,
            "the same epoch twice" => {
                session.open_lane().await?;
                session.control.send(&Message::new(kind::LANE_OPEN).u(0).u(1)).await?;
            }
            "an ack of nothing" => {
                session.open_lane().await?;
                // Lane, epoch, sequence, and no timing.
                session.control.send(&Message::new(48).u(0).u(1).u(7).u(0)).await?;
            }
            "garbage" => {
                session.welcome().await?;
                session.control.send(&Message::new(255).u(1)).await?;
            }
            "a halt of no word" => {
                session.open_lane().await?;
                session.control.send(&partition_halted(0, "two\nwords", "a lie")).await?;
            }
            "a flood of halts" => {
                for slot in 0..session.open_lane().await? {
                    session.control.send(&partition_halted(slot, "of-a-newer-version", &long)).await?;
                }
            }
            _ => {
                for number in 0..5_000 {
                    session.control.send(&Message::new(3).text(&format!("other-{number}\n{long}")[..1_000])).await?;
                }
                session.open_lane().await?;
            }
        }
        Ok(())
    }
}

#[test]
fn senders_outlive_a_receiver_that_lies() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "lies", PARTITIONS)?;
    journal::write(&pair.source, &topic, 0, &small(0..10))?;
    // Each lie has its own sender, because one that was lied to waits for 10 s.
    std::thread::scope(|scope| {
        let told: Vec<_> = LIES.iter().map(|lie| scope.spawn(|| told(lie, &pair, &topic))).collect();
        let results = told.into_iter().map(|told| told.join().unwrap_or_else(|_| anyhow::bail!("it panicked")));
        results.zip(LIES).try_for_each(|(result, lie)| result.context(lie.name))
    })
}

fn told(lie: &Lie, pair: &Pair, topic: &str) -> Result<()> {
    let mut files = LinkFiles::new(&topics::unique("lies"), &pair.source, &pair.target, &[topic])?;
    let authority = Authority::new(&files.pki().join("attacked"))?;
    authority.write("sender", &["sender.test"])?;
    let runtime = Runtime::new()?;
    let receiver = {
        let _on = runtime.enter();
        FalseReceiver::listen(&authority)?
    };
    files.sender.set("lanes", "count", "1").set("wan", "receiver", &format!("\"{}\"", receiver.address()?));
    for (key, file) in [("ca", "ca.pem"), ("certificate", "sender.pem"), ("key", "sender.key")] {
        files.sender.set("tls", key, &format!("{:?}", authority.dir().join(file)));
    }
    let mut sender = files.sender.start()?;
    runtime.block_on(async {
        let mut session = receiver.greeted().await?;
        lie.tell(&mut session).await?;
        match lie.closes {
            Some((code, words)) => session.peer.closed().await?.expect(code, words),
            // The sender still answers: it asks for the clock every 2 s.
            None => session.control.next_of(5).await.map(drop),
        }
    })?;
    let code = sender.terminate(LEAVES_WITHIN)?;
    ensure!(code == 0, "exit code {code}");
    let log = sender.log()?;
    let longest = log.lines().map(str::len).max().unwrap_or(0);
    println!("{}: {} log lines, the longest has {longest} bytes", lie.name, log.lines().count());
    for kind in ["partition halted", "on standby"] {
        let lines = log.lines().filter(|line| line.contains(kind)).count();
        ensure!(lines <= LINES && longest <= LINE_BYTES, "{lines} lines of `{kind}`, up to {longest} bytes");
    }
    Ok(())
}

#[test]
fn names_and_words_of_a_sender_are_checked_and_cut() -> Result<()> {
    let stage = Stage::start("words")?;
    let attacker = &stage.attacker;
    let evil = attacker.own_identity()?;
    let (lines, cost) = stage.during("names and words", async {
        let class = |name: &str| vec![(name.to_owned(), 1, false)];
        let hello = || attacker.hello();
        let mut refused = Vec::new();
        for name in ["../a", "", "A", "a\nb", &"a".repeat(65)] {
            let mut hello = hello();
            hello.classes = class(name);
            refused.push((hello, "a class name is not"));
        }
        for instance in ["", "a b", "a\u{1b}[2J", &"a".repeat(254)] {
            let mut hello = hello();
            hello.instance = instance.to_owned();
            refused.push((hello, "the instance name is not"));
        }
        for (hello, words) in refused {
            let peer = attacker.dial(Some(&evil)).await?;
            peer.control().await?.send(&hello.message()).await?;
            peer.closed().await?.expect(MISBEHAVED, words)?;
        }
        let mut session = attacker.session(&evil).await?;
        session.offer(0, &format!("{}.a", attacker.link)).await?;
        let epoch = u128::from(session.epoch);
        let halt = Message::new(kind::PARTITION_HALTED).u(0).u(epoch).u(0).i(-1).text("source-failed");
        let halt = halt.text(&"x".repeat(1_000));
        for _ in 0..2_000 {
            session.control.send(&halt).await?;
        }
        session.control.send(&Message::new(kind::PARTITION_HALTED).u(0).u(epoch).u(9).i(-1).text("a").text("")).await?;
        session.peer.closed().await?.expect(MISBEHAVED, "slot 9 was never opened")?;
        let log = stage.receiver.log()?;
        Ok(log.lines().filter(|line| line.contains("sender halted a partition")).map(str::len).collect::<Vec<_>>())
    })?;
    cost.ensure_calm()?;
    ensure!(!lines.is_empty() && lines.len() <= LINES, "{} lines", lines.len());
    ensure!(lines.iter().all(|bytes| *bytes <= LINE_BYTES), "{lines:?}");
    stage.finish()
}
