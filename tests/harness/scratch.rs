//! Temporary directories, removed at the latest when the test process ends.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow};

/// Shell script that waits for the end of the test process, which closes its stdin, and removes the directory. It
/// repeats that until the directory stays removed: brokers that are being killed may still add a file.
const REMOVER: &str =
    r#"cat >/dev/null; until rm -rf "$1" 2>/dev/null && sleep 1 && [ ! -e "$1" ]; do sleep 0.1; done"#;

/// Directory that is removed when this is dropped. Set `CAUSEWAY_TEST_KEEP` to keep it.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a new directory whose name begins with `purpose`.
    pub fn new(purpose: &str) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let path = root()?.join(format!("{purpose}-{}", COUNTER.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// Path of the directory.
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

/// Returns the directory of this process, which has all its temporary directories.
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
    let mut remover = Command::new("sh")
        .args(["-c", REMOVER, "causeway-test-remover"])
        .arg(&root)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start sh")?;
    // This process never closes the pipe: the kernel does when the process ends in any way.
    std::mem::forget(remover.stdin.take());
    Ok(root)
}
