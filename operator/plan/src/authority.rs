//! One certificate authority follows another, under load and without a restart (K46).
//!
//! ```text
//!   announced: all trust both, the old one signs ─► switched: the new one signs ─► the old one is forgotten
//! ```
//! Each arrow waits until every member has said that it uses what its Secret holds: kubelets spread Secrets when they
//! like. Begun when the authority is past two thirds of its life, by annotation, when `spec.tls` or the Secret that it names
//! brings another authority, and after the authority's Secret was lost: whoever is to be trusted is trusted by all before
//! anybody shows a certificate of it.

use crate::children::{label_keys, names};
use crate::observed::Child;
use crate::plan::{AuthorityChange, Ensure, Event};
use crate::reason::Reason;
use crate::round::Round;

const RULE: &str = "K46";

/// The next arrow, if it is due.
pub(crate) fn rotate(round: &mut Round<'_>) {
    let children = &round.observed.children;
    let found = &children.authority;
    if let Some(problem) = found.brought.as_ref().and_then(|brought| brought.problem.clone()) {
        return round.block(RULE, Reason::CertificateUnusable, round.observed.name(), problem);
    }
    if children.ca_secret != Child::Ours {
        return;
    }
    let (is_in_force, is_next) = match &found.brought {
        Some(brought) => (brought.is_in_force, brought.is_next),
        None => (!found.is_keyless, !found.is_next_keyless),
    };
    let asked = round.observed.annotation(label_keys::ROTATE_CA);
    let is_asked = asked.is_some() && asked != found.rotation.as_deref();
    // Of others' authorities those who brought them decide.
    let is_due = !is_in_force || (found.brought.is_none() && (is_asked || found.is_old));
    let is_overtaken = found.has_next && !is_next;
    let is_under_way = found.has_next || found.has_previous;
    if is_under_way
        && !is_overtaken
        && let Some(member) = late(round)
    {
        let text = format!(
            "a new certificate authority takes over: {member} has not said yet that it uses what Secret {member}-tls holds"
        );
        return round.block(RULE, Reason::AuthorityChanging, &member, text);
    }
    let (change, text) = match (found.has_next, found.has_previous) {
        (true, _) if !is_overtaken => (
            AuthorityChange::Switch,
            "every member trusts the new certificate authority: it signs from now on",
        ),
        (false, true) => (
            AuthorityChange::Forget,
            "every member shows a certificate of the new authority: the old one is forgotten",
        ),
        _ if is_due || is_overtaken => (
            AuthorityChange::Announce,
            "a new certificate authority is made; both are trusted until it has taken over",
        ),
        _ => return,
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

/// There is nothing to take a certificate from.
pub(crate) fn is_missing(round: &Round<'_>) -> bool {
    let brought = round.observed.children.authority.brought.as_ref();
    brought.is_some_and(|brought| brought.problem.is_some())
}

/// What clients outside the Pods trust members by: an object they may mount, without the authority's key beside it.
pub(crate) fn publish(round: &mut Round<'_>) {
    let children = &round.observed.children;
    let is_due = !children.published_authority.is_current && children.ca_secret == Child::Ours;
    if round.spec().client_access.is_open() && is_due {
        let name = names::published_authority(round.observed.name());
        round.ensures.push(Ensure::PublishAuthority { name });
    }
}

/// A member that uses other certificates than its Secret holds, as far as anybody knows.
fn late(round: &Round<'_>) -> Option<String> {
    let children = &round.observed.children;
    let certificates = &children.certificates;
    // Who waits for a certificate of the new authority shows one of the old: it must not be forgotten, but may be followed.
    let brought = children.authority.brought.as_ref().filter(|_| !children.authority.has_next);
    let waiting = brought.map(|brought| &brought.waiting);
    let is_late = round.live().find(|(ordinal, slot, _)| {
        let Some(certificate) = certificates.get(ordinal) else { return true };
        if waiting.is_some_and(|waiting| waiting.contains_key(ordinal)) {
            return true;
        }
        let uses = slot.answer.as_ref().map(|answer| answer.credentials.as_str());
        certificate.renewal_due || uses != Some(certificate.content.as_str())
    });
    is_late.map(|(ordinal, _, _)| round.pod_name(ordinal))
}
