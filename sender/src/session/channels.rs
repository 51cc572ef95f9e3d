//! Supervises the further channels of a session, next to channel 0. Each is dialled, joins the session and carries
//! frames until it ends or is found dead; once the receiver has answered for it, it is dialled again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use quinn::{Connection, ConnectionError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use transport::backoff::Backoff;
use transport::control::{ControlReader, ControlWriter, close, received_close};
use transport::endpoint::{Dialer, Dialled, keep_windows};
use wire::close::{Close, Disposition};
use wire::control::{Control, Welcome};
use wire::hello::FEATURE_CHANNELS;
use wire::limits::RETRY_AFTER;

use crate::board::{Board, ChannelPlace};
use crate::dispatch::dispatcher::Dispatcher;
use crate::dispatch::health::{CHECK_INTERVAL, Health};
use crate::dispatch::striping::ChannelId;

/// First wait before dialling again, for channels and sessions: resuming is cheap, and so is trying.
pub const REDIAL_MIN: Duration = Duration::from_millis(100);
/// Longest wait before dialling again.
pub const REDIAL_MAX: Duration = Duration::from_secs(1);
/// Time that the receiver may take to answer a join, or for a channel that was abandoned. It decides immediately, so
/// that this is the path's time, with room for a few lost packets.
const ANSWER: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct ChannelDialer {
    pub dialer: watch::Receiver<Dialer>,
    /// Channel 0, which carries the control messages.
    pub first: Dialled,
    /// Number of channels that the session shall have, channel 0 included.
    pub count: u16,
}

/// Supervisor of the further channels of one session. They end when it is dropped.
pub(super) struct ChannelSupervisor {
    tasks: JoinSet<()>,
    dispatcher: Dispatcher,
    /// Reasons why the session cannot continue.
    ends: mpsc::Receiver<String>,
}

/// Context that the tasks of all further channels share.
struct ExtraChannels {
    dialer: ChannelDialer,
    dispatcher: Dispatcher,
    control: mpsc::Sender<Control>,
    board: Arc<Board>,
    token: u128,
    receiver: u128,
    next: AtomicU32,
    ends: mpsc::Sender<String>,
}

/// Reason why a channel did not join.
struct JoinError {
    reason: String,
    /// True if the receiver asks for a longer wait.
    retry_later: bool,
}

