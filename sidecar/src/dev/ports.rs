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
        })
    }

    /// Ports nobody listens on now. They are asked for all at once, so no two are equal.
    pub fn free(_number: u16) -> Result<Self, Failure> {
        let probe = || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let sockets = (probe(), probe(), probe(), probe(), probe());
        let port = |socket: std::io::Result<std::net::TcpListener>| {
            socket
                .and_then(|socket| socket.local_addr())
                .map(|address| address.port())
                .map_err(|error| Failure::new(Code::Unavailable, format!("no free port: {error}")))
        };
        // All five are open until here.
        let (a, b, c, d, e) = sockets;
        Ok(Self { peer: port(a)?, grpc: port(b)?, grpc_tls: port(c)?, http: port(d)?, ops: port(e)? })
    }

    pub(super) fn addresses(self) -> Addresses {
        let at = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        Addresses {
            peer: at(self.peer),
            grpc: vec![at(self.grpc)],
            grpc_tls: vec![at(self.grpc_tls)],
            http: vec![at(self.http)],
            ops: at(self.ops),
        }
    }
}
