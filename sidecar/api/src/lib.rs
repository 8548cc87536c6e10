//! Wire formats: generated code of the .proto files, the shapes of JSON answers, and the names certificates carry.
//!
//! The .proto files are the documentation. Not here: meaning. Types are converted at the edges that
//! use them, and no crate of ours is known here.

pub mod autopilot;
pub mod credentials;
pub mod json;
pub mod san;

/// What clients and the operator say to a member: `quorate.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("quorate.v1");
}

/// What members say to each other.
pub mod peer {
    /// `quorate.peer.v1`.
    #[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("quorate.peer.v1");
    }
}
