//! Limits of the values in control messages, checked after decoding and before encoding (wire-format.md#limits).

use crate::acl::Acl;
use crate::condition::Condition;
use crate::control::{
    CommittedOffset, Control, CreditTerms, GoneTopic, GroupOffsets, Hello, OfferedPartition, PartitionEnd,
    ReturningPartition, TopicConfig, TopicEnds, TopicSettings, Welcome,
};
use crate::error::{DecodeError, ensure, within};
use crate::limits::{
    ACL_NAMES_MAX, ACLS_MAX, CLUSTERS_MAX, CREDIT_MAX, ENDS_MAX, ENDS_TOPICS_MAX, FRAME_CHARGE_MIN, GROUP_OFFSETS_MAX,
    GROUP_TOPICS_MAX, LANES_MAX, LINK_NAME_MAX, NAMED_PARTITIONS_MAX, NAMED_TROUBLES_MAX, OFFER_PARTITIONS_MAX,
    OFFSET_METADATA_MAX, PARTITIONS_MAX, RATE_MIN, RETURNING_MAX, SETTING_BYTES_MAX, SETTINGS_MAX, SETTINGS_TOPICS_MAX,
    STRING_MAX, TOPIC_CONFIGS_MAX, TOPIC_NAME_MAX, TOPICS_NAMED_MAX,
};

/// Checks that every value of a message is within its limit.
pub(super) fn check(control: &Control) -> Result<(), DecodeError> {
    match control {
        Control::Hello(hello) => check_hello(hello),
        Control::Welcome(welcome) => check_welcome(welcome),
        Control::Standby { behind } => within("instance", behind.len(), STRING_MAX),
        Control::Clock { .. } | Control::ReadSource {} => Ok(()),
        Control::JoinChannel { channel, .. } | Control::ChannelOpen { channel } => check_further(*channel),
        Control::ChannelClosed { channel, detail } => {
            check_further(*channel)?;
            within("detail", detail.len(), STRING_MAX)
        }
        Control::Close(close) => within("detail", close.detail.len(), STRING_MAX),
        Control::Condition(condition) => check_condition(condition),
        Control::OpenLane { lane } | Control::LaneOpen { lane, .. } => check_lane(lane.0),
        Control::Ack { lane, sequence, timing, .. } => {
            let is_acked = timing.is_none_or(|timing| timing.sequence <= *sequence);
            ensure(is_acked, "timing of a frame that is not acked")?;
            check_lane(lane.0)
        }
        Control::LaneClosed { lane, detail, .. } => {
            check_lane(lane.0)?;
            within("detail", detail.len(), STRING_MAX)
        }
        Control::Topic { topic, configs, clusters, .. } => {
            check_topic(topic)?;
            within("topic configs", configs.len(), TOPIC_CONFIGS_MAX)?;
            within("clusters passed", clusters.len(), CLUSTERS_MAX)?;
            clusters.iter().try_for_each(|id| within("cluster id", id.len(), STRING_MAX))?;
            configs.iter().try_for_each(|config| check_config(config, STRING_MAX))
        }
        Control::Settings { topics } | Control::OwnSettings { topics } => check_settings(topics),
        Control::Groups { groups, .. } | Control::GroupsBack { groups } => check_groups(groups),
        Control::Acls { acls, topics, groups, .. } => check_acls(acls, topics, groups),
        Control::SourceEnds { topics, .. } => check_ends(topics),
        Control::StoredAt { lane, at, .. } => {
            check_lane(lane.0)?;
            ensure(*at >= 0, "time below 0")
        }
        Control::RateAssignment { bits_per_second } => ensure(*bits_per_second >= RATE_MIN, "rate below its minimum"),
        Control::Returns { topic, link, cluster, from, partitions, .. } => {
            check_returning([topic, from], [link, cluster], partitions)
        }
        Control::SkipRefused { topic, policy } => {
            check_topic(topic)?;
            within("policy", policy.len(), STRING_MAX)
        }
        Control::Offer { lane, partitions, .. } => {
            check_lane(lane.0)?;
            within("offered partitions", partitions.len(), OFFER_PARTITIONS_MAX)?;
            partitions.iter().try_for_each(check_partition)
        }
        Control::PartitionOpen { lane, position, leader_epoch, .. } => {
            check_lane(lane.0)?;
            ensure(*leader_epoch >= -1, "leader epoch below −1")?;
            ensure(position.0 >= 0, "position below 0")
        }
        Control::PartitionHalted { lane, position, reason, detail, .. } => {
            check_lane(lane.0)?;
            ensure(position.0 >= -1, "halted below -1")?;
            within("reason", reason.len(), STRING_MAX)?;
            within("detail", detail.len(), STRING_MAX)
        }
        Control::GoneSince { topics, now } => check_gone_since(topics, *now),
        Control::TopicsGone { topics } | Control::MarkGone { topics, .. } => {
            within("topics", topics.len(), TOPICS_NAMED_MAX)?;
            topics.iter().try_for_each(|topic| check_topic(topic))
        }
        Control::Orphaned { topics, .. } => {
            within("topics", topics.len(), TOPICS_NAMED_MAX)?;
            topics.iter().try_for_each(|orphaned| check_topic(&orphaned.topic))
        }
        Control::Forget { topic, reason, .. } => {
            check_topic(topic)?;
            within("reason", reason.len(), STRING_MAX)
        }
        Control::Forgotten { topic, refused, .. } => {
            check_topic(topic)?;
            within("detail", refused.len(), STRING_MAX)
        }
    }
}

