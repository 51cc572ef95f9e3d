//! The further channels of a session, kept up beside channel 0: each is dialled, joins, carries frames until it ends
//! or is found dead, is answered for by the receiver, and is dialled again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use quinn::ConnectionError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use transport::backoff::Backoff;
use transport::control::{ControlReader, ControlWriter};
use transport::endpoint::{Dialer, Dialled, keep_windows};
use wire::close::{CloseCode, Disposition};
use wire::control::{Control, Welcome};
use wire::hello::FEATURE_CHANNELS;
use wire::limits::RETRY_AFTER;

use crate::dispatch::channels::Channels;
use crate::dispatch::health::{Health, LOOK};
use crate::dispatch::striping::ChannelId;
use crate::report::status::Board;
use crate::run::{REDIAL_MAX, REDIAL_MIN};

/// How long the receiver may take to answer a join, or for a channel that was given up: it decides at once, so that
/// this is the path's time, with room for a few lost packets.
const ANSWER: Duration = Duration::from_secs(10);

/// What further channels are dialled with, and how many there are to be.
#[derive(Clone)]
pub struct Ways {
    /// Dials, with the certificates of the moment.
    pub dialer: watch::Receiver<Dialer>,
    /// Channel 0.
    pub first: Dialled,
    /// Channels of the session, channel 0 among them.
    pub count: u16,
}

/// Keeps the further channels of one session; dropping it ends the keeping.
pub(super) struct Keeper {
    tasks: JoinSet<()>,
    channels: Channels,
    /// Why the session cannot go on.
    ends: mpsc::Receiver<String>,
}

struct Keeping {
    ways: Ways,
    channels: Channels,
    control: mpsc::Sender<Control>,
    board: Arc<Board>,
    token: u128,
    receiver: u128,
    next: AtomicU32,
    ends: mpsc::Sender<String>,
}

/// A channel that did not join.
struct NotJoined {
    reason: String,
    /// The receiver asks for patience.
    patience: bool,
}

