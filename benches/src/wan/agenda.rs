//! The agenda: trials that are still to be run, and the time they take.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::cell::{Cell, Contestant, Scenario};
use super::results::store::TrialKey;
use super::trial::Bench;
use super::trial::iperf;

/// Time that a trial takes in addition to warm-up and measurement: creating the path, two handshakes, removing everything.
const AROUND: Duration = Duration::from_secs(2);

/// Selection of the user: how many trials, and of which contestants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Selection {
    pub(crate) seeds: u64,
    pub(crate) causeway_only: bool,
}

#[derive(Debug)]
pub(crate) struct Agenda<'a> {
    /// Trials with their cells, in the order in which they run.
    pub(crate) due: Vec<(&'a Cell, TrialKey)>,
    pub(crate) left_out: BTreeSet<String>,
}

impl<'a> Agenda<'a> {
    /// Creates the agenda of `selection` in `cells`, without trials that are `done` and contestants that are `missing`.
    pub(crate) fn new(
        selection: Selection,
        cells: &'a [Cell],
        seconds: Duration,
        done: &HashSet<TrialKey>,
        missing: impl Fn(&Cell, Contestant) -> Option<String>,
    ) -> Self {
        let mut agenda = Self { due: Vec::new(), left_out: BTreeSet::new() };
        for cell in cells {
            let others = if selection.causeway_only { &[] } else { cell.compared_with };
            for &contestant in [Contestant::Causeway].iter().chain(others) {
                if let Some(why) = missing(cell, contestant) {
                    agenda.left_out.insert(why);
                    continue;
                }
                let seconds = seconds.as_secs();
                let key = |seed| TrialKey { cell: cell.name.clone(), contestant, seed, seconds };
                let keys = (1..=selection.seeds).map(key).filter(|key| !done.contains(key));
                agenda.due.extend(keys.map(|key| (cell, key)));
            }
        }
        agenda
    }

    /// Returns the time that all trials take if no emulator is late.
    pub(crate) fn takes(&self, bench: &Bench) -> Duration {
        let trial = |cell: &Cell| cell.warm_up(bench.warm_up) + cell.duration(bench.seconds) + AROUND;
        self.due.iter().map(|(cell, _)| trial(cell)).sum()
    }
}

/// Returns why this machine cannot run a contestant in a cell, if it cannot.
pub(crate) fn missing(cell: &Cell, contestant: Contestant) -> Option<String> {
    let competing = (cell.scenario == Scenario::WithTcpFlow).then_some("cubic");
    let tcp = contestant.tcp().or(competing)?;
    if let Some(why) = iperf::missing() {
        return Some(why.to_owned());
    }
    let why = || format!("TCP {tcp} is not measured: this kernel does not have it (modprobe tcp_{tcp})");
    (!iperf::has(tcp)).then(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wan::plan;

    const SECONDS: Duration = Duration::from_secs(15);

    fn agenda<'a>(selection: Selection, cells: &'a [Cell], done: &HashSet<TrialKey>) -> Agenda<'a> {
        Agenda::new(selection, cells, SECONDS, done, |_, _| None)
    }

    #[test]
    fn a_trial_that_is_done_is_not_repeated_for_the_same_time() {
        let cells = &plan::all()[..1];
        let selection = Selection { seeds: 3, causeway_only: true };
        let key =
            |seed, seconds| TrialKey { cell: cells[0].name.clone(), contestant: Contestant::Causeway, seed, seconds };
        let seeds = |agenda: &Agenda<'_>| agenda.due.iter().map(|(_, key)| key.seed).collect::<Vec<_>>();
        assert_eq!(seeds(&agenda(selection, cells, &HashSet::new())), [1, 2, 3]);
        assert_eq!(seeds(&agenda(selection, cells, &HashSet::from([key(2, 15), key(3, 10)]))), [1, 3]);
    }

    #[test]
    fn a_missing_contestant_is_reported_and_the_others_are_due() {
        let cells = &plan::all()[..2];
        let selection = Selection { seeds: 1, causeway_only: false };
        let missing = |_: &Cell, who: Contestant| who.tcp().map(|_| "no iperf3".to_owned());
        let agenda = Agenda::new(selection, cells, SECONDS, &HashSet::new(), missing);
        let who: Vec<_> = agenda.due.iter().map(|(_, key)| key.contestant).collect();
        assert_eq!(who, [Contestant::Causeway, Contestant::QuinnCubic].repeat(2));
        assert_eq!(agenda.left_out.len(), 1);
    }
}
