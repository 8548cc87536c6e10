//! Redundancy zones: one voter in each, the others of the zone stand by (`autopilot.md` §4).

use quorate_raft::ServerId;

/// One redundancy zone at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneState {
    /// Its servers, read replicas aside, in the order of every list.
    pub servers: Vec<ServerId>,
    /// Those of them that vote.
    pub voters: Vec<ServerId>,
    /// How many of its servers may fail before it has no healthy one.
    pub failure_tolerance: usize,
}