impl Keeper {
    /// Dials what is missing beside channel 0, unless the receiver knows no further channels.
    pub(super) fn start(
        ways: Ways,
        channels: Channels,
        control: mpsc::Sender<Control>,
        board: Arc<Board>,
        welcome: &Welcome,
    ) -> Self {
        let (ends_in, ends) = mpsc::channel(1);
        let count = if welcome.features & FEATURE_CHANNELS == 0 { 1 } else { ways.count };
        board.begin_channels(count);
        let (token, receiver, next) = (welcome.token, welcome.receiver, AtomicU32::new(1));
        let keeping = Arc::new(Keeping {
            ways,
            channels: channels.clone(),
            control,
            board,
            token,
            receiver,
            next,
            ends: ends_in,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(watch(Arc::clone(&keeping)));
        let open = channels.clone();
        tasks.spawn(async move { match keep_windows(move || open.dialled()).await {} });
        for place in 1..count {
            tasks.spawn(keep(Arc::clone(&keeping), place));
        }
        Self { tasks, channels, ends }
    }

    /// Waits until the session cannot go on; says why.
    pub(super) async fn end(&mut self) -> String {
        match self.ends.recv().await {
            Some(end) => end,
            // The tasks hold the other side for as long as they are.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.tasks.abort_all();
        self.channels.close();
    }
}

/// Keeps one channel up.
async fn keep(keeping: Arc<Keeping>, place: u16) {
    let Ok(mut backoff) = Backoff::try_new(REDIAL_MIN, REDIAL_MAX) else { return };
    loop {
        let channel = keeping.next.fetch_add(1, Ordering::Relaxed);
        let wait = match keeping.join(channel).await {
            Ok((dialled, _control)) => {
                backoff.reset();
                keeping.carry(place, channel, &dialled).await;
                backoff.next_delay(rand::random())
            }
            Err(NotJoined { reason, patience }) => {
                let wait = if patience { RETRY_AFTER } else { backoff.next_delay(rand::random()) };
                tracing::warn!(place, reason, retry_in = ?wait, "channel did not join; the session goes on without it");
                wait
            }
        };
        tokio::time::sleep(wait).await;
        keeping.board.count_redial();
    }
}

/// Looks for channels that are dead though others are not.
async fn watch(keeping: Arc<Keeping>) {
    let (mut health, mut last) = (Health::default(), Instant::now());
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = look.tick().await;
        let dead = health.observe(now - last, &keeping.channels.vitals());
        last = now;
        for (channel, silence) in dead {
            let reason = format!("no progress for {:.1} s while others made some", silence.as_secs_f64());
            if channel == 0 {
                let _ = keeping.ends.try_send(format!("channel 0 made {reason}"));
                return;
            }
            tracing::warn!(channel, reason, "channel is dead");
            keeping.board.count_dead();
            if let Some(connection) = keeping.channels.connection(channel) {
                connection.close(u32::from(CloseCode::Normal.number()).into(), reason.as_bytes());
            }
        }
    }
}

impl Keeping {
    /// Dials and joins. The control stream is kept for as long as the channel is.
    async fn join(&self, channel: ChannelId) -> Result<(Dialled, (ControlReader, ControlWriter)), NotJoined> {
        let dialer = self.ways.dialer.borrow().clone();
        let dialled = dialer.dial_beside(&self.ways.first).await.map_err(|fault| NotJoined::by(&fault))?;
        let connection = &dialled.connection;
        let (send, recv) = connection.open_bi().await.map_err(|error| NotJoined::of(connection, &error))?;
        let (mut writer, mut reader) = (ControlWriter::new(send), ControlReader::new(recv));
        let join = Control::JoinChannel { token: self.token, receiver: self.receiver, channel };
        writer.send(&join).await.map_err(|error| NotJoined::of(connection, &error))?;
        match timeout(ANSWER, reader.next()).await {
            Ok(Ok(Control::ChannelOpen { channel: answered })) if answered == channel => {
                Ok((dialled, (reader, writer)))
            }
            Ok(Ok(Control::Close { code, detail })) => Err(NotJoined::refused(code, &detail)),
            Ok(Ok(other)) => Err(NotJoined::by(&format!("unexpected {}", wire::codec::control_name(&other)))),
            Ok(Err(error)) => Err(NotJoined::of(connection, &error)),
            Err(_) => Err(NotJoined::by(&format!("no answer within {} s", ANSWER.as_secs()))),
        }
    }

    /// Lets a channel carry frames until it ends, and waits until the receiver has answered for it.
    async fn carry(&self, place: u16, channel: ChannelId, dialled: &Dialled) {
        let connection = &dialled.connection;
        let local = dialled.endpoint.local_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string());
        tracing::info!(channel, local, "channel joined");
        self.board.join_channel(place, connection);
        self.channels.open(channel, dialled.clone());
        let detail = match connection.closed().await {
            ConnectionError::LocallyClosed => "given up here".to_owned(),
            error => error.to_string(),
        };
        self.board.end_channel(place);
        tracing::warn!(channel, detail, "channel ended; the session goes on, and it is dialled again");
        if self.channels.give_up(channel) {
            // Without the session's end nobody stops to read these.
            let _ = self.control.send(Control::ChannelClosed { channel, detail }).await;
        }
        if timeout(ANSWER, self.channels.answered(channel)).await.is_err() {
            let end = format!("receiver has not answered for channel {channel} within {} s", ANSWER.as_secs());
            let _ = self.ends.try_send(end);
        }
    }
}

impl NotJoined {
    fn by(reason: &impl ToString) -> Self {
        Self { reason: reason.to_string(), patience: false }
    }

    fn refused(code: CloseCode, detail: &str) -> Self {
        let patience = code.disposition() != Disposition::Reconnect;
        Self { reason: format!("receiver refuses it: {detail} ({})", code.name()), patience }
    }

    /// The close that the receiver sent says more than the stream that it took down.
    fn of(connection: &quinn::Connection, error: &impl ToString) -> Self {
        match connection.close_reason() {
            Some(ConnectionError::ApplicationClosed(close)) => {
                let code = CloseCode::from(u64::from(close.error_code) as u16);
                Self::refused(code, &String::from_utf8_lossy(&close.reason))
            }
            Some(error) => Self::by(&error),
            None => Self::by(error),
        }
    }
}
