//! A link between two clusters, and the faults that happen to it. The oracle checks the promise after every step.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sender::CreditUsage;
use sender::ResumeAction;
use sender::Router;
use service::topics::{TopicFilter, TopicPattern};

use crate::cluster::{Cluster, SharedCluster};
use crate::dice::Dice;
use crate::frame_reader::FrameReader;
use crate::logs::Place;
use crate::oracle::Oracle;
use crate::path::Path;
use crate::pausable::Pausable;
use crate::receiver_end::ReceiverEnd;
use crate::scenario::Scenario;
use crate::sender_end::SenderEnd;
use crate::source::SharedSource;
use crate::stripes::Stripes;

/// Number of steps, ten minutes of virtual time, in which everything must arrive once faults have ended.
const FINISH_STEPS: u64 = 6000;

/// Bytes of credit that the largest record needs which a frame can carry at all.
const LARGE_RECORD: u64 = 4096;

const TOPICS: [&str; 3] = ["orders", "payments", "refunds"];

/// State of a whole run.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) dice: Dice,
    pub(crate) source: SharedSource,
    cluster: SharedCluster,
    pub(crate) oracle: Oracle,
    pub(crate) links: Vec<Link>,
    base: Instant,
    now: Duration,
    sessions: u64,
    processes: u64,
    /// Number of frames that were sent again because their channel had died.
    pub(crate) resent: u64,
    /// Number of those that had already arrived.
    pub(crate) dropped: u64,
    /// Number of frames that refer to earlier ones, or are remembered.
    pub(crate) remembered: u64,
    /// Number of times that a receiver was paused within a call.
    pub(crate) pauses: u64,
    traced: bool,
}

/// Sender, receiver and the path between them.
pub(crate) struct Link {
    pub(crate) sender: SenderEnd,
    pub(crate) receiver: Pausable,
    pub(crate) path: Path,
    stripes: Stripes,
    /// Reads the frames of the sender.
    reader: FrameReader,
    session: Option<u64>,
}

impl World {
    pub(crate) fn new(scenario: Scenario, dice: Dice, traced: bool) -> Self {
        let mut world = Self {
            oracle: Oracle::new(scenario.start),
            source: SharedSource::default(),
            cluster: Arc::new(Mutex::new(Cluster::default())),
            links: Vec::new(),
            base: Instant::now(),
            now: Duration::ZERO,
            sessions: 0,
            processes: 0,
            resent: 0,
            dropped: 0,
            remembered: 0,
            pauses: 0,
            scenario,
            dice,
            traced,
        };
        {
            let mut cluster = world.cluster.lock().unwrap();
            cluster.transaction_timeout = world.scenario.transaction_timeout;
            cluster.expiring = world.scenario.expiring;
        }
        world.source.lock().unwrap().has_templates = world.scenario.is_shaped();
        for lane in 0..world.scenario.lanes() {
            let mut cluster = world.cluster.lock().unwrap();
            cluster.logs.create(Place::State(lane));
            cluster.logs.create(Place::Map(lane));
        }
        for _ in 0..world.dice.within(1, 4) {
            world.add_partition();
        }
        let records_before = world.dice.below(20);
        (0..records_before).for_each(|_| world.source.lock().unwrap().append(&world.dice));
        world.add_link();
        world
    }

