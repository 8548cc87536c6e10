//! A connection to the API server from the sidecar's own projected token.
//!
//! Not kube's in-cluster configuration: that one reads the Pod's automounted token, which belongs to the
//! application, may be absent, and is not ours to use (K44). The token file is read again as it is rotated.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use kube::config::AuthInfo;
use kube::{Client, Config};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

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
        Client::try_from(self.config(namespace)?).map_err(|error| PublishError::Connect(error.to_string()))
    }

    fn config(&self, namespace: &str) -> Result<Config, PublishError> {
        let mut config = Config::new(self.url()?);
        namespace.clone_into(&mut config.default_namespace);
        // Both are needed: the file is read again when it is rotated, and without the roots the system's would be
        // looked for first, which an image of one binary does not have.
        let authority = self.credentials.join("ca.crt");
        config.root_cert = Some(roots(&authority)?);
        config.root_cert_file = Some(authority);
        config.connect_timeout = Some(CALL_TIMEOUT);
        config.write_timeout = Some(CALL_TIMEOUT);
        config.default_retry = false;
        config.auth_info = AuthInfo {
            token_file: Some(self.credentials.join("token").to_string_lossy().into_owned()),
            ..AuthInfo::default()
        };
        Ok(config)
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

/// The certificates of a PEM file.
fn roots(path: &Path) -> Result<Vec<Vec<u8>>, PublishError> {
    let refused =
        |error: &dyn std::fmt::Display| PublishError::Connect(format!("{}: {error}", path.display()));
    let pem = std::fs::read(path).map_err(|error| refused(&error))?;
    let roots: Result<Vec<Vec<u8>>, _> =
        CertificateDer::pem_slice_iter(&pem).map(|root| root.map(|root| root.to_vec())).collect();
    let roots = roots.map_err(|error| refused(&error))?;
    if roots.is_empty() { Err(refused(&"it holds no certificate")) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K44: nothing but the projected files is used. With the system's roots in the test machine's reach a call
    /// would succeed all the same, so the configuration itself is looked at.
    #[test]
    fn the_projected_authority_is_the_only_one() {
        let folder = tempfile::tempdir().unwrap();
        let connection =
            Connection { host: "10.0.0.1".to_owned(), port: 443, credentials: folder.path().to_owned() };
        assert!(connection.config("ns").unwrap_err().to_string().contains("ca.crt"));
        std::fs::write(folder.path().join("ca.crt"), "not a certificate").unwrap();
        assert!(connection.config("ns").unwrap_err().to_string().contains("holds no certificate"));
        let pem = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
        std::fs::write(folder.path().join("ca.crt"), pem.repeat(2)).unwrap();
        let config = connection.config("ns").unwrap();
        assert_eq!(config.root_cert, Some(vec![vec![1, 2, 3], vec![1, 2, 3]]));
        assert_eq!(config.root_cert_file, Some(folder.path().join("ca.crt")));
    }

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
