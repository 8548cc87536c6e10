//! What the core says happened: logged for people, and turned into what others watch.

use quorate_raft::Event;
use tracing::{debug, error, info, warn};

use super::turn::Driver;
use super::view::Leadership;

impl Driver {
    pub(super) fn note(&mut self, event: Event) {
        match event {
            Event::LeaderChanged { term, leader } => {
                info!(%term, leader = leader.as_ref().map(tracing::field::display), "leader changed");
                let is_self = leader.as_ref() == Some(&self.identity.server);
                self.outlook.leadership.send_modify(|last| {
                    let number = last.number + 1;
                    *last = Leadership { number, term, leader: leader.map(|id| id.raft_id), is_self };
                });
            }
            Event::Campaigning { term, is_pre_vote } => debug!(%term, is_pre_vote, "campaigning"),
            Event::BecameLeader { term } => info!(%term, "became leader"),
            Event::LeaderGone { term, leader } => {
                info!(%term, %leader, "the leader's process is gone: not waiting for the election timeout");
            }
            Event::TookOverEarly { term, from } => {
                info!(%term, %from, "took over from a leader whose process is gone");
                self.seen.early_elections += 1;
            }
            Event::SteppedDown { term, reason } => info!(%term, ?reason, "stepped down"),
            Event::ConfigurationChanged { index } => {
                info!(%index, "configuration changed");
                self.follow_configuration();
            }
            Event::ConfigurationCommitted { index } => {
                info!(%index, "configuration committed");
                self.links.follow_version(self.raft.status().version);
            }
            Event::VersionTooNew { from, version } => {
                error!(leader = %from, %version, ours = %self.identity.versions,
                    "the cluster writes in a version this build does not read: start a newer release; nothing is taken until then");
            }
            Event::Removed { index } => {
                warn!(%index, "removed from the cluster: this member stays up and refuses everything");
            }
            Event::VolumeLost { recorded, found } if found == self.identity.server => {
                // Peers ask on every dial; people want to read it once.
                if !self.seen.is_volume_lost {
                    warn!(%recorded, %found, "this volume is not the one the cluster knows: nothing is served until this member is replaced");
                }
                self.seen.is_volume_lost = true;
            }
            Event::VolumeLost { recorded, found } => {
                debug!(%recorded, %found, "a member's volume is not the recorded one");
            }
            Event::SnapshotInstalled { last } => {
                info!(index = %last.index, term = %last.term, "snapshot installed");
            }
            Event::InvalidMessage { from, problem } => {
                warn!(peer = %from, ?problem, "a peer sent what no member sends; ignored");
            }
            other => debug!(event = ?other, "event"),
        }
        self.outlook.view_is_due = true;
    }
}
