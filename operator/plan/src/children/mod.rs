//! What every child of a `RaftCluster` looks like.
//!
//! Rendering is a function of the resource, the pins in its status (K47) and a claim: the same input gives the
//! same object, byte for byte, so that a settled cluster gives no writes (I7).
//! Children are found and judged elsewhere; nothing here looks at what exists.

pub mod access;
pub mod budget;
pub mod claim;
mod metadata;
pub mod names;
pub mod network_policy;
pub mod pod;
mod pod_volumes;
pub mod rendering;
pub mod services;
mod sidecar_container;
mod spread;

pub use metadata::{label_keys, member_selector, owner};
pub use rendering::Rendering;