    /// Runs all steps with faults, and then without faults until everything has arrived.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        let poisons = (0..self.scenario.poisons).map(|_| self.dice.below(self.scenario.steps)).collect::<Vec<_>>();
        for step in 0..self.scenario.steps {
            for _ in poisons.iter().filter(|at| **at == step) {
                self.source.lock().unwrap().append_poison(&self.dice, self.scenario.huge);
            }
            self.inject_faults(step);
            self.step()?;
        }
        self.heal();
        self.finish()
    }

    /// Runs all steps with faults, promotes the link at the latest when they have ended, and then lets its old senders dial.
    pub(crate) fn run_promoted(&mut self) -> Result<(), String> {
        for step in 0..self.scenario.steps {
            self.inject_faults(step);
            self.step()?;
        }
        self.heal();
        for _ in 0..FINISH_STEPS {
            if self.oracle.is_promoted() {
                break;
            }
            self.ask_promotion(false);
            self.now += Duration::from_millis(80);
            self.step()?;
        }
        if !self.oracle.is_promoted() {
            return Err("the link was never promoted".to_owned());
        }
        for _ in 0..100 {
            self.source.lock().unwrap().append(&self.dice);
            self.now += Duration::from_millis(80);
            self.step()?;
        }
        Ok(())
    }

    /// Runs one step of time, of every process, and of the oracle.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        self.now += match self.dice.below(100) {
            0..3 => Duration::from_millis(self.dice.within(200, 2000)),
            _ => Duration::from_millis(self.dice.within(1, 20)),
        };
        self.cluster.lock().unwrap().tick(self.now, &self.dice);
        for index in 0..self.links.len() {
            self.connect(index);
            if self.dice.chance(self.scenario.lifting) {
                let action = if self.dice.chance(200) { ResumeAction::Here } else { ResumeAction::Skip };
                self.trace(|| format!("an operator asks sender {index} for {action:?}"));
                self.links[index].sender.lift(action);
            }
            self.pump_receiver(index)?;
            self.pump_sender(index)?;
        }
        self.check()
    }

    /// Ends all faults, and all links but one.
    pub(crate) fn heal(&mut self) {
        while self.links.len() > 1 {
            let gone = self.dice.below(self.links.len() as u64) as usize;
            self.trace(|| format!("link {gone} is killed and not restarted"));
            self.links.remove(gone);
        }
        self.scenario.pausing = 0;
        self.cluster.lock().unwrap().heal(&self.dice);
        let mut process = self.links[0].receiver.process.lock().unwrap();
        process.failing = 0;
        process.dies_in = None;
    }

    /// Runs steps until everything has arrived and no buffer has anything left.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        for _ in 0..FINISH_STEPS {
            self.now += Duration::from_millis(80);
            self.step()?;
            let in_flight = self.links[0].sender.in_flight();
            let resumed = self.scenario.lifting == 0 || !self.oracle.any_halted();
            let idle = resumed && in_flight == Some(0) && !self.links[0].receiver.is_paused();
            if idle && self.oracle.missing(&self.source.lock().unwrap()).is_none() && self.is_stable() {
                self.oracle.check_maps(&self.cluster.lock().unwrap().logs, self.scenario.lanes())?;
                return self.check_nothing_is_held();
            }
        }
        let missing = self.oracle.missing(&self.source.lock().unwrap());
        Err(format!("never finished: {missing:?}, in flight {:?}", self.links[0].sender.in_flight()))
    }

    /// Checks that what another program wrote is in gaps; see [`Oracle::check_gaps`].
    pub(crate) fn check_gaps(&self) -> Result<(usize, usize), String> {
        self.oracle.check_gaps(&self.cluster.lock().unwrap().logs)
    }

    fn is_stable(&self) -> bool {
        self.cluster.lock().unwrap().logs.is_stable()
    }

    /// Kills and restarts both processes of a link.
    pub(crate) fn restart(&mut self, index: usize) {
        self.kill_sender(index);
        self.replace_receiver(index);
    }

    fn check_nothing_is_held(&mut self) -> Result<(), String> {
        let link = &mut self.links[0];
        let CreditUsage { used, total } = link.sender.dispatcher.credit_usage();
        // A lane may have requested credit for a large record whose partition halted meanwhile: it keeps that for its next
        // frame.
        let frame = self.scenario.packing().frame_bytes;
        let of_lane = if self.oracle.any_halted() { frame.max(LARGE_RECORD) } else { frame };
        let idle = u64::from(self.scenario.lanes()) * of_lane;
        if used > idle {
            return Err(format!("{used} of {total} credit in use, idle lanes need {idle}"));
        }
        if link.stripes.charged() > 0 {
            return Err(format!(
                "{} bytes are charged to the sender, which has none in flight",
                link.stripes.charged()
            ));
        }
        let held = link.receiver.held_bytes();
        let decoded = link.receiver.memory.held();
        let of_lane = self.scenario.state.map_or(1, |bound| bound.bytes() as u64);
        let is_remembered = decoded <= self.scenario.remembered_max() && decoded.is_multiple_of(of_lane);
        if held > 0 || !is_remembered {
            return Err(format!("the idle receiver has {held} bytes of frames, {decoded} of decoded ones"));
        }
        link.sender.disconnect();
        match link.sender.dispatcher.credit_usage().used {
            0 => Ok(()),
            used => Err(format!("{used} bytes of credit were never freed")),
        }
    }

    fn inject_faults(&mut self, step: u64) {
        if self.dice.chance(400) {
            self.source.lock().unwrap().append(&self.dice);
        }
        if self.dice.chance(self.scenario.trimming) {
            self.trace(|| "retention".to_owned());
            self.source.lock().unwrap().trim(&self.dice);
        }
        if self.dice.chance(15) {
            self.add_partition();
        }
        for (from, until) in self.scenario.others.clone() {
            if from == step {
                self.add_link();
            } else if until == step && self.links.len() > 1 {
                let gone = self.dice.below(self.links.len() as u64) as usize;
                self.trace(|| format!("link {gone} is killed"));
                self.links.remove(gone);
            }
        }
        if self.scenario.foreign > 0 && self.dice.chance(self.scenario.foreign) {
            self.write_as_another();
        }
        if let Some(at) = self.scenario.promoted_at.filter(|at| *at <= step) {
            self.ask_promotion(at == step);
        }
        self.change_leaders();
        self.trouble_partitions();
        self.trouble_coordinators();
        let index = self.dice.below(self.links.len() as u64) as usize;
        if self.dice.chance(self.scenario.losing) {
            self.lose_session(index);
        }
        if self.dice.chance(self.scenario.moving) {
            self.reroute(index);
        }
        if self.dice.chance(self.scenario.dying) {
            self.kill_channel(index);
        }
        if self.dice.chance(self.scenario.dying) {
            self.links[index].stripes.join();
        }
        if self.dice.chance(self.scenario.killing) {
            self.kill_sender(index);
        }
        if self.dice.chance(self.scenario.killing) {
            let calls = self.dice.below(40);
            self.trace(|| format!("receiver {index} dies {calls} calls from now"));
            self.links[index].receiver.process.lock().unwrap().dies_in = Some(calls);
        }
    }

    /// Asks one of the receivers to promote the link: at first, and again later, as an operator does.
    pub(crate) fn ask_promotion(&mut self, now: bool) {
        let index = self.dice.below(self.links.len() as u64) as usize;
        if !(now || self.dice.chance(20)) || self.links[index].receiver.is_paused() {
            return;
        }
        self.lose_session(index);
        self.links[index].receiver.promote(self.now);
        self.trace(|| format!("receiver {index} is asked to promote the link"));
    }

    /// Checks what a receiver says that has promoted the link: nothing is appended any more.
    fn check_promoted(&mut self, index: usize) -> Result<(), String> {
        self.check()?;
        let Some(states) = self.links[index].receiver.promoted.take() else { return Ok(()) };
        self.trace(|| format!("receiver {index} has promoted the link"));
        self.oracle.handle_promoted(&states)?;
        let logs = &self.cluster.lock().unwrap().logs;
        let end = |topic: &str, partition| logs.high_watermark(&Place::Data(topic.into(), partition)) as i64;
        self.oracle.check_way_back(&states, end, self.scenario.bug)
    }

    fn write_as_another(&mut self) {
        if let Some(place) = self.oracle.written(&self.dice) {
            let count = self.dice.within(1, 3);
            self.trace(|| format!("another program writes {count} records to {place:?}"));
            self.cluster.lock().unwrap().logs.push_foreign(&place, count);
        }
    }

    fn change_leaders(&mut self) {
        if self.dice.chance(self.scenario.deposing) {
            let lane = self.dice.below(u64::from(self.scenario.lanes())) as u16;
            self.trace(|| format!("the state of lane {lane} has another leader, and the former one does not know it"));
            self.cluster.lock().unwrap().logs.depose_leader(Place::State(lane));
        } else if self.dice.chance(self.scenario.deposing) {
            self.cluster.lock().unwrap().logs.retire_deposed();
        }
    }

    fn trouble_partitions(&mut self) {
        let mut cluster = self.cluster.lock().unwrap();
        if self.dice.chance(self.scenario.troubling) {
            let index = self.dice.below(cluster.logs.places().count() as u64) as usize;
            let place = cluster.logs.places().nth(index).cloned();
            self.trace(|| format!("{place:?} has no leader"));
            place.into_iter().for_each(|place| cluster.logs.trouble(place));
        } else if self.dice.chance(40)
            && let Some(place) = cluster.logs.heal_one(&self.dice)
        {
            self.trace(|| format!("{place:?} has a leader again"));
        }
    }

    fn trouble_coordinators(&mut self) {
        let mut cluster = self.cluster.lock().unwrap();
        let Some(name) = cluster.any_id(&self.dice) else { return };
        if self.dice.chance(self.scenario.hanging) {
            self.trace(|| format!("the coordinator of {name} hangs"));
            cluster.hang_coordinator(&name);
        } else if self.scenario.hanging > 0 && self.dice.chance(60) {
            self.trace(|| format!("the coordinator of {name} is itself again, or another"));
            cluster.resume_coordinator(&name, &self.dice);
        }
    }

    fn add_partition(&mut self) {
        let topic = TOPICS[self.dice.below(3) as usize];
        let mut source = self.source.lock().unwrap();
        let partition = source.partitions(&topic.into());
        source.add_partition(topic, &self.dice);
        self.oracle.note_partition((topic.into(), partition), self.scenario.lanes());
    }

    fn add_link(&mut self) {
        self.processes += 1;
        let router = self.draw_router();
        let link = Link {
            sender: SenderEnd::new(&self.scenario, router, &self.source, &self.dice),
            receiver: self.new_receiver(),
            path: Path::new(self.dice.clone()),
            stripes: Stripes::new(&self.scenario, &self.dice),
            reader: FrameReader::new(self.scenario.state, self.scenario.bug),
            session: None,
        };
        self.links.push(link);
        self.trace(|| "a link is started".to_owned());
    }

    fn lose_session(&mut self, index: usize) {
        self.trace(|| format!("session of link {index} is lost"));
        let link = &mut self.links[index];
        link.path.lose(self.now);
        link.session = None;
    }

    fn kill_channel(&mut self, index: usize) {
        let link = &mut self.links[index];
        if link.receiver.is_paused() || link.session.is_none() {
            return;
        }
        if link.session != link.sender.session || link.session != link.receiver.session {
            return;
        }
        if let Some(channel) = link.stripes.kill_one(self.now, &mut link.path) {
            self.trace(|| format!("channel {channel} of link {index} dies"));
        }
    }

    fn kill_sender(&mut self, index: usize) {
        self.lose_session(index);
        self.trace(|| format!("sender {index} is killed"));
        let router = self.links[index].sender.router.clone();
        let link = &mut self.links[index];
        link.sender = SenderEnd::new(&self.scenario, router, &self.source, &self.dice);
        link.reader = FrameReader::new(self.scenario.state, self.scenario.bug);
    }

    /// Changes the classes of topics, which begins a new session.
    fn reroute(&mut self, index: usize) {
        self.lose_session(index);
        let router = self.draw_router();
        self.trace(|| format!("classes of sender {index} change: {router:?}"));
        let sender = &mut self.links[index].sender;
        sender.router = router;
        sender.disconnect();
    }

    fn draw_router(&self) -> Router {
        let topics = TOPICS.map(|topic| (topic, self.dice.below(3) as usize));
        let of_class = |index: usize| {
            let names = topics.iter().filter(|(_, class)| *class == index);
            let patterns = names.map(|(name, _)| TopicPattern::parse(name).unwrap()).collect();
            TopicFilter::new(patterns, Vec::new())
        };
        let critical = of_class(1);
        let bulk = of_class(2);
        Router::new(self.scenario.classes.clone(), [("critical", &critical), ("bulk", &bulk)].into_iter())
    }

    fn replace_receiver(&mut self, index: usize) {
        self.lose_session(index);
        self.trace(|| format!("receiver {index} is dead"));
        self.processes += 1;
        self.links[index].receiver = self.new_receiver();
    }

    fn new_receiver(&self) -> Pausable {
        let end = ReceiverEnd::new(&self.scenario, &self.cluster, &self.dice, self.processes);
        end.process.lock().unwrap().traced = self.traced.then_some(self.processes);
        Pausable::new(end)
    }

    /// Makes each end notice after a while that the session has ended, and then dials.
    fn connect(&mut self, index: usize) {
        if self.links[index].receiver.is_paused() {
            return;
        }
        if std::mem::take(&mut self.links[index].receiver.refused) {
            // A sender of an older version dials again and again.
            self.lose_session(index);
            self.links[index].receiver.disconnect();
        }
        let link = &mut self.links[index];
        if link.sender.session.is_some() && link.sender.session != link.session && self.dice.chance(200) {
            link.sender.disconnect();
        }
        if link.receiver.session.is_some() && link.receiver.session != link.session && self.dice.chance(200) {
            link.receiver.disconnect();
        }
        if link.sender.session.is_none() && !link.receiver.is_promoting() && self.dice.chance(300) {
            self.sessions += 1;
            let session = self.sessions;
            link.session = Some(session);
            link.receiver.accept(session);
            self.resent += link.stripes.resent;
            self.dropped += link.stripes.dropped;
            link.stripes = Stripes::new(&self.scenario, &self.dice);
            for message in link.sender.connect(session, self.scenario.credit()) {
                link.path.send_to_receiver(self.now, message);
            }
            self.trace(|| format!("session {session} of link {index} begins"));
        }
    }

    fn deliver_to_receiver(&mut self, index: usize) -> Result<(), String> {
        let link = &mut self.links[index];
        while let Some(message) = link.path.poll_to_receiver(self.now) {
            if let Some(answer) = link.stripes.handle_at_receiver(&message, &mut link.path)? {
                link.path.send_to_sender(self.now, answer);
            }
            link.receiver.handle(message)?;
        }
        while let Some(frame) = link.path.poll_stray(self.now) {
            link.receiver.handle_frame(frame)?;
        }
        while let Some(carried) = link.path.poll_frame(self.now) {
            if link.stripes.handle_arrival(&carried)? {
                link.receiver.handle_frame(carried.frame)?;
            }
        }
        Ok(())
    }

    fn pump_receiver(&mut self, index: usize) -> Result<(), String> {
        let mut may_pause = false;
        if !self.links[index].receiver.is_paused() {
            self.deliver_to_receiver(index)?;
            let seeks = self.links[index].receiver.seeks_a_lane();
            may_pause = self.dice.chance(self.scenario.pausing * if seeks { 5 } else { 1 });
        } else if self.dice.chance(500) {
            return Ok(());
        }
        let Some(replies) = self.links[index].receiver.run(may_pause) else {
            self.pauses += 1;
            self.trace(|| format!("receiver {index} pauses"));
            return self.check();
        };
        let replies = replies?;
        if self.links[index].receiver.process.lock().unwrap().dead {
            self.replace_receiver(index);
            return self.check();
        }
        self.check_promoted(index)?;
        for reply in replies {
            self.trace(|| format!("link {index}: {reply:?}"));
            let link = &mut self.links[index];
            self.oracle.check_reply(&reply)?;
            link.stripes.note_reply(&reply);
            if link.session.is_some() && link.session == link.receiver.session {
                link.path.send_to_sender(self.now, reply);
            }
        }
        Ok(())
    }

    fn pump_sender(&mut self, index: usize) -> Result<(), String> {
        let link = &mut self.links[index];
        while let Some(message) = link.path.poll_to_sender(self.now) {
            link.stripes.handle_at_sender(&message, self.now, &mut link.path);
            link.sender.handle(message, self.now).map_err(|error| format!("an honest receiver: {error}"))?;
        }
        let mut messages = if self.dice.chance(300) { link.sender.offer(self.now) } else { Vec::new() };
        let (halts, frames) = link.sender.pump(self.base + self.now);
        messages.extend(halts);
        let CreditUsage { used, total } = link.sender.dispatcher.credit_usage();
        if used > total {
            return Err(format!("{used} bytes of credit in use, there are {total}"));
        }
        for bytes in frames {
            let (bytes, frame) = link.reader.read(bytes)?;
            self.oracle.note_frame(&frame);
            self.remembered += u64::from(frame.header().has_state());
            if self.traced {
                eprintln!("{:?} link {index}: {frame:?}", self.now);
            }
            if link.session.is_some() && link.session == link.sender.session {
                link.stripes.send(self.now, bytes, &mut link.path);
            }
        }
        for message in messages {
            self.oracle.note_message(&message);
            if link.session.is_some() && link.session == link.sender.session {
                link.path.send_to_receiver(self.now, message);
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        self.oracle.check(&self.source.lock().unwrap(), &mut self.cluster.lock().unwrap())
    }

    fn trace(&self, line: impl FnOnce() -> String) {
        if self.traced {
            eprintln!("{:?} {}", self.now, line());
        }
    }
}
