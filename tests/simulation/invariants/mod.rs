//! What must never be broken, watched from outside the members. One file each.
//!
//! A check returns what is wrong in words; the world adds seed, step and the newest lines of the trace.

pub mod acknowledged_writes;
pub mod commitment;
pub mod election_safety;
pub mod log_matching;
pub mod machine_safety;
pub mod order;
pub mod promises;

pub use acknowledged_writes::AcknowledgedWrites;
pub use commitment::Commitment;
pub use election_safety::ElectionSafety;
pub use log_matching::LogMatching;
pub use machine_safety::MachineSafety;
pub use order::Order;
pub use promises::Promises;

/// What is wrong, in words.
pub type Verdict = Result<(), String>;
