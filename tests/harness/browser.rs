//! A real browser, headless: Chromium of the machine, or of Debian's packages, through WebDriver.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::download::{cache_dir, publish, staging};
use crate::guard::Guarded;
use crate::scratch::Scratch;
use crate::wait::until_ok;

/// Names of browsers that the driver drives, the smallest first.
const BROWSERS: [&str; 4] = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
const DRIVER: &str = "chromedriver";
const STARTED_WITHIN: Duration = Duration::from_secs(60);
const ASK_TIMEOUT: Duration = Duration::from_secs(60);
/// Environment variable by which a person without a browser leaves out the tests that need one.
const OPT_OUT: &str = "CAUSEWAY_TEST_NO_BROWSER";
/// Bytes of packages that are fetched at most: 109 MB in November 2026.
const PACKAGES_MAX: u64 = 150_000_000;
/// Time that one command of the fetch may take, in seconds.
const FETCH_SECONDS: &str = "300";
/// Time within which a browser shows an empty page, in seconds.
const EMPTY_SECONDS: &str = "60";

/// Programs of the browser and of its driver.
#[derive(Debug, Clone)]
pub struct Programs {
    driver: PathBuf,
    browser: PathBuf,
    /// Folders of libraries that came with them.
    libraries: OsString,
}

impl Programs {
    /// Finds the programs, or unpacks the packages of Debian into the user's cache. It is an error if there are none;
    /// `None` only if the environment asks for it with `CAUSEWAY_TEST_NO_BROWSER`.
    pub fn find() -> Result<Option<Self>> {
        static FOUND: OnceLock<Result<Programs, String>> = OnceLock::new();
        if std::env::var_os(OPT_OUT).is_some() {
            return Ok(None);
        }
        let find = || Self::on_path().map_or_else(Self::unpacked, Ok).map_err(|error| format!("{error:#}"));
        FOUND.get_or_init(find).clone().map(Some).map_err(|error| anyhow!(error))
    }

    fn on_path() -> Option<Self> {
        // The driver takes the path of the browser, not its name.
        let path = std::env::var_os("PATH")?;
        let at = |name: &str| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.exists());
        let driver = at(DRIVER)?;
        let of = |browser| Self { driver: driver.clone(), browser, libraries: OsString::new() };
        BROWSERS.iter().filter_map(|name| at(name)).map(of).find(Self::work)
    }

    fn unpacked() -> Result<Self> {
        let dir = cache_dir()?.join("chromium");
        let libraries = dir.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
        let programs = Self {
            driver: dir.join("usr/bin").join(DRIVER),
            browser: dir.join("usr/lib/chromium/chromium-headless-shell"),
            libraries: std::env::join_paths([libraries.clone(), libraries.join("pulseaudio")])?,
        };
        if programs.work() {
            return Ok(programs);
        }
        let broken = staging()?;
        if dir.exists() {
            fs::rename(&dir, broken.path().join("chromium"))?;
        }
        unpack(&dir).with_context(|| {
            format!(
                "tests of the page need Chromium (Debian: apt-get install chromium chromium-driver); {OPT_OUT}=1 leaves \
                 them out"
            )
        })?;
        ensure!(programs.work(), "the packages in {} have no browser that shows an empty page", dir.display());
        Ok(programs)
    }

    /// Returns whether the driver runs and the browser shows an empty page: a part of a browser has a version too.
    fn work(&self) -> bool {
        let empty = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "about:blank"];
        self.says(&self.driver, &["--version"], "ChromeDriver") && self.says(&self.browser, &empty, "<html")
    }

    fn says(&self, program: &Path, arguments: &[&str], words: &str) -> bool {
        let mut command = self.command("timeout");
        let output = command.arg(EMPTY_SECONDS).arg(program).args(arguments).stdin(Stdio::null()).output();
        output.is_ok_and(|output| output.status.success() && String::from_utf8_lossy(&output.stdout).contains(words))
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if !self.libraries.is_empty() {
            command.env("LD_LIBRARY_PATH", &self.libraries);
        }
        command
    }
}

