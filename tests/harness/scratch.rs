//! Directories that vanish with what uses them, and at the latest with the test process.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow};

/// Waits for the end of its stdin, which is our end, then removes the directory until it stays removed:
/// brokers that are being killed at the same moment may still add a file to it.
const UNDERTAKER: &str =
    r#"cat >/dev/null; until rm -rf "$1" 2>/dev/null && sleep 1 && [ ! -e "$1" ]; do sleep 0.1; done"#;

/// A directory, removed when dropped. Set `CAUSEWAY_TEST_KEEP` to keep it for a look.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new directory whose name begins with `purpose`.
    pub fn new(purpose: &str) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let path = root()?.join(format!("{purpose}-{}", COUNTER.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !keep() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn keep() -> bool {
    std::env::var_os("CAUSEWAY_TEST_KEEP").is_some()
}

/// The one directory under which this process keeps everything.
pub fn root() -> Result<&'static Path> {
    static ROOT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let root = ROOT.get_or_init(|| create_root().map_err(|error| format!("{error:#}")));
    root.as_deref().map_err(|error| anyhow!("no scratch directory: {error}"))
}

fn create_root() -> Result<PathBuf> {
    let root = tempfile::Builder::new().prefix("causeway-tests-").tempdir()?.keep();
    if keep() {
        eprintln!("keeping {}", root.display());
        return Ok(root);
    }
    let mut undertaker = Command::new("sh")
        .args(["-c", UNDERTAKER, "causeway-test-undertaker"])
        .arg(&root)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start sh")?;
    // Never closed by us: the kernel does it when this process ends, whichever way.
    std::mem::forget(undertaker.stdin.take());
    Ok(root)
}
