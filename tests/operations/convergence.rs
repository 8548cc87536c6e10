//! What must hold in the end: when nothing breaks and people want one thing, the cluster becomes Ready with exactly what
//! they asked for, nothing is left over, and the operator writes no more (I7, I8, I10).

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use quorate_autopilot::limits::ZONED_VOTERS_MIN;
use quorate_plan::Ordinal;
use quorate_plan::raft_view::quorum;
use quorate_plan::record::{LeavesBecause, MemberState};
use quorate_raft::{Server, ServerId, Suffrage};

use super::coverage::Happening;
use super::event::Event;
use super::objects::zone_of;
use super::world::{World, check};

/// How often convergence is looked for.
const GLANCE: Duration = Duration::from_secs(2);
/// It takes at most so long: two members may have to be replaced one after the other, and only one is an hour (K39).
const PATIENCE: Duration = Duration::from_hours(4);
/// When nothing is missing, writes already on their way may still come.
const LAST_WRITES: Duration = Duration::from_secs(30);
/// Then the operator writes nothing for so long.
const QUIET: Duration = Duration::from_mins(1);
/// While only the size changes, clients are never without a leader for longer (operator.md, "What must be true", 21).
const GAP_ELECTION_TIMEOUTS: u32 = 3;

impl World {
    /// Whether it has converged. That it takes too long is a failure.
    pub(super) fn has_converged(&mut self) -> Result<bool> {
        self.schedule.after(GLANCE, Event::Converged);
        let now = self.schedule.now();
        let calm_since = self.calm_since.unwrap_or(now);
        if let Some(missing) = self.what_is_missing() {
            self.settled = None;
            if now > calm_since + PATIENCE {
                let status = self.api.objects().status();
                let summary = status.summary.unwrap_or_default();
                check(Err(format!(
                    "I8: not converged {PATIENCE:?} after everything was well: {missing}; status says: {summary}"
                )))?;
            }
            return Ok(false);
        }
        let (since, writes) = *self.settled.get_or_insert((now, self.operator_writes));
        if now < since + LAST_WRITES {
            self.settled = Some((since, self.operator_writes));
        } else if writes != self.operator_writes {
            check(Err(format!(
                "I7: the operator wrote {} times to a settled cluster",
                self.operator_writes - writes
            )))?;
        } else if now >= since + LAST_WRITES + QUIET {
            self.coverage.hit(Happening::Converged);
            self.say(|_| "converged".to_owned());
            return Ok(true);
        }
        Ok(false)
    }

    fn what_is_missing(&self) -> Option<String> {
        let objects = self.api.objects();
        if !objects.is_ready() {
            return Some(format!("not Ready: {}", objects.condition("Ready").2));
        }
        let replicas = usize::try_from(objects.cluster.spec.replicas).unwrap_or(0);
        let Some(known) = &self.watch.configuration else { return Some("no configuration".to_owned()) };
        let servers = known.configuration.servers();
        let voters: Vec<&ServerId> = known.configuration.voters().map(|server| &server.id).collect();
        let is_joint =
            servers.iter().any(|server| !matches!(server.suffrage, Suffrage::Voter | Suffrage::NonVoter));
        if is_joint || servers.len() != replicas {
            return Some(format!("{} servers for {replicas} replicas", servers.len()));
        }
        if let Some(wrong) = self.votes(servers, &voters).or_else(|| self.versions(&voters)) {
            return Some(wrong);
        }
        let ordinals: BTreeSet<Ordinal> =
            servers.iter().filter_map(|server| Self::ordinal_in(server.id.raft_id.as_str())).collect();
        self.strays(&ordinals).or_else(|| self.budget(voters.len()))
    }

