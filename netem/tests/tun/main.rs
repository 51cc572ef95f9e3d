//! The tun mode's promises to whoever uses it: a command gets its WAN, its signals and its exit code, and
//! nothing is left behind however it ends.

mod bursts;
mod processes;

use processes::{Netem, Printed, Record, is_fit, netem};

#[test]
fn a_command_runs_at_the_source_and_its_exit_code_is_returned() {
    if !is_fit() {
        return;
    }
    let ran = netem(&["run", "--path", "delay 5 ms", "--", "sh", "-c", "ip -o address; cat /proc/1/comm; exit 7"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.out.contains("198.18.0.1 peer 198.19.0.1"), "{ran:?}");
    assert!(ran.out.contains("netem"), "process 1 is ours: {ran:?}");
    assert!(ran.err.contains("valid"), "{ran:?}");
}

#[test]
fn the_other_end_is_reached_with_exec_and_speaks_the_congestion_control_that_was_asked_for() {
    if !is_fit() {
        return;
    }
    let there = format!("{} exec target -- sh -c 'ip -o address; ip route'", Netem::PATH);
    let ran = netem(&["run", "--tcp", "reno", "--", "sh", "-c", &there]);
    assert!(ran.out.contains("198.19.0.1 peer 198.18.0.1"), "{ran:?}");
    assert!(ran.out.contains("congctl reno"), "{ran:?}");
}

#[test]
fn a_command_that_cannot_be_started_is_named() {
    if !is_fit() {
        return;
    }
    let ran = netem(&["run", "--", "/nonexistent/command"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("/nonexistent/command: No such file"), "{ran:?}");
    let ran = netem(&["run", "--tcp", "nonesuch", "--", "true"]);
    assert!(ran.code == 1 && ran.err.contains("building the namespaces: ip: "), "{ran:?}");
}

#[test]
fn nothing_outlives_a_run_that_is_killed() {
    if !is_fit() {
        return;
    }
    let mut run = Netem::start(&["run", "--", "sh", "-c", "setsid sleep 1000 & echo started; cat"]);
    run.await_line("started");
    run.kill();
    // Everything that was started holds the other end of our pipe, so its end is theirs.
    run.await_end_of_all();
}

#[test]
fn a_request_to_end_reaches_the_command() {
    if !is_fit() {
        return;
    }
    let script = "trap 'echo asked; exit 3' TERM; exec 3<&0; echo started; cat <&3 & wait";
    let mut run = Netem::start(&["run", "--", "sh", "-c", script]);
    run.await_line("started");
    run.ask_to_end();
    run.await_line("asked");
    assert_eq!(run.exit_code(), 3);
}

#[test]
fn a_wan_stays_up_until_it_is_taken_down_with_everything_in_it() {
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
fn a_command_at_one_end_ends_with_the_exec_that_started_it() {
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
fn the_record_of_a_wan_whose_process_is_gone_is_swept() {
    if !is_fit() {
        return;
    }
    let record = Record::new();
    for sweep in [&["down"][..], &["up"]] {
        assert_eq!(record.netem(&["up"]).code, 0);
        let mut inside = record.start(&["exec", "target", "--", "sh", "-c", STAY]);
        inside.await_line("started");
        record.kill_holder();
        inside.await_end_of_all();
        let swept = record.netem(sweep);
        assert_eq!(swept.code, 0, "{swept:?}");
        assert!(sweep == ["up"] || swept.err.contains("swept"), "{swept:?}");
    }
    assert_eq!(record.netem(&["down"]).code, 0);
}

const NOTHING_UP: &str = "netem: no WAN is up; start one with `causeway netem up`";
const STAY: &str = "setsid sleep 1000 & echo started; cat";
