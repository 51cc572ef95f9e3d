//! The path model: what happens to each packet, and when. Time is an argument, and all chance comes from a seed, so
//! that every run can be repeated.

pub(crate) mod conditions;
pub(crate) mod direction;
pub(crate) mod flow;
pub(crate) mod knobs;
pub(crate) mod path;
pub(crate) mod profile;
pub(crate) mod script;
pub(crate) mod wan;
