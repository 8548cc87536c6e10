//! The link to the other members: one stream each way, forwarded calls, snapshots.
//!
//! ```text
//!   core ─Send─▶ Links ──requests──▶ peer task (dials, hello) ══stream══▶ the peer's server
//!                  └───answers─────▶ back on the stream the request came in on, if it is still open
//!   the peer's stream ══▶ server (certificate, hello) ──▶ Inbox ──▶ driver
//!   Handle ─stage─▶ a peer, which fetches the archive from here (K17)
//!   Handle ─forward─▶ Leaders ══call══▶ the leader's server ──▶ its Handle, `here` only: one hop
//! ```
//!
//! Invariants: loss is allowed, delay is not: every queue is bounded and drops what is too much, and the
//! core hears of it. Nobody is refused because of the configuration held here (K1).
//! Not here: retries of messages (the core probes), and what a message means.

mod dialer;
pub(crate) mod fetch;
mod hello;
#[cfg(test)]
mod hostile;
mod leaders;
mod peer;
mod receiving;
mod server;
mod servers;
mod staging;
mod transfer;
mod wire;
mod witness;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use quorate_raft::{
    Address, Body, Configuration, Epoch, Identity, Message, ServerId, SnapshotMeta, Term, Version, Versions,
};
use tokio::sync::{mpsc, watch};
use tracing::debug;

pub(crate) use dialer::Dialer;
pub use leaders::Leaders;
pub(crate) use receiving::Receiving;
pub(crate) use server::{LinkServer, serve};
pub(crate) use staging::Staging;
pub(crate) use transfer::Transfer;
pub use wire::{Hello, WireError};
pub(crate) use witness::Witness;

use crate::autopilot::Reports;
use crate::limits::{DEPARTED_KEEP, LINK_QUEUE_MAX};
use crate::tls::CredentialsReceiver;

/// What the driver hears from the link.
#[derive(Debug)]
pub(crate) enum FromPeer {
    Message(Message),
    /// What was sent to this peer may be lost.
    Unreachable(ServerId),
    /// A connection to this peer was made, over which it said what it speaks; none: it ended (K24).
    Versions {
        peer: ServerId,
        versions: Option<Versions>,
    },
    /// Whether this peer's data volume is below the floor of free space (K8), whenever that changes; false at first. It
    /// counts until the next `Versions`, with which the connection ended.
    Space {
        peer: ServerId,
        is_low: bool,
    },
    /// This peer's stream ended and its address refuses connections (K12).
    Gone(ServerId),
    /// A whole snapshot is here, verified and synced.
    Snapshot {
        from: ServerId,
        term: Term,
        epoch: Epoch,
        meta: SnapshotMeta,
    },
}

/// Where answers to a peer go: the open stream it called on. One per peer, the newest.
#[derive(Clone, Default)]
pub(crate) struct Returns {
    open: Arc<Mutex<HashMap<ServerId, Return>>>,
}

struct Return {
    number: u64,
    queue: mpsc::Sender<Message>,
}

/// All servers that can be dialed now; shared with [`Leaders`].
pub(crate) type Book = BTreeMap<ServerId, Arc<Dialer>>;

/// The driver's side of the link.
pub(crate) struct Links {
    identity: Arc<Identity>,
    credentials: CredentialsReceiver,
    inbox: mpsc::Sender<FromPeer>,
    peers: HashMap<ServerId, Peer>,
    returns: Returns,
    book: watch::Sender<Arc<Book>>,
    /// The cluster's version, as far as this member knows (K24).
    version: watch::Sender<Option<Version>>,
    reports: Reports,
}

struct Peer {
    queue: mpsc::Sender<Message>,
    address: Address,
    /// Since when it is in no configuration.
    departed: Option<Instant>,
}

impl Links {
    pub(crate) fn new(
        identity: Arc<Identity>,
        credentials: CredentialsReceiver,
        inbox: mpsc::Sender<FromPeer>,
    ) -> Self {
        let book = watch::Sender::new(Arc::new(Book::new()));
        let (peers, returns, version) = (HashMap::new(), Returns::default(), watch::Sender::new(None));
        Self { identity, credentials, inbox, peers, returns, book, version, reports: Reports::default() }
    }

    pub(crate) fn returns(&self) -> &Returns {
        &self.returns
    }

    /// What peers say of themselves.
    pub(crate) fn reports(&self) -> &Reports {
        &self.reports
    }

    pub(crate) fn book(&self) -> watch::Receiver<Arc<Book>> {
        self.book.subscribe()
    }

    /// The dialer of a server in the book.
    pub(crate) fn dialer(&self, id: &ServerId) -> Option<Arc<Dialer>> {
        self.book.borrow().get(id).cloned()
    }

