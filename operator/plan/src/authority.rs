//! One certificate authority follows another, under load and without a restart (K46).
//!
//! ```text
//!   announced: all trust both, the old one signs ─► switched: the new one signs ─► the old one is forgotten
//! ```
//! Each arrow waits until every member has said that it uses what its Secret holds: kubelets spread Secrets when they
//! like. Begun when the authority is past two thirds of its life, or by annotation.

use crate::children::{label_keys, names};
use crate::observed::Child;
use crate::plan::{AuthorityChange, Ensure, Event};
use crate::reason::Reason;
use crate::round::Round;

const RULE: &str = "K46";

/// The next arrow, if it is due.
pub(crate) fn rotate(round: &mut Round<'_>) {
    let children = &round.observed.children;
    if children.ca_secret != Child::Ours {
        return;
    }
    let found = &children.authority;
    let asked = round.observed.annotation(label_keys::ROTATE_CA);
    let is_asked = asked.is_some() && asked != found.rotation.as_deref();
    let is_under_way = found.has_next || found.has_previous;
    if is_under_way && let Some(member) = late(round) {
        let text = format!(
            "a new certificate authority takes over: {member} has not said yet that it uses what Secret {member}-tls holds"
        );
        return round.block(RULE, Reason::AuthorityChanging, &member, text);
    }
    let (change, text) = match (found.has_next, found.has_previous) {
        (true, _) => (
            AuthorityChange::Switch,
            "every member trusts the new certificate authority: it signs from now on",
        ),
        (false, true) => (
            AuthorityChange::Forget,
            "every member shows a certificate of the new authority: the old one is forgotten",
        ),
        (false, false) if is_asked || found.is_old => (
            AuthorityChange::Announce,
            "a new certificate authority is made; both are trusted until it has taken over",
        ),
        (false, false) => return,
    };
    let message = text.to_owned();
    round.events.push(Event { is_warning: false, reason: Reason::AuthorityChanging.to_string(), message });
    round.ensures.push(Ensure::ChangeAuthority {
        secret: names::ca_secret(round.observed.name()),
        resource_version: found.resource_version.clone(),
        change,
        rotation: asked.map(str::to_owned),
    });
}

/// A member that uses other certificates than its Secret holds, as far as anybody knows.
fn late(round: &Round<'_>) -> Option<String> {
    let certificates = &round.observed.children.certificates;
    let is_late = round.live().find(|(ordinal, slot, _)| {
        let Some(certificate) = certificates.get(ordinal) else { return true };
        let uses = slot.answer.as_ref().map(|answer| answer.credentials.as_str());
        certificate.renewal_due || uses != Some(certificate.content.as_str())
    });
    is_late.map(|(ordinal, _, _)| round.pod_name(ordinal))
}
