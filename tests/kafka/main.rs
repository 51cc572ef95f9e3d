//! Tests of the `causeway` binary between real Kafka clusters. Each module is a subject, each function a promise.
//!
//! Most tests use one pair of clusters (`Pair::shared`) and run in parallel; topics and links have unique names. A
//! test that kills brokers starts its own pair. A test that measures time or CPU runs alone (`Pair::start_alone`).

mod acls;
mod adopted_targets;
mod all_troubles;
mod bad_input;
mod carried_topics;
mod classes;
mod commands;
mod cost;
mod damaged_batches;
mod deleted_keys;
mod delivery;
mod deposed_leader;
mod drill;
mod failback;
mod failover;
mod fidelity;
mod follow_configs;
mod foreign_writes;
mod forgotten_topics;
mod groups;
mod hung_brokers;
mod kill_points;
mod kills;
mod leaderless_partitions;
mod loops;
mod monitoring;
mod offset_map;
mod open_transactions;
mod other_links;
mod page;
mod quotas;
mod random_kills;
mod rebuilt_clusters;
mod recreated_topics;
mod rejected_records;
mod reload;
mod retention;
mod rights;
mod salvage;
mod same_cluster_ids;
mod scale;
mod schemas;
mod senders;
mod shapes;
mod shown_problems;
mod sources;
mod stored_state;
mod switch_over;
mod test_harness;
mod topic_settings;
mod truncated_logs;
mod two_receivers;
mod unwritable_partitions;
