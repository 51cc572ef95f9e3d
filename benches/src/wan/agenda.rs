//! Which trials are still to be run, and how long they take.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::cell::{Cell, Contestant, Scenario};
use super::iperf;
use super::store::Key;
use super::trial::Bench;

/// Around a trial: building the path, two handshakes, taking all of it down.
const AROUND: Duration = Duration::from_secs(2);

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Trials of each contestant in each cell.
    pub(crate) seeds: u64,
    /// Nobody beside Causeway.
    pub(crate) ours_only: bool,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Agenda<'a> {
    /// In the order in which it is done.
    pub(crate) due: Vec<(&'a Cell, Key)>,
    /// Why contestants are left out.
    pub(crate) left_out: BTreeSet<String>,
}

impl<'a> Agenda<'a> {
    /// Everything wanted of `cells` but what is `done`, and but those contestants for which `missing` gives a reason.
    pub(crate) fn new(
        wanted: Wanted,
        cells: &'a [Cell],
        seconds: Duration,
        done: &HashSet<Key>,
        missing: impl Fn(&Cell, Contestant) -> Option<String>,
    ) -> Self {
        let mut agenda = Self { due: Vec::new(), left_out: BTreeSet::new() };
        for cell in cells {
            let beside = if wanted.ours_only { &[] } else { cell.beside };
            for &contestant in [Contestant::Causeway].iter().chain(beside) {
                if let Some(why) = missing(cell, contestant) {
                    agenda.left_out.insert(why);
                    continue;
                }
                let seconds = seconds.as_secs();
                let key = |seed| Key { cell: cell.name.clone(), contestant, seed, seconds };
                let keys = (1..=wanted.seeds).map(key).filter(|key| !done.contains(key));
                agenda.due.extend(keys.map(|key| (cell, key)));
            }
        }
        agenda
    }

    /// How long all of it takes, if no emulator is late.
    pub(crate) fn takes(&self, bench: &Bench) -> Duration {
        let trial = |cell: &Cell| cell.warm_up(bench.warm_up) + cell.duration(bench.seconds) + AROUND;
        self.due.iter().map(|(cell, _)| trial(cell)).sum()
    }
}

/// Why this machine cannot run a contestant in a cell, if it cannot.
pub(crate) fn missing(cell: &Cell, contestant: Contestant) -> Option<String> {
    let beside = (cell.scenario == Scenario::BesideTcp).then_some("cubic");
    let tcp = contestant.tcp().or(beside)?;
    if let Some(why) = iperf::missing() {
        return Some(why.to_owned());
    }
    let why = || format!("this kernel has no TCP {tcp} (modprobe tcp_{tcp}): it is not measured");
    (!iperf::has(tcp)).then(why)
}

#[cfg(test)]
mod tests {
    use super::super::plan;
    use super::*;

    const SECONDS: Duration = Duration::from_secs(15);

    fn agenda<'a>(wanted: Wanted, cells: &'a [Cell], done: &HashSet<Key>) -> Agenda<'a> {
        Agenda::new(wanted, cells, SECONDS, done, |_, _| None)
    }

    #[test]
    fn what_is_done_is_not_done_again_unless_it_was_measured_for_another_time() {
        let cells = &plan::all()[..1];
        let wanted = Wanted { seeds: 3, ours_only: true };
        let key = |seed, seconds| Key { cell: cells[0].name.clone(), contestant: Contestant::Causeway, seed, seconds };
        let seeds = |agenda: &Agenda<'_>| agenda.due.iter().map(|(_, key)| key.seed).collect::<Vec<_>>();
        assert_eq!(seeds(&agenda(wanted, cells, &HashSet::new())), [1, 2, 3]);
        assert_eq!(seeds(&agenda(wanted, cells, &HashSet::from([key(2, 15), key(3, 10)]))), [1, 3]);
    }

    #[test]
    fn who_is_missing_is_named_once_and_the_others_are_measured() {
        let cells = &plan::all()[..2];
        let wanted = Wanted { seeds: 1, ours_only: false };
        let missing = |_: &Cell, who: Contestant| who.tcp().map(|_| "no iperf3".to_owned());
        let agenda = Agenda::new(wanted, cells, SECONDS, &HashSet::new(), missing);
        let who: Vec<_> = agenda.due.iter().map(|(_, key)| key.contestant).collect();
        assert_eq!(who, [Contestant::Causeway, Contestant::QuinnCubic].repeat(2));
        assert_eq!(agenda.left_out.len(), 1);
    }
}
