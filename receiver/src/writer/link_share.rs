//! Resources that the lanes of one link share.

use std::sync::Arc;

use crate::lane::memory::DecodeMemory;
use crate::link::blocking::Blocking;

/// Resources of the lanes of one link.
pub(crate) struct LinkShare {
    /// Memory for their decoded frames.
    pub(crate) memory: Arc<DecodeMemory>,
    /// Threads that open and recover them.
    pub(crate) opening: Blocking,
}
