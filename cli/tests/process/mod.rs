//! Runs the real binary, where no Kafka is: config files, free ports, signals, and what it printed.

// Each test binary uses its own part; and what fails here fails the test that asked for it.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use service::names::LinkName;
use service::pki;
use tempfile::TempDir;

/// A directory with certificates, where config files are written.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        place.pki("pki");
        place
    }

    /// Makes an authority and both sides' certificates in `dir`.
    pub(crate) fn pki(&self, dir: &str) {
        let names = ["localhost".to_owned()];
        let request = pki::Request { link: &LinkName::parse("a-to-b").unwrap(), sender: &names, receiver: &names };
        pki::init(&self.0.path().join(dir), &request).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A sender whose source answers at `kafka` and whose receiver at `receiver`.
    pub(crate) fn sender(&self, kafka: SocketAddr, receiver: SocketAddr, admin: SocketAddr) -> PathBuf {
        let port = receiver.port();
        self.write(
            "sender.toml",
            &format!(
                "link = \"a-to-b\"\n[source]\nbootstrap_servers = [\"{kafka}\"]\ntopics = [\"orders\"]\n\
                 [wan]\nreceiver = \"127.0.0.1:{port}\"\nserver_name = \"localhost\"\nrate = \"500 Mbit/s\"\n\
                 [admin]\nlisten = \"{admin}\"\n{}",
                tls("sender")
            ),
        )
    }

    /// A receiver whose target answers at `kafka`.
    pub(crate) fn receiver(&self, kafka: SocketAddr, admin: SocketAddr) -> PathBuf {
        self.write(
            "receiver.toml",
            &format!(
                "listen = \"127.0.0.1:0\"\n[target]\nbootstrap_servers = [\"{kafka}\"]\n\
                 [[links]]\nname = \"a-to-b\"\nsenders = [\"localhost\"]\n[admin]\nlisten = \"{admin}\"\n{}",
                tls("receiver")
            ),
        )
    }
}

fn tls(side: &str) -> String {
    format!("[tls]\nca = \"pki/ca.pem\"\ncertificate = \"pki/{side}.pem\"\nkey = \"pki/{side}.key\"\n")
}

/// An address where nothing listens.
pub(crate) fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Runs `causeway` to its end.
pub(crate) fn causeway(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_causeway")).args(args).output().unwrap()
}

/// Runs `causeway` on `file` to its end: exit code, standard output, standard error.
pub(crate) fn on(command: &str, file: &Path) -> (i32, String, String) {
    let output = causeway(&[command, file.to_str().unwrap()]);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A `causeway` at work; killed when dropped.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &str, file: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_causeway"));
        process.arg(command).arg(file).stderr(Stdio::piped());
        Self(process.spawn().unwrap())
    }

    /// Waits until its admin port answers.
    pub(crate) fn answering(self, admin: SocketAddr) -> Self {
        let until = Instant::now() + Duration::from_secs(10);
        while get(admin, "/live").is_err() {
            assert!(Instant::now() < until, "no answer from {admin}");
            std::thread::sleep(Duration::from_millis(20));
        }
        self
    }

    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    pub(crate) fn hang_up(&self) {
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until a metric without labels has this value.
    pub(crate) fn wait_for_metric(&self, admin: SocketAddr, name: &str, value: &str) {
        self.wait_for_labelled(admin, &format!("{name} {value}"));
    }

    /// Waits until this line stands among the metrics.
    pub(crate) fn wait_for_labelled(&self, admin: SocketAddr, line: &str) {
        let until = Instant::now() + Duration::from_secs(10);
        while !get(admin, "/metrics").unwrap().1.lines().any(|found| found == line) {
            assert!(Instant::now() < until, "no {line}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How it ended, how long that took from now, and what it said.
    pub(crate) fn ended(mut self) -> (ExitStatus, Duration, String) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            if let Some(status) = self.0.try_wait().unwrap() {
                let took = began.elapsed();
                let mut said = String::new();
                self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                return (status, took, said);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("still running after 20 s");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks an admin port: HTTP status and body.
pub(crate) fn get(admin: SocketAddr, path: &str) -> Result<(u16, String), ureq::Error> {
    let mut answer = agent().get(format!("http://{admin}{path}")).call()?;
    Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?))
}

/// Tells an admin port to do something: HTTP status and body.
pub(crate) fn post(admin: SocketAddr, path: &str) -> Result<(u16, String), ureq::Error> {
    let mut answer = agent().post(format!("http://{admin}{path}")).content_type("application/json").send("")?;
    Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?))
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(5)));
    config.build().into()
}