    /// Members that do not speak this version of the cluster are refused from now on (K24).
    pub(crate) fn follow_version(&self, version: Option<Version>) {
        self.version.send_if_modified(|known| std::mem::replace(known, version) != version);
    }

    /// Follows the latest configuration: dials whom it names, where it says.
    pub(crate) fn follow(&mut self, configuration: &Configuration) {
        let own = self.identity.server.clone();
        let mut book = Book::clone(&self.book.borrow());
        for server in configuration.servers().iter().filter(|server| server.id != own) {
            match self.peers.get_mut(&server.id) {
                Some(peer) if peer.address == server.address => peer.departed = None,
                _ => {
                    let dialer = self.begin(&server.id, &server.address);
                    book.insert(server.id.clone(), dialer);
                }
            }
        }
        for (id, peer) in &mut self.peers {
            if !configuration.contains(id) {
                peer.departed.get_or_insert_with(Instant::now);
            }
        }
        self.book.send_replace(Arc::new(book));
        self.forget_departed();
    }

    /// Drops connections to servers that left the configuration a while ago.
    pub(crate) fn forget_departed(&mut self) {
        let is_gone = |peer: &Peer| peer.departed.is_some_and(|since| since.elapsed() > DEPARTED_KEEP);
        if !self.peers.values().any(is_gone) {
            return;
        }
        self.peers.retain(|_, peer| !is_gone(peer));
        let peers = &self.peers;
        self.reports.retain(|id| peers.contains_key(id));
        self.book.send_modify(|book| Arc::make_mut(book).retain(|id, _| peers.contains_key(id)));
    }

    fn begin(&mut self, id: &ServerId, address: &Address) -> Arc<Dialer> {
        let dialer = Arc::new(Dialer::new(
            self.identity.cluster_id,
            id.clone(),
            address.clone(),
            self.credentials.clone(),
        ));
        let (queue, messages) = mpsc::channel(LINK_QUEUE_MAX);
        let task = peer::PeerTask::new(
            Arc::clone(&self.identity),
            Arc::clone(&dialer),
            messages,
            self.inbox.clone(),
            self.version.subscribe(),
            self.reports.clone(),
        );
        // It ends when `queue` is dropped, that is with this entry or with the links.
        tokio::spawn(task.run());
        self.peers.insert(id.clone(), Peer { queue, address: address.clone(), departed: None });
        dialer
    }

    /// Sends or drops; says whether the peer's queue was full, so that the core probes again.
    pub(crate) fn send(&self, message: Message) -> Result<(), ServerId> {
        let message = if is_answer(&message.body) {
            match self.returns.send(message) {
                None => return Ok(()),
                Some(message) => message,
            }
        } else {
            message
        };
        let Some(peer) = self.peers.get(&message.to) else {
            // A caller we have no address of: only its own stream leads there.
            let _ = self.returns.send(message);
            return Ok(());
        };
        peer.queue.try_send(message).map_err(|error| {
            let message = error.into_inner();
            debug!(peer = %message.to, kind = message.body.name(), "dropped a message: its connection stands still");
            message.to
        })
    }
}

impl Returns {
    /// Registers a caller's stream; the newest wins. The number is for [`Returns::close`].
    pub(crate) fn open(&self, peer: &ServerId, queue: mpsc::Sender<Message>) -> u64 {
        let mut open = self.lock();
        let number = open.get(peer).map_or(0, |earlier| earlier.number + 1);
        open.insert(peer.clone(), Return { number, queue });
        number
    }

    /// Says whether it was the peer's newest stream.
    pub(crate) fn close(&self, peer: &ServerId, number: u64) -> bool {
        let mut open = self.lock();
        let is_newest = open.get(peer).is_some_and(|found| found.number == number);
        if is_newest {
            open.remove(peer);
        }
        is_newest
    }

    /// Gives the message back if no stream takes it.
    fn send(&self, message: Message) -> Option<Message> {
        match self.lock().get(&message.to) {
            Some(found) => found.queue.try_send(message).err().map(mpsc::error::TrySendError::into_inner),
            None => Some(message),
        }
    }

    /// Held for moments only, and whole even if a holder panicked.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ServerId, Return>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a message answers one of the receiver's, and so belongs on its own stream.
fn is_answer(body: &Body) -> bool {
    match body {
        Body::PreVoteResponse { .. }
        | Body::VoteResponse { .. }
        | Body::AppendResponse { .. }
        | Body::HeartbeatResponse { .. }
        | Body::VolumeLost { .. } => true,
        Body::PreVoteRequest { .. }
        | Body::VoteRequest { .. }
        | Body::AppendRequest { .. }
        | Body::HeartbeatRequest { .. }
        | Body::TimeoutNow => false,
    }
}
