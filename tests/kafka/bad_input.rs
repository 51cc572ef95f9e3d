//! A peer with a valid certificate that sends invalid input. Each fault closes the connection with one code and one
//! sentence. Nothing is written to the target, and the receiver continues.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use harness::files::{LinkFiles, Side};
use harness::pair::Pair;
use harness::reader::{self, Isolation};
use harness::topics;
use kafka::properties::forbidden;
use quinn::{Connection, ConnectionError, SendStream};
use rand::RngExt;
use sender::Identity;
use service::tls::{Credentials, End};
use transport::control::ControlReader;
use transport::endpoint::{Dialer, EndpointSettings};
use wire::close::{Close, CloseCode};
use wire::codec::encode_control;
use wire::compress::Codec;
use wire::control::{Control, Hello, OfferedPartition, Range, Role};
use wire::frame::{FrameBuilder, FrameHead, Headers, RecordRef};
use wire::hello::{FEATURES, VERSIONS};
use wire::ids::{Epoch, LaneId, Offset, Position, Sequence, Slot, TopicId};
use wire::lanes::ClassRequest;
use wire::units::Size;
use xxhash_rust::xxh3::Xxh3Default;

const READY: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(20);
const LANE: LaneId = LaneId(0);
const TOPIC_ID: TopicId = TopicId([9; 16]);

/// A sender that the test plays.
struct Peer {
    dialer: Dialer,
    addresses: Vec<service::config::Address>,
    identity: Identity,
    topic: String,
}

/// Connection of the peer: an open session, or a connection with one message.
struct Session {
    connection: Connection,
    control: SendStream,
    reader: ControlReader,
    epoch: Epoch,
    topic: String,
    _endpoint: quinn::Endpoint,
}

impl Peer {
    fn new(side: &Side, cluster_id: &str, topic: &str) -> Result<Self> {
        let config = service::config::load::<sender::config::Config>(&side.write()?, forbidden)
            .map_err(|problems| anyhow::anyhow!("{problems}"))?;
        let credentials = Credentials::load(&config.process.tls, End::Client, service::tls::now())?;
        let settings = EndpointSettings::new(Size::from_bytes(64 << 20), 0);
        let identity = Identity {
            link: config.link.to_string(),
            cluster_id: cluster_id.to_owned(),
            instance: "bad".to_owned(),
            process: 7,
            lanes: 1,
            filter_hash: 1,
            rate: 0,
            probes: false,
            classes: vec![],
        };
        let dialer = Dialer::new(&credentials, settings)?;
        Ok(Self { dialer, addresses: config.wan.receiver, identity, topic: topic.to_owned() })
    }

    fn hello(&self) -> Hello {
        Hello {
            role: Role::Sender,
            versions: VERSIONS,
            features: FEATURES,
            link: self.identity.link.clone(),
            cluster_id: self.identity.cluster_id.clone(),
            instance: self.identity.instance.clone(),
            process: self.identity.process,
            stand_by: false,
            lanes: self.identity.lanes,
            lane_hash: wire::lanes::LANE_HASH.to_owned(),
            filter_hash: self.identity.filter_hash,
            rate: 0,
            classes: vec![],
        }
    }

    /// Opens a connection and sends `first` on its control stream.
    async fn say(&self, first: &[u8]) -> Result<Session> {
        let dialled = self.dialer.dial(&self.addresses, None).await?;
        let (mut control, reader) = dialled.connection.open_bi().await?;
        control.write_all(first).await?;
        let reader = ControlReader::new(reader);
        let connection = dialled.connection;
        let topic = self.topic.clone();
        Ok(Session { connection, control, reader, epoch: Epoch(0), topic, _endpoint: dialled.endpoint })
    }

    /// Opens a session as a valid sender does, until the partition is open at position 0: nothing was written so far.
    async fn open(&self) -> Result<Session> {
        let mut session = self.say(&encode_control(&Control::Hello(self.hello()))).await?;
        session.send_control(&Control::OpenLane { lane: LANE }).await?;
        session.epoch = loop {
            match session.reader.next().await? {
                Control::LaneOpen { epoch, .. } => break epoch,
                Control::Close(Close { code, detail }) => bail!("{code}: {detail}"),
                _ => {}
            }
        };
        let topic = self.topic.clone();
        let described = Control::Topic { topic, topic_id: TOPIC_ID, configs: Vec::new(), clusters: Vec::new() };
        session.send_control(&described).await?;
        session.send_control(&session.offer(session.partition(Slot(0)))).await?;
        loop {
            match session.reader.next().await? {
                Control::PartitionOpen { position: Position(0), .. } => return Ok(session),
                Control::PartitionOpen { position, .. } => bail!("records were written, up to {position}"),
                Control::PartitionHalted { reason, detail, .. } => bail!("{reason}: {detail}"),
                _ => {}
            }
        }
    }
}

