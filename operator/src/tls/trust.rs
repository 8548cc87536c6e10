//! The authorities members trust at this moment: one, and two while one follows another (K46).
//!
//! ```text
//!   ca.crt, ca.key            signs
//!   ca-next.crt, ca-next.key  will sign: trusted already, shown by nobody
//!   ca-previous.crt           has signed: still trusted, until nobody shows it any more
//! ```

use super::{Authority, Facts, TlsError};

/// `ca.crt` in the authority's and in each member's Secret.
pub(crate) const CA_CERTIFICATE: &str = "ca.crt";
/// `ca.key` in the authority's Secret.
pub(crate) const CA_KEY: &str = "ca.key";
/// The certificate of the authority that is to follow.
pub(crate) const NEXT_CERTIFICATE: &str = "ca-next.crt";
/// And its key.
pub(crate) const NEXT_KEY: &str = "ca-next.key";
/// The certificate of the authority before.
pub(crate) const PREVIOUS_CERTIFICATE: &str = "ca-previous.crt";

/// What the authority's Secret holds.
pub(crate) struct Trust {
    /// The one that signs.
    pub(crate) authority: Authority,
    /// The one that is to follow: certificate and key in PEM.
    pub(crate) next: Option<(String, String)>,
    /// The certificate of the one before.
    pub(crate) previous: Option<String>,
}

impl Trust {
    /// Reads a Secret of this name by its keys.
    pub(crate) fn read(name: &str, value: impl Fn(&str) -> Option<String>) -> Result<Self, TlsError> {
        let text = |key: &str| value(key).unwrap_or_default();
        let authority = Authority::read(name, &text(CA_CERTIFICATE), &text(CA_KEY))?;
        let next = value(NEXT_CERTIFICATE).zip(value(NEXT_KEY));
        if let Some((certificate, key)) = &next {
            Authority::read(name, certificate, key)?;
        }
        Ok(Self { authority, next, previous: value(PREVIOUS_CERTIFICATE) })
    }

    /// `ca.crt` of the members: everything they are to trust.
    pub(crate) fn bundle(&self) -> String {
        let next = self.next.iter().map(|(certificate, _)| certificate.as_str());
        let all =
            std::iter::once(self.authority.certificate_pem()).chain(next).chain(self.previous.as_deref());
        all.flat_map(|pem| [pem.trim_end(), "\n"]).collect()
    }

    /// Past two thirds of its life.
    pub(crate) fn is_old(&self, now: std::time::SystemTime) -> bool {
        Facts::read(self.authority.certificate_pem()).is_none_or(|facts| facts.is_past_two_thirds(now))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    use super::*;

    fn keys(authority: &Authority, names: [&str; 2]) -> [(String, String); 2] {
        let [certificate, key] = names.map(str::to_owned);
        [(certificate, authority.certificate_pem().to_owned()), (key, authority.key_pem())]
    }

    /// K46: while one authority follows another both are trusted, and one of them signs.
    #[test]
    fn both_are_trusted_while_one_follows_the_other() {
        let (old, new) = ["old", "new"].map(|name| Authority::new(name, SystemTime::now()).unwrap()).into();
        let mut secret = BTreeMap::from(keys(&old, [CA_CERTIFICATE, CA_KEY]));
        let read =
            |secret: &BTreeMap<String, String>| Trust::read("db-ca", |key| secret.get(key).cloned()).unwrap();
        assert_eq!(read(&secret).bundle(), old.certificate_pem(), "alone it is as it was made");
        secret.extend(keys(&new, [NEXT_CERTIFICATE, NEXT_KEY]));
        let trust = read(&secret);
        assert!(trust.bundle().contains(new.certificate_pem().trim_end()));
        assert_eq!(trust.authority.certificate_pem(), old.certificate_pem());
        secret.insert(NEXT_KEY.to_owned(), "half written".to_owned());
        assert!(Trust::read("db-ca", |key| secret.get(key).cloned()).is_err());
    }
}
