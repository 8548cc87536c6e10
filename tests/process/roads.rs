//! The ways between members: every connection passes a proxy, and what one member says to another can be held up.
//!
//! ```text
//!   db-0 ──▶ 127.65.1.2 (db-0 to db-1) ──▶ db-1's peer port      each dialer has an /etc/hosts of its own, in which
//!   db-2 ──▶ 127.65.3.2 (db-2 to db-1) ──▶ db-1's peer port      `db-1.members` leads to its own proxy
//! ```
//! A road from A to B is what A says to B, on whichever connection: in the requests of those A dialled, in the answers
//! of those B dialled. On a closed road bytes wait, as in a network that drops packets and sends them again: a short
//! partition delays them, a long one ends the connection by the members' own keepalive. Nothing in between says that
//! the other is gone. Or a member is made to look dead: its connections end, and dials are refused, as its own host does
//! once the process is gone, and as a firewall may do while it is there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use quorate_processes::cluster::Cluster;
use quorate_processes::ports::{Ports, port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::ground::own_hosts;

/// Bytes carried at once; as many may have left just before a road was closed.
const CHUNK_BYTES: usize = 16 * 1024;
/// Roads are built in the network after this at first; each time they are built anew, in the next.
const FIRST_NETWORK: u8 = 64;

/// Every road between members.
pub(crate) struct Roads {
    directory: PathBuf,
    /// The port each member is dialled at, wherever its name leads.
    ports: Vec<u16>,
    network: u8,
    /// Where the members really listen.
    targets: Vec<SocketAddr>,
    /// Whether what one says to another passes: `[from][to]`.
    passes: Vec<Vec<watch::Sender<bool>>>,
    /// Those that carry what `from` dials: by `(from, to)`.
    proxies: BTreeMap<(usize, usize), JoinHandle<()>>,
}

impl Roads {
    /// Builds roads between these members, none of which was ever started. They then know each other by names.
    pub(crate) async fn between(cluster: &mut Cluster) -> Self {
        let count = cluster.members.len();
        let mut roads = Self {
            directory: cluster.directory().to_owned(),
            ports: (0..count).map(|_| port()).collect(),
            network: FIRST_NETWORK,
            targets: Vec::new(),
            passes: (0..count).map(|_| (0..count).map(|_| watch::Sender::new(true)).collect()).collect(),
            proxies: BTreeMap::new(),
        };
        for (number, member) in cluster.members.iter_mut().enumerate() {
            member.address = roads.address(number);
            member.before = own_hosts(&roads.hosts(number));
        }
        roads.build(&cluster.ports()).await;
        roads
    }

    /// Where this member is reached: what the configuration has.
    fn address(&self, to: usize) -> String {
        format!("{}:{}", name(to), self.ports[to])
    }

    /// The `/etc/hosts` of this member.
    fn hosts(&self, from: usize) -> PathBuf {
        self.directory.join(format!("hosts-{from}"))
    }

    /// Builds all roads, to members with these ports. Roads of before lead nowhere.
    pub(crate) async fn build(&mut self, members: &[Ports]) {
        self.close(|_| true).await;
        self.network += 1;
        self.targets = members.iter().map(|ports| (Ipv4Addr::LOCALHOST, ports.peer).into()).collect();
        for from in 0..members.len() {
            let mut hosts = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
            for to in (0..members.len()).filter(|to| *to != from) {
                let _ = writeln!(hosts, "{} {}", self.ip(from, to), name(to));
            }
            std::fs::write(self.hosts(from), hosts).unwrap();
        }
        self.heal().await;
    }

    /// Makes a member look dead to all others, and them to it.
    pub(crate) async fn refuse(&mut self, member: usize) {
        self.close(|(from, to)| from == member || to == member).await;
    }

    async fn close(&mut self, is_meant: impl Fn((usize, usize)) -> bool) {
        for (_, proxy) in self.proxies.extract_if(.., |pair, _| is_meant(*pair)) {
            proxy.abort();
            // Its sockets are closed once it is gone.
            let _ = proxy.await;
        }
    }

    /// Opens all roads.
    pub(crate) async fn heal(&mut self) {
        for road in self.passes.iter().flatten() {
            road.send_replace(true);
        }
        let count = self.targets.len();
        for (from, to) in (0..count).flat_map(|from| (0..count).map(move |to| (from, to))) {
            if from == to || self.proxies.contains_key(&(from, to)) {
                continue;
            }
            let listener = TcpListener::bind((self.ip(from, to), self.ports[to])).await.unwrap();
            let (there, back) = (self.passes[from][to].subscribe(), self.passes[to][from].subscribe());
            let proxy = tokio::spawn(serve(listener, self.targets[to], there, back));
            self.proxies.insert((from, to), proxy);
        }
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

    fn ip(&self, from: usize, to: usize) -> Ipv4Addr {
        let number = |member: usize| u8::try_from(member + 1).unwrap();
        Ipv4Addr::new(127, self.network, number(from), number(to))
    }
}

impl Drop for Roads {
    fn drop(&mut self) {
        self.proxies.values().for_each(JoinHandle::abort);
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