/// Unpacks the distribution's packages, with the libraries that this machine lacks, into `set`.
fn unpack(set: &Path) -> Result<()> {
    let packages = match packages() {
        Ok(packages) => packages,
        Err(_) => {
            // The lists may be old or missing; only root can fetch them.
            run(&mut apt(&["update", "-qq"]))?;
            packages()?
        }
    };
    let download = staging()?;
    run(apt(&["download", "-qq"]).args(&packages).current_dir(download.path()))?;
    let unpacked = staging()?;
    for package in fs::read_dir(download.path())? {
        run(Command::new("dpkg-deb").arg("-x").arg(package?.path()).arg(unpacked.path()))?;
    }
    publish(unpacked, set)
}

/// Names of the packages to fetch.
fn packages() -> Result<Vec<String>> {
    let planned = run(&mut apt(&["install", "-s", "-qq", "--no-install-recommends", "chromium-headless-shell"]))?;
    let name = |line: &str| Some(line.strip_prefix("Inst ")?.split(' ').next()?.to_owned());
    let mut packages: Vec<_> = planned.lines().filter_map(name).collect();
    // What it depends on is there, or comes with the browser.
    packages.push("chromium-driver".to_owned());
    let listed = run(apt(&["download", "--print-uris"]).args(&packages))?;
    // A line has the URL, the name of the file, its size and its hash.
    let size = |line: &str| line.split(' ').nth(2)?.parse::<u64>().ok();
    let bytes: u64 = listed.lines().filter_map(size).sum();
    ensure!(bytes <= PACKAGES_MAX, "the packages have {bytes} bytes, and at most {PACKAGES_MAX} are fetched");
    Ok(packages)
}

