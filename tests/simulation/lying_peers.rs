//! Peers that lie: valid and invalid, repeated, reordered and contradictory messages and frames, against the state
//! machines of the other end. Nothing panics, memory stays within its bounds, and a contradiction ends the session with a
//! reason; the next session works.

use crate::dice::Dice;
use crate::lies::Reasons;
use crate::lying_receiver::LyingReceiver;
use crate::lying_sender::LyingSender;
use crate::number;

/// Messages of a receiver, and of a sender, in a run of the whole suite: about 15 s each.
const RECEIVER_STEPS: u64 = 700_000;
const SENDER_STEPS: u64 = 300_000;
/// Messages of one seed.
const STEPS_OF_SEED: u64 = 1_000;

/// Runs seeds of a peer until it has sent all `steps`. `run` notes the reasons of sessions that ended.
fn for_all_steps(steps: u64, run: impl Fn(u64, &mut Reasons) -> Result<(), String>) -> Reasons {
    let mut reasons = Reasons::new();
    let steps = number("LIE_STEPS").unwrap_or(steps);
    let first = number("SEED").or_else(|| number("SIM_FIRST")).unwrap_or(0);
    let seeds = number("SEED").map_or_else(|| steps.div_ceil(STEPS_OF_SEED), |_| 1);
    for seed in first..first + seeds {
        if let Err(broken) = run(seed, &mut reasons) {
            panic!("seed {seed}: {broken}\nreplay: SEED={seed} cargo test -p causeway-tests --test simulation lying");
        }
    }
    for (reason, count) in &reasons {
        println!("{count:8} sessions ended: {reason}");
    }
    reasons
}

/// Ensures that each of these was found at least once.
fn ensure_found(reasons: &Reasons, expected: &[&str]) {
    let is_found = |words: &&&str| reasons.keys().any(|reason| reason.contains(**words));
    let missing: Vec<_> = expected.iter().filter(|words| !is_found(words)).collect();
    assert!(number("SEED").is_some() || missing.is_empty(), "no lie led to {missing:?}: {reasons:?}");
}

#[test]
fn lying_receiver_ends_only_its_session() {
    let reasons =
        for_all_steps(RECEIVER_STEPS, |seed, reasons| LyingReceiver::new(Dice::new(seed)).run(STEPS_OF_SEED, reasons));
    let expected = [
        "is open already",
        "stays closed in its epoch",
        "was never opened",
        "was never granted",
        "is open or was used before",
        "is acked, but",
        "does not exist in this link",
    ];
    ensure_found(&reasons, &expected);
}

#[test]
fn lying_sender_ends_only_its_session() {
    let reasons =
        for_all_steps(SENDER_STEPS, |seed, reasons| LyingSender::new(Dice::new(seed)).run(STEPS_OF_SEED, reasons));
    let expected = [
        "was never opened",
        "was never granted",
        "was used before in this epoch",
        "but its run begins at",
        "bytes unacknowledged, credit is",
        "checksum does not match",
    ];
    ensure_found(&reasons, &expected);
}
