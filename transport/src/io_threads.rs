//! The threads that carry packets, and what belongs to them: control messages and timers.

use std::io;

use tokio::runtime::{Builder, Runtime};

use service::config::{Absent, Field, Reported, Table};

/// Most that may be asked for.
const MAX: u16 = 64;

/// How many there are.
///
/// One unless said: packets that a few threads share are woken for on one and handled on the other. At 500 Mbit/s one
/// is busy for a quarter of its time; with two, a receiver takes a seventh more of the processor (`benches -- wan --cell
/// cpu`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoThreads(u16);

impl IoThreads {
    /// The setting.
    pub const FIELD: Field = Field {
        name: "io_threads",
        kind: "a count",
        absent: Absent::Default("1"),
        bounds: Some(("1", "64")),
        live: false,
        doc: "Threads that carry packets. At 500 Mbit/s one is busy for a quarter of its time; add one for each further \
              Gbit/s. More than are needed cost CPU.",
    };

    /// As the document's first table states it.
    pub fn read(top: &Table<'_>) -> Result<Self, Reported> {
        top.read(Self::FIELD.name).map(|count: u32| Self(u16::try_from(count).unwrap_or(MAX)))
    }

    /// Starts them.
    ///
    /// # Errors
    /// The system's.
    pub fn runtime(self) -> io::Result<Runtime> {
        Builder::new_multi_thread().worker_threads(self.0.into()).thread_name("io").enable_all().build()
    }
}
