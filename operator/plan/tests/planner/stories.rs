//! Golden stories: what the planner does, arrow by arrow, as text a person can read.
//!
//! A block is `do`, one command a line, and what they print:
//!
//! | command | does |
//! |---|---|
//! | `cluster NAME replicas=N [settled]` | begins a world; `settled`: runs it until Ready |
//! | `scale N` · `pause` · `resume` | edits the resource |
//! | `delete-pod N` · `delete-claim-and-pod N` · `empty-directory N` | what a person or a fault does |
//! | `out-of-service N` · `strand N` · `ask-to-replace N` · `delete-claim N` | what makes a member be replaced |
//! | `rotate-ca WORD` · `ca-grows-old` · `slow-kubelet N` · `kubelets-deliver` | a new certificate authority is asked for or due; Secrets arrive later |
//! | `lose-ca` · `bring` · `bring WORDS` · `bring -` | the authority's Secret is gone; `spec.tls` brings another authority, or one with this problem, or none |
//! | `issuer NAME` · `not-issued N WORDS` · `issued` | `spec.tls` names an issuer of cert-manager; a member's certificate has not come; all have |
//! | `open` · `shield` · `unshield` | `clientAccess: Cluster`; `spec.networkPolicy.create` |
//! | `log-mode` | `spec.application.mode: Log`, before the first round |
//! | `fence NAME...` · `fence -` | sets and takes away the annotation |
//! | `exit N CODE [REASON]` | the sidecar ended with this code, and its Pod waits to start it again |
//! | `hibernate` · `wake` | sets and unsets `spec.hibernate` |
//! | `publish` · `recover TEXT` | the leader's part of status is written; the annotation is set |
//! | `cut N` · `heal` · `obstacle N unschedulable\|image` | nodes and kubelets |
//! | `no-default-class` · `foreign-claim N` · `lag N ENTRIES` · `joiners-lag ENTRIES` | the surroundings |
//! | `lose-everything` | deletes every claim and Pod |
//! | `lead N` | makes a member the leader |
//! | `forget` · `leave-behind-nothing` | empties status; forgets the old Raft group |
//! | `create-anew` | the resource was deleted and made again; its claims were kept |
//! | `edit-template [IMAGE]` · `supervise` · `cordon N` | another sidecar image; stops before the leader; a node takes no Pods and holds the volume |
//! | `unready N` · `ready` | the application beside a member fails its probe; all are well again |
//! | `budget CURRENT DESIRED ALLOWED` | what the disruption budget counts from now on |
//! | `grow SIZE` · `classes-that-expand CLASS...` · `refuse-growth WORDS` · `driver-grows` | `spec.storage.size`, and what becomes of it |
//! | `new-operator IMAGE` · `update automatic\|manual` · `turn` | another operator's sidecar, `spec.sidecar.update`, and this cluster's turn |
//! | `fail [WORDS]` | rounds have failed again and again with these words; or do no more |
//! | `retain` | sets `whenScaled: Retain` |
//! | `plan` | prints the whole plan of this moment, without carrying it out |
//! | `rounds [N] [until=ready]` | carries rounds out; prints steps, what is created and noted, and what waits |
//! | `pass SECONDS` | lets time pass without a round |
//! | `status` | prints the conditions and the summary |
//! | `changes` | prints every membership change the leader accepted |
//!
//! `REWRITE=1 cargo test -p quorate-plan` writes the output anew; a person reads the difference.

use std::fmt::Write as _;

use datadriven::walk;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use quorate_crds::{
    ApplicationMode, ClaimPolicy, ClientAccess, ClientScope, IssuerRef, RaftClusterStatus, RaftStatus,
    SidecarUpdate, Tls, TlsMode, UpdateStrategy,
};
use quorate_plan::observed::{Brought, BudgetCounts, Node, Obstacle, ObstacleKind};
use quorate_plan::record::ClaimRecord;
use quorate_plan::{Now, Ordinal, Plan};

use crate::world::World;

#[test]
fn stories_read_as_written() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");
    walk(folder, |file| {
        let mut world = World::cluster("db");
        file.run(|case| {
            assert_eq!(case.directive, "do", "{}", file_line(case));
            case.input.lines().map(|command| run(&mut world, command)).collect::<String>()
        });
    });
}

fn file_line(case: &datadriven::TestCase) -> String {
    format!("a block begins with `do`, not with `{}`", case.directive)
}

