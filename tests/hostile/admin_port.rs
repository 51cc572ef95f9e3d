//! The admin port, held by silent connections and called by web pages.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::process::binary;

use crate::stage::Stage;

/// Time within which a probe is answered.
const ANSWERED: Duration = Duration::from_secs(1);

#[test]
fn probes_are_answered_while_a_thousand_connections_idle() -> Result<()> {
    let mut stage = Stage::start("idle")?;
    let admin = stage.receiver.admin;
    let ((worst, opened), cost) = stage.during("idle connections", async {
        let idle = tokio::spawn(hold(admin.address(), 1_000, Duration::from_secs(4)));
        let mut worst = Duration::ZERO;
        while !idle.is_finished() {
            for page in ["/live", "/ready"] {
                let asked = Instant::now();
                admin.get(page)?;
                worst = worst.max(asked.elapsed());
            }
        }
        Ok((worst, idle.await??))
    })?;
    println!("{opened} idle connections; the slowest probe took {worst:?}");
    ensure!(opened >= 1_000 && worst <= ANSWERED, "{opened}, {worst:?}");
    cost.ensure_calm()?;
    // They do not delay the shutdown either.
    let _held: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(admin.address())).collect::<Result<_, _>>()?;
    let asked = Instant::now();
    ensure!(stage.receiver.terminate(Duration::from_secs(10))? == 0, "an exit code");
    println!("left {:?} after SIGTERM", asked.elapsed());
    Ok(())
}

/// Time between two silent connections. The kernel drops connections that come faster than any process accepts them,
/// and the caller tries again after 1 s (tcp(7)): that is a flood, and no answer of this process's.
const BETWEEN: Duration = Duration::from_millis(1);

/// Opens at least `least` connections, and more until the time is over; keeps the newest 400 open and says nothing.
async fn hold(port: SocketAddr, least: usize, time: Duration) -> Result<usize> {
    let end = Instant::now() + time;
    let mut open = VecDeque::new();
    let mut opened = 0;
    let mut pace = tokio::time::interval(BETWEEN);
    while opened < least || Instant::now() < end {
        open.push_back(TcpStream::connect(port)?);
        opened += 1;
        pace.tick().await;
        if open.len() > 400 {
            open.pop_front();
        }
    }
    Ok(opened)
}

#[test]
fn web_pages_get_no_answer() -> Result<()> {
    let stage = Stage::start("web-page")?;
    let port = stage.receiver.admin.address();
    let ((), cost) = stage.during("DNS rebinding", async {
        let json = "content-type: application/json\r\ncontent-length: 2";
        for (line, headers, expected) in [
            ("GET /status", format!("host: evil.example:{}", port.port()), "403"),
            ("POST /reload", format!("host: evil.example:{}\r\n{json}", port.port()), "403"),
            ("POST /reload", format!("host: {port}\r\norigin: http://evil.example\r\n{json}"), "403"),
            ("POST /reload", format!("host: {port}\r\ncontent-type: text/plain\r\ncontent-length: 2"), "415"),
            ("PUT /reload", format!("host: {port}\r\ncontent-length: 2"), "415"),
            ("GET /status", format!("host: {port}"), "200"),
        ] {
            let answer = ask(port, &format!("{line} HTTP/1.1\r\n{headers}\r\n\r\n{{}}"))?;
            ensure!(answer.split(' ').nth(1) == Some(expected), "{line} {headers}: {answer}");
        }
        // The product's own client, by a name.
        let mut status = Command::new(binary()?);
        let output = status.args(["status", &format!("localhost:{}", port.port())]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    })?;
    cost.ensure_calm()?;
    stage.finish()
}

fn ask(port: SocketAddr, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(port)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = [0; 1_024];
    let length = stream.read(&mut answer).context("no answer")?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}
