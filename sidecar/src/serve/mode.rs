//! Which calls a cluster takes: what it was founded for decides (K22).

use quorate_machine::Mode;

use crate::driver::View;

/// Why a cluster does not take what only one of `mode` has; none if it is of that mode, or not founded yet.
pub(super) fn refusal(view: &View, mode: Mode) -> Option<String> {
    let founded = match view.status.latest.as_ref()?.configuration.mode() {
        quorate_raft::Mode::KeyValue => Mode::KeyValue,
        quorate_raft::Mode::Log => Mode::Log,
    };
    (founded != mode).then(|| {
        format!(
            "this cluster was founded in mode {}: {}; nothing was changed",
            founded.name(),
            founded.way_out()
        )
    })
}
