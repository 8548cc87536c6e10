//! One switch for each rule: thrown, it breaks exactly that rule, and a test must notice.
//!
//! ```text
//! core, store, machine ── broken(Mutant::N2)? ──▶ a constant `false`; with the feature `armed` (tests only):
//!                                                 whether QUORATE_MUTANT names it
//! make mutants: for each row of the table ── its killer must pass without it ── and fail with it
//! ```
//!
//! The table is [`table`]; rules without a switch are there too, with the reason. Nothing of this is in what ships.

#[cfg(all(feature = "armed", not(debug_assertions)))]
compile_error!("mutants are for tests: they must not be armed in an optimised build");

mod table;

pub use table::{Killer, Mutant, NOT_BROKEN, Row, TABLE};

/// Names the mutant to arm.
pub const VARIABLE: &str = "QUORATE_MUTANT";

/// Whether this rule is to be broken now.
#[cfg(not(feature = "armed"))]
#[inline]
pub fn broken(_: Mutant) -> bool {
    false
}

/// Whether this rule is to be broken now: whether the environment said so when the process first asked.
///
/// # Panics
/// If the variable names no mutant: a run that breaks nothing would prove nothing.
#[cfg(feature = "armed")]
pub fn broken(mutant: Mutant) -> bool {
    use std::sync::OnceLock;
    static CHOSEN: OnceLock<Option<Mutant>> = OnceLock::new();
    let choose = || {
        let name = std::env::var(VARIABLE).ok()?;
        let found = TABLE.iter().map(|row| row.mutant).find(|mutant| format!("{mutant:?}") == name);
        assert!(found.is_some(), "{VARIABLE}={name} names no mutant: `make mutants` lists them");
        found
    };
    *CHOSEN.get_or_init(choose) == Some(mutant)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// raft.md §7, 17: the defects that others had, and the decisions that bind the core; planner.md: its invariants;
    /// autopilot.md §7 and §1.8: what must be true of autopilot and of sessions, and the defects of the original.
    #[test]
    fn every_rule_of_the_core_the_planner_and_autopilot_has_a_mutant_or_a_reason() {
        let families = [("B", 18), ("O", 8), ("N", 6), ("K", 26), ("I", 10), ("A", 37), ("D", 9)];
        let wanted =
            families.iter().flat_map(|(family, last)| (1..=*last).map(move |n| format!("{family}{n}")));
        let broken: BTreeSet<&str> = TABLE.iter().flat_map(|row| row.rules.iter().copied()).collect();
        let excused: BTreeSet<&str> = NOT_BROKEN.iter().map(|(rule, _)| *rule).collect();
        let missing: Vec<String> = wanted
            .filter(|rule| !broken.contains(rule.as_str()) && !excused.contains(rule.as_str()))
            .collect();
        assert!(missing.is_empty(), "neither broken nor excused: {missing:?}");
        let both: Vec<_> = broken.intersection(&excused).collect();
        assert!(both.is_empty(), "broken, so it needs no excuse: {both:?}");
    }

    /// A row whose switch is nowhere breaks nothing; an automatic change of the code may lose one.
    #[test]
    fn every_mutant_has_its_switch_in_the_code() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut code = String::new();
        for part in ["sidecar", "operator"] {
            read(&root.join(part), &mut code);
        }
        let has_switch = |mutant: Mutant| {
            let switch = format!("Mutant::{mutant:?}");
            let ends = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_alphanumeric());
            code.match_indices(&switch).any(|(at, _)| ends(&code[at + switch.len()..]))
        };
        let lost: Vec<Mutant> = TABLE.iter().map(|row| row.mutant).filter(|row| !has_switch(*row)).collect();
        assert!(lost.is_empty(), "nothing in the code asks for {lost:?}");
    }

    /// Every source file below `folder`.
    fn read(folder: &Path, code: &mut String) {
        for entry in std::fs::read_dir(folder).expect("a folder of the workspace") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() {
                read(&path, code);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                code.push_str(&std::fs::read_to_string(&path).expect("a source file"));
            }
        }
    }

    #[test]
    fn nothing_is_broken_unless_armed() {
        assert!(std::env::var_os(VARIABLE).is_some() || TABLE.iter().all(|row| !broken(row.mutant)));
    }
}