impl ChannelSupervisor {
    /// Dials the channels that are missing next to channel 0, unless the receiver supports no further channels.
    pub(super) fn start(
        dialer: ChannelDialer,
        dispatcher: Dispatcher,
        control: mpsc::Sender<Control>,
        board: Arc<Board>,
        welcome: &Welcome,
    ) -> Self {
        let (ends_in, ends) = mpsc::channel(1);
        let count = if welcome.features & FEATURE_CHANNELS == 0 { 1 } else { dialer.count };
        board.publish(|published| published.channels.resize_with(usize::from(count), ChannelPlace::default));
        let shared = Arc::new(ExtraChannels {
            dialer,
            dispatcher: dispatcher.clone(),
            control,
            board,
            token: welcome.token,
            receiver: welcome.receiver,
            next: AtomicU32::new(1),
            ends: ends_in,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(end_dead_channels(Arc::clone(&shared)));
        let open = dispatcher.clone();
        tasks.spawn(async move { match keep_windows(move || open.dialled()).await {} });
        for place in 1..count {
            tasks.spawn(keep_open(Arc::clone(&shared), usize::from(place)));
        }
        Self { tasks, dispatcher, ends }
    }

    /// Waits until the session cannot continue, and returns the reason.
    pub(super) async fn end(&mut self) -> String {
        match self.ends.recv().await {
            Some(end) => end,
            // The tasks keep the sending half for as long as they run.
            None => std::future::pending().await,
        }
    }
}

impl Drop for ChannelSupervisor {
    fn drop(&mut self) {
        self.tasks.abort_all();
        self.dispatcher.close();
    }
}

async fn keep_open(shared: Arc<ExtraChannels>, place: usize) {
    let mut backoff = Backoff::try_new(REDIAL_MIN, REDIAL_MAX).expect("the constants are in order");
    loop {
        let channel = shared.next.fetch_add(1, Ordering::Relaxed);
        let wait = match shared.join(channel).await {
            Ok((dialled, _control)) => {
                backoff.reset();
                shared.carry(place, channel, &dialled).await;
                backoff.next_delay(rand::random())
            }
            Err(JoinError { reason, retry_later }) => {
                let wait = if retry_later { RETRY_AFTER } else { backoff.next_delay(rand::random()) };
                tracing::warn!(place, reason, retry_in = ?wait, "channel did not join; the session continues without it");
                wait
            }
        };
        tokio::time::sleep(wait).await;
        shared.board.publish(|published| published.redials += 1);
    }
}

async fn end_dead_channels(shared: Arc<ExtraChannels>) {
    let mut health = Health::default();
    let mut last = Instant::now();
    let mut ticks = tokio::time::interval(CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = ticks.tick().await;
        let dead = health.observe(now - last, &shared.dispatcher.vitals());
        last = now;
        for (channel, silence) in dead {
            let reason = format!("no progress for {:.1} s while others made some", silence.as_secs_f64());
            if channel == 0 {
                let _ = shared.ends.try_send(format!("channel 0 made {reason}"));
                return;
            }
            tracing::warn!(channel, reason, "channel is dead");
            shared.board.publish(|published| published.dead_channels += 1);
            if let Some(connection) = shared.dispatcher.connection(channel) {
                close(&connection, &Close::normal(reason));
            }
        }
    }
}

impl ExtraChannels {
    /// Dials a channel and joins the session. The caller keeps the control stream for as long as the channel.
    async fn join(&self, channel: ChannelId) -> Result<(Dialled, (ControlReader, ControlWriter)), JoinError> {
        let dialer = self.dialer.dialer.borrow().clone();
        let dialled = dialer.dial_again(&self.dialer.first).await.map_err(|fault| JoinError::because(&fault))?;
        let connection = &dialled.connection;
        let (send, recv) = connection.open_bi().await.map_err(|error| JoinError::of(connection, &error))?;
        let mut writer = ControlWriter::new(send);
        let mut reader = ControlReader::new(recv);
        let join = Control::JoinChannel { token: self.token, receiver: self.receiver, channel };
        writer.send(&join).await.map_err(|error| JoinError::of(connection, &error))?;
        match timeout(ANSWER, reader.next()).await {
            Ok(Ok(Control::ChannelOpen { channel: answered })) if answered == channel => {
                Ok((dialled, (reader, writer)))
            }
            Ok(Ok(Control::Close(close))) => Err(JoinError::refused(&close)),
            Ok(Ok(other)) => Err(JoinError::because(&format!("unexpected {}", wire::codec::control_name(&other)))),
            Ok(Err(error)) => Err(JoinError::of(connection, &error)),
            Err(_) => Err(JoinError::because(&format!("no answer within {} s", ANSWER.as_secs()))),
        }
    }

    /// Lets a channel carry frames until it ends, and waits until the receiver has answered for it.
    async fn carry(&self, place: usize, channel: ChannelId, dialled: &Dialled) {
        let connection = &dialled.connection;
        let local = dialled.endpoint.local_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string());
        tracing::info!(channel, local, "channel joined");
        self.in_place(place, |place| place.connection = Some(connection.clone()));
        self.dispatcher.open(channel, dialled.clone());
        let detail = match connection.closed().await {
            ConnectionError::LocallyClosed => "closed by this sender".to_owned(),
            error => error.to_string(),
        };
        self.in_place(place, |place| *place = ChannelPlace { connection: None, before: place.wire() });
        tracing::warn!(channel, detail, "channel ended; the session continues, and the channel is dialled again");
        if self.dispatcher.abandon(channel) {
            // The queue's reader runs until the session ends.
            let _ = self.control.send(Control::ChannelClosed { channel, detail }).await;
        }
        if timeout(ANSWER, self.dispatcher.answered(channel)).await.is_err() {
            let end = format!("receiver has not answered for channel {channel} within {} s", ANSWER.as_secs());
            let _ = self.ends.try_send(end);
        }
    }

    fn in_place(&self, place: usize, change: impl FnOnce(&mut ChannelPlace)) {
        self.board.publish(|published| {
            if let Some(place) = published.channels.get_mut(place) {
                change(place);
            }
        });
    }
}

impl JoinError {
    fn because(reason: &impl ToString) -> Self {
        Self { reason: reason.to_string(), retry_later: false }
    }

    fn refused(Close { code, detail }: &Close) -> Self {
        let retry_later = code.disposition() != Disposition::Reconnect;
        Self { reason: format!("receiver refuses it: {detail} ({})", code.name()), retry_later }
    }

    /// Returns the reason why a join failed. A close that the receiver sent says more than the stream's error.
    fn of(connection: &Connection, error: &impl ToString) -> Self {
        match connection.close_reason() {
            Some(ConnectionError::ApplicationClosed(close)) => Self::refused(&received_close(&close)),
            Some(error) => Self::because(&error),
            None => Self::because(error),
        }
    }
}
