//! A narrow road to one member: a TCP relay on which, once one connection has carried much (a snapshot), only that one
//! goes on, slowly. Whoever sits at its end answers nobody else any more.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Who may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    All,
    /// The connection with this number.
    Only(u64),
    Nobody,
}

/// More than this towards the member and a connection is the snapshot's.
const MUCH_BYTES: u64 = 1024 * 1024;
/// Bytes moved at a time.
const PIECE_BYTES: usize = 32 * 1024;

/// Ends with its owner.
pub(crate) struct Relay {
    port: u16,
    passing: watch::Sender<Passing>,
    _roads: JoinSet<()>,
}

impl Relay {
    /// Leads to a port of this machine, with so many bytes a second on each connection.
    pub(crate) async fn to(target: u16, bytes_per_second: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let passing = watch::Sender::new(Passing::All);
        let mut roads = JoinSet::new();
        roads.spawn(accept(listener, target, bytes_per_second, passing.clone()));
        Self { port, passing, _roads: roads }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether one connection alone goes on.
    pub(crate) fn is_narrow(&self) -> bool {
        matches!(*self.passing.borrow(), Passing::Only(_))
    }

    /// From now on nothing passes; connections stay open.
    pub(crate) fn shut(&self) {
        self.passing.send_replace(Passing::Nobody);
    }
}

async fn accept(listener: TcpListener, target: u16, bytes_per_second: u64, passing: watch::Sender<Passing>) {
    let mut roads = JoinSet::new();
    for number in 0.. {
        let (caller, _) = listener.accept().await.unwrap();
        // A member that is down refuses, and so do we.
        let Ok(called) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { continue };
        let (from_caller, to_caller) = caller.into_split();
        let (from_called, to_called) = called.into_split();
        let road = |is_towards| Road { number, is_towards, bytes_per_second, passing: passing.clone() };
        roads.spawn(road(true).run(from_caller, to_called));
        roads.spawn(road(false).run(from_called, to_caller));
    }
}

/// One direction of a connection.
struct Road {
    number: u64,
    /// Towards the member.
    is_towards: bool,
    bytes_per_second: u64,
    passing: watch::Sender<Passing>,
}

impl Road {
    async fn run(self, from: OwnedReadHalf, to: OwnedWriteHalf) {
        self.carry(from, to).await;
        // It broke off, as on a busy machine it may: then the sender must be able to begin anew.
        self.passing.send_if_modified(|passing| {
            let was_alone = *passing == Passing::Only(self.number);
            if was_alone {
                *passing = Passing::All;
            }
            was_alone
        });
    }

    async fn carry(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let (mut piece, mut carried) = (vec![0; PIECE_BYTES], 0);
        let mut passing = self.passing.subscribe();
        let may_pass = |passing: &Passing| match passing {
            Passing::All => true,
            Passing::Only(number) => *number == self.number,
            Passing::Nobody => false,
        };
        while let Ok(length) = from.read(&mut piece).await
            && length > 0
        {
            // The sender is in the relay's own task, and lives as long.
            let _ = passing.wait_for(|passing| may_pass(passing)).await;
            if to.write_all(&piece[..length]).await.is_err() {
                return;
            }
            if self.is_towards {
                carried += length as u64;
                if carried > MUCH_BYTES {
                    self.passing.send_if_modified(|passing| {
                        let is_first = *passing == Passing::All;
                        if is_first {
                            *passing = Passing::Only(self.number);
                        }
                        is_first
                    });
                }
                tokio::time::sleep(Duration::from_micros(length as u64 * 1_000_000 / self.bytes_per_second))
                    .await;
            }
        }
    }
}
