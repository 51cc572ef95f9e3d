//! A lane against a target in memory.
#![allow(clippy::unwrap_used)]

mod classes;
mod forget;
mod left_out;
mod offers;
mod older_state;
mod promote;
mod skipped_records;
mod state;
mod switched_topics;
mod willing;
