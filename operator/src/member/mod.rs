//! Talking to members: gRPC at `status.podIP` with mutual TLS, the Raft ID as TLS name, the URI SAN checked (K42).
//!
//! ```text
//!   Address {ip, raft id} + Identity (CA, our leaf) ──dial──▶ Channel ──▶ ask    what it believes, its view (K32)
//!                                                                    ──▶ change bootstrap, add, remove, hand over
//! ```
//! Invariant: an answer counts only under the (cluster ID, Raft ID) it was asked of; a reused address is harmless.

mod ask;
mod change;
mod convert;
mod dial;
mod verify;

pub(crate) use ask::{Answers, ask_all};
pub use change::ChangeError;
pub(crate) use change::Leader;
pub(crate) use dial::{Dialer, MemberAddress};
