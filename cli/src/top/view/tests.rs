//! What is drawn of a state, on terminals of many sizes.

use std::time::Duration;

use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};

use super::super::ask::Said;
use super::*;

fn drawn(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| state.render(frame.area(), frame.buffer_mut())).unwrap();
    terminal.backend().to_string()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_798_761_600 + seconds).unwrap()
}

/// A state whose process has said this, each 5 s after the one before.
fn told(answers: impl IntoIterator<Item = Said>) -> State {
    let mut state = State::new("a:1".into());
    for (said, step) in answers.into_iter().zip(0_u8..) {
        state.handle(said, INTERVAL * u32::from(step), at(i64::from(step) * 5));
    }
    state
}

fn something(shown: Shown) -> Said {
    Said::Something { port: "a:1".into(), options: " --config s.toml".into(), shown: Box::new(shown) }
}

fn nothing() -> Said {
    Said::Nothing { port: "a:1".into(), reason: "a:1: connection\u{1b}[2J refused".into() }
}

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn sender(records: u64, more: Value) -> Said {
    let mut status = json!({
        "link": "fra-to-sin", "instance": "fra-1", "version": "0.1.0", "state": "active", "session_seconds": 90.0,
        "lag_records": 4_711, "lag_age_seconds": 1.0, "rtt_seconds": 0.102, "limited_by": "budget",
        "path": { "loss_ratio": 0.012 },
        "totals": { "frames": 1, "records": records, "raw_bytes": 1, "frame_bytes": 1, "committed_bytes": 1 },
        "rate": { "bits_per_second": 100_000_000, "reason": "file", "throughput_bits_per_second": 5e7 },
        "classes": [{ "class": "bulk", "share_percent": 20.0, "sent_percent": 55.0 }],
    });
    status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let topics = json!([
        { "topic": "bills", "partitions": 3, "lag_records": 12 },
        { "topic": "orders", "partitions": 12, "lag_records": 7, "halted": 1 },
    ]);
    something(Shown::Sender { status: of(status), topics: Ok(of(topics)), groups: Err("not read yet".into()) })
}

fn halted() -> Value {
    json!({ "halted": [{ "topic": "orders", "partition": 3, "reason": "target-not-empty", "detail": "log end 7" }] })
}

fn receiver(links: Value) -> Said {
    let status = of(json!({ "instance": "sin-1", "listen": "0.0.0.0:7443", "links": links }));
    something(Shown::Receiver { status, groups: Ok(Vec::new()) })
}

#[test]
fn a_sender_shows_what_is_wrong_and_what_to_do() {
    let state = told([sender(0, halted()), sender(50, halted())]);
    let shown = drawn(&state, 120, 60);
    for words in [
        "fra-to-sin: sender fra-1 at a:1, as of 2027-01-01 00:00:05 UTC",
        "The answer: wrong",
        "keeping up   no: 4,711 records behind; partitions: 1 halted",
        "limited by   the budget: `wan.rate` is used up",
        "orders/3 halted, target-not-empty: log end 7",
        "records that this link did not write: empty, rename or adopt it.",
        "causeway adopt orders/3 --config s.toml",
        "100 Mbit/s by the file; 50 Mbit/s used, 50 %",
        "round trip: 102.0 ms",
        "loss: 1.20 %",
        "Records sent: 10/s",
        "Lag: 4,711 records",
        "Queue of the path: unknown",
        "bulk",
        "q leaves",
    ] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    let row = |topic: &str| shown.find(&format!("  {topic} ")).unwrap();
    assert!(row("orders") < row("bills"), "trouble first\n{shown}");
}

#[test]
fn a_healthy_link_says_so() {
    let shown = drawn(&told([sender(0, json!({ "lag_records": 0 }))]), 100, 40);
    assert!(shown.contains("The answer: good") && shown.contains("none needed"), "{shown}");
    assert!(shown.contains("yes: the target has everything") && !shown.contains("Needs an operator"), "{shown}");
}