fn run(world: &mut World, line: &str) -> String {
    let mut words = line.split_whitespace();
    let command = words.next().unwrap_or_default();
    let args: Vec<&str> = words.collect();
    let number = |place: usize| args.get(place).and_then(|arg| arg.parse::<u32>().ok()).expect(line);
    match command {
        "cluster" => return begin(world, &args),
        "scale" => world.scale(i32::try_from(number(0)).expect("a size")),
        "edit-template" => {
            let image = args.first().copied().unwrap_or("quorate/sidecar:0.2.0");
            world.cluster.spec.sidecar.image = Some(image.to_owned());
            world.edited();
        }
        "grow" => {
            world.cluster.spec.storage.size = Quantity(args.join(""));
            world.edited();
        }
        "classes-that-expand" => {
            world.storage.expanding_classes = Some(args.iter().map(|&class| class.to_owned()).collect());
        }
        "refuse-growth" => world.growth_refused = Some(args.join(" ")),
        "driver-grows" => {
            for claim in world.claims.values_mut() {
                claim.capacity_bytes = claim.requested_bytes;
            }
        }
        "new-operator" => {
            args.first().copied().unwrap_or_default().clone_into(&mut world.operator_image);
            world.first_round = true;
        }
        "update" => {
            world.cluster.spec.sidecar.update = match args.first() {
                Some(&"automatic") => SidecarUpdate::Automatic,
                _ => SidecarUpdate::Manual,
            };
            world.edited();
        }
        "turn" => world.is_turn = true,
        "fail" => world.failure = (!args.is_empty()).then(|| args.join(" ")),
        "retain" => world.cluster.spec.storage.retention.when_scaled = ClaimPolicy::Retain,
        "supervise" => {
            world.cluster.spec.update.strategy = UpdateStrategy::Supervised;
            world.edited();
        }
        "unready" => {
            world.unready.insert(Ordinal(number(0)));
        }
        "ready" => world.unready.clear(),
        "out-of-service" => {
            let name = format!("node-{}", number(0));
            world.nodes.insert(Ordinal(number(0)), Node { name, out_of_service: true, ..Node::default() });
        }
        "strand" => {
            if let Some(claim) = world.claims.get_mut(&Ordinal(number(0))) {
                claim.is_stranded = true;
            }
        }
        "ask-to-replace" => {
            let asked = format!("db-{}@{}", number(0), world.raft_id(number(0)));
            world.cluster.metadata.annotations = Some([("quorate.dev/replace".to_owned(), asked)].into());
        }
        "rotate-ca" => {
            world.cluster.metadata.annotations =
                Some([("quorate.dev/rotate-ca".to_owned(), args.join(" "))].into());
        }
        "ca-grows-old" => world.children.authority.is_old = true,
        "slow-kubelet" => {
            world.slow_kubelets.insert(Ordinal(number(0)));
        }
        "lose-ca" => world.lose_authority(),
        "bring" => {
            let problem = (!args.is_empty()).then(|| args.join(" "));
            let brought = Brought { problem, ..Brought::default() };
            world.children.authority.brought = (args != ["-"]).then_some(brought);
        }
        "issuer" => {
            let issuer = IssuerRef { name: args.join(""), ..IssuerRef::default() };
            world.cluster.spec.tls =
                Tls { mode: TlsMode::CertManager, issuer_ref: Some(issuer), secret_ref: None };
        }
        "not-issued" => {
            let brought = world.children.authority.brought.as_mut().expect("bring");
            brought.waiting.insert(Ordinal(number(0)), args[1..].join(" "));
        }
        "issued" => {
            if let Some(brought) = &mut world.children.authority.brought {
                brought.waiting.clear();
            }
        }
        "open" => {
            world.cluster.spec.client_access =
                ClientAccess { scope: ClientScope::Cluster, service_accounts: vec!["web".to_owned()] };
            world.edited();
        }
        "log-mode" => world.cluster.spec.application.mode = ApplicationMode::Log,
        "shield" | "unshield" => world.cluster.spec.network_policy.create = command == "shield",
        "kubelets-deliver" => world.slow_kubelets.clear(),
        "fence" => {
            let names = args.join(",");
            world.cluster.metadata.annotations =
                (names != "-").then(|| [("quorate.dev/fence".to_owned(), names)].into());
        }
        "delete-claim" => world.delete_claim_only(number(0)),
        "exit" => world.exit(number(0), number(1), args.get(2).copied().unwrap_or("CorruptData")),
        "hibernate" | "wake" => {
            world.cluster.spec.hibernate = command == "hibernate";
            world.edited();
        }
        "publish" => {
            let raft = RaftStatus {
                term: i64::try_from(world.group.term).ok(),
                recovery_epoch: i64::try_from(world.group.recovery_epoch).ok(),
                ..RaftStatus::default()
            };
            world.cluster.status = Some(RaftClusterStatus { raft: Some(raft), ..world.status() });
        }
        "recover" => {
            let said = (args.join(" ") != "-").then(|| args.join(" "));
            world.cluster.metadata.annotations =
                said.map(|said| [("quorate.dev/recover".to_owned(), said)].into());
        }
        "cordon" => cordon(world, Ordinal(number(0))),
        "budget" => {
            let count = |place: usize| i32::try_from(number(place)).expect(line);
            world.children.budget_counts = Some(BudgetCounts {
                current_healthy: count(0),
                desired_healthy: count(1),
                disruptions_allowed: count(2),
            });
        }
        "pause" => {
            world.cluster.metadata.annotations =
                Some([("quorate.dev/paused".to_owned(), "true".to_owned())].into());
        }
        "resume" => world.cluster.metadata.annotations = None,
        "delete-pod" => world.delete_pod(number(0)),
        "delete-claim-and-pod" => world.delete_claim_and_pod(number(0)),
        "empty-directory" => world.empty_directory(number(0)),
        "cut" => {
            world.cut.insert(Ordinal(number(0)));
        }
        "heal" => {
            world.cut.clear();
            world.nodes.clear();
            world.obstacles.clear();
        }
        "obstacle" => obstacle(world, Ordinal(number(0)), args.get(1).copied().unwrap_or_default()),
        "no-default-class" => world.storage.default_class = Some(false),
        "foreign-claim" => foreign_claim(world, Ordinal(number(0))),
        "lose-everything" => {
            world.claims.clear();
            world.pods.clear();
        }
        "lag" => {
            let id = world.raft_id(number(0));
            if let Some(member) = world.group.servers.get_mut(&id) {
                member.trailing = u64::from(number(1));
            }
        }
        "joiners-lag" => world.group.joiners_trail = u64::from(number(0)),
        "lead" => {
            world.group.leader = Some(world.raft_id(number(0)));
            world.group.term += 1;
        }
        "forget" => world.cluster.status = None,
        "leave-behind-nothing" => {
            world.group = crate::world::Group::default();
            world.bootstraps = 0;
        }
        "create-anew" => {
            world.cluster.status = None;
            world.pods.clear();
            world.first_round = true;
        }
        "pass" => {
            for _ in 0..number(0) {
                world.tick();
            }
        }
        "plan" => return world.plan().to_string(),
        "rounds" => return rounds(world, &args),
        "status" => return status(world),
        "changes" => return world.changes.iter().map(|change| format!("{change}\n")).collect(),
        other => panic!("no such command: {other}"),
    }
    String::new()
}