fn check_gone_since(topics: &[GoneTopic], now: i64) -> Result<(), DecodeError> {
    within("topics", topics.len(), TOPICS_NAMED_MAX)?;
    ensure(now >= 0 && topics.iter().all(|gone| gone.since >= 0), "time below 0")?;
    topics.iter().try_for_each(|gone| check_topic(&gone.topic))
}

fn check_hello(hello: &Hello) -> Result<(), DecodeError> {
    within("link name", hello.link.len(), LINK_NAME_MAX)?;
    within("cluster id", hello.cluster_id.len(), STRING_MAX)?;
    within("instance", hello.instance.len(), STRING_MAX)?;
    within("lane hash", hello.lane_hash.len(), STRING_MAX)?;
    within("lanes", hello.lanes.into(), LANES_MAX.into())?;
    within("classes", hello.classes.len(), LANES_MAX.into())?;
    hello.classes.iter().try_for_each(|class| {
        within("class name", class.name.len(), STRING_MAX)?;
        within("lanes of a class", class.lanes.into(), LANES_MAX.into())
    })
}

fn check_welcome(welcome: &Welcome) -> Result<(), DecodeError> {
    within("cluster id", welcome.cluster_id.len(), STRING_MAX)?;
    within("classes", welcome.classes.len(), LANES_MAX.into())?;
    let CreditTerms { reserve, pool } = welcome.credit;
    ensure(reserve >= FRAME_CHARGE_MIN, "reserve below the least cost of a frame")?;
    ensure(reserve <= CREDIT_MAX && pool <= CREDIT_MAX, "credit out of range")?;
    welcome.classes.iter().try_for_each(|class| within("class name", class.name.len(), STRING_MAX))
}

fn check_condition(condition: &Condition) -> Result<(), DecodeError> {
    within("failing lanes", condition.failing.len(), LANES_MAX.into())?;
    within("named partitions", condition.named.len(), NAMED_PARTITIONS_MAX)?;
    within("troubles", condition.trouble.len(), NAMED_TROUBLES_MAX)?;
    condition.trouble.iter().try_for_each(|sentence| within("trouble", sentence.len(), STRING_MAX))?;
    condition.failing.iter().try_for_each(|failing| {
        check_lane(failing.lane.0)?;
        within("detail", failing.detail.len(), STRING_MAX)
    })?;
    condition.named.iter().try_for_each(|waiting| {
        check_topic(&waiting.topic)?;
        ensure((0..PARTITIONS_MAX).contains(&waiting.partition), "partition out of range")?;
        within("detail", waiting.detail.len(), STRING_MAX)
    })
}

fn check_partition(offered: &OfferedPartition) -> Result<(), DecodeError> {
    check_topic(&offered.topic)?;
    ensure((1..=PARTITIONS_MAX).contains(&offered.partitions), "partition count out of range")?;
    ensure((0..offered.partitions).contains(&offered.partition), "partition out of range")?;
    ensure(offered.log_start.0 >= 0, "log start below 0")?;
    ensure(offered.start.0 >= 0, "start position below 0")?;
    ensure(offered.log_start <= offered.log_end, "log ends before it starts")?;
    let Some(jump) = &offered.jump else { return Ok(()) };
    // A position of −1 means none.
    ensure(jump.expected.0 >= -1, "jump from below -1")?;
    ensure(jump.to.0 >= 0 || jump.expected.0 < 0, "jump to below 0")?;
    ensure(jump.to.0 >= -1, "jump to below -1")?;
    within("reason", jump.reason.len(), STRING_MAX)
}

