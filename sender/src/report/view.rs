//! Report of one sender: reads its board and adds what is measured about it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use service::credentials::board::BOARD;
use service::lock::Lock;
use service::status::Tally;
use transport::congestion::Flow;
use wire::condition::Condition;
use wire::units::Rate;

use crate::board::{Board, Published, State, on_standby};
use crate::config::CostConfig;
use crate::dispatch::dispatcher::Dispatcher;
use crate::groups::board::GroupStatus;
use crate::lane::progress::{Snapshot, Totals};
use crate::partitions::router::Router;
use crate::report::cost::CostStatus;
use crate::report::cost::meter::{CostMeter, Reading};
use crate::report::cost::metrics::CostReading;
use crate::report::forecast::Forecast;
use crate::report::lag::{PartitionStatus, TopicStatus};
use crate::report::latency::{PeerClockStatus, StageStatus};
use crate::report::measured::Measured;
use crate::report::moment::Moment;
use crate::report::open_transactions::OpenTransaction;
use crate::report::path::PathReading;
use crate::report::sampler::Sample;
use crate::report::status::{ChannelStatus, ClassStatus, LaneStatus, NotCarried, Status};
use crate::source::FetchedBytes;

/// Interval at which topics that are no longer carried are looked for.
const FOLD_EVERY: Duration = Duration::from_secs(60);
/// Name of the series of all topics that have none of their own. No topic can be called so.
const OTHERS: &str = "(others)";

#[derive(Debug, Default)]
pub struct Report {
    board: Arc<Board>,
    measured: Lock<Measured>,
    costs: Lock<Costs>,
}

/// Meter of the costs, and what prices it.
#[derive(Debug, Default)]
struct Costs {
    meter: CostMeter,
    prices: CostConfig,
    began: Option<Instant>,
    /// Next time at which topics that are no longer carried are folded.
    fold_at: Option<Instant>,
}

impl Report {
    pub fn new(board: Arc<Board>) -> Self {
        Self { board, measured: Lock::default(), costs: Lock::default() }
    }

    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Checks that this sender can do its work. The error is a sentence that says what prevents it.
    pub fn ready(&self) -> Result<(), String> {
        self.moment().ready()
    }

    /// Returns each topic that is carried.
    /// Error: a sentence on standby: another sender moves the positions, and knows them.
    pub fn topics(&self) -> Result<Vec<TopicStatus>, String> {
        let published = self.holder()?;
        let lanes = published.snapshots();
        Ok(self.measured.lock().clone().lag.topics(&lanes, &published.router_for(&lanes)))
    }

    /// Returns each partition of a topic that is carried.
    /// Error: a sentence on standby, and where there is no such topic.
    pub fn partitions(&self, topic: &str) -> Result<Vec<PartitionStatus>, String> {
        let published = self.holder()?;
        let measured = self.measured.lock().clone();
        let lanes = published.snapshots();
        let partitions = measured.lag.partitions(Some(topic), &lanes, &published.router_for(&lanes));
        if partitions.is_empty() {
            let left_out = measured.not_carried.iter().find(|other| other.topic == topic);
            return Err(left_out.map_or_else(
                || format!("this sender carries no topic {topic}: see `source.topics` and `source.exclude`"),
                |other| format!("{topic} is not carried: link {} writes it here; see `source.forward`", other.by),
            ));
        }
        Ok(partitions)
    }

    /// Returns what the link costs, on standby too: what this process has sent.
    pub fn cost(&self) -> CostStatus {
        let costs = self.costs.lock();
        let seconds = costs.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
        CostStatus::of(&costs.meter, &costs.prices, self.sent_bytes(), seconds)
    }

    /// Returns the cost, and the bytes of the topics that have series of their own in the metrics.
    pub(super) fn cost_reading(&self) -> CostReading {
        let cost = self.cost();
        let costs = self.costs.lock();
        let (own, others) = costs.meter.series();
        let mut series: Vec<_> = own.into_iter().map(|(topic, counted)| (topic.to_owned(), counted)).collect();
        series.sort_by(|a, b| a.0.cmp(&b.0));
        series.push((OTHERS.to_owned(), others));
        CostReading { cost, series }
    }

    /// IP bytes that the sockets have sent.
    fn sent_bytes(&self) -> u64 {
        self.board.rates().budget().usage().wire_bytes
    }