impl Peer {
    /// Offers the open partition again: it must halt, and the session must continue.
    async fn offer_twice(&self) -> Result<()> {
        let mut session = self.open().await?;
        session.send_control(&session.offer(session.partition(Slot(1)))).await?;
        loop {
            match session.reader.next().await? {
                Control::PartitionHalted { slot, reason, detail, .. } => {
                    println!("a partition with two slots: {reason}: {detail}");
                    ensure!(slot == Slot(1) && reason == "jump-refused", "{slot}: {reason}");
                    ensure!(detail.contains("is not halted, or an earlier request for it"), "{detail}");
                    return Ok(());
                }
                Control::Close(Close { code, detail }) => bail!("{code}: {detail}"),
                _ => {}
            }
        }
    }
}

impl Session {
    async fn send_control(&mut self, message: &Control) -> Result<()> {
        Ok(self.control.write_all(&encode_control(message)).await?)
    }

    /// Returns the offer of the only partition of its topic.
    fn partition(&self, slot: Slot) -> OfferedPartition {
        OfferedPartition {
            slot,
            topic: self.topic.clone(),
            partition: 0,
            topic_id: TOPIC_ID,
            partitions: 1,
            log_start: Position(0),
            log_end: Position(100),
            start: Position(0),
            jump: None,
        }
    }

    fn halt(&self, slot: Slot, reason: &str) -> Control {
        let position = Position(-1);
        let reason = reason.to_owned();
        Control::PartitionHalted { lane: LANE, epoch: self.epoch, slot, position, reason, detail: String::new() }
    }

    fn offer(&self, partition: OfferedPartition) -> Control {
        Control::Offer { lane: LANE, epoch: self.epoch, partitions: vec![partition], last: true }
    }

    async fn send(&self, frame: &[u8]) -> Result<()> {
        let mut stream = self.connection.open_uni().await?;
        // The receiver stops reading at the fault, which fails the rest of the write.
        let _ = stream.write_all(frame).await;
        let _ = stream.finish();
        Ok(())
    }

    /// Makes frame 0 of `epoch`, with one record of this slot at offset `from`.
    fn frame(&self, epoch: Epoch, slot: Slot, from: i64) -> Vec<u8> {
        let mut builder = FrameBuilder::new();
        // The value compresses, so that the frame has a compressed body.
        let value = [b'a'; 4096];
        let headers = Headers::EMPTY;
        let offset = Offset(from);
        let record = RecordRef { offset, timestamp: 1, key: None, value: Some(&value), headers };
        builder.push(slot, Position(from), -1, &record);
        builder.finish(FrameHead { lane: LANE, epoch, sequence: Sequence(0) }, Codec::Lz4).to_vec()
    }

    fn valid(&self) -> Vec<u8> {
        self.frame(self.epoch, Slot(0), 0)
    }

    /// Makes a valid frame, replaces the bytes at `at`, and corrects the checksum.
    fn changed(&self, at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut frame = self.valid();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        seal(&mut frame);
        frame
    }

    /// Waits until the receiver closes the connection.
    async fn closed(self) -> Result<Closed> {
        match tokio::time::timeout(ANSWER, self.connection.closed())
            .await
            .context("the receiver does not close the connection")?
        {
            ConnectionError::ApplicationClosed(close) => {
                let code = CloseCode::from(u16::try_from(u64::from(close.error_code))?);
                Ok(Closed { code, reason: String::from_utf8_lossy(&close.reason).into_owned() })
            }
            other => bail!("the connection was closed with {other}"),
        }
    }
}

/// Corrects the checksum of a frame.
fn seal(frame: &mut [u8]) {
    let mut hash = Xxh3Default::new();
    hash.update(&frame[..48]);
    hash.update(&frame[56..]);
    frame[48..56].copy_from_slice(&hash.digest().to_le_bytes());
}

/// Code and reason with which the receiver closed a connection.
struct Closed {
    code: CloseCode,
    reason: String,
}

impl Closed {
    /// Ensures the code, and that the reason contains `sentence`.
    fn expect(&self, fault: &str, code: CloseCode, sentence: &str) -> Result<()> {
        println!("{fault}: {}: {}", self.code, self.reason);
        ensure!(self.code == code && self.reason.contains(sentence), "{fault}: {}: {}", self.code, self.reason);
        Ok(())
    }
}

/// First message with a fault: its name, its bytes, and the code and sentence that it causes.
type BadHello = (&'static str, Vec<u8>, CloseCode, &'static str);

