//! Tests of `netem run`: a command gets its WAN, its signals and its exit code, and no process is left when it ends.

use crate::processes::{Netem, is_fit, netem};

#[test]
fn a_command_runs_at_the_source_and_its_exit_code_is_returned() {
    if !is_fit() {
        return;
    }
    let ran = netem(&["run", "--path", "delay 5 ms", "--", "sh", "-c", "ip -o address; cat /proc/1/comm; exit 7"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.out.contains("198.18.0.1 peer 198.19.0.1"), "{ran:?}");
    assert!(ran.out.contains("netem"), "process 1 is netem: {ran:?}");
    assert!(ran.err.contains("valid"), "{ran:?}");
}

#[test]
fn exec_reaches_the_target_with_the_same_congestion_control() {
    if !is_fit() {
        return;
    }
    let there = format!("{} exec target -- sh -c 'ip -o address; ip route'", Netem::PATH);
    let ran = netem(&["run", "--tcp", "reno", "--", "sh", "-c", &there]);
    assert!(ran.out.contains("198.19.0.1 peer 198.18.0.1"), "{ran:?}");
    assert!(ran.out.contains("congctl reno"), "{ran:?}");
}

#[test]
fn an_error_names_the_command_that_cannot_start() {
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
fn no_process_outlives_a_run_that_is_killed() {
    if !is_fit() {
        return;
    }
    let mut run = Netem::start(&["run", "--", "sh", "-c", "setsid sleep 1000 & echo started; cat"]);
    run.await_line("started");
    run.kill();
    // Every process that was started has the other end of our pipe, so that the pipe closes when all have ended.
    run.await_end_of_all();
}

#[test]
fn sigterm_reaches_the_command() {
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
