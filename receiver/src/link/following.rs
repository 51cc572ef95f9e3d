//! Target topics that follow the settings of their source topics (`links.follow_configs`).
//!
//! The sender announces the settings that are set on each carried topic itself. The receiver gives the target topic the
//! same, as far as [`FollowConfigs`](rule::FollowConfigs) permits, and lets it inherit again what is no longer set at the
//! source, if the value came from there. What the target refuses is named and tried again later; neither records nor other
//! topics wait for it.
//!
//! - [`rule`]: which changes a topic needs, and which of them `safe` withholds
//! - [`change`]: makes the changes; replaces values that the target refuses by the nearest that it accepts
//! - [`follower`]: what is known of each topic, and when it is looked at again; sans-IO

pub(crate) mod change;
pub(crate) mod follower;
pub(crate) mod rule;
