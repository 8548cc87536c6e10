//! A plan as text: golden stories, the DEBUG line, and what a person reads of it.

use std::fmt;

use quorate_crds::ApplicationMode;

use crate::plan::{Applied, Check, Ensure, Event, FactKind, Plan, PlannedStep, RemoveReason, Step};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ensure in &self.ensures {
            writeln!(f, "ensure {ensure}")?;
        }
        for fact in &self.facts {
            let kind = match fact.kind {
                FactKind::Left => "left",
                FactKind::VolumeLost => "volume lost",
            };
            writeln!(f, "tell the leader: {} {kind}", fact.raft_id)?;
        }
        if let Some(step) = &self.step {
            writeln!(f, "{step}")?;
            if let Some(event) = &step.tells {
                writeln!(f, "then {event}")?;
            }
        }
        for entry in &self.blocked {
            writeln!(f, "held back by rule {} ({}): {}", entry.rule, entry.reason, entry.message)?;
        }
        for event in &self.events {
            writeln!(f, "{event}")?;
        }
        for condition in &self.status.conditions {
            writeln!(
                f,
                "{}={} {}: {}",
                condition.type_, condition.status, condition.reason, condition.message
            )?;
        }
        if let Some(summary) = &self.status.summary {
            writeln!(f, "summary: {summary}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_warning { "Warning" } else { "Normal" };
        write!(f, "event {kind} {}: {}", self.reason, self.message)
    }
}

impl fmt::Display for PlannedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}", self.step)?;
        for check in &self.checks {
            write!(f, " [{check}]")?;
        }
        write!(f, "  because {} (rule {}, {})", self.why.text, self.why.rule, self.why.reason)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bootstrap { pod, raft_id, mode: ApplicationMode::KeyValue, .. } => {
                write!(f, "bootstrap {raft_id} at {pod}")
            }
            Self::Bootstrap { pod, raft_id, mode: ApplicationMode::Log, .. } => {
                write!(f, "bootstrap {raft_id} at {pod} in mode Log")
            }
            Self::AddNonVoter { raft_id, .. } => write!(f, "add {raft_id} as non-voter"),
            Self::Remove { raft_id, reason, .. } => {
                let reason = match reason {
                    RemoveReason::VolumeLost => "volume lost",
                    RemoveReason::ScaleIn => "scale-in",
                    RemoveReason::Lagging => "lagging",
                };
                write!(f, "remove {raft_id} ({reason})")
            }
            Self::TransferLeadership { from, to } => write!(f, "transfer leadership from {from} to {to}"),
            Self::Recover { raft_id, epoch, lost, .. } => {
                write!(f, "recover {raft_id} at epoch {epoch} without {}", lost.join(", "))
            }
            Self::EvictPod { pod } => write!(f, "evict Pod {pod}"),
            Self::DeletePod { pod } => write!(f, "delete Pod {pod}"),
            Self::DeleteClaim { claim } => write!(f, "delete claim {claim}"),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration { index, term, .. } => write!(f, "configuration {index}, term {term}"),
            Self::Pod { uid, .. } => write!(f, "Pod UID {uid}"),
            Self::Claim { uid, .. } => write!(f, "claim UID {uid}"),
            Self::ClaimStays { name, .. } => write!(f, "{name} is not being deleted"),
            Self::ClaimGone { name, uid_begins } => write!(f, "{name} with UID {uid_begins}... is gone"),
        }
    }
}

impl fmt::Display for Ensure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        match self {
            Self::Apply(applied) => match applied.as_ref() {
                Applied::Service(it) => write!(f, "Service {}", name(&it.metadata.name)),
                Applied::Budget(it) => write!(f, "PodDisruptionBudget {}", name(&it.metadata.name)),
                Applied::ServiceAccount(it) => write!(f, "ServiceAccount {}", name(&it.metadata.name)),
                Applied::Role(it) => write!(f, "Role {}", name(&it.metadata.name)),
                Applied::RoleBinding(it) => write!(f, "RoleBinding {}", name(&it.metadata.name)),
                Applied::NetworkPolicy(it) => write!(f, "NetworkPolicy {}", name(&it.metadata.name)),
            },
            Self::CreateSlice(it) => write!(f, "EndpointSlice {}", name(&it.metadata.name)),
            Self::SlicePorts { name, .. } => write!(f, "ports of EndpointSlice {name}"),
            Self::CreateLease(it) => write!(f, "Lease {}", name(&it.metadata.name)),
            Self::DeleteBudget { name } => write!(f, "no PodDisruptionBudget {name}"),
            Self::DeleteNetworkPolicy { name } => write!(f, "no NetworkPolicy {name}"),
            Self::Certificate { ordinal, raft_id, .. } => {
                write!(f, "certificate of member {ordinal} for {raft_id}")
            }
            Self::ChangeAuthority { change, .. } => write!(f, "certificate authority: {change:?}"),
            Self::RequestCertificate(it) => {
                write!(f, "Certificate {} of {} {} for {}", it.name, it.issuer.kind, it.issuer.name, it.uri)
            }
            Self::PublishAuthority { name } => write!(f, "ConfigMap {name}"),
            Self::CreateClaim(it) => write!(f, "claim {}", name(&it.metadata.name)),
            Self::NoteOnClaim { claim, set, .. } => {
                write!(f, "note on {claim}:")?;
                set.iter().try_for_each(|(key, value)| {
                    write!(f, " {}={value}", key.strip_prefix("quorate.dev/").unwrap_or(key))
                })
            }
            Self::OwnClaim { claim, owner, .. } => {
                let what = if owner.is_some() { "goes with the resource" } else { "outlives the resource" };
                write!(f, "{claim} {what}")
            }
            Self::ExpandClaim { claim, size, .. } => write!(f, "{claim} asks for {}", size.0),
            Self::CreatePod(it) => write!(f, "Pod {}", name(&it.metadata.name)),
            Self::DeleteEndedPod { pod, .. } => write!(f, "no ended Pod {pod}"),
            Self::LabelPod { pod, labels, .. } => {
                write!(f, "labels on {pod}:")?;
                labels.iter().try_for_each(|(key, value)| {
                    write!(f, " {}={value}", key.strip_prefix("quorate.dev/").unwrap_or(key))
                })
            }
            Self::SetAutopilot(settings) => write!(
                f,
                "autopilot: last contact {:?}, dead after {:?}, trailing {}, stabilization {:?}, min quorum {}",
                settings.last_contact_threshold,
                settings.dead_server_last_contact_threshold,
                settings.max_trailing_logs,
                settings.server_stabilization_time,
                settings.min_quorum
            ),
        }
    }
}
