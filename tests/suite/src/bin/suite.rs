//! `suite all|check|mutants|kubernetes`: runs the suites one after another, goes on after a failure, and ends with one line
//! `N passed, N failed` summed over all of them, below the reasons of what failed.

use std::process::ExitCode;

use anyhow::{Result, bail};
use quorate_suite::bed::{bed, tool};
use quorate_suite::command::{command, part, run, run_counted, say};
use quorate_suite::count::Count;
use quorate_suite::{binaries, images, mutants};

/// The crates that must know nothing of tokio, a Kubernetes client, tonic, redb, a clock or randomness.
const PURE_CRATES: [&str; 4] = ["quorate-raft", "quorate-autopilot", "quorate-machine", "quorate-plan"];
/// What none of them may have in reach.
const IMPURE: [&str; 6] = ["tokio", "tonic", "redb", "hyper", "kube-client", "kube-runtime"];
/// What the bed says when it can't run here (not root), as sysexits' neighbour that test tools know as "skip".
const SKIPPED: i32 = 77;
/// More than there are tests on the bed: who waits for whom is for them to say (`tests/kubernetes/bed.rs`).
const KUBERNETES_THREADS: &str = "100";
/// How long the simulator searches seeds in a full run.
const SIMULATION_SECONDS: &str = "60";
/// And the one of the operator.
const OPERATOR_SIMULATION_SECONDS: &str = "30";
/// Where it begins: a change is judged by the same seeds as the one before. `make sim` searches new ones.
const SIMULATION_FROM: &str = "1";

fn main() -> ExitCode {
    let scope = std::env::args().nth(1).unwrap_or_default();
    let names: Vec<String> = std::env::args().skip(2).collect();
    let count = match scope.as_str() {
        "check" => check(),
        "all" => all(),
        "mutants" => part("mutants", || mutants::hunt(&names)),
        "kubernetes" => part("Kubernetes", || kubernetes(&names)),
        _ => {
            eprintln!("usage: suite all | check | mutants [NAME...] | kubernetes [TEST...]");
            return ExitCode::from(64);
        }
    };
    println!();
    for reason in &count.reasons {
        println!("failed: {reason}");
    }
    println!("{count}");
    if count.failed == 0 && count.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What takes under a minute and writes nothing.
fn check() -> Count {
    let mut count = without_running();
    let mut pure = vec!["cargo", "test", "--profile", "bed"];
    for name in PURE_CRATES {
        pure.extend(["-p", name]);
    }
    pure.extend(["-p", "quorate-suite"]);
    count += part("pure crates' tests and tidiness", || run_counted(&pure));
    count
}

/// What is seen without running anything of ours.
fn without_running() -> Count {
    // The bed's tests are no target of `--all-targets`: `cargo test` is not to run them.
    let lints = ["--all-targets", "--test kubernetes"]
        .map(|targets| format!("cargo clippy --profile bed --workspace {targets} -- -D warnings"));
    let mut count = part("format", || passes(&["cargo", "fmt", "--all", "--check"]));
    for lints in lints {
        count += part("lints", || passes(&lints.split(' ').collect::<Vec<_>>()));
    }
    count += part("pure crates stay pure", purity);
    count
}

/// Everything.
fn all() -> Count {
    let mut count = without_running();
    count += part("crates", || {
        run_counted(&["cargo", "test", "--profile", "bed", "--workspace", "--no-fail-fast"])
    });
    count += part("mutants", || mutants::hunt(&[]));
    count += part("test bed's own tests", || {
        run_counted(&["go", "-C", "tests/bed", "test", "-v", ".", "./cmd/bed"])
    });
    count += part("simulation", || simulation("sim", SIMULATION_SECONDS));
    count += part("simulation of the operator", || simulation("sim-operator", OPERATOR_SIMULATION_SECONDS));
    count += part("Kubernetes", || kubernetes(&[]));
    count
}

fn passes(words: &[&str]) -> Result<Count> {
    run(words)?;
    Ok(Count::passed())
}

/// Seeded runs. The program comes out of the same selection as the tests: cargo would build everything
/// anew, with other features, for one package alone.
fn simulation(program: &str, seconds: &str) -> Result<Count> {
    binaries::build("bed")?;
    let program = binaries::target().join("bed").join(program);
    passes(&[&program.to_string_lossy(), "--seconds", seconds, "--from", SIMULATION_FROM])
}

/// Purity is by what a crate can link. A workspace build unifies features, so each is looked at alone.
fn purity() -> Result<Count> {
    for name in PURE_CRATES {
        let tree = quorate_suite::command::output(&[
            "cargo",
            "tree",
            "--package",
            name,
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])?;
        if let Some(found) = tree.lines().filter_map(|l| l.split(' ').next()).find(|n| IMPURE.contains(n)) {
            bail!("{name} is pure, but {found} is in reach: `cargo tree -p {name} -i {found}` shows why");
        }
    }
    Ok(Count::passed())
}

/// The tests on a real Kubernetes, all or those whose names contain one of these. Where the bed can't run they are skipped with the reason; in CI that fails.
fn kubernetes(names: &[String]) -> Result<Count> {
    let bed_tool = tool();
    command(&[&bed_tool, "missing", "--install"]).status()?;
    let up = command(&[&bed_tool, "up"]).status()?;
    if up.code() == Some(SKIPPED) {
        let in_ci = std::env::var_os("CI").is_some();
        return Ok(if in_ci {
            Count::failed("the bed can't run here".to_owned())
        } else {
            Count { skipped: 1, ..Count::default() }
        });
    }
    if !up.success() {
        bail!("the bed did not come up: {up}");
    }
    images::load("bed")?;
    say("tests on the bed, a namespace each");
    let mut words = vec![
        bed_tool.as_str(),
        "exec",
        "cargo",
        "test",
        "--profile",
        "bed",
        "--workspace",
        "--test",
        "kubernetes",
        "--",
        "--nocapture",
        "--test-threads",
        KUBERNETES_THREADS,
    ];
    words.extend(names.iter().map(String::as_str));
    let count = run_counted(&words)?;
    if count.failed == 0 && names.is_empty() {
        bed(&["down"])?;
    } else {
        println!("the bed is left up to look around in: `make bed-status`; `make bed-down` removes it");
    }
    Ok(count)
}