fn check_settings(topics: &[TopicSettings]) -> Result<(), DecodeError> {
    within("topics with settings", topics.len(), SETTINGS_TOPICS_MAX)?;
    topics.iter().try_for_each(|topic| {
        check_topic(&topic.topic)?;
        within("settings of a topic", topic.settings.len(), SETTINGS_MAX)?;
        topic.settings.iter().try_for_each(|config| check_config(config, SETTING_BYTES_MAX))
    })
}

fn check_groups(groups: &[GroupOffsets]) -> Result<(), DecodeError> {
    within("groups with their topics", groups.len(), GROUP_TOPICS_MAX)?;
    within("offsets of groups", groups.iter().map(|group| group.offsets.len()).sum(), GROUP_OFFSETS_MAX)?;
    groups.iter().try_for_each(check_group)
}

fn check_group(group: &GroupOffsets) -> Result<(), DecodeError> {
    check_group_name(&group.group)?;
    check_topic(&group.topic)?;
    group.offsets.iter().try_for_each(|CommittedOffset { partition, offset, metadata }| {
        ensure((0..PARTITIONS_MAX).contains(partition), "partition out of range")?;
        ensure(offset.0 >= -1, "committed offset below -1")?;
        within("metadata of an offset", metadata.len(), OFFSET_METADATA_MAX)
    })
}

fn check_group_name(group: &str) -> Result<(), DecodeError> {
    ensure(!group.is_empty(), "empty group name")?;
    within("group name", group.len(), STRING_MAX)
}

fn check_acls(acls: &[Acl], topics: &[String], groups: &[String]) -> Result<(), DecodeError> {
    within("access control lists", acls.len(), ACLS_MAX)?;
    within("topics of access control lists", topics.len(), ACL_NAMES_MAX)?;
    within("groups of access control lists", groups.len(), ACL_NAMES_MAX)?;
    acls.iter().try_for_each(check_acl)?;
    topics.iter().try_for_each(|topic| check_topic(topic))?;
    groups.iter().try_for_each(|group| check_group_name(group))
}

fn check_acl(acl: &Acl) -> Result<(), DecodeError> {
    ensure(!acl.name.is_empty() && !acl.principal.is_empty() && !acl.host.is_empty(), "access control without a name")?;
    within("name of an access control list", acl.name.len(), STRING_MAX)?;
    within("principal", acl.principal.len(), STRING_MAX)?;
    within("host", acl.host.len(), STRING_MAX)
}

fn check_returning(topics: [&str; 2], names: [&str; 2], partitions: &[ReturningPartition]) -> Result<(), DecodeError> {
    topics.into_iter().try_for_each(check_topic)?;
    names.into_iter().try_for_each(|name| within("name", name.len(), STRING_MAX))?;
    within("returning partitions", partitions.len(), RETURNING_MAX)?;
    partitions.iter().try_for_each(|one| {
        ensure((0..PARTITIONS_MAX).contains(&one.partition), "partition out of range")?;
        ensure(one.begins.0 >= 0 && one.common.0 >= 0, "position below 0")
    })
}

fn check_ends(topics: &[TopicEnds]) -> Result<(), DecodeError> {
    within("topics of ends", topics.len(), ENDS_TOPICS_MAX)?;
    within("ends of partitions", topics.iter().map(|topic| topic.ends.len()).sum(), ENDS_MAX)?;
    topics.iter().try_for_each(|TopicEnds { topic, ends }| {
        check_topic(topic)?;
        ends.iter().try_for_each(|said @ PartitionEnd { partition, stable, end }| {
            ensure((0..PARTITIONS_MAX).contains(partition), "partition out of range")?;
            let is_unknown = *said == PartitionEnd::unknown(*partition);
            ensure(
                is_unknown || (stable.0 >= 0 && end >= stable),
                "end of a partition below its stable end, or below 0",
            )
        })
    })
}

fn check_topic(topic: &str) -> Result<(), DecodeError> {
    ensure(!topic.is_empty(), "empty topic name")?;
    within("topic name", topic.len(), TOPIC_NAME_MAX)
}

fn check_config(config: &TopicConfig, bytes_max: usize) -> Result<(), DecodeError> {
    within("config name", config.name.len(), bytes_max)?;
    within("config value", config.value.len(), bytes_max)
}

fn check_further(channel: u32) -> Result<(), DecodeError> {
    ensure(channel > 0, "channel 0 among further channels")
}

fn check_lane(lane: u16) -> Result<(), DecodeError> {
    within("lane", lane.into(), usize::from(LANES_MAX) - 1)
}
