//! iperf3: TCP's own way over a path.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netem::tun::{ADDRESSES, Site};
use serde_json::Value;

use super::stop::Stop;

/// Where its server listens.
const PORT: &str = "5201";

/// How long its server may take to listen.
const LISTEN: Duration = Duration::from_secs(5);

/// How long it may take to end after its time: it waits for what is in its buffers.
const LINGER: Duration = Duration::from_secs(20);

const STEP: Duration = Duration::from_millis(20);

/// Why iperf3 cannot be used on this machine, if it cannot.
pub(crate) fn missing() -> Option<&'static str> {
    let found = Command::new("iperf3").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_err().then_some("iperf3 is not installed (apt-get install iperf3): TCP is not measured")
}

/// Whether this kernel has a congestion control of that name.
pub(crate) fn has(congestion_control: &str) -> bool {
    let available = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
    available.unwrap_or_default().split_whitespace().any(|name| name == congestion_control)
}

/// A TCP flow from the source to the target; gone when dropped.
#[derive(Debug)]
pub(crate) struct Iperf {
    server: Child,
    client: Child,
    output: std::path::PathBuf,
    ends: Instant,
}

impl Iperf {
    /// Starts a flow of `warm_up`, which does not count, and `measured`.
    pub(crate) fn start(site: &Site, warm_up: Duration, measured: Duration, output: &Path) -> Result<Self> {
        let mut command = Command::new("iperf3");
        command.args(["-s", "-1", "-p", PORT]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = site.target.spawn(&mut command).context("cannot start iperf3")?;
        if let Err(error) = listening(site) {
            let _ = server.kill();
            let _ = server.wait();
            return Err(error);
        }
        let [seconds, omit] = [measured, warm_up].map(|time| time.as_secs().max(1).to_string());
        let mut command = Command::new("iperf3");
        command.args(["-c", &ADDRESSES[1].to_string(), "-p", PORT, "-J", "-t", &seconds, "-O", &omit]);
        command.stdin(Stdio::null()).stdout(File::create(output)?).stderr(Stdio::null());
        let client = site.source.spawn(&mut command).context("cannot start iperf3")?;
        Ok(Self { server, client, output: output.to_owned(), ends: Instant::now() + warm_up + measured + LINGER })
    }

    /// Waits for its end; bits per second of TCP payload that arrived after the warm-up.
    pub(crate) fn finish(mut self, stop: &Stop) -> Result<f64> {
        while self.client.try_wait()?.is_none() {
            if Instant::now() > self.ends {
                bail!("iperf3 did not end");
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

/// Waits until something listens on the port: a look at the namespace's own table, without a packet on the path.
fn listening(site: &Site) -> Result<()> {
    let wanted = format!(":{:04X} ", PORT.parse::<u16>()?);
    let asked = Instant::now();
    while asked.elapsed() < LISTEN {
        let tables = site.target.within(|| {
            let read =
                |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
            Ok(read("tcp") + &read("tcp6"))
        })?;
        // The local address is the second column, the state the fourth: 0A is LISTEN.
        let listens = |line: &str| line.split_whitespace().nth(3) == Some("0A") && line.contains(&wanted);
        if tables.lines().any(listens) {
            return Ok(());
        }
        std::thread::sleep(STEP);
    }
    bail!("iperf3 does not listen after {} s", LISTEN.as_secs())
}

fn goodput(json: &str) -> Result<f64> {
    let report: Value = serde_json::from_str(json).context("iperf3 wrote no JSON")?;
    if let Some(error) = report["error"].as_str() {
        bail!("iperf3: {error}");
    }
    report["end"]["sum_received"]["bits_per_second"].as_f64().context("iperf3 reports no rate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrived_counts_and_an_error_is_one() {
        let report = r#"{"end": {"sum_sent": {"bits_per_second": 9.0}, "sum_received": {"bits_per_second": 7.5}}}"#;
        assert!((goodput(report).unwrap() - 7.5).abs() < 1e-9);
        let error = goodput(r#"{"error": "unable to connect", "end": {}}"#).unwrap_err();
        assert_eq!(error.to_string(), "iperf3: unable to connect");
        assert!(goodput("").is_err());
    }
}
