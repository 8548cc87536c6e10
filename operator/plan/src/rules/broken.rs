//! Rule 11: a member whose sidecar says that its volume is of no use to it any more (K39).
//!
//! Only the sidecar's own exit codes count; any other crash is a condition and never a reason to set a volume aside. The
//! claim is kept.

use quorate_mutants::{Mutant, broken};

use crate::limits::HEARD_RECENTLY;
use crate::observed::{ContainerState, Exit, Pod};
use crate::reason::Reason;
use crate::record::LeavesBecause;
use crate::round::{Majority, Round, Verdict};
use crate::rules::fence::is_fenced;
use crate::rules::replace::replaced_lately;
use crate::rules::shrink::note_leaving;
use crate::words::age;

/// The data on the volume is damaged.
const CORRUPT_DATA: i32 = 65;
/// The volume is another member's, or another cluster's.
const WRONG_IDENTITY: i32 = 78;
/// The same code, and no reason to replace anybody: the directory is from before a recovery (K18).
const BEFORE_RECOVERY: &str = "BeforeRecovery";

/// Rule 11, lowest ordinal first, one at a time.
pub(crate) fn members(round: &mut Round<'_>) -> Verdict {
    let Some(view) = round.view() else { return Verdict::Next };
    for (ordinal, slot, claim) in round.wanted().collect::<Vec<_>>() {
        let Some(exit) = slot.pod.as_ref().and_then(useless) else { continue };
        let server = round.server(ordinal, claim);
        let is_heard =
            server.is_some_and(|server| server.last_contact.is_some_and(|heard| heard < HEARD_RECENTLY));
        if is_heard || claim.deleting || is_fenced(round, ordinal) {
            continue;
        }
        let member = round.pod_name(ordinal);
        let what = if exit.code == CORRUPT_DATA { "is damaged" } else { "belongs to another member" };
        let what = format!("the volume of {member} {what} (exit code {})", exit.code);
        let left =
            server.filter(|server| server.is_voter).map(|server| Majority::without(view, &server.raft_id));
        if let Some(left) = left.filter(|left| !left.holds()) {
            let text = format!("{what}, and it cannot be removed: {left}; bring the others back");
            round.block("11", Reason::WaitingForQuorum, &member, text);
            continue;
        }
        if let Some((name, since)) = replaced_lately(round).filter(|_| !broken(Mutant::R11)) {
            let text = format!(
                "{what}: {name} was replaced {} ago, and at most one is replaced an hour",
                age(since)
            );
            round.block("11", Reason::ReplacingMember, &member, text);
            continue;
        }
        round.wait(
            "11",
            Reason::ReplacingMember,
            &member,
            format!("{what}: it leaves and another joins; the claim is kept"),
        );
        note_leaving(round, claim, LeavesBecause::Broken);
        break;
    }
    Verdict::Next
}

/// How the sidecar ended, if that says that its volume is of no use.
fn useless(pod: &Pod) -> Option<&Exit> {
    let exit = match &pod.sidecar {
        ContainerState::Running { .. } => return None,
        ContainerState::Terminated(exit) => exit,
        ContainerState::Waiting { .. } | ContainerState::NotStarted => pod.last_exit.as_ref()?,
    };
    let is_told = matches!(exit.code, CORRUPT_DATA | WRONG_IDENTITY)
        && (!exit.message.contains(BEFORE_RECOVERY) || broken(Mutant::K39));
    is_told.then_some(exit)
}
