//! When the cluster's version is raised: once every member speaks the next one, and nobody will go back (K24).
//!
//! Raising is what ends the way back to the last release, so it waits: for the operator's word that no member runs an
//! older build than it is meant to, or, where there is no operator, for ten minutes without a break. What members speak
//! the leader hears over their present connections; the core looks at them again when it appends the entry.

use std::time::Duration;

use quorate_mutants::{Mutant, broken};
use quorate_raft::{Now, Version};

use crate::action::Action;
use crate::input::Input;
use crate::limits::VERSION_STEADY;
use crate::observer::Observer;

/// What a round knows of versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VersionInput {
    /// The version of the cluster; none before its first configuration.
    pub cluster: Option<Version>,
    /// The newest one that all members speak, non-voters and the leader too; none while one is not connected.
    pub common: Option<Version>,
    /// Whether a member runs an older build than it is meant to; none: nobody says.
    pub outdated: Option<bool>,
    /// Whether there is an operator that will say so.
    pub has_operator: bool,
}

/// One step up, if it is time.
pub(crate) fn raise(observer: &mut Observer, input: &Input) -> Option<Action> {
    let VersionInput { cluster: Some(cluster), common, outdated, has_operator } = input.version else {
        return None;
    };
    let to = cluster.next();
    let since = observer.spoken_since(to, common.is_some_and(|common| common >= to), input.now)?;
    if input.membership.is_changing || !may_raise(outdated, has_operator, input.now.since(since)) {
        return None;
    }
    let expected = input.membership.configuration_index;
    Some(Action::RaiseVersion { to, expected })
}

/// The decision itself. `spoken_for`: how long every member has spoken the next version, without a break.
fn may_raise(outdated: Option<bool>, has_operator: bool, spoken_for: Duration) -> bool {
    match outdated {
        Some(outdated) => !outdated || broken(Mutant::K24Outdated),
        None => !has_operator && spoken_for >= VERSION_STEADY,
    }
}

impl Observer {
    /// Since when every member speaks `to`; none while one does not.
    fn spoken_since(&mut self, to: Version, is_spoken: bool, now: Now) -> Option<Now> {
        self.spoken = if is_spoken {
            Some(self.spoken.filter(|(version, _)| *version == to).unwrap_or((to, now)))
        } else {
            None
        };
        self.spoken.map(|(_, since)| since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K24: the operator's word decides where there is one; elsewhere ten minutes do; on Kubernetes silence never does.
    #[test]
    fn the_operators_word_decides_and_time_only_where_there_is_no_operator() {
        let long = VERSION_STEADY;
        let short = VERSION_STEADY.saturating_sub(Duration::from_secs(1));
        for has_operator in [false, true] {
            assert!(may_raise(Some(false), has_operator, Duration::ZERO));
            assert!(!may_raise(Some(true), has_operator, long));
        }
        assert!(may_raise(None, false, long));
        assert!(!may_raise(None, false, short));
        assert!(!may_raise(None, true, long * 100));
    }
}
