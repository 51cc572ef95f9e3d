//! What a process answers on its admin port: `send` and `receive` say it for their role.

use std::sync::Arc;

/// The answers of a process on its admin port, from its report.
pub(crate) struct Answers<R>(pub(crate) Arc<R>);
