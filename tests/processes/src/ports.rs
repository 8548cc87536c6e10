//! Ports that a member finds free again when it comes back.
//!
//! The system hands out ports from 32,768 up to outgoing connections of everybody on the machine. One of those could
//! take a dead member's port before it is started again, so that these come from below.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use rand::Rng;

/// From where ports are drawn.
const FIRST: u16 = 12_000;
/// Up to where.
const LAST: u16 = 32_000;
/// After so many draws the machine has none left.
const DRAWS_MAX: usize = 10_000;

/// What this process gave out: a member that is down does not hold its ports.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// The ports of one member.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Peers.
    pub peer: u16,
    /// gRPC, plain and with TLS, on different addresses.
    pub client: u16,
    /// Probes.
    pub ops: u16,
    /// HTTP.
    pub http: u16,
}

impl Ports {
    /// Ports that nobody has now.
    pub fn draw() -> Self {
        Self { peer: port(), client: port(), ops: port(), http: port() }
    }
}

/// One port that nobody has now, on any address.
pub fn port() -> u16 {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..DRAWS_MAX {
        // Not from the test's seed: two runs of one seed may go on side by side.
        let port = rand::rng().random_range(FIRST..LAST);
        if !taken.contains(&port) && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            taken.insert(port);
            return port;
        }
    }
    panic!("no free port between {FIRST} and {LAST}")
}
