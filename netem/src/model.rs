//! The path model: the fate of each packet. Time is an argument, and all chance comes from a seed.

pub(crate) mod conditions;
pub(crate) mod flow;
pub(crate) mod knobs;
pub(crate) mod path;
pub(crate) mod profile;
pub(crate) mod script;
pub(crate) mod wan;