    /// Everybody votes; with zones one in each (A24), and where a zone is gone for good, its vote may be elsewhere (A25).
    fn votes(&self, servers: &[Server], voters: &[&ServerId]) -> Option<String> {
        if !self.options.has_zones {
            let missing = servers.len() - voters.len();
            return (missing > 0).then(|| format!("{missing} members have no vote"));
        }
        let zone =
            |id: &ServerId| self.processes.values().find(|it| it.id == *id).map(|it| zone_of(&it.node));
        let zones: BTreeSet<_> = servers.iter().map(|server| zone(&server.id)).collect();
        let voting: BTreeSet<_> = voters.iter().map(|id| zone(id)).collect();
        let is_kept = voters.len() == ZONED_VOTERS_MIN && zones.len() < ZONED_VOTERS_MIN;
        let is_so = voting == zones && (voters.len() == zones.len() || is_kept);
        (!is_so).then(|| format!("{} voters in {} zones of {}", voters.len(), voting.len(), zones.len()))
    }

    /// A29: an upgrade by new members is over, and only they vote.
    fn versions(&self, voters: &[&ServerId]) -> Option<String> {
        let (wanted, is_over) = self.wanted_version()?;
        let version = |id: &ServerId| {
            self.processes.values().find(|process| process.id == *id).and_then(|it| it.version.clone())
        };
        let old = voters.iter().find(|id| version(id).as_ref() != Some(&wanted));
        match old {
            Some(old) => Some(format!("{old} votes, of version {:?} and not {wanted}", version(old))),
            None => (!is_over).then(|| format!("the upgrade to {wanted} is not over")),
        }
    }

    /// I10: no ID, Pod or claim without the others.
    fn strays(&self, ordinals: &BTreeSet<Ordinal>) -> Option<String> {
        let objects = self.api.objects();
        let pods: BTreeSet<Ordinal> = objects.pods.keys().copied().collect();
        if pods != *ordinals {
            return Some(format!("servers {ordinals:?}, and Pods {pods:?}"));
        }
        let hashes: BTreeSet<_> = objects.pods.values().map(|pod| pod.template_hash.clone()).collect();
        if hashes.len() != 1 {
            return Some(format!("Pods of {} renderings", hashes.len()));
        }
        for (ordinal, claim) in &objects.claims {
            let name = Self::claim_name(*ordinal);
            let is_member = ordinals.contains(ordinal);
            let is_kept = claim.record.state == Some(MemberState::Retired);
            if is_member && (claim.record.state != Some(MemberState::Member) || claim.deleting) {
                return Some(format!("claim {name} of a member is {:?}", claim.record.state));
            }
            if !is_member && !is_kept {
                return Some(format!("claim {name} is left over as {:?}", claim.record.state));
            }
            let was_scaled_in = claim.record.leaves_because == Some(LeavesBecause::ScaleIn);
            if is_kept && was_scaled_in && !self.person.has_edited_policy {
                return Some(format!("claim {name} of a member that was scaled in is kept"));
            }
        }
        let missing = ordinals.iter().find(|ordinal| !objects.claims.contains_key(ordinal));
        missing.map(|ordinal| format!("{} is missing", Self::claim_name(*ordinal)))
    }

    /// K37.
    fn budget(&self, voters: usize) -> Option<String> {
        let objects = self.api.objects();
        let found = objects.budget.as_ref().map(|budget| budget.min_available);
        let due = (voters >= 3).then(|| i32::try_from(quorum(voters)).unwrap_or(0));
        if found != due {
            return Some(format!("the budget keeps {found:?}, not {due:?}"));
        }
        let labelled = objects.pods.values().filter(|pod| pod.voter_label).count();
        (labelled != voters).then(|| format!("{labelled} Pods are labelled as voters"))
    }

    /// Operator.md, "What must be true", 21: while only the size changes, clients notice at most an election.
    pub(super) fn check_gap(&self) -> Result<()> {
        let gap =
            self.options.settings.election_timeout * GAP_ELECTION_TIMEOUTS + super::world::WRITE_EVERY * 2;
        let now = self.schedule.now();
        match self.written {
            Some(written) if self.options.is_scaling_only() && now > written + gap => check(Err(format!(
                "P9: no write was committed for {:?} while the size changed",
                now.saturating_sub(written)
            ))),
            _ => Ok(()),
        }
    }
}
