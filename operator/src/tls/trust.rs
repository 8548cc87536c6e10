//! The authorities members trust at this moment: one, and two while one follows another (K46).
//!
//! ```text
//!   ca.crt, ca.key            signs
//!   ca-next.crt, ca-next.key  will sign: trusted already, shown by nobody
//!   ca-previous.crt           has signed: still trusted, until nobody shows it any more
//! ```
//! The keys are missing where the authority is not the operator's own (`spec.tls`), and after its Secret was lost.

use std::time::SystemTime;

use super::leaf::is_signed_by;
use super::{Authority, Facts, TlsError, needs_renewal};

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

/// An authority: its certificate, and its key if it is the operator's own and was not lost.
pub(crate) struct Anchor {
    /// One certificate, or several where the user's file holds several.
    pub(crate) certificate_pem: String,
    /// What signs; none for an authority of others.
    pub(crate) authority: Option<Authority>,
}

impl Anchor {
    /// One of the operator's own.
    pub(crate) fn own(authority: Authority) -> Self {
        Self { certificate_pem: authority.certificate_pem().to_owned(), authority: Some(authority) }
    }

    /// One whose key is not here.
    pub(crate) fn without_key(certificate_pem: String) -> Self {
        Self { certificate_pem, authority: None }
    }

    fn read(name: &str, certificate_pem: String, key_pem: Option<String>) -> Result<Self, TlsError> {
        let authority = key_pem.map(|key| Authority::read(name, &certificate_pem, &key)).transpose()?;
        if authority.is_none() && certificates(&certificate_pem).is_empty() {
            return Err(TlsError::Authority {
                secret: name.to_owned(),
                why: "no certificate in it".to_owned(),
            });
        }
        Ok(Self { certificate_pem, authority })
    }

    /// Whether this is that authority, whatever blank lines the files have.
    pub(crate) fn is(&self, certificate_pem: &str) -> bool {
        self.certificate_pem.trim() == certificate_pem.trim()
    }
}

/// What the authority's Secret holds.
pub(crate) struct Trust {
    /// The one in force: members show certificates of it.
    pub(crate) current: Anchor,
    /// The one that is to follow.
    pub(crate) next: Option<Anchor>,
    /// The certificates of those before.
    pub(crate) previous: Option<String>,
}

impl Trust {
    /// Reads a Secret of this name by its keys.
    pub(crate) fn read(name: &str, value: impl Fn(&str) -> Option<String>) -> Result<Self, TlsError> {
        let current = Anchor::read(name, value(CA_CERTIFICATE).unwrap_or_default(), value(CA_KEY))?;
        let next = value(NEXT_CERTIFICATE).map(|pem| Anchor::read(name, pem, value(NEXT_KEY))).transpose()?;
        Ok(Self { current, next, previous: value(PREVIOUS_CERTIFICATE) })
    }

    /// The Secret of an authority was lost, but not what members trust and show. That goes on being trusted, without its
    /// key, and `next` is announced beside it: the two-authority step of a planned change (K46).
    pub(crate) fn after_a_loss<'a>(trusted: impl Iterator<Item = &'a str>, next: Anchor) -> Self {
        let mut known: Vec<String> = Vec::new();
        for pem in trusted.flat_map(certificates) {
            if !known.contains(&pem) {
                known.push(pem);
            }
        }
        match known.concat() {
            all if all.is_empty() || next.is(&all) => Self { current: next, next: None, previous: None },
            all => Self { current: Anchor::without_key(all), next: Some(next), previous: None },
        }
    }

    /// `ca.crt` of the members: everything they are to trust.
    pub(crate) fn bundle(&self) -> String {
        let next = self.next.iter().map(|next| next.certificate_pem.as_str());
        let all = std::iter::once(self.current.certificate_pem.as_str())
            .chain(next)
            .chain(self.previous.as_deref());
        all.flat_map(|pem| [pem.trim_end(), "\n"]).collect()
    }

    /// What signs now: the one in force, or the one to follow if that one's key is not here.
    pub(crate) fn issuer(&self) -> Option<&Authority> {
        let next = || self.next.as_ref().and_then(|next| next.authority.as_ref());
        self.current.authority.as_ref().or_else(next)
    }

    /// `ca-previous.crt` once the one to follow has taken over.
    pub(crate) fn past(&self) -> String {
        [self.current.certificate_pem.as_str(), self.previous.as_deref().unwrap_or_default()]
            .into_iter()
            .flat_map(certificates)
            .collect()
    }

    /// Past two thirds of its life; of others' authorities those who brought them take care.
    pub(crate) fn is_old(&self, now: SystemTime) -> bool {
        self.current.authority.is_some()
            && Facts::read(&self.current.certificate_pem).is_none_or(|facts| facts.is_past_two_thirds(now))
    }

    /// Whether a leaf that the operator made has to be made anew: past two thirds of its life, unreadable, or signed by
    /// another authority than the one in force. Where that one's key is not here, one of any trusted authority does.
    pub(crate) fn needs_renewal(&self, leaf_pem: &str, now: SystemTime) -> bool {
        if let Some(authority) = &self.current.authority {
            return needs_renewal(leaf_pem, authority.certificate_pem(), now);
        }
        // Early renewal can wait: what the next one signs is not trusted by everybody yet.
        let is_valid = Facts::read(leaf_pem).is_some_and(|facts| !facts.is_expired(now));
        !is_valid || !certificates(&self.bundle()).iter().any(|pem| is_signed_by(leaf_pem, pem))
    }
}

