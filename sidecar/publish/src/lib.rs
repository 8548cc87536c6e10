//! The leader's view into Kubernetes: `status.raft`, the status Lease and the leader's endpoint.
//!
//! ```text
//!   driver + autopilot ──RaftView──▶ publisher ──▶ status.raft     server-side apply, on change only (K31)
//!                                              ──▶ Lease           renewed every 10 s (K32)
//!                                              ──▶ EndpointSlice   this member, if no later leader is there (K40)
//! ```
//! And for members that clients outside the Pod may use: who holds a token, asked of the API server (`review`).
//!
//! The one sidecar crate that may name kube. Only a leader publishes; the data path neither waits for it nor fails
//! with it. No watches, caches or kube runtime: three writes need none of them, and a sidecar must stay small.

mod connect;
mod error;
mod lease;
pub mod limits;
mod pace;
mod publisher;
mod review;
mod slice;
mod status;
mod target;
#[cfg(test)]
mod testing;
mod view;

pub use connect::Connection;
pub use error::PublishError;
pub use publisher::{Publishing, publish};
pub use review::{Account, Review, ReviewError, TokenReviewer};
pub use slice::LEADER_TERM_ANNOTATION;
pub use target::Target;
pub use view::{
    BlockedView, MemberKind, MemberRole, MemberState, MemberView, RaftView, UpgradeView, ZoneView,
};