    /// Takes in the prices of the configuration.
    pub(super) fn set_prices(&self, prices: CostConfig) {
        self.costs.lock().prices = prices;
    }

    /// Shares out what the link has sent since the last time. `fetched` counts what the source has sent.
    pub(super) fn count_cost(&self, now: Instant, fetched: Option<&FetchedBytes>) {
        let lanes = self.board.read().lanes;
        let mut costs = self.costs.lock();
        // The lanes first: the bytes of frames that are acked by then are on the wire.
        let lanes = lanes.iter().map(|lane| lane.take_bytes()).collect();
        let fetched_bytes = fetched.map(FetchedBytes::get);
        costs.began.get_or_insert(now);
        costs.meter.handle(now, Reading { lanes, wire_bytes: self.sent_bytes(), fetched_bytes });
        if costs.fold_at.is_none_or(|at| now >= at) {
            costs.fold_at = Some(now + FOLD_EVERY);
            let listed = Arc::clone(&self.board.topics().borrow().topics);
            let carried: HashSet<&str> = listed.iter().map(|topic| &*topic.name).collect();
            if !carried.is_empty() {
                costs.meter.fold(|topic| carried.contains(topic));
            }
        }
    }

    /// Returns each consumer group whose offsets are carried.
    /// Error: a sentence on standby, and where none is known.
    pub fn groups(&self) -> Result<Vec<GroupStatus>, String> {
        self.holder()?;
        self.board.groups().groups()
    }

    pub(super) fn lanes(&self) -> Vec<Snapshot> {
        self.board.read().snapshots()
    }

    /// Takes a sample, at a time of the clock that the lanes use.
    pub(super) fn sample(&self, now: Instant) -> Sample {
        let published = self.board.read();
        let flow = published.flow.as_ref().map(Flow::report);
        let usage = self.board.rates().budget().usage();
        Sample {
            path: published.first_channel().map(|channel| PathReading { rtt: channel.rtt(), flow }),
            wire: published.wire(),
            ip_bytes: usage.wire_bytes,
            waited: usage.waited,
            rate: self.board.rates().rate().map(Rate::bits_per_second),
            raw_bytes: published.totals().raw_bytes,
            lanes: published.activities.iter().map(|activity| activity.spent(now)).collect(),
        }
    }

    /// Takes in a measurement.
    pub(super) fn measure(&self, change: impl FnOnce(&mut Measured)) {
        change(&mut self.measured.lock());
    }

    /// Takes in the topics that are not carried, and logs them if they have changed.
    pub(super) fn set_not_carried(&self, not_carried: Vec<NotCarried>) {
        let mut measured = self.measured.lock();
        if measured.not_carried == not_carried {
            return;
        }
        if let Some(first) = not_carried.first() {
            tracing::info!(
                topics = not_carried.len(),
                first = first.topic,
                reason = first.reason.word(),
                by = first.by,
                "not carrying topics that links write here; name those to be forwarded in `source.forward`"
            );
        }
        measured.not_carried = not_carried;
    }

    /// Takes in the transactions at the source that have been open for long, and logs those that are new.
    pub(super) fn set_open_transactions(&self, open: Vec<OpenTransaction>) {
        let mut measured = self.measured.lock();
        let known = |one: &OpenTransaction| measured.open_transactions.iter().any(|other| other.is_in_place_of(one));
        for new in open.iter().filter(|one| !known(one)) {
            tracing::warn!(topic = new.topic, partition = new.partition, "{}", new.sentence());
        }
        measured.open_transactions = open;
    }

    /// Publishes the condition of this end, which sessions tell the receiver.
    pub(super) fn tell(&self, condition: Condition) {
        self.board.condition().send_if_modified(|known| {
            let changed = *known != condition;
            *known = condition;
            changed
        });
    }

    pub(super) fn moment(&self) -> Moment {
        let published = self.board.read();
        Moment {
            lanes: published.snapshots(),
            published,
            measured: self.measured.lock().clone(),
            unmatched: self.board.topics().borrow().unmatched.clone(),
            rate: self.board.rates().status(),
            recent_delays: self.board.latency().recent_delays(),
            carried_trouble: self.board.groups().trouble().into_iter().chain(self.board.acls().trouble()).collect(),
            now: Instant::now(),
        }
    }

