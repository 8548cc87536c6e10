//! Certificates: what this member shows, whom it trusts, and who is at the other end (K23, K46).
//!
//! ```text
//!   ca.crt, tls.crt, tls.key ──▶ Credentials ──▶ server(door): asks callers for a certificate of this CA
//!        (watched, reloaded)                └──▶ client(expected): demands quorate://<cluster>/<raft id>
//! ```
//!
//! Invariant: no connection is ever resumed from an older one, so that a changed CA or certificate
//! binds every connection made after the change.
//! Not here: names by DNS. A member is its URI SAN; the address it answers on proves nothing.

mod accept;
mod credentials;
mod dial;
mod identity;
mod reload;
mod verify;

pub use accept::{Bounds, Caller, Connection, accept};
pub use credentials::{Credentials, CredentialsError, Door};
pub use dial::{DialError, dial};
pub use identity::PeerIdentity;
pub use reload::{CredentialsFiles, CredentialsReceiver, follow};