/// Each certificate of a PEM text by itself; what cannot be read is left out.
pub(crate) fn certificates(pem: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let parts = pem.split_inclusive(END).filter_map(|part| part.split_once("-----BEGIN CERTIFICATE-----"));
    let each = parts.map(|(_, rest)| format!("-----BEGIN CERTIFICATE-----{rest}\n"));
    each.filter(|pem| Facts::read(pem).is_some()).collect()
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
        assert!(trust.current.is(old.certificate_pem()) && trust.issuer().is_some());
        secret.insert(NEXT_KEY.to_owned(), "half written".to_owned());
        assert!(Trust::read("db-ca", |key| secret.get(key).cloned()).is_err());
    }

    /// K46: a lost Secret breaks nothing. What members trust and show stays good; a new authority is announced, signs for
    /// who is new, takes over, and then only is the lost one forgotten.
    #[test]
    fn after_its_secret_is_lost_an_authority_is_trusted_until_another_has_taken_over() {
        let now = SystemTime::now();
        let lost = Authority::new("db", now).unwrap();
        let issue = |authority: &Authority| {
            authority.issue(7, "db-0-3f2a91c4", &[], now, crate::limits::LEAF_LIFE).unwrap().certificate_pem
        };
        let shown = issue(&lost);
        let members = [lost.certificate_pem(), lost.certificate_pem()];
        let trust = Trust::after_a_loss(members.into_iter(), Anchor::own(Authority::new("db", now).unwrap()));
        assert!(trust.current.is(lost.certificate_pem()) && trust.current.authority.is_none());
        assert!(!trust.needs_renewal(&shown, now), "what is shown stays");
        assert!(!trust.needs_renewal(&shown, now + crate::limits::LEAF_LIFE * 3 / 4), "though it is old");
        assert!(
            trust.needs_renewal(&shown, now + crate::limits::LEAF_LIFE * 2),
            "but not once it is of no use"
        );
        let new = issue(trust.issuer().unwrap());
        assert!(!trust.needs_renewal(&new, now), "who is new is trusted by who has the bundle");
        assert!(trust.needs_renewal(&issue(&Authority::new("db", now).unwrap()), now), "a stranger's is not");
        assert_eq!(certificates(&trust.bundle()).len(), 2);
        // Switched, as `act` writes it.
        let past = trust.past();
        let switched = Trust { current: trust.next.unwrap(), next: None, previous: Some(past) };
        assert!(switched.needs_renewal(&shown, now) && !switched.needs_renewal(&new, now));
        assert!(switched.bundle().contains(lost.certificate_pem().trim()), "trusted until nobody shows it");
        assert_eq!(certificates(&switched.bundle()).len(), 2);
    }

    /// K46: lost in the middle of a change, both authorities of it stay trusted; without any member there is nothing to keep.
    #[test]
    fn a_loss_in_the_middle_of_a_change_keeps_both() {
        let now = SystemTime::now();
        let [old, new] = ["old", "new"].map(|name| Authority::new(name, now).unwrap());
        let both = [old.certificate_pem(), new.certificate_pem()].concat();
        let trust =
            Trust::after_a_loss([both.as_str()].into_iter(), Anchor::own(Authority::new("db", now).unwrap()));
        assert_eq!(certificates(&trust.bundle()).len(), 3);
        let alone = Trust::after_a_loss(std::iter::empty(), Anchor::own(old));
        assert!(alone.current.authority.is_some() && alone.next.is_none());
    }
}
