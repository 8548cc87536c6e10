//! Which ports the members of a local cluster use: the documented ones in `dev`, free ones in tests.

use std::net::{Ipv4Addr, SocketAddr};

use crate::exit::{Code, Failure};
use crate::settings::Addresses;

/// Which ports a member uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberPorts {
    /// Peers.
    pub peer: u16,
    /// gRPC, plain.
    pub grpc: u16,
    /// gRPC behind mutual TLS.
    pub grpc_tls: u16,
    /// HTTP.
    pub http: u16,
    /// HTTP behind TLS, for clients from outside a Pod.
    pub https: u16,
    /// Probes.
    pub ops: u16,
}

impl MemberPorts {
    /// The first member has the standard ports, each other one 10 more.
    pub fn standard(number: u16) -> Result<Self, Failure> {
        let base = number * 10;
        Ok(Self {
            peer: 7400 + base,
            grpc: 7401 + base,
            ops: 7402 + base,
            grpc_tls: 7403 + base,
            http: 8500 + base,
            https: 8501 + base,
        })
    }

    /// Ports nobody listens on now. They are asked for all at once, so no two are equal.
    pub fn free(_number: u16) -> Result<Self, Failure> {
        let failed =
            |error: std::io::Error| Failure::new(Code::Unavailable, format!("no free port: {error}"));
        let bind = |_| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        // All are open until the last one is known.
        let sockets = (0..6).map(bind).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let mut ports = Vec::with_capacity(sockets.len());
        for socket in &sockets {
            ports.push(socket.local_addr().map_err(failed)?.port());
        }
        match ports[..] {
            [peer, grpc, grpc_tls, http, https, ops] => Ok(Self { peer, grpc, grpc_tls, http, https, ops }),
            _ => Err(Failure::new(Code::Unavailable, "no free ports")),
        }
    }

    /// Where a member listens; `is_open` to clients from outside a Pod as well.
    pub(super) fn addresses(self, is_open: bool) -> Addresses {
        let at = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        Addresses {
            peer: at(self.peer),
            grpc: vec![at(self.grpc)],
            grpc_tls: vec![at(self.grpc_tls)],
            http: vec![at(self.http)],
            https: is_open.then(|| at(self.https)).into_iter().collect(),
            ops: at(self.ops),
        }
    }
}