#[test]
fn without_an_answer_no_value_is_shown_as_if_it_were_true() {
    let mut state = told([sender(0, halted()), sender(50, halted()), nothing()]);
    let shown = drawn(&state, 120, 60);
    for old in ["4,711", "orders", "102.0 ms", "fra-to-sin", "50 Mbit/s", "10/s", "\u{1b}"] {
        assert!(!shown.contains(old), "{old}\n{shown}");
    }
    for words in [
        "a:1: unreachable since 2027-01-01 00:00:10 UTC",
        "The answer: unknown",
        "keeping up   unknown: the process does not answer",
        "unreachable since 2027-01-01 00:00:10 UTC: a:1: connection [2J refused",
        "is Causeway running",
        "Records: unknown",
        "·",
    ] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    state.handle(nothing(), Duration::from_secs(11), at(11));
    assert!(drawn(&state, 120, 60).contains("unreachable since 2027-01-01 00:00:10 UTC"), "the first of the silence");
    state.handle(sender(5, json!({})), Duration::from_secs(20), at(20));
    let shown = drawn(&state, 120, 60);
    assert!(shown.contains("4,711 records") && !shown.contains("unreachable"), "{shown}");
    assert!(shown.contains("Records sent: unknown"), "a rate needs two samples\n{shown}");
}

#[test]
fn a_silence_shorter_than_a_sample_hides_the_values_too() {
    let mut state = told([sender(0, json!({})), sender(50, json!({}))]);
    state.handle(nothing(), Duration::from_secs(6), at(6));
    let shown = drawn(&state, 120, 40);
    assert!(shown.contains("Records: unknown") && !shown.contains("4,711"), "{shown}");
}

#[test]
fn of_200_links_those_in_trouble_come_first() {
    let mut links: Vec<Value> =
        (0..200).map(|n| json!({ "link": format!("spoke-{n:03}"), "sender": "s", "channels": 1 })).collect();
    links[150]["trouble"] = json!(["lane 0: timed out"]);
    links[199]["halted_partitions"] = json!(1);
    links[199]["halted"] = json!([{ "topic": "orders", "partition": 0, "reason": "corrupt", "detail": "crc" }]);
    links[120]["sender"] = Value::Null;
    let state = told([receiver(Value::Array(links))]);
    let shown = text(&state, 110);
    let row = |n: usize| shown.find(&format!("\n  spoke-{n:03} ")).unwrap_or(usize::MAX);
    assert!([row(199), row(150), row(120), row(0), row(46)].is_sorted(), "{shown}");
    assert_eq!(row(47), usize::MAX, "50 rows");
    for words in [
        "sin-1: receiver sin-1 at a:1",
        "no: 199 of 200 links have a sender",
        "Link spoke-199: 1 partitions halted",
        "causeway resume orders/0",
        "the commands are for its sender, s",
        "and 150 more",
    ] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    assert!(!shown.contains("The last minutes"), "one sample is no curve\n{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 110), "{shown}");
}

#[test]
fn what_does_not_fit_is_reached_by_scrolling() {
    let mut state = told([sender(0, halted()), sender(50, halted())]);
    let size = Size { width: 80, height: 12 };
    let all = text(&state, size.width);
    let all: Vec<_> = all.lines().skip(1).filter(|line| !line.is_empty()).collect();
    let screen = |state: &State| drawn(state, size.width, size.height);
    assert!(screen(&state).contains(all[0]) && screen(&state).contains("0 lines above"));
    scroll(&mut state, Scroll::Bottom, size);
    let end = screen(&state);
    assert!(end.contains(all[all.len() - 1]) && end.contains(", 0 below"), "{end}");
    scroll(&mut state, Scroll::Lines(1), size);
    assert_eq!(screen(&state), end, "not beyond the end");
    scroll(&mut state, Scroll::Lines(-1), size);
    assert!(screen(&state).contains(", 1 below"));
    scroll(&mut state, Scroll::Top, size);
    let mut seen = screen(&state);
    for _ in 0..20 {
        scroll(&mut state, Scroll::Pages(1), size);
        seen += &screen(&state);
    }
    let missing: Vec<_> = all.iter().filter(|line| !seen.contains(**line)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    scroll(&mut state, Scroll::Pages(-100), size);
    assert!(screen(&state).contains("0 lines above"));
    // A larger terminal has fewer lines below the screen.
    scroll(&mut state, Scroll::Bottom, size);
    assert!(drawn(&state, 200, 100).contains("The answer"));
}

#[test]
fn every_size_of_a_terminal_is_drawn() {
    let states = [told([]), told([sender(0, halted()), sender(9, halted())]), told([nothing()])];
    for state in &states {
        for width in [0, 1, 2, 3, 7, 20, 24, 25, 49, 300] {
            for height in [0, 1, 2, 3, 10] {
                let area = Rect::new(0, 0, width, height);
                let mut buffer = Buffer::empty(area);
                state.render(area, &mut buffer);
            }
        }
    }
    assert!(drawn(&states[0], 40, 3).contains("a:1: asked, no answer yet"));
}
