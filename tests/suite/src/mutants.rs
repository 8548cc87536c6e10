//! Breaks one rule after another and looks whether its test notices (`make mutants`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use quorate_mutants::{Killer, NOT_BROKEN, Row, TABLE, VARIABLE};

use crate::command::{command, say};
use crate::count::Count;

/// A killer takes seconds; a mutant that makes it stand still is no clear answer.
const KILLER_TIMEOUT: Duration = Duration::from_mins(1);
/// How often a killer that runs is looked at.
const GLANCE: Duration = Duration::from_millis(5);
/// Longest piece of a test's complaint that is shown, in characters.
const COMPLAINT_CHARS_MAX: usize = 110;

/// A test program with the switches in it, and the folder of its crate.
struct Program {
    path: PathBuf,
    folder: PathBuf,
}

/// How a killer ended.
struct Ended {
    succeeded: bool,
    printed: String,
}

/// Runs the killers of all mutants, or of those whose names are given: each must pass as things are, and fail with
/// its mutant. Counts one test for each mutant.
pub fn hunt(names: &[String]) -> Result<Count> {
    let rows = chosen(names)?;
    let programs = build(&rows)?;
    say(&format!("{} mutants", rows.len()));
    let count = hunters(&rows, &programs)?;
    if names.is_empty() {
        say("rules without a switch");
        for (rule, why) in NOT_BROKEN {
            println!("{rule:<5} {why}");
        }
    }
    Ok(count)
}

/// The rows of these mutants; all without names.
fn chosen(names: &[String]) -> Result<Vec<&'static Row>> {
    let name = |row: &Row| format!("{:?}", row.mutant);
    if let Some(unknown) = names.iter().find(|wanted| !TABLE.iter().any(|row| name(row) == **wanted)) {
        bail!("there is no mutant {unknown}: `make mutants` without NAME lists them");
    }
    Ok(TABLE.iter().filter(|row| names.is_empty() || names.contains(&name(row))).collect())
}

/// As many killers at once as there are cores: each has a process of its own.
fn hunters(rows: &[&Row], programs: &BTreeMap<String, Program>) -> Result<Count> {
    let (waiting, known) = (Mutex::new(rows.iter()), Mutex::new(Known::new()));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let hunter = || -> Result<Count> {
        let mut count = Count::default();
        while let Some(row) = next() {
            let target = row.killer.target;
            let program = programs.get(target).with_context(|| format!("no test target {target}"))?;
            count += if is_killed(row, program, &known)? {
                Count::passed()
            } else {
                Count::failed(format!("the mutant {:?} survived", row.mutant))
            };
        }
        Ok(count)
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let hunters: Vec<_> = (0..cores).map(|_| scope.spawn(hunter)).collect();
        let mut count = Count::default();
        for hunter in hunters {
            count += hunter.join().map_err(|_| anyhow!("a hunter panicked"))??;
        }
        Ok(count)
    })
}

/// Whether each killer passes as things are, so far as that was tried.
type Known = BTreeMap<(&'static str, &'static str), bool>;

/// Whether the mutant's killer passes without it and fails with it; says so.
fn is_killed(row: &Row, program: &Program, known: &Mutex<Known>) -> Result<bool> {
    let (name, killer) = (format!("{:?}", row.mutant), row.killer);
    let place = (killer.target, killer.test);
    let known = || known.lock().unwrap_or_else(PoisonError::into_inner);
    let tried = known().get(&place).copied();
    let holds = tried.map_or_else(|| passes(program, killer), Ok)?;
    known().insert(place, holds);
    if !holds {
        println!("SURVIVED {name}: {}::{} does not pass without it", killer.target, killer.test);
        return Ok(false);
    }
    let complaint = run(program, killer, Some(&name))?.and_then(|ended| complaint(&ended));
    let verdict = if complaint.is_some() { "killed  " } else { "SURVIVED" };
    // At once: others print too.
    println!(
        "{verdict} {name:<13} {:<10} {}\n         by {}::{}{}",
        row.rules.join(" "),
        row.broken,
        killer.target,
        killer.test,
        complaint.as_ref().map_or_else(String::new, |complaint| format!("\n            {complaint}")),
    );
    Ok(complaint.is_some())
}

