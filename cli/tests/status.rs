//! `causeway status` and the other commands that ask an admin port: the addresses they take, and `--watch`.

// In a test, unwrap is an assertion.
#![allow(clippy::unwrap_used)]

mod process;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use process::{Place, Running, causeway, closed};

const STATUS: &str = r#"{"role":"sender","link":"fra-to-sin","state":"active","lanes":1,"lanes_open":1,"lag_records":7,"limited_by":"source"}"#;

/// Answers one request with a sender's status.
fn answer(listener: &TcpListener) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let length = STATUS.len();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{STATUS}")
}

#[test]
fn a_watch_survives_silence_and_ends_with_its_reader() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut watch = Command::new(env!("CARGO_BIN_EXE_causeway"));
    watch.args(["status", "--watch", &address]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut watch = watch.spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = |words: &str| lines.by_ref().map(Result::unwrap).find(|line| line.contains(words)).expect("a line");
    for _ in 0..2 {
        answer(&listener).unwrap();
        assert!(next("keeping up").ends_with("7 records behind"));
        assert!(next("limited by").contains("the source"));
        assert!(!next("partitions").contains('\x1b'), "no terminal");
    }
    drop(listener);
    next("no response");
    drop(lines);
    assert_eq!(watch.wait().unwrap().code(), Some(0));
}

/// Exit code and output of `causeway`.
fn said(arguments: &[&str]) -> (i32, String) {
    let output = causeway(arguments);
    (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn every_command_takes_an_address_a_url_or_a_file() {
    let place = Place::new();
    let sender_admin = closed();
    let receiver_admin = closed();
    let sender_file = place.sender(closed(), closed(), sender_admin);
    let receiver_file = place.receiver(closed(), receiver_admin);
    let _sender = Running::start("send", &sender_file).answering(sender_admin);
    let _receiver = Running::start("receive", &receiver_file).answering(receiver_admin);
    for address in [sender_admin.to_string(), format!("http://{sender_admin}"), format!("http://{sender_admin}/")] {
        for option in [&["--admin", &address][..], &[&address]] {
            let (code, said) = said(&[&["status"], option].concat());
            assert!(code == 0 && said.starts_with("sender of a-to-b at "), "{said}");
        }
        let (code, said) = said(&["rate", "--admin", &address]);
        assert!(code == 0 && said.starts_with("500 Mbit/s by the file"), "{said}");
    }
    let sender_file = sender_file.to_str().unwrap();
    let receiver_file = receiver_file.to_str().unwrap();
    assert!(said(&["status", "--config", sender_file]).1.starts_with("sender of a-to-b at "));
    assert!(said(&["status", "--config", receiver_file]).1.starts_with("receiver at "));
    assert!(said(&["rate", "--config", sender_file]).1.starts_with("500 Mbit/s by the file"));
    assert_eq!(said(&["jumps", "--config", receiver_file]), (0, String::new()));
    let sender_url = format!("http://{sender_admin}");
    for address in [["--config", sender_file], ["--admin", &sender_url]] {
        let commands: [&[&str]; 5] = [
            &["resume", "orders/3"],
            &["resume", "orders"],
            &["resume", "--all", "truncated"],
            &["adopt", "orders"],
            &["adopt", "orders/3"],
        ];
        for command in commands {
            let (code, said) = said(&[command, &address].concat());
            assert!(code == 1 && said.starts_with("causeway: ") && !said.contains("refused"), "{said}");
            assert!(said.contains(&sender_admin.to_string()), "{said}");
        }
    }
    assert_eq!(said(&["status", "--config", sender_file, "--admin", &sender_url]).0, 2);
    let invalid: [&[&str]; 5] = [
        &["resume"],
        &["resume", "orders/x"],
        &["resume", "orders", "--all", "truncated"],
        &["resume", "orders", "--from", "5"],
        &["resume", "--all", "truncated", "--from", "5"],
    ];
    for command in invalid {
        assert_eq!(said(&[command, &["--admin", &sender_url]].concat()).0, 2, "{command:?}");
    }
}

#[test]
fn a_file_without_an_admin_port_is_named() {
    let place = Place::new();
    let text = std::fs::read_to_string(place.sender(closed(), closed(), closed())).unwrap();
    let listen = text.lines().find(|line| line.starts_with("listen")).unwrap();
    let off = place.write("off.toml", &text.replace(listen, "listen = \"off\""));
    let (code, words) = said(&["status", "--config", off.to_str().unwrap()]);
    assert!(code == 2 && words.contains("`admin.listen` is \"off\", so this process has no admin port"), "{words}");
    let (code, words) = said(&["status", "--config", place.path().join("none.toml").to_str().unwrap()]);
    assert!(code == 2 && words.contains("none.toml: cannot be read: No such file"), "{words}");
    let neither = place.write("neither.toml", "[tls]\n");
    let (code, words) = said(&["status", "--config", neither.to_str().unwrap()]);
    assert!(code == 2 && words.contains("is neither a sender's nor a receiver's"), "{words}");
}
