//! `causeway rate` and the rate of a file read again, where no Kafka answers: a sender keeps its rate all the same.

// What a test unwraps, it asserts.
#![allow(clippy::unwrap_used)]

mod process;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use process::{Place, Running, causeway, closed, get};

/// Exit code, and what it said on either stream.
fn rate(admin: SocketAddr, arguments: &[&str]) -> (i32, String) {
    let admin = admin.to_string();
    let output = causeway(&[&["rate", "--admin", &admin], arguments].concat());
    (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn a_rate_is_shown_set_for_a_while_and_reset() {
    let place = Place::new();
    let admin = closed();
    let running = Running::start("send", &place.sender(closed(), closed(), admin)).answering(admin);
    assert_eq!(rate(admin, &[]), (0, "500 Mbit/s by the file; 0 bit/s used, 0 %\n".to_owned()));
    let (code, said) = rate(admin, &["200Mbit/s", "--for", "2h"]);
    assert!(code == 0 && said.starts_with("200 Mbit/s until "), "{said}");
    assert!(said.ends_with(" UTC, unless this process restarts before\n"), "{said}");
    let (code, said) = rate(admin, &[]);
    assert!(code == 0 && said.starts_with("200 Mbit/s by `causeway rate`, until 20"), "{said}");
    let (_, metrics) = get(admin, "/metrics").unwrap();
    assert!(metrics.contains("causeway_sender_rate_bits_per_second{link=\"a-to-b\"} 200000000.0\n"), "{metrics}");
    assert!(metrics.contains("causeway_sender_rate_reason{link=\"a-to-b\",reason=\"command\"} 1.0\n"), "{metrics}");
    assert_eq!(rate(admin, &["--reset"]), (0, "500 Mbit/s again, by `wan.rate`\n".to_owned()));
    let (code, said) = rate(admin, &["--reset"]);
    assert_eq!((code, said.as_str()), (0, "no rate was set by command: 500 Mbit/s stays in effect, by `wan.rate`\n"));
    let (code, said) = rate(admin, &["3 Gbit/s", "--for", "1 s"]);
    assert!(code == 0 && said.starts_with("3 Gbit/s until "), "{said}");
    running.wait_for_labelled(admin, "causeway_sender_rate_bits_per_second{link=\"a-to-b\"} 500000000.0");
    running.terminate();
    let (_, _, log) = running.ended();
    assert!(log.contains(r#"rate from="500 Mbit/s" to="200 Mbit/s" why=`causeway rate`"#), "{log}");
}

#[test]
fn a_restart_forgets_a_rate_by_command() {
    let place = Place::new();
    let admin = closed();
    let file = place.sender(closed(), closed(), admin);
    let running = Running::start("send", &file).answering(admin);
    assert_eq!(rate(admin, &["7 Mbit/s"]).0, 0);
    drop(running);
    let _running = Running::start("send", &file).answering(admin);
    assert!(rate(admin, &[]).1.starts_with("500 Mbit/s by the file; "));
}

#[test]
fn a_rate_of_a_reloaded_file_takes_effect_within_a_second() {
    let place = Place::new();
    let admin = closed();
    let file = place.sender(closed(), closed(), admin);
    let running = Running::start("send", &file).answering(admin);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("500 Mbit/s", "80 Mbit/s")).unwrap();
    running.hang_up();
    let began = std::time::Instant::now();
    running.wait_for_labelled(admin, "causeway_sender_rate_bits_per_second{link=\"a-to-b\"} 80000000.0");
    assert!(began.elapsed().as_secs_f64() < 1.0, "{:?}", began.elapsed());
    let entry = "[[wan.schedule]]\ndays = \"mon-sun\"\nfrom = \"00:00\"\nto = \"24:00\"\nrate = \"30 Mbit/s\"\n";
    let zone = text.replace("[wan]", "[wan]\ntime_zone = \"Asia/Singapore\"");
    fs::write(&file, format!("{zone}{entry}")).unwrap();
    let (status, said) = process::post(admin, "/reload").unwrap();
    assert!(status == 200 && said.contains("\"setting\":\"wan.schedule.mon-sun\""), "{said}");
    assert!(said.contains("\"needs_restart\":[]"), "{said}");
    running.wait_for_labelled(admin, "causeway_sender_rate_bits_per_second{link=\"a-to-b\"} 30000000.0");
    assert!(rate(admin, &[]).1.starts_with("30 Mbit/s by the schedule, mon-sun 00:00-24:00 Asia/Singapore; "));
    // A file that cannot be used changes nothing.
    fs::write(&file, format!("{zone}{entry}{entry}")).unwrap();
    let (status, said) = process::post(admin, "/reload").unwrap();
    let overlap = "the 1st and the 2nd [[wan.schedule]] both hold on mon 00:00; let one end where the other begins";
    assert!(status == 422 && said.contains(overlap), "{said}");
    assert!(rate(admin, &[]).1.starts_with("30 Mbit/s by the schedule"));
}

#[test]
fn a_wrong_rate_or_process_is_refused_with_its_exit_code() {
    let place = Place::new();
    let (first, second) = (closed(), closed());
    let _sender = Running::start("send", &place.sender(closed(), closed(), first)).answering(first);
    let _receiver = Running::start("receive", &place.receiver(closed(), second)).answering(second);
    let nobody = closed();
    let cases: &[(SocketAddr, &[&str], i32, &str)] = &[
        (first, &["1kbit/s"], 1, "1 kbit/s is below the minimum of 64 kbit/s; raise it"),
        (first, &["1 Mbit/s", "--for", "400d"], 1, "more than 366 d: set the rate in the file"),
        (first, &["500"], 2, "`500` has no unit we know; write it like `500 Mbit/s`"),
        (first, &["1 Mbit/s", "--for", "5"], 2, "`5` has no unit we know; write it like `30 s`"),
        (first, &["--for", "2h"], 2, "<RATE>"),
        (first, &["1 Mbit/s", "--reset"], 2, "cannot be used with"),
        (second, &[], 1, "this is a receiver; set the rate on the sender: --admin SENDER:7401"),
        (second, &["1 Mbit/s"], 1, "this is a receiver; set the rate on the sender: --admin SENDER:7401"),
        (nobody, &[], 1, "Connection refused"),
    ];
    for (admin, arguments, code, sentence) in cases {
        let (found, said) = rate(*admin, arguments);
        assert!(found == *code && said.contains(sentence), "{arguments:?}: {found} {said}");
    }
    assert!(rate(first, &[]).1.starts_with("500 Mbit/s by the file"), "nothing of it holds");
}

#[test]
fn a_rate_is_set_only_with_the_token() {
    let place = Place::new();
    let admin = closed();
    let token = place.write("token", "a token that nobody guesses\n");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let file = place.sender(closed(), closed(), admin);
    let text = fs::read_to_string(&file).unwrap().replace("[admin]", "[admin]\ntoken = \"token\"");
    fs::write(&file, text).unwrap();
    let _running = Running::start("send", &file).answering(admin);
    let (code, said) = rate(admin, &["1 Mbit/s"]);
    assert!(
        code == 1 && said.contains("requires the token of its `admin.token`: pass its file with --token"),
        "{said}"
    );
    let token = token.display().to_string();
    assert_eq!(rate(admin, &["1 Mbit/s", "--token", &token]).0, 0);
}