fn bad_hellos(peer: &Peer) -> Vec<BadHello> {
    let hello = |change: fn(&mut Hello)| {
        let mut hello = peer.hello();
        change(&mut hello);
        encode_control(&Control::Hello(hello))
    };
    vec![
        (
            "another protocol version",
            hello(|hello| hello.versions = Range { min: 900, max: 901 }),
            CloseCode::Version,
            "no common protocol version: we speak 1, the peer speaks 900 to 901",
        ),
        (
            "the receiver's role",
            hello(|hello| hello.role = Role::Receiver),
            CloseCode::Version,
            "both ends have the same role",
        ),
        ("garbage", vec![4, 0, 0, 0, 255, 1, 2, 3], CloseCode::BadFrame, "unknown control kind 255"),
        ("a message of 4 GiB", vec![255; 8], CloseCode::BadFrame, "exceeds the limit of 524288"),
        (
            "a class name of other characters",
            hello(|hello| hello.classes = vec![ClassRequest { name: "../a".to_owned(), lanes: 1, strict: false }]),
            CloseCode::Misbehaved,
            "invalid value: a class name is not 1 to 64 of `a-z 0-9 . _ -`",
        ),
        (
            "an instance name of several lines",
            hello(|hello| hello.instance = "a\nb".to_owned()),
            CloseCode::Misbehaved,
            "invalid value: the instance name is not 1 to 253 visible ASCII characters",
        ),
        (
            "something else first",
            encode_control(&Control::OpenLane { lane: LANE }),
            CloseCode::Misbehaved,
            "unexpected message OpenLane",
        ),
    ]
}

/// Message with a fault: its name, how it is made, and the sentence that it causes.
type BadMessage = (&'static str, fn(&Session) -> Control, &'static str);

const BAD_MESSAGES: &[BadMessage] = &[
    ("a halt of no word", |s| s.halt(Slot(0), "no word"), "invalid value: the reason of a halt is no word"),
    ("a halt of a slot that was never opened", |s| s.halt(Slot(3), "corrupt"), "slot 3 was never opened"),
    ("a lane that does not exist", |_| Control::OpenLane { lane: LaneId(7) }, "lane 7 does not exist in this link"),
    (
        "an offer of an epoch that was never granted",
        |s| Control::Offer {
            lane: LANE,
            epoch: Epoch(s.epoch.0 + 5),
            partitions: vec![s.partition(Slot(1))],
            last: false,
        },
        "was never granted; the lane is at epoch",
    ),
    ("a slot that is offered twice", |s| s.offer(s.partition(Slot(0))), "slot 0 was used before in this epoch"),
    ("a message of a receiver", |s| Control::LaneOpen { lane: LANE, epoch: s.epoch }, "unexpected message LaneOpen"),
];

/// Frame with a fault: its name, how it is made, and the code and sentence that it causes.
type BadFrame = (&'static str, fn(&Session) -> Vec<u8>, CloseCode, &'static str);

const BAD_FRAMES: &[BadFrame] = &[
    ("not a frame", |s| s.changed(0, b"GET"), CloseCode::BadFrame, "malformed: not a frame"),
    ("an unknown kind", |s| s.changed(3, &[9]), CloseCode::BadFrame, "unknown frame kind 9"),
    ("an unknown codec", |s| s.changed(4, &[77]), CloseCode::BadFrame, "unknown codec 77"),
    ("another lane", |s| s.changed(8, &[1]), CloseCode::Misbehaved, "lane 1 does not exist in this link"),
    ("a length of 4 GiB", |s| s.changed(44, &[255; 4]), CloseCode::BadFrame, "exceeds the limit of"),
    (
        "a body that expands beyond its stated size",
        |s| s.changed(40, &[0, 1, 0, 0]),
        CloseCode::BadFrame,
        "compressed body is damaged",
    ),
    ("a body beyond the limit", |s| s.changed(40, &[0, 0, 0, 255]), CloseCode::BadFrame, "exceeds the limit of"),
    ("cut short", |s| s.valid()[..60].to_vec(), CloseCode::BadFrame, "truncated: at least "),
    ("cut in its header", |s| s.valid()[..20].to_vec(), CloseCode::BadFrame, "truncated: at least 36 more bytes"),
    ("bytes left over", |s| [s.valid(), vec![0]].concat(), CloseCode::BadFrame, "1 bytes left over"),
    (
        "a flipped bit",
        |s| {
            let mut frame = s.valid();
            frame[58] ^= 1;
            frame
        },
        CloseCode::BadFrame,
        "checksum does not match",
    ),
    (
        "an epoch that was never granted",
        |s| s.frame(Epoch(s.epoch.0 + 5), Slot(0), 0),
        CloseCode::Misbehaved,
        "was never granted; the lane is at epoch",
    ),
    (
        "a slot that was never opened",
        |s| s.frame(s.epoch, Slot(3), 0),
        CloseCode::Misbehaved,
        "slot 3 was never opened",
    ),
    (
        "a gap",
        |s| s.frame(s.epoch, Slot(0), 5),
        CloseCode::Misbehaved,
        "slot 0 is at position 0, but its run begins at 5",
    ),
];

