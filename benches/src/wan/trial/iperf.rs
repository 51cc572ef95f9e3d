//! A TCP flow over the path, by iperf3.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netem::tun::{ADDRESSES, Site};
use serde_json::Value;

use crate::wan::stop::Stop;

const PORT: &str = "5201";
/// Longest time until the server listens.
const LISTEN: Duration = Duration::from_secs(5);
/// Longest time that iperf3 may need after its time has passed, to send what it has buffered.
const LINGER: Duration = Duration::from_secs(20);
/// Time between two checks of a process.
const STEP: Duration = Duration::from_millis(20);

/// Returns why iperf3 cannot be used on this machine, if it cannot.
pub(crate) fn missing() -> Option<&'static str> {
    let found = Command::new("iperf3").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_err().then_some("TCP is not measured: iperf3 is not installed (apt-get install iperf3)")
}

/// Returns true if this kernel has a congestion control with this name.
pub(crate) fn has(congestion_control: &str) -> bool {
    let available = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
    available.unwrap_or_default().split_whitespace().any(|name| name == congestion_control)
}

/// A TCP flow from the source to the target. Dropping it ends the flow.
#[derive(Debug)]
pub(crate) struct Iperf {
    server: Child,
    client: Child,
    output: std::path::PathBuf,
    deadline: Instant,
}

impl Iperf {
    /// Starts a flow that runs for `warm_up`, which does not count, and then for `measured`.
    pub(crate) fn start(site: &Site, warm_up: Duration, measured: Duration, output: &Path) -> Result<Self> {
        let mut command = Command::new("iperf3");
        command.args(["-s", "-1", "-p", PORT]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = site.target.spawn(&mut command).context("cannot start iperf3")?;
        if let Err(error) = wait_for_listener(site) {
            let _ = server.kill();
            let _ = server.wait();
            return Err(error);
        }
        let [seconds, omit] = [measured, warm_up].map(|time| time.as_secs().max(1).to_string());
        let mut command = Command::new("iperf3");
        command.args(["-c", &ADDRESSES[1].to_string(), "-p", PORT, "-J", "-t", &seconds, "-O", &omit]);
        command.stdin(Stdio::null()).stdout(File::create(output)?).stderr(Stdio::null());
        let client = site.source.spawn(&mut command).context("cannot start iperf3")?;
        let deadline = Instant::now() + warm_up + measured + LINGER;
        Ok(Self { server, client, output: output.to_owned(), deadline })
    }

    /// Waits until the flow ends. Returns the bits per second of TCP payload that arrived after the warm-up.
    pub(crate) fn finish(mut self, stop: &Stop) -> Result<f64> {
        while self.client.try_wait()?.is_none() {
            if Instant::now() > self.deadline {
                bail!("iperf3 did not end within {} s after its time", LINGER.as_secs());
            }
            stop.sleep(STEP)?;
        }
        let text = std::fs::read_to_string(&self.output)?;
        goodput(&text)
    }
}

impl Drop for Iperf {
    fn drop(&mut self) {
        for child in [&mut self.client, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until a process listens on the port. It reads the namespace's socket tables and sends no packet.
fn wait_for_listener(site: &Site) -> Result<()> {
    let port = format!(":{:04X} ", PORT.parse::<u16>()?);
    let started = Instant::now();
    while started.elapsed() < LISTEN {
        let tables = site.target.within(|| {
            let read =
                |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
            Ok(read("tcp") + &read("tcp6"))
        })?;
        // The local address is the second column, the state the fourth: 0A is LISTEN.
        let listens = |line: &str| line.split_whitespace().nth(3) == Some("0A") && line.contains(&port);
        if tables.lines().any(listens) {
            return Ok(());
        }
        std::thread::sleep(STEP);
    }
    bail!("iperf3 does not listen after {} s", LISTEN.as_secs())
}

fn goodput(json: &str) -> Result<f64> {
    let report: Value = serde_json::from_str(json).context("iperf3 printed invalid JSON")?;
    if let Some(error) = report["error"].as_str() {
        bail!("iperf3: {error}");
    }
    report["end"]["sum_received"]["bits_per_second"].as_f64().context("iperf3 reports no received rate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodput_is_the_received_rate_or_iperf3s_error() {
        let report = r#"{"end": {"sum_sent": {"bits_per_second": 9.0}, "sum_received": {"bits_per_second": 7.5}}}"#;
        assert!((goodput(report).unwrap() - 7.5).abs() < 1e-9);
        let error = goodput(r#"{"error": "unable to connect", "end": {}}"#).unwrap_err();
        assert_eq!(error.to_string(), "iperf3: unable to connect");
        assert!(goodput("").is_err());
    }
}
