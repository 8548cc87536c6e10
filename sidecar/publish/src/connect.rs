//! A connection to the API server from the sidecar's own projected token.
//!
//! Not kube's in-cluster configuration: that one reads the Pod's automounted token, which belongs to the
//! application, may be absent, and is not ours to use (K44). The token file is read again as it is rotated.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use kube::config::AuthInfo;
use kube::{Client, Config};

use crate::error::PublishError;
use crate::limits::CALL_TIMEOUT;

/// Where the API server is and how to prove who we are.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Host name or address, from `KUBERNETES_SERVICE_HOST`.
    pub host: String,
    /// From `KUBERNETES_SERVICE_PORT`.
    pub port: u16,
    /// The directory with `token` and `ca.crt`.
    pub credentials: PathBuf,
}

impl Connection {
    /// The connection a Pod has: address from the environment, credentials from `credentials`.
    pub fn from_environment(credentials: &Path) -> Result<Self, PublishError> {
        let variable = |name: &str| {
            std::env::var(name)
                .map_err(|_| PublishError::Connect(format!("{name} is not set in this process")))
        };
        let port = variable("KUBERNETES_SERVICE_PORT")?;
        Ok(Self {
            host: variable("KUBERNETES_SERVICE_HOST")?,
            port: port.parse().map_err(|_| {
                PublishError::Connect(format!("KUBERNETES_SERVICE_PORT is no port: {port:?}"))
            })?,
            credentials: credentials.to_owned(),
        })
    }

    /// A client with short deadlines and no retries of its own: the publisher's pace decides when to try again.
    pub(crate) fn client(&self, namespace: &str) -> Result<Client, PublishError> {
        let refused = |error: &dyn std::fmt::Display| PublishError::Connect(error.to_string());
        let mut config = Config::new(self.url()?);
        namespace.clone_into(&mut config.default_namespace);
        config.root_cert_file = Some(self.credentials.join("ca.crt"));
        config.connect_timeout = Some(CALL_TIMEOUT);
        config.write_timeout = Some(CALL_TIMEOUT);
        config.default_retry = false;
        config.auth_info = AuthInfo {
            token_file: Some(self.credentials.join("token").to_string_lossy().into_owned()),
            ..AuthInfo::default()
        };
        Client::try_from(config).map_err(|error| refused(&error))
    }

    fn url(&self) -> Result<http::Uri, PublishError> {
        let host = match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => self.host.clone(),
        };
        format!("https://{host}:{}", self.port).parse().map_err(|error| {
            PublishError::Connect(format!("KUBERNETES_SERVICE_HOST is no host: {:?}: {error}", self.host))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(host: &str) -> Result<String, PublishError> {
        let connection = Connection { host: host.to_owned(), port: 443, credentials: PathBuf::new() };
        connection.url().map(|url| url.to_string())
    }

    /// K44: clusters with IPv6 services hand out a bare address that must be bracketed.
    #[test]
    fn an_address_of_either_family_becomes_a_url() {
        assert_eq!(url("10.0.0.1").unwrap(), "https://10.0.0.1:443/");
        assert_eq!(url("fd00::1").unwrap(), "https://[fd00::1]:443/");
        assert_eq!(url("api.example").unwrap(), "https://api.example:443/");
        assert!(url("not a host").is_err());
    }
}
