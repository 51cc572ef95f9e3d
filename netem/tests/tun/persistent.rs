//! Tests of `netem up`, `exec` and `down`: a WAN stays up until it is taken down, and no process is left in it.

use crate::processes::{Printed, Record, is_fit};

const NOTHING_UP: &str = "netem: no WAN is up; start one with `causeway netem up`";
const STAY: &str = "setsid sleep 1000 & echo started; cat";

#[test]
fn a_wan_stays_up_until_down_ends_it_and_its_processes() {
    if !is_fit() {
        return;
    }
    let record = Record::new();
    assert_eq!(record.netem(&["exec", "source", "--", "true"]).err.trim_end(), NOTHING_UP);
    assert_eq!(record.netem(&["up", "--profile", "lan"]).code, 0);
    let again = record.netem(&["up"]);
    assert!(again.code == 1 && again.err.contains("is up already"), "{again:?}");
    for (end, address) in [("source", "198.18.0.1 peer"), ("target", "198.19.0.1 peer")] {
        let Printed { code, out, .. } = record.netem(&["exec", end, "--", "sh", "-c", "ip -o address; exit 4"]);
        assert!(code == 4 && out.contains(address), "{end}: {code} {out}");
    }
    let mut inside = record.start(&["exec", "target", "--", "sh", "-c", STAY]);
    inside.await_line("started");
    let down = record.netem(&["down"]);
    assert!(down.code == 0 && down.err.contains("lateness"), "{down:?}");
    inside.await_end_of_all();
    assert_eq!(record.netem(&["down"]).err.trim_end(), NOTHING_UP);
}

#[test]
fn a_command_ends_with_the_exec_that_started_it() {
    if !is_fit() {
        return;
    }
    let record = Record::new();
    assert_eq!(record.netem(&["up"]).code, 0);
    let mut inside = record.start(&["exec", "source", "--", "sh", "-c", "echo started; exec cat"]);
    inside.await_line("started");
    inside.kill();
    inside.await_end_of_all();
    assert_eq!(record.netem(&["down"]).code, 0);
}

#[test]
fn up_and_down_remove_the_record_of_a_wan_that_ended() {
    if !is_fit() {
        return;
    }
    let record = Record::new();
    for command in [&["down"][..], &["up"]] {
        assert_eq!(record.netem(&["up"]).code, 0);
        let mut inside = record.start(&["exec", "target", "--", "sh", "-c", STAY]);
        inside.await_line("started");
        record.kill_holder();
        inside.await_end_of_all();
        let next = record.netem(command);
        assert_eq!(next.code, 0, "{next:?}");
        assert!(command == ["up"] || next.err.contains("removed its record"), "{next:?}");
    }
    assert_eq!(record.netem(&["down"]).code, 0);
}
