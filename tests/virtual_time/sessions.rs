//! The product's session at each end, with lanes that a test plays: a lane's own thread sleeps by the system's clock,
//! which virtual time does not advance.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use kafka::properties::forbidden;
use receiver::Host;
use receiver::ServedLinks;
use receiver::{Arrival, Inbox};
use sender::Board;
use sender::Discovered;
use sender::Dispatcher;
use sender::LaneHandle;
use sender::Packing;
use sender::config::{Config, Start};
use sender::{ChannelDialer, Handshaken, Identity, Offering, Session, SessionEnd, shake_hands};
use service::bell::Bell;
use service::mailbox::Mailbox;
use service::shutdown::Shutdown;
use testkit::MemoryCatalog;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;
use transport::clock::Clock;
use transport::endpoint::Dialled;
use wire::control::Control;
use wire::frame::IntactFrame;
use wire::ids::{Epoch, LaneId};
use wire::lanes::ClassTable;

use crate::ends::Ends;

/// Interval at which a played lane checks its mailbox.
pub(crate) const LOOK: Duration = Duration::from_millis(1);

/// Process id of the receiver.
pub(crate) const HOST: u128 = 42;

/// Epoch of every lane.
pub(crate) const EPOCH: Epoch = Epoch(1);

/// Makes a receiver whose lanes commit and ack every frame immediately. `taken` is called with each frame, in the order
/// of its lane; a frame that arrives twice fails the test.
pub(crate) fn host(ends: &Ends, taken: impl Fn(LaneId, &IntactFrame) + Clone + Send + Sync + 'static) -> Arc<Host> {
    host_with(ends, "", taken)
}

/// Makes such a receiver with further settings of its link.
pub(crate) fn host_with(
    ends: &Ends,
    settings: &str,
    taken: impl Fn(LaneId, &IntactFrame) + Clone + Send + Sync + 'static,
) -> Arc<Host> {
    let file = ends.pki.path().join("receiver.toml");
    let pki = ends.pki.path().display();
    let text = receiver::config::EXAMPLE.replace("\"pki/", &format!("\"{pki}/"));
    let text = text.replace("fra-to-sin", "virtual").replace("sender.fra.example", "sender.example");
    let text = text.replace("[[links]]", &format!("[[links]]\n{settings}"));
    fs::write(&file, text).unwrap();
    let config = service::config::load::<receiver::config::Config>(&file, forbidden).unwrap();
    let runtime = Handle::current();
    let start_lane = move |_: &receiver::LinkSettings, lane: LaneId| {
        let mailbox = Mailbox::new(1 << 16, Bell::default());
        runtime.spawn(take(lane, mailbox.clone(), taken.clone()));
        Ok(receiver::LaneHandle::new(mailbox))
    };
    Arc::new(Host {
        cluster: Arc::new(receiver::TargetCluster::new("target".to_owned())),
        bootstrap_servers: "target:9092".to_owned(),
        catalog: Arc::new(MemoryCatalog::new("target")),
        process: HOST,
        links: Arc::new(ServedLinks::new(&config, Arc::new(MemoryCatalog::new("target")), Arc::new(start_lane))),
        refusals: Arc::default(),
        peers: Arc::default(),
        joinable: Arc::default(),
        clock: Clock::default(),
        groups: None,
    })
}

async fn take(lane: LaneId, mailbox: Mailbox<receiver::Command>, taken: impl Fn(LaneId, &IntactFrame)) {
    let mut inbox = Inbox::default();
    let mut session = None;
    loop {
        while let Some(command) = mailbox.pop() {
            match command {
                receiver::Command::Open { replies, .. } => {
                    let open = Control::LaneOpen { lane, epoch: EPOCH };
                    replies.send(receiver::Reply::Message(open)).await.unwrap();
                    session = Some(replies);
                }
                receiver::Command::Frame(_, frame, _) => {
                    let head = frame.header().head;
                    assert_eq!(head.epoch, EPOCH);
                    assert_eq!(inbox.handle_frame(frame), Arrival::Held, "frame {} arrived twice", head.sequence);
                    while let Some(frame) = inbox.peek() {
                        taken(lane, frame);
                        inbox.advance();
                    }
                    if let (Some(sequence), Some(replies)) = (inbox.commit(), &session) {
                        let ack = Control::Ack { lane, epoch: EPOCH, sequence, timing: None };
                        let _ = replies.send(receiver::Reply::Message(ack)).await;
                    }
                }
                receiver::Command::Stop => return,
                _ => {}
            }
        }
        sleep(LOOK).await;
    }
}

/// Opens a first channel and shakes hands. The hello names no classes: the receiver stores classes in the state of a
/// lane, and the played lanes have no state.
pub(crate) async fn shaken(ends: &Ends, lanes: u16) -> (Dialled, Handshaken) {
    let first = ends.dial().await;
    let identity = Identity {
        link: "virtual".to_owned(),
        cluster_id: "source".to_owned(),
        instance: "sender".to_owned(),
        process: 7,
        lanes,
        filter_hash: 1,
        rate: 0,
        probes: false,
        classes: Vec::new(),
    };
    let shaken = shake_hands(&first.connection, &identity, false, |_| ()).await.unwrap();
    (first, shaken)
}

/// Sender of a session.
pub(crate) struct Sending {
    pub(crate) config: Config,
    pub(crate) table: ClassTable,
    /// Handles of the lanes, which the test plays.
    pub(crate) lanes: Vec<LaneHandle>,
    pub(crate) packing: Packing,
    pub(crate) channels: u16,
}

impl Sending {
    /// Runs a session until it ends.
    pub(crate) async fn run(self, ends: &Ends, board: Arc<Board>, shutdown: Shutdown) -> SessionEnd {
        let Self { config, table, lanes, packing, channels: count } = self;
        let (first, shaken) = shaken(ends, table.lanes()).await;
        let classes = config.classes.clone();
        let bells = lanes.iter().map(|lane| lane.bell.clone()).collect();
        let credit = shaken.welcome.credit;
        let dispatcher = Dispatcher::new(table, &classes, config.wan.rate, packing.frame_bytes, credit, bells);
        let found = Discovered { filter_hash: 1, ..Discovered::default() };
        let (_topics, topics) = watch::channel(found);
        let (_dialers, dialer) = watch::channel(ends.dialer.clone());
        let session = Session {
            lanes: &lanes,
            classes,
            config: config.into(),
            dispatcher,
            topics,
            filter_hash: 1,
            offering: Offering {
                catalog: Arc::new(MemoryCatalog::new("source")),
                start: Start::Earliest,
                deletions: Arc::default(),
                policies: Arc::default(),
                promotion: None,
            },
            packing,
            board,
            channels: ChannelDialer { dialer, first, count },
        };
        session.run(shaken, shutdown).await
    }
}

/// Makes the handle of a lane, as the session has it.
pub(crate) fn lane_handle(id: LaneId) -> LaneHandle {
    let bell = Bell::default();
    let mailbox = Mailbox::new(1 << 16, bell.clone());
    LaneHandle {
        id,
        mailbox,
        bell,
        progress: Arc::default(),
        activity: Arc::default(),
        choice: Arc::default(),
        frame_bytes: Arc::default(),
    }
}
