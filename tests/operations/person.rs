//! People: they want something else again and again, and do what the cluster tells them to do.

use quorate_crds::ClaimPolicy;
use quorate_plan::Ordinal;
use quorate_plan::children::label_keys;
use rand::Rng;
use rand::seq::IndexedRandom;

use super::coverage::Happening;
use super::event::Event;
use super::kubelet::NO_SUCH_IMAGE;
use super::objects::{CLUSTER, template};
use super::options::Edit;
use super::world::{LOOKS_EVERY, World};

/// What people remember.
#[derive(Default)]
pub struct Person {
    /// A majority was lost for good, and is to be recovered.
    pub is_recovering: bool,
    /// The policy for claims was edited.
    pub has_edited_policy: bool,
    images: u64,
    upgrade: Upgrade,
}

/// An upgrade by new members.
struct Upgrade {
    /// The version that is wanted.
    version: u64,
    /// Where it stands.
    stage: Stage,
}

/// Where an upgrade by new members stands, as a person sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// All members are of one version.
    Done,
    /// Twice as many are there, and votes move.
    Doubled,
    /// The old ones leave.
    Halved,
}

impl Default for Upgrade {
    fn default() -> Self {
        Self { version: 1, stage: Stage::Done }
    }
}

impl World {
    /// Somebody wants something else.
    pub(super) fn edit(&mut self) {
        if self.is_calm() {
            return;
        }
        let next = self.around(self.options.edit_every);
        self.schedule.after(next, Event::Edit);
        let Some(edit) = self.options.edits.choose(&mut self.rng).copied() else { return };
        match edit {
            Edit::Scale => {
                let replicas = self.rng.random_range(1..=self.options.replicas_max);
                self.scale(replicas);
            }
            Edit::Image => self.set_image(""),
            Edit::BadImage => self.set_image(NO_SUCH_IMAGE),
            Edit::WhenScaled => {
                self.coverage.hit(Happening::PolicyEdited);
                self.person.has_edited_policy = true;
                self.say(|_| "somebody edits whenScaled".to_owned());
                self.api.edit_spec(|spec| {
                    let policy = &mut spec.storage.retention.when_scaled;
                    *policy = match policy {
                        ClaimPolicy::Delete => ClaimPolicy::Retain,
                        ClaimPolicy::Retain => ClaimPolicy::Delete,
                    };
                });
            }
            Edit::Hibernate => {
                let hibernate = !self.api.objects().cluster.spec.hibernate;
                if hibernate {
                    self.coverage.hit(Happening::Hibernated);
                } else if self.api.objects().pods.is_empty() {
                    self.coverage.hit(Happening::Slept);
                }
                self.say(|_| format!("somebody sets hibernate to {hibernate}"));
                self.api.edit_spec(|spec| spec.hibernate = hibernate);
            }
            Edit::Pause => {
                let is_paused = self.annotation(label_keys::PAUSED).is_some();
                if !is_paused {
                    self.coverage.hit(Happening::Paused);
                }
                self.say(|_| format!("somebody sets paused to {}", !is_paused));
                self.api.annotate(label_keys::PAUSED, (!is_paused).then(|| "true".to_owned()));
            }
            Edit::Replace => self.ask_for_a_replacement(),
            Edit::Upgrade => self.begin_upgrade(),
        }
    }

    /// The template of the next version, and twice as many members, in one edit (docs/autopilot.md).
    fn begin_upgrade(&mut self) {
        if self.person.upgrade.stage != Stage::Done || !self.api.objects().is_ready() {
            return;
        }
        let version = self.person.upgrade.version + 1;
        self.person.upgrade = Upgrade { version, stage: Stage::Doubled };
        self.coverage.hit(Happening::UpgradeBegun);
        self.say(|_| format!("somebody wants version {version}, and twice as many members"));
        self.api.edit_spec(|spec| {
            spec.template = Some(template(version));
            spec.replicas *= 2;
        });
    }

