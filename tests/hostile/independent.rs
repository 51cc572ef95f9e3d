//! Attacks by aioquic, an implementation of QUIC that shares no code with the product or with [`crate::attacker`]. It is
//! installed into an environment of its own, once. Where that is not possible the test says so, and proves nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::attacker::{Attacker, EVIL_NAME};
use crate::stage::Stage;

const AIOQUIC: &str = "aioquic==1.7.2";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/hostile/aioquic_attacker.py");
/// Growth of the receiver's memory with a link's streams that lack their first byte: its credit, and a little.
const GAPS_GROWTH: u64 = 56 << 20;

/// Codes of the protocol.
const BAD_FRAME: u64 = 16;
const MISBEHAVED: u64 = 17;

/// Runs a command for a minute at most. Returns what failed, as a sentence.
fn run(program: &Path, arguments: &[&str]) -> Result<Output, String> {
    let output = Command::new("timeout").arg("60").arg(program).args(arguments).output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.trim_end().lines().last().unwrap_or("no words");
    if output.status.success() { Ok(output) } else { Err(format!("{} {arguments:?}: {last}", program.display())) }
}

/// Returns a Python that has aioquic. Error: why there is none here.
fn python() -> Result<PathBuf, String> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(AIOQUIC);
    let python = dir.join("bin").join("python");
    if run(&python, &["-c", "import aioquic"]).is_err() {
        run(Path::new("python3"), &["-m", "venv", &dir.display().to_string()])?;
        run(&python, &["-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "10", AIOQUIC])?;
    }
    Ok(python)
}

/// Runs one attack of the script, and returns what it saw.
async fn attack(python: &Path, attacker: &Attacker, name: &'static str) -> Result<Value> {
    let dir = attacker.authority.dir();
    attacker.authority.write("aioquic", &[EVIL_NAME])?;
    let file = |end: &str| dir.join(format!("aioquic.{end}")).display().to_string();
    let receiver = attacker.receiver;
    let address = [receiver.ip().to_string(), receiver.port().to_string()];
    let peer = [attacker.link.clone(), attacker.cluster_id.clone(), file("pem"), file("key")];
    let python = python.to_owned();
    let output = tokio::task::spawn_blocking(move || {
        let words = [SCRIPT, name].into_iter().chain(address.iter().chain(&peer).map(String::as_str));
        run(&python, &words.collect::<Vec<_>>())
    });
    let output = output.await?.map_err(anyhow::Error::msg)?;
    serde_json::from_slice(&output.stdout).context("the script prints no JSON")
}

/// Ensures that the receiver closed every connection with `code`, and words that contain one of `words`.
fn ensure_closed(seen: &Value, code: u64, words: &[&str]) -> Result<()> {
    let closed = seen["closed"].as_array().context("nothing was closed")?;
    let is_right = |close: &Value| {
        let reason = close["reason"].as_str().unwrap_or_default();
        close["code"] == code && words.iter().any(|words| reason.contains(words))
    };
    ensure!(!closed.is_empty() && closed.iter().all(is_right), "expected code {code} with {words:?}: {seen}");
    Ok(())
}

#[test]
fn another_implementation_of_quic_does_no_harm() -> Result<()> {
    let python = match python() {
        Ok(python) => python,
        Err(why) => {
            println!("SKIPPED: no Python with {AIOQUIC} here ({why})");
            return Ok(());
        }
    };
    let stage = Stage::start("aioquic")?;
    let attacker = &stage.attacker;

    let (seen, cost) =
        stage.during("aioquic: unfinished handshakes", attack(&python, attacker, "unfinished_handshakes"))?;
    println!("{seen}");
    cost.ensure_calm()?;
    let bytes = |name: &str| seen[name].as_u64().with_context(|| format!("no {name}"));
    ensure!(bytes("retries")? > 100 && bytes("back")? < 3 * bytes("sent")?, "{seen}");

    let (seen, cost) = stage.during("aioquic: 60 silent connections", attack(&python, attacker, "silence"))?;
    cost.ensure_calm()?;
    ensure_closed(&seen, MISBEHAVED, &["silence instead of a hello"])?;

    let (seen, cost) = stage.during("aioquic: oversized messages", attack(&python, attacker, "oversized"))?;
    cost.ensure_calm()?;
    ensure_closed(&seen, BAD_FRAME, &["exceeds the limit of 524288"])?;

    let (seen, cost) = stage.during("aioquic: streams without their start", attack(&python, attacker, "gaps"))?;
    println!("{seen}");
    ensure!(seen["sent"].as_u64() > Some(1 << 20) && cost.growth() <= GAPS_GROWTH, "{seen}, {cost}");

    let (seen, cost) = stage.during("aioquic: garbage in a session", attack(&python, attacker, "garbage"))?;
    cost.ensure_calm()?;
    ensure_closed(&seen, BAD_FRAME, &["not a frame", "unknown control kind 255"])?;
    stage.finish()
}