#[test]
fn each_fault_has_its_code_and_sentence_and_writes_nothing() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "bad-input", 1)?;
    let files = LinkFiles::new("bad-input", &pair.source, &pair.target, &[&topic])?;
    let receiver = files.receiver.start()?;
    receiver.admin.wait_until_ready(READY)?;
    let peer = Peer::new(&files.sender, pair.source.id(), &topic)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        for (what, bytes, code, sentence) in bad_hellos(&peer) {
            peer.say(&bytes).await?.closed().await.context(what)?.expect(what, code, sentence)?;
        }
        for (what, frame, code, sentence) in BAD_FRAMES {
            let session = peer.open().await.context(*what)?;
            session.send(&frame(&session)).await?;
            session.closed().await.context(*what)?.expect(what, *code, sentence)?;
        }
        for (what, message, sentence) in BAD_MESSAGES {
            let mut session = peer.open().await.context(*what)?;
            session.send_control(&message(&session)).await?;
            session.closed().await.context(*what)?.expect(what, CloseCode::Misbehaved, sentence)?;
        }
        peer.offer_twice().await?;
        let mut session = peer.open().await?;
        session.control.write_all(&[4, 0, 0, 0, 255, 1, 2, 3]).await?;
        session.closed().await?.expect("garbage on the control stream", CloseCode::BadFrame, "")?;

        // An overlap: the valid frame is committed, and a second one has its record again.
        let mut session = peer.open().await?;
        session.send(&session.valid()).await?;
        while !matches!(session.reader.next().await?, Control::Ack { .. }) {}
        let mut again = session.valid();
        again[24] = 1;
        seal(&mut again);
        session.send(&again).await?;
        let sentence = "is at position 1, but its run begins at 0";
        session.closed().await?.expect("an overlap", CloseCode::Misbehaved, sentence)?;
        anyhow::Ok(())
    })?;
    let seen = reader::read(&pair.target, &[&topic], Isolation::Uncommitted)?;
    ensure!(seen.len() == 1, "one record was valid, and the target has {}", seen.len());
    Ok(())
}

#[test]
fn random_datagrams_do_no_harm() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "garbage", 1)?;
    let files = LinkFiles::new("garbage", &pair.source, &pair.target, &[&topic])?;
    let receiver = files.receiver.start()?;
    receiver.admin.wait_until_ready(READY)?;
    let peer = Peer::new(&files.sender, pair.source.id(), &topic)?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let mut rng = rand::rng();
    for length in 0..1_500 {
        let datagram: Vec<u8> = (0..length).map(|_| rng.random()).collect();
        socket.send_to(&datagram, ("127.0.0.1", peer.addresses[0].port))?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(peer.open()).map(drop)
}

#[test]
fn connections_of_one_certificate_are_limited() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "connections", 1)?;
    let files = LinkFiles::new("connections", &pair.source, &pair.target, &[&topic])?;
    let receiver = files.receiver.start()?;
    receiver.admin.wait_until_ready(READY)?;
    let peer = Peer::new(&files.sender, pair.source.id(), &topic)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        // These connections stay open and send nothing: the receiver waits 10 s for a hello.
        let mut open = Vec::new();
        for _ in 0..receiver::PEER_CONNECTIONS_MAX {
            open.push(peer.dialer.dial(&peer.addresses, None).await?);
        }
        let one_more = peer.dialer.dial(&peer.addresses, None).await?;
        let refused = match tokio::time::timeout(ANSWER, one_more.connection.closed()).await? {
            ConnectionError::ApplicationClosed(close) => close,
            other => bail!("{other}"),
        };
        ensure!(u64::from(refused.error_code) == u64::from(CloseCode::Busy.number()), "{refused:?}");
        let reason = String::from_utf8_lossy(&refused.reason).into_owned();
        ensure!(reason == "256 connections with this certificate are open already", "{reason}");
        drop(open);
        Ok(())
    })?;
    let refusals = receiver.admin.status()?["refusals"].clone();
    ensure!(refusals["BUSY"] == 1, "{refusals}");
    Ok(())
}