    /// Once votes have moved the old members are let go; once they are gone, the upgrade is over.
    fn carry_on_upgrade(&mut self) {
        let objects = self.api.objects();
        let version = format!("{}.0.0", self.person.upgrade.version);
        let raft = objects.status().raft.unwrap_or_default();
        let members = raft.members.len();
        let said = raft.upgrade.filter(|upgrade| upgrade.target_version.as_deref() == Some(version.as_str()));
        // Idle: each old one was restarted meanwhile, and is a new one since.
        let has_moved = said.is_some_and(|it| matches!(it.status.as_str(), "await-server-removal" | "idle"));
        let replicas = objects.cluster.spec.replicas;
        match self.person.upgrade.stage {
            Stage::Doubled if has_moved && usize::try_from(replicas).is_ok_and(|all| members >= all) => {
                self.coverage.hit(Happening::UpgradeMoved);
                self.person.upgrade.stage = Stage::Halved;
                self.scale(replicas / 2);
            }
            Stage::Halved if objects.is_ready() => {
                self.coverage.hit(Happening::Upgraded);
                self.person.upgrade.stage = Stage::Done;
                self.say(|_| "the upgrade is over".to_owned());
            }
            // A new member was lost while the old ones left, so an old one is kept in its place: status says to delete its Pod.
            Stage::Halved if has_moved && usize::try_from(replicas) == Ok(members) => {
                self.restart_old_standby();
            }
            Stage::Done | Stage::Doubled | Stage::Halved => {}
        }
    }

    /// A Pod of an older version that has no vote is deleted: it comes back with the present template.
    fn restart_old_standby(&mut self) {
        let version = format!("{}.0.0", self.person.upgrade.version);
        let known = self.watch.configuration.as_ref().map(|known| &known.configuration);
        let is_old_standby = |process: &&super::process::Process| {
            process.version.as_ref() != Some(&version)
                && known.is_some_and(|known| !known.is_voter(&process.id))
        };
        let Some(ordinal) = self.processes.values().find(is_old_standby).map(|old| old.boot.ordinal) else {
            return;
        };
        self.coverage.hit(Happening::OldStandbyRestarted);
        self.say(|_| format!("somebody deletes Pod {CLUSTER}-{ordinal}, of an older version"));
        self.api.mark_pod(ordinal);
    }

    /// The version that people want, if they upgrade by new members, and whether only such members are wanted.
    pub(super) fn wanted_version(&self) -> Option<(String, bool)> {
        let Upgrade { version, stage } = self.person.upgrade;
        self.options.has_upgrades.then(|| (format!("{version}.0.0"), stage == Stage::Done))
    }

    fn scale(&mut self, replicas: i32) {
        if self.api.objects().cluster.spec.replicas != replicas {
            self.coverage.hit(Happening::Scaled);
            self.say(|_| format!("somebody wants {replicas} replicas"));
            self.api.edit_spec(|spec| spec.replicas = replicas);
        }
    }

    fn set_image(&mut self, marked: &str) {
        self.coverage.hit(if marked.is_empty() { Happening::Edited } else { Happening::EditedBadly });
        self.person.images += 1;
        let image = format!("quorate/{marked}sidecar:{}", self.person.images);
        self.say(|_| format!("somebody wants image {image}"));
        self.api.edit_spec(|spec| spec.sidecar.image = Some(image));
    }

    fn annotation(&self, key: &str) -> Option<&String> {
        self.api.objects().cluster.metadata.annotations.as_ref()?.get(key)
    }

    fn ask_for_a_replacement(&mut self) {
        if self.annotation(label_keys::REPLACE).is_some() {
            self.say(|_| "somebody takes the annotation replace away".to_owned());
            return self.api.annotate(label_keys::REPLACE, None);
        }
        let known = self.watch.configuration.iter().flat_map(|known| known.configuration.servers());
        let ids: Vec<String> = known.map(|server| server.id.raft_id.to_string()).collect();
        if let Some(id) = ids.choose(&mut self.rng).cloned() {
            self.replace(&id);
        }
    }

    fn replace(&mut self, raft_id: &str) {
        self.coverage.hit(Happening::ReplaceAsked);
        let member = raft_id.rsplit_once('-').map_or(raft_id, |(member, _)| member);
        let text = format!("{member}@{raft_id}");
        self.say(|_| format!("somebody asks to replace {text}"));
        self.api.annotate(label_keys::REPLACE, Some(text));
    }

