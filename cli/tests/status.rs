//! `causeway status --watch`: page after page where it is no terminal, whoever answers or does not meanwhile.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

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
fn a_watch_goes_on_when_nobody_answers_and_ends_with_its_reader() {
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
    next("nobody answers");
    drop(lines);
    assert_eq!(watch.wait().unwrap().code(), Some(0));
}
