//! The operator's process: all that touches the API server and the members.
//!
//! ```text
//!   controller ──wakes──▶ round: observe ──▶ plan (quorate-plan, pure) ──▶ act
//! ```
//! What to do is decided in `quorate-plan` alone. Here it is read (`observe`), carried out (`act`), and woken
//! (`controller`); `member` speaks gRPC to members, `tls` makes their certificates.
//!
//! Invariant: dying after any single call leaves nothing that the next round does not finish (P8).

mod act;
mod command;
mod controller;
mod error;
mod installation;
mod lease;
pub mod limits;
mod member;
mod memory;
mod metrics;
mod observe;
mod ops;
mod round;
mod tls;
mod turn;

pub use command::main;
pub use error::RoundError;
pub use member::ChangeError;
pub use tls::TlsError;
