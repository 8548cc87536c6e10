//! The ways between members: every connection passes a proxy, and what one member says to another can be held up.
//!
//! ```text
//!   db-0 ──▶ 127.64.1.2 (db-0 to db-1) ──▶ db-1's peer port      each dialer has an /etc/hosts of its own, in which
//!   db-2 ──▶ 127.64.3.2 (db-2 to db-1) ──▶ db-1's peer port      `db-1.members` leads to its own proxy
//! ```
//! A road from A to B is what A says to B, on whichever connection: in the requests of those A dialled, in the answers
//! of those B dialled. On a closed road bytes wait, as in a network that drops packets and sends them again: a short
//! partition delays them, a long one ends the connection by the members' own keepalive. Nothing is refused, and nothing
//! in between says that the other is gone.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::ports::{Ports, port};

/// Bytes carried at once; as many may have left just before a road was closed.
const CHUNK_BYTES: usize = 16 * 1024;
/// The first of the networks that roads are in; each move takes the next.
const FIRST_NETWORK: u8 = 64;

/// Every road between members.
pub(crate) struct Roads {
    directory: PathBuf,
    /// The port each member is dialled at, wherever its name leads.
    ports: Vec<u16>,
    network: u8,
    /// Whether what one says to another passes: `[from][to]`.
    passes: Vec<Vec<watch::Sender<bool>>>,
    proxies: Vec<JoinHandle<()>>,
}

impl Roads {
    /// Roads between so many members, none built yet; names are kept in `directory`.
    pub(crate) fn new(count: usize, directory: &Path) -> Self {
        let passes = (0..count).map(|_| (0..count).map(|_| watch::Sender::new(true)).collect()).collect();
        let ports = (0..count).map(|_| port()).collect();
        Self { directory: directory.to_owned(), ports, network: FIRST_NETWORK, passes, proxies: Vec::new() }
    }

    /// Where this member is reached: what the configuration has.
    pub(crate) fn address(&self, to: usize) -> String {
        format!("{}:{}", name(to), self.ports[to])
    }

    /// The `/etc/hosts` of this member.
    pub(crate) fn hosts(&self, from: usize) -> PathBuf {
        self.directory.join(format!("hosts-{from}"))
    }

    /// Builds all roads, to members with these ports.
    pub(crate) async fn build(&mut self, members: &[Ports]) {
        for from in 0..members.len() {
            let mut hosts = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
            for (to, ports) in members.iter().enumerate().filter(|(to, _)| *to != from) {
                let ip = self.ip(from, to);
                hosts.push_str(&format!("{ip} {}\n", name(to)));
                let listener = TcpListener::bind((ip, self.ports[to])).await.unwrap();
                let there = self.passes[from][to].subscribe();
                let back = self.passes[to][from].subscribe();
                let target = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.peer));
                self.proxies.push(tokio::spawn(serve(listener, target, there, back)));
            }
            std::fs::write(self.hosts(from), hosts).unwrap();
        }
    }

    /// Builds all roads anew in another network; the old ones lead nowhere.
    pub(crate) async fn rebuild(&mut self, members: &[Ports]) {
        for proxy in self.proxies.drain(..) {
            proxy.abort();
            // Its socket is closed once it is gone.
            let _ = proxy.await;
        }
        self.network += 1;
        self.build(members).await;
    }

    /// Lets what `from` says to `to` pass, or not.
    pub(crate) fn set(&self, from: usize, to: usize, passes: bool) {
        self.passes[from][to].send_replace(passes);
    }

    /// Cuts a member off from all others, both ways.
    pub(crate) fn isolate(&self, member: usize) {
        for other in (0..self.passes.len()).filter(|other| *other != member) {
            self.set(member, other, false);
            self.set(other, member, false);
        }
    }

    /// Opens all roads.
    pub(crate) fn heal(&self) {
        for road in self.passes.iter().flatten() {
            road.send_replace(true);
        }
    }

    fn ip(&self, from: usize, to: usize) -> Ipv4Addr {
        let number = |member: usize| u8::try_from(member + 1).unwrap();
        Ipv4Addr::new(127, self.network, number(from), number(to))
    }
}

impl Drop for Roads {
    fn drop(&mut self) {
        self.proxies.iter().for_each(JoinHandle::abort);
    }
}

/// A name that no name server knows.
fn name(member: usize) -> String {
    format!("db-{member}.members")
}

/// Carries the connections of one dialer to one member.
async fn serve(
    listener: TcpListener,
    target: SocketAddr,
    there: watch::Receiver<bool>,
    back: watch::Receiver<bool>,
) {
    let mut carried = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((dialer, _)) = accepted else { continue };
                carried.spawn(carry(dialer, target, there.clone(), back.clone()));
            }
            Some(_) = carried.join_next() => {}
        }
    }
}

/// Carries one connection until one side ends it and the other was told.
async fn carry(
    dialer: TcpStream,
    target: SocketAddr,
    mut there: watch::Receiver<bool>,
    back: watch::Receiver<bool>,
) {
    // Not even the handshake passes a closed road.
    if there.wait_for(|passes| *passes).await.is_err() {
        return;
    }
    // Nobody listens there: the dialer sees its connection end.
    let Ok(member) = TcpStream::connect(target).await else { return };
    // Small messages must not wait for company here either.
    let _ = (dialer.set_nodelay(true), member.set_nodelay(true));
    let (from_dialer, to_dialer) = dialer.into_split();
    let (from_member, to_member) = member.into_split();
    tokio::join!(pump(from_dialer, to_member, there), pump(from_member, to_dialer, back));
}

/// Carries one direction. An end is something said, too: it waits on a closed road.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut passes: watch::Receiver<bool>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut chunk).await;
        if passes.wait_for(|passes| *passes).await.is_err() {
            return;
        }
        match read {
            Ok(count) if count > 0 && to.write_all(&chunk[..count]).await.is_ok() => {}
            // Dropping this half tells the other side.
            _ => return,
        }
    }
}