fn begin(world: &mut World, args: &[&str]) -> String {
    let name = args.iter().find(|arg| !arg.contains('=') && **arg != "settled").expect("a name");
    let replicas = args
        .iter()
        .find_map(|arg| arg.strip_prefix("replicas="))
        .expect("replicas=")
        .parse()
        .expect("a size");
    *world = World::cluster(name).replicas(replicas);
    if args.contains(&"settled") {
        world.run_until_ready();
    }
    String::new()
}

fn obstacle(world: &mut World, ordinal: Ordinal, kind: &str) {
    let (kind, message) = match kind {
        "unschedulable" => (ObstacleKind::Unschedulable, "0/3 nodes are available: 3 Insufficient cpu."),
        "image" => (ObstacleKind::ImagePull, "Back-off pulling image \"shop:nope\""),
        other => panic!("no such obstacle: {other}"),
    };
    world.obstacles.insert(ordinal, Obstacle { kind, message: message.to_owned(), since: Now(world.now) });
}

fn cordon(world: &mut World, ordinal: Ordinal) {
    let name = format!("node-{ordinal}");
    if let Some(claim) = world.claims.get_mut(&ordinal) {
        claim.nodes = Some(vec![name.clone()]);
    }
    world.nodes.insert(ordinal, Node { name, unschedulable: true, ..Node::default() });
}

fn foreign_claim(world: &mut World, ordinal: Ordinal) {
    if let Some(claim) = world.claims.get_mut(&ordinal) {
        claim.record = ClaimRecord { cluster_id: Some("ee".repeat(16)), ..claim.record.clone() };
    }
}

/// What each round does; quiet rounds are counted, not shown.
fn rounds(world: &mut World, args: &[&str]) -> String {
    let until_ready = args.contains(&"until=ready");
    let count = args.iter().find_map(|arg| arg.parse::<usize>().ok()).unwrap_or(400);
    let mut text = String::new();
    let mut last = String::new();
    for _ in 0..count {
        if until_ready && world.is_ready() {
            return text + "ready\n";
        }
        let said = doings(&world.round());
        if said != last && !said.is_empty() {
            text.push_str(&said);
        }
        last = said;
    }
    assert!(!until_ready, "not Ready after {count} rounds:\n{text}\n{}", world.plan());
    text
}

/// The lines of a plan that change something a person cares for.
fn doings(plan: &Plan) -> String {
    let shown = [
        "step ",
        "ensure claim",
        "ensure Pod",
        "ensure note on",
        "ensure no",
        "ensure certificate authority",
        "ensure PodDis",
        "held back",
        "tell ",
        "then ",
    ];
    let mut text = String::new();
    for line in plan.to_string().lines() {
        let is_event = line.starts_with("event");
        if is_event || shown.iter().any(|start| line.starts_with(start)) {
            writeln!(text, "{line}").expect("a String takes all");
        }
    }
    text
}

fn status(world: &World) -> String {
    let status = world.status();
    let mut text = String::new();
    for condition in &status.conditions {
        writeln!(
            text,
            "{}={} {}: {}",
            condition.type_, condition.status, condition.reason, condition.message
        )
        .expect("a String takes all");
    }
    let column = |value: &Option<String>| value.clone().unwrap_or_default();
    let tolerates = status.failure_tolerance.map_or_else(|| "<none>".to_owned(), |count| count.to_string());
    writeln!(
        text,
        "health {}, voters {}, leader {}, tolerates {tolerates}\n{}",
        column(&status.health),
        column(&status.voters),
        column(&status.leader),
        column(&status.summary)
    )
    .expect("a String takes all");
    text
}
