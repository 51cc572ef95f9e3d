//! A set of Kafka's published jars, as [`download`](crate::download) puts it into the user's cache, and Java commands
//! that run from it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// Java's class data archive of a running broker. It saves a third of the CPU time of each start.
pub(crate) const CLASS_ARCHIVE: &str = "broker.jsa";

/// First file of a log directory, as `kafka-storage format` writes it. It is the same for every cluster whose voters
/// are listed in its properties.
pub(crate) const CHECKPOINT: &str = "bootstrap.checkpoint";

/// True if Java compiles as it does in production.
static COMPILES_FULLY: AtomicBool = AtomicBool::new(false);

/// Has every later process of Kafka run as in production: it starts slowly, and is fast after a while.
pub fn compile_fully() {
    COMPILES_FULLY.store(true, Ordering::Relaxed);
}

/// Set of jars, ready to run brokers from.
#[derive(Debug, Clone)]
pub struct Kafka {
    dir: PathBuf,
}

impl Kafka {
    /// Uses the set in `dir`.
    pub(crate) fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Returns a command that runs one of Kafka's main classes, with Java options for a fast start, or with Java's usual
    /// ones after [`compile_fully`].
    pub fn java(&self, options: &[&str], main_class: &str) -> Command {
        let mut java = Command::new("java");
        // Relative paths: Java refuses a class archive whose class path has moved, and the set is renamed once.
        java.current_dir(&self.dir).args(["-cp", "jars/*"]);
        if COMPILES_FULLY.load(Ordering::Relaxed) {
            java.args(["-XX:+UseG1GC", "-Xms256m", "-Xmx768m"]);
        } else {
            java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xms128m", "-Xmx512m"]);
        }
        if self.dir.join(CLASS_ARCHIVE).exists() {
            java.arg(format!("-XX:SharedArchiveFile={CLASS_ARCHIVE}")).arg("-Xshare:auto");
        }
        java.args(options);
        java.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn").arg(main_class);
        java
    }

    /// Path of the first file of a new log directory.
    pub fn checkpoint(&self) -> PathBuf {
        self.dir.join(CHECKPOINT)
    }

    /// Directory of the set.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}