/// Builds the test programs that the killers are in, with the switches.
fn build(rows: &[&Row]) -> Result<BTreeMap<String, Program>> {
    say("test programs with the switches in them");
    let targets: BTreeSet<&str> = rows.iter().map(|row| row.killer.target).collect();
    let mut words = "cargo test --profile bed --workspace --features quorate-mutants/armed --no-run \
                     --message-format json-render-diagnostics"
        .split_whitespace()
        .collect::<Vec<_>>();
    if targets.iter().any(|target| is_library(target)) {
        words.push("--lib");
    }
    for target in targets.iter().filter(|target| !is_library(target)) {
        words.extend(["--test", target]);
    }
    let output = command(&words).stderr(Stdio::inherit()).output().context("starting cargo")?;
    if !output.status.success() {
        bail!("the test programs did not build");
    }
    let mut programs = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let artifact: serde_json::Value = serde_json::from_str(line).context("reading cargo's report")?;
        let text = |value: &serde_json::Value| value.as_str().map(ToOwned::to_owned);
        let (Some(path), Some(name), Some(manifest)) = (
            text(&artifact["executable"]),
            text(&artifact["target"]["name"]),
            text(&artifact["manifest_path"]),
        ) else {
            continue;
        };
        let folder = Path::new(&manifest).parent().unwrap_or(Path::new(".")).to_owned();
        programs.insert(name, Program { path: path.into(), folder });
    }
    Ok(programs)
}

/// Unit tests are in the program of their crate's library.
fn is_library(target: &str) -> bool {
    target.starts_with("quorate_")
}

/// Whether the killer is there and passes as things are.
fn passes(program: &Program, killer: Killer) -> Result<bool> {
    Ok(run(program, killer, None)?.is_some_and(|ended| ended.printed.contains("ok. 1 passed; 0 failed")))
}

/// How the killer ended, and what it printed; none if it did not end in time.
fn run(program: &Program, killer: Killer, mutant: Option<&str>) -> Result<Option<Ended>> {
    // A file: a pipe that nobody reads would hold up a test that has much to say.
    let mut printed = tempfile::tempfile().context("a file for the killer's output")?;
    let mut words = Command::new(&program.path);
    words.args(["--exact", killer.test]).current_dir(&program.folder);
    words.env("CARGO_MANIFEST_DIR", &program.folder).stdout(printed.try_clone()?).stderr(Stdio::null());
    if let Some(mutant) = mutant {
        // What a mutant breaks is no regression to be remembered in the source.
        words.env(VARIABLE, mutant).env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
    }
    let mut child = words.spawn().with_context(|| format!("starting {}", program.path.display()))?;
    let deadline = Instant::now() + KILLER_TIMEOUT;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(GLANCE);
    };
    let mut bytes = Vec::new();
    printed.seek(SeekFrom::Start(0))?;
    printed.read_to_end(&mut bytes)?;
    Ok(Some(Ended { succeeded: status.success(), printed: String::from_utf8_lossy(&bytes).into_owned() }))
}

/// What the test said when it failed; none if it passed.
fn complaint(ended: &Ended) -> Option<String> {
    if ended.succeeded {
        return None;
    }
    let mut lines = ended.printed.lines().skip_while(|line| !line.contains("panicked at"));
    let place = lines.next().unwrap_or_default();
    let said = lines.next().unwrap_or("it ended without saying why");
    let at = place.split("panicked at ").nth(1).unwrap_or_default().trim_end_matches(':');
    Some(format!("{at}: {said}").chars().take(COMPLAINT_CHARS_MAX).collect())
}
