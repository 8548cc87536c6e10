//! Scenarios of the consensus core: small groups under virtual time, each named after its promise.

// A fixture that is broken must stop the test, wherever it stands.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cluster;
mod disk;
mod invariants;
mod network;
mod solo;
mod step;
mod story;
mod story_text;

mod bootstrap;
mod early;
mod elections;
mod hostile;
mod membership;
mod paper;
mod pipeline;
mod random;
mod reads;
mod recovery;
mod replace;
mod replication;
mod restores;
mod snapshots;
mod statements;
mod stories;
mod tables;
mod transfer;
mod version;
