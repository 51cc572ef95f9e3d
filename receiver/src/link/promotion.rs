//! Promotion of a link: its target belongs to the applications from then on.
//!
//! - `course`: which lanes are promoted next; sans-IO
//! - `quiet`: whether the source is quiet, and everything of it carried; sans-IO
//! - `switch_over`: the wait for it
//! - `topics`: switch-over of single topics, after which the link carries the others
//! - `brought`: what the promoted link brought, for the way back
//! - `stored_links`: what links have stored in one cluster, read without a receiver
//! - `task`: an attempt to promote a link, step by step
//! - `attempt`: what is asked, and the attempt that several requests may wait for
//! - `statement`, `losses`, `groups`: what was carried and what was not; sans-IO
//! - `facts`: what a statement needs, read from the target
//! - `board`: what is known of a link's promotion
//! - `find`: which links are promoted when the process starts

pub(crate) mod attempt;
pub(crate) mod board;
pub(crate) mod brought;
pub(crate) mod course;
mod facts;
pub(crate) mod find;
mod groups;
mod losses;
mod quiet;
pub(crate) mod statement;
pub(crate) mod stored_links;
mod switch_over;
pub(crate) mod task;
pub(crate) mod topics;
