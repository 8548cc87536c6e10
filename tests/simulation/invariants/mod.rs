//! What must never be broken, watched from outside the members. One file each.
//!
//! A check returns what is wrong in words; the run adds seed and step. What clients see is checked beside these,
//! in `linearizability`.

pub mod at_most_once;
pub mod commitment;
pub mod configurations;
pub mod election_safety;
pub mod formats;
pub mod hard_states;
pub mod locks;
pub mod log_matching;
pub mod machine_safety;
pub mod one_change;
pub mod order;
pub mod promises;
pub mod read_indexes;
pub mod recovered;
pub mod restored_keys;
pub mod sessions;
pub mod voters;

pub use at_most_once::AtMostOnce;
pub use commitment::Commitment;
pub use configurations::Configurations;
pub use election_safety::ElectionSafety;
pub use formats::Formats;
pub use hard_states::HardStates;
pub use locks::Locks;
pub use log_matching::LogMatching;
pub use machine_safety::MachineSafety;
pub use one_change::OneChange;
pub use order::Order;
pub use promises::Promises;
pub use read_indexes::ReadIndexes;
pub use recovered::{Alone, Lost, OneEpoch};
pub use restored_keys::{KeysHeld, RestoredKeys};
pub use sessions::Sessions;
pub use voters::Voters;

/// What is wrong, in words.
pub type Verdict = Result<(), String>;