    /// Somebody looks at the cluster, and does what only a person may do.
    pub(super) fn person_looks(&mut self) {
        self.schedule.after(LOOKS_EVERY, Event::PersonLooks);
        if self.person.is_recovering {
            self.recover_quorum();
        }
        if self.options.has_upgrades {
            self.carry_on_upgrade();
        }
        if self.is_calm() {
            self.replace_one_of_several();
        }
    }

    /// A majority is gone for good: the best survivor is to be the cluster (K18).
    fn recover_quorum(&mut self) {
        if self.watch.epoch > 0 && self.leader().is_some() {
            self.person.is_recovering = false;
            self.say(|_| "somebody takes the annotation recover away".to_owned());
            return self.api.annotate(label_keys::RECOVER, None);
        }
        let survivors = self.processes.iter().filter_map(|(ordinal, process)| {
            let status = process.raft.status();
            let latest = status.latest.as_ref()?;
            latest.configuration.is_voter(&process.id).then_some((status.last, *ordinal))
        });
        let Some((_, survivor)) = survivors.max() else { return };
        let term = self.api.objects().status().raft.and_then(|raft| raft.term);
        let (Some(process), Some(term)) = (self.processes.get(&survivor), term) else { return };
        let latest = process.raft.status().latest;
        let voters = latest.iter().flat_map(|latest| latest.configuration.voters());
        let lost: Vec<String> =
            voters.filter(|voter| voter.id != process.id).map(|voter| voter.id.raft_id.to_string()).collect();
        let text = format!("{CLUSTER}-{survivor}@{term} lost={}", lost.join(","));
        if self.annotation(label_keys::RECOVER) != Some(&text) {
            self.coverage.hit(Happening::RecoverAsked);
            self.say(|_| format!("somebody asks to recover {text}"));
            self.api.annotate(label_keys::RECOVER, Some(text));
        }
    }

    /// Several claims are being deleted: a person names one after the other (K41). A name that means nobody is taken away.
    fn replace_one_of_several(&mut self) {
        let in_group = |id: &str| {
            let mut known = self.watch.configuration.iter().flat_map(|known| known.configuration.servers());
            known.any(|server| server.id.raft_id.as_str() == id)
        };
        let asked = self.annotation(label_keys::REPLACE).and_then(|text| text.split_once('@'));
        let is_done = asked.is_some_and(|(_, id)| !in_group(id));
        let is_free = asked.is_none();
        let going: Vec<String> = self
            .api
            .objects()
            .claims
            .values()
            .filter(|claim| claim.deleting && claim.record.is_wanted())
            .filter_map(|claim| claim.record.raft_id.clone())
            .filter(|id| in_group(id))
            .collect();
        if is_done {
            self.api.annotate(label_keys::REPLACE, None);
        } else if is_free && going.len() > 1 {
            self.replace(&going[0]);
        }
    }

    /// From now on people want one thing, and it can be had.
    pub(super) fn settle_wishes(&mut self) {
        if self.annotation(label_keys::PAUSED).is_some() {
            self.api.annotate(label_keys::PAUSED, None);
        }
        let spec = &self.api.objects().cluster.spec;
        let is_bad = spec.sidecar.image.as_ref().is_some_and(|image| image.contains(NO_SUCH_IMAGE));
        if spec.hibernate {
            self.api.edit_spec(|spec| spec.hibernate = false);
        }
        if is_bad {
            self.set_image("");
        }
        if self.rng.random_bool(0.5) && !self.options.has_upgrades && !self.options.is_restarting_only() {
            let replicas = self.rng.random_range(1..=self.options.replicas_max);
            self.scale(replicas);
        }
    }

    /// The ordinal in a Raft ID.
    pub(super) fn ordinal_in(raft_id: &str) -> Option<Ordinal> {
        let member = raft_id.rsplit_once('-').map_or(raft_id, |(member, _)| member);
        quorate_plan::children::names::ordinal_of_pod(CLUSTER, member)
    }
}
