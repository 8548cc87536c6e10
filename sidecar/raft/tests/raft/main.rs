//! Scenarios of the consensus core: small groups under virtual time, each named after its promise.

mod cluster;
mod disk;
mod invariants;
mod solo;

mod bootstrap;
mod elections;
mod hostile;
mod membership;
mod random;
mod reads;
mod replication;
mod snapshots;
mod transfer;