/// A command of apt that gives up.
fn apt(arguments: &[&str]) -> Command {
    let mut apt = Command::new("timeout");
    apt.args([FETCH_SECONDS, "apt-get", "-o", "Acquire::http::Timeout=30", "-o", "Acquire::Retries=2"]).args(arguments);
    apt
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {said}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// A running browser with one window. Dropping it kills the driver and the browser, and removes their files.
#[derive(Debug)]
pub struct Browser {
    session: String,
    // Before their files.
    _driver: Guarded,
    _scratch: Scratch,
}

impl Browser {
    /// Starts the driver and a browser.
    pub fn start(programs: &Programs) -> Result<Self> {
        let scratch = Scratch::new("browser")?;
        let mut command = programs.command(&programs.driver);
        // The browser's profile is a temporary directory. The driver takes a free port and says which.
        command.arg("--port=0").env("TMPDIR", scratch.path()).env("HOME", scratch.path());
        let mut driver = Guarded::spawn_family(&command, &scratch.path().join("driver.log"))?;
        let port = until_ok("the driver of the browser", STARTED_WITHIN, || {
            if driver.exit_code()?.is_some() {
                bail!("the driver ended: {}", driver.log_tail());
            }
            Ok(port_of(&driver.log_tail()))
        })?;
        let root = format!("http://127.0.0.1:{port}");
        let options = json!({
            "binary": programs.browser,
            // The sandbox needs rights that a container lacks; the browser sees only our own pages.
            "args": ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"],
        });
        let logs = json!({ "browser": "ALL", "performance": "ALL" });
        let wanted = json!({ "goog:chromeOptions": options, "goog:loggingPrefs": logs });
        let begun = ask("POST", &format!("{root}/session"), &json!({ "capabilities": { "alwaysMatch": wanted } }));
        let begun = begun.with_context(|| driver.log_tail())?;
        let id = begun["sessionId"].as_str().with_context(|| format!("no session: {begun}"))?;
        Ok(Self { session: format!("{root}/session/{id}"), _driver: driver, _scratch: scratch })
    }

    /// Opens a page and waits until it is loaded.
    pub fn open(&self, url: &str) -> Result<()> {
        self.post("url", &json!({ "url": url })).map(drop)
    }

    /// Returns what a script returns.
    pub fn run(&self, script: &str) -> Result<Value> {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Returns the visible text of the page.
    pub fn text(&self) -> Result<String> {
        let text = self.run("return document.body.innerText")?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Returns the URL of the page.
    pub fn url(&self) -> Result<String> {
        Ok(ask("GET", &format!("{}/url", self.session), &Value::Null)?.as_str().unwrap_or_default().to_owned())
    }

    /// Presses keys: text, or those of the private area of Unicode that WebDriver defines.
    pub fn press(&self, keys: &str) -> Result<()> {
        let key = |key: char| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })];
        let actions: Vec<_> = keys.chars().flat_map(key).collect();
        self.post("actions", &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] })).map(drop)
    }

    /// Sends a command of the developer tools.
    pub fn command(&self, name: &str, parameters: &Value) -> Result<Value> {
        self.post("goog/cdp/execute", &json!({ "cmd": name, "params": parameters }))
    }

    /// Makes the window so large, in pixels, and chooses the colours for the day or the night.
    pub fn look(&self, width: u32, height: u32, at_night: bool) -> Result<()> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", &size)?;
        let scheme = json!({ "name": "prefers-color-scheme", "value": if at_night { "dark" } else { "light" } });
        self.command("Emulation.setEmulatedMedia", &json!({ "features": [scheme] })).map(drop)
    }

    /// Returns a picture of the window as PNG.
    pub fn screenshot(&self) -> Result<Vec<u8>> {
        let picture = ask("GET", &format!("{}/screenshot", self.session), &Value::Null)?;
        Ok(BASE64_STANDARD.decode(picture.as_str().context("no picture")?)?)
    }

    /// Returns what the console shows since the last call: errors, warnings and messages.
    pub fn console(&self) -> Result<Vec<String>> {
        let entries = self.log("browser")?;
        Ok(entries.iter().map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect())
    }

    /// Returns the URL of each request since the last call.
    pub fn requests(&self) -> Result<Vec<String>> {
        let entries = self.log("performance")?;
        let messages =
            entries.iter().filter_map(|entry| serde_json::from_str::<Value>(entry["message"].as_str()?).ok());
        let sent = messages.filter(|message| message["message"]["method"] == "Network.requestWillBeSent");
        Ok(sent.filter_map(|one| Some(one["message"]["params"]["request"]["url"].as_str()?.to_owned())).collect())
    }

    fn log(&self, of: &str) -> Result<Vec<Value>> {
        Ok(self.post("se/log", &json!({ "type": of }))?.as_array().cloned().unwrap_or_default())
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        ask("POST", &format!("{}/{path}", self.session), body)
    }
}

/// Reads the port from what the driver says when it listens.
fn port_of(log: &str) -> Option<u16> {
    let (_, port) = log.split_once("started successfully on port ")?;
    port.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

/// Sends a request of WebDriver and returns the value of its answer.
fn ask(method: &str, url: &str, body: &Value) -> Result<Value> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(ASK_TIMEOUT)).http_status_as_error(false).build().into();
    let mut answer = match method {
        "GET" => agent.get(url).call()?,
        _ => agent.post(url).content_type("application/json").send(body.to_string())?,
    };
    let text = answer.body_mut().with_config().limit(64 << 20).read_to_string()?;
    let parsed: Value = serde_json::from_str(&text).with_context(|| format!("{url}: {text}"))?;
    ensure!(answer.status().is_success(), "{url}: {}", parsed["value"]["message"]);
    Ok(parsed["value"].clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_the_driver_is_read_from_its_log() {
        let log = "Starting ChromeDriver 156 on port 0\nChromeDriver was started successfully on port 39125.\n";
        assert_eq!(port_of(log), Some(39_125));
        assert_eq!(port_of("Starting ChromeDriver 156 on port 0\n"), None);
    }

    #[test]
    fn a_part_of_a_browser_does_not_work() {
        let programs = |browser: &str, driver: &str| Programs {
            driver: driver.into(),
            browser: browser.into(),
            libraries: OsString::new(),
        };
        assert!(!programs("true", "true").work(), "nothing is shown");
        assert!(!programs("no-such-browser", "no-such-driver").work());
    }
}