    /// Returns everything about the sender at one moment.
    pub fn status(&self) -> Status {
        let moment = self.moment();
        let limited_by = moment.limit();
        let trouble = moment.trouble().into_iter().chain(BOARD.trouble()).collect();
        let latency = self.board.latency();
        let Moment { published, measured, lanes, .. } = &moment;
        let in_session = published.session_began.is_some();
        let dispatcher = published.dispatcher.as_ref();
        let credit = dispatcher.filter(|_| in_session).map(Dispatcher::credit_usage);
        Status {
            role: "sender",
            version: env!("CARGO_PKG_VERSION").to_owned(),
            limited_by,
            trouble,
            certificates: BOARD.status(),
            session_seconds: published.session_began.map(|began| began.elapsed().as_secs_f64()),
            rtt_seconds: published.first_channel().map(|channel| channel.rtt().as_secs_f64()),
            // On standby another sender moves the positions.
            forecast: if moment.is_standby() { Forecast::default() } else { measured.forecast.clone() },
            lag_records: moment.lag_records(),
            lag_unknown_partitions: measured.lag.unknown,
            lag_age_seconds: moment.lag_age().map(|age| age.as_secs_f64()),
            path: measured.trend.path.clone(),
            efficiency_ratio: measured.trend.efficiency,
            latency: StageStatus::all(&latency),
            peer_clock: PeerClockStatus::of(&latency),
            wire: published.wire(),
            channels: published.channels.iter().filter(|place| place.connection.is_some()).count(),
            channels_wanted: published.channels.len(),
            by_channel: published.channels.iter().enumerate().map(|(n, place)| ChannelStatus::of(n, place)).collect(),
            credit_used_bytes: credit.map(|credit| credit.used),
            credit_bytes: credit.map(|credit| credit.total),
            frame_state_bytes: published.frame_state.map(|bound| bound.bytes() as u64),
            totals: published.totals(),
            in_flight_bytes: lanes.iter().map(|lane| lane.in_flight_bytes).sum(),
            unacked_seconds: moment.unacked().map(|unacked| unacked.as_secs_f64()),
            lanes: lanes.len(),
            lanes_open: moment.lanes_open(),
            lanes_closed: lanes.iter().filter_map(|lane| lane.closed.clone()).collect(),
            lane_closes: Tally::sum(lanes.iter().map(|lane| &lane.closes)),
            partitions: lanes.iter().map(|lane| lane.partitions).sum(),
            halted: moment.halted().cloned().collect(),
            waiting_at_source: measured.lag.waiting.len(),
            waiting_at_target: moment.waiting_at_target(),
            waiting: moment.waiting(),
            receiver_condition: moment.receiver(),
            by_lane: lanes.iter().enumerate().map(|(n, lane)| LaneStatus::of(n, lane)).collect(),
            classes: dispatcher
                .map(|dispatcher| ClassStatus::all(dispatcher, lanes, &published.choices))
                .unwrap_or_default(),
            closes: published.closes.clone(),
            link: published.link.clone(),
            instance: published.instance.clone(),
            state: published.state.clone(),
            receiver: published.receiver.clone(),
            target_cluster: published.target_cluster.clone(),
            sessions: published.sessions,
            last_end: published.last_end.clone(),
            channel_redials: published.redials,
            dead_channels: published.dead_channels,
            source_transactions_open: measured.open_transactions.clone(),
            not_carried: measured.not_carried.clone(),
            deleted_topics: published.deleted_topics.clone(),
            unmatched_entries: moment.unmatched,
            consumer_groups: self.board.groups().status(),
            followed_acls: self.board.acls().status(),
            rate: moment.rate,
        }
    }

    /// Returns what is published, unless another sender knows better.
    fn holder(&self) -> Result<Published, String> {
        let published = self.board.read();
        match &published.state {
            State::Standby { behind } => Err(on_standby(behind)),
            _ => Ok(published),
        }
    }
}

impl Published {
    fn snapshots(&self) -> Vec<Snapshot> {
        self.lanes.iter().map(|lane| lane.snapshot()).collect()
    }

    /// Returns the counters over all lanes.
    pub(super) fn totals(&self) -> Totals {
        self.lanes.iter().fold(Totals::default(), |sum, lane| sum + lane.totals())
    }

    /// Returns the router of the last session; before the first one, that of a link without classes.
    fn router_for(&self, lanes: &[Snapshot]) -> Router {
        let plain = || Router::plain(u16::try_from(lanes.len().max(1)).unwrap_or(u16::MAX));
        self.router.clone().unwrap_or_else(plain)
    }
}
