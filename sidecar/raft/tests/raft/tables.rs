//! Tables of membership changes: what each means, and in which words it is refused (S7, K15, K16).
//!
//! | command | does |
//! |---|---|
//! | `configuration voters=(a,b) [nonvoters=(c)]` | begins with these, all with the intent to vote |
//! | `change add=x [intent=replica] [for=y]`, `change promote=x`, `demote=x`, `remove=x`, `address=x at=host` | the configuration after it; a refused one changes nothing. `[incarnation=n]` if not the first |
//!
//! The tables of quorums are in `tests/tables/quorum.rs`: they need what the crate does not show.

use datadriven::TestCase;
use quorate_raft::{Address, Change, Configuration, Incarnation, Intent, RemoveReason, ServerId, Term};

use crate::cluster::{address, configuration, id};
use crate::story_text as text;

struct Table {
    current: Configuration,
}

impl Table {
    fn run(&mut self, case: &TestCase) -> String {
        let list = |name: &str| case.args.get(name).cloned().unwrap_or_default();
        match case.directive.as_str() {
            "configuration" => {
                let (voters, non_voters) = (list("voters"), list("nonvoters"));
                let voters: Vec<&str> = voters.iter().map(String::as_str).collect();
                let non_voters: Vec<&str> = non_voters.iter().map(String::as_str).collect();
                self.current = configuration(&voters, &non_voters);
            }
            "change" => {
                let before = self.current.clone();
                match before.after(&change(case)) {
                    Ok(next) => {
                        assert_ne!(next, before, "a change changes something");
                        self.current = next;
                    }
                    Err(refused) => return format!("refused: {refused}\n"),
                }
            }
            unknown => panic!("no such command: {unknown}"),
        }
        self.show()
    }

    fn show(&self) -> String {
        let servers = self.current.servers().iter();
        let moved = servers.filter(|server| server.address != address(server.id.raft_id.as_str()));
        let moved: Vec<String> =
            moved.map(|server| format!("; {} at {}", server.id.raft_id, server.address)).collect();
        format!("{}{}\n", text::configuration(&self.current), moved.concat())
    }
}

fn change(case: &TestCase) -> Change {
    let value = |name: &str| case.args.get(name).and_then(|list| list.first()).cloned();
    let incarnation = value("incarnation").map_or(1, |text| text.parse().unwrap());
    let named =
        |name: &str| value(name).map(|text| ServerId { incarnation: Incarnation(incarnation), ..id(&text) });
    if let Some(id) = named("promote") {
        Change::Promote { id, stable_in_term: Term(1) }
    } else if let Some(id) = named("demote") {
        Change::Demote { id }
    } else if let Some(id) = named("remove") {
        Change::Remove { id, reason: RemoveReason::Requested }
    } else if let Some(id) = named("address") {
        Change::SetAddress { id, address: Address::new(&format!("{}:7400", value("at").unwrap())).unwrap() }
    } else {
        let new = named("add").expect("a change");
        let intent = match (value("for"), value("intent")) {
            (Some(old), _) => Intent::ReplacementFor(id(&old)),
            (None, Some(_)) => Intent::ReadReplica,
            (None, None) => Intent::Voter,
        };
        let address = address(new.raft_id.as_str());
        Change::AddNonVoter { id: new, address, intent, versions: quorate_raft::Versions::OURS }
    }
}

#[test]
fn the_tables_of_changes_read_as_written() {
    datadriven::walk(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tables/changes"), |file| {
        let mut table = Table { current: configuration(&["a"], &[]) };
        file.run(|case| table.run(case));
    });
}
