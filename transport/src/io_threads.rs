//! I/O threads, which handle packets, control messages and timers.

use std::io;

use service::config::{Absent, Field, Reported, Table};
use tokio::runtime::{Builder, Runtime};

/// Largest number of I/O threads.
const MAX: u16 = 64;
/// Largest number of threads for blocking requests. A receiver has a handful for each link, so that requests of hanging
/// links leave threads for the others.
const BLOCKING_MAX: usize = 4096;

/// Number of I/O threads, 1 by default. At 500 Mbit/s one thread is busy for a quarter of its time. With two, packets often
/// wake one thread and are handled on the other: a receiver then uses a seventh more CPU (`benches -- wan --cell cpu`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoThreads(u16);

impl IoThreads {
    /// The setting `io_threads`.
    pub const FIELD: Field = Field {
        name: "io_threads",
        kind: "a count",
        absent: Absent::Default("1"),
        bounds: Some(("1", "64")),
        live: false,
        doc: "Threads that handle packets. At 500 Mbit/s one is busy for a quarter of its time; add one for each further \
              Gbit/s. More threads than needed cost CPU.",
    };

    /// Reads the setting from the document's first table.
    pub fn read(top: &Table<'_>) -> Result<Self, Reported> {
        top.read(Self::FIELD.name).map(|count: u32| Self(u16::try_from(count).unwrap_or(MAX)))
    }

    /// Starts a runtime with these threads.
    pub fn runtime(self) -> io::Result<Runtime> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(self.0.into()).max_blocking_threads(BLOCKING_MAX).thread_name("io").enable_all().build()
    }
}
