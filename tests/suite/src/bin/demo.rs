//! `make demo`: the product's main job on a real Kubernetes, from nothing, narrated.
//!
//! Every step is a command a user could type; it is printed before it is run.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use quorate_suite::bed::{bed, bed_output, tool, up};
use quorate_suite::command::{ended, repository, say};
use quorate_suite::images;

/// How long anything the demo waits for may take: image start-up, two stabilization times, slow machines.
const PATIENCE: Duration = Duration::from_mins(5);
/// How often a waiting line is looked at.
const GLANCE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    ended("demo", demo())
}

fn demo() -> Result<()> {
    say("a four-node Kubernetes on this machine (the first time its programs are built: about ten minutes)");
    up()?;
    say("Quorate's images, in the profile that is shipped");
    images::load("release")?;
    say("install the operator with its Helm chart");
    images::install_chart()?;
    form()?;
    write_and_read()?;
    scale()?;
    lose_the_leader()?;
    look()?;
    farewell();
    Ok(())
}

fn form() -> Result<()> {
    say("apply a RaftCluster of three members, each with a small application of ours beside the sidecar");
    shown_kubectl(&["apply", "-f", "docs/samples/greeting.yaml"])?;
    wait_ready(3)
}

fn write_and_read() -> Result<()> {
    say("write through one member's application, read through another's");
    let greeting = repository().join("target");
    std::fs::create_dir_all(&greeting)?;
    let body = greeting.join("greeting.txt");
    std::fs::write(&body, "hello from greeting-0")?;
    shown_kubectl(&["replace", "--raw", &app("greeting-0", "greeting"), "-f", &body.to_string_lossy()])?;
    let read = bed_output(&["kubectl", "get", "--raw", &app("greeting-1", "greeting")])?;
    println!("greeting-1 answers: {read}");
    if !read.contains("hello from greeting-0") {
        bail!("greeting-1 did not answer with what was written through greeting-0");
    }
    Ok(())
}

fn scale() -> Result<()> {
    say(
        "scale to five: each new member joins without a vote, and gets one after ten seconds of unbroken health",
    );
    shown_kubectl(&["scale", "raftcluster", "greeting", "--replicas=5"])?;
    wait_ready(5)
}

fn lose_the_leader() -> Result<()> {
    say("delete the leader's Pod: leadership is handed over first, the same volume and Raft ID come back");
    let leader =
        bed_output(&["kubectl", "get", "raftcluster", "greeting", "-o", "jsonpath={.status.leader}"])?;
    let uid = ["kubectl", "get", "pod", &leader, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}"];
    let old = bed_output(&uid)?;
    shown_kubectl(&["delete", "pod", &leader])?;
    // Status may still tell of the old Pod for a moment, so the new one is waited for first.
    let started = Instant::now();
    while [old.as_str(), ""].contains(&bed_output(&uid)?.as_str()) {
        if started.elapsed() > PATIENCE {
            bail!("{leader} did not come back within {} s", PATIENCE.as_secs());
        }
        sleep(GLANCE);
    }
    shown_kubectl(&["wait", "--for=condition=Ready", &format!("pod/{leader}"), "--timeout=300s"])?;
    wait_ready(5)?;
    let read = bed_output(&["kubectl", "get", "--raw", &app(&leader, "greeting")])?;
    println!("{leader} is back and answers: {read}");
    Ok(())
}

fn look() -> Result<()> {
    say("what a person sees");
    shown_kubectl(&["get", "raftcluster,pods,pvc", "-o", "wide"])?;
    shown_kubectl(&["describe", "raftcluster", "greeting"])
}

fn farewell() {
    let tool = tool();
    say("it is all still running; look around:");
    println!("  {tool} kubectl describe raftcluster greeting");
    println!("  {tool} kubectl get --raw {}", app("greeting-0", "whoami"));
    println!("  {tool} cut n1        # cut a node off, watch status, then: {tool} heal n1");
    println!("  {tool} kubectl scale raftcluster greeting --replicas=3");
    println!("remove everything: make demo-down");
}

/// The application's path through the API server, which can reach every Pod.
fn app(pod: &str, path: &str) -> String {
    format!("/api/v1/namespaces/default/pods/{pod}:8080/proxy/{path}")
}

/// Waits until the resource is Ready with this many voters, printing its summary whenever it changes.
fn wait_ready(voters: u32) -> Result<()> {
    let started = Instant::now();
    let wanted = format!("{voters}/{voters} True");
    let mut last = String::new();
    loop {
        let path =
            "jsonpath={.status.voters} {.status.conditions[?(@.type=='Ready')].status}|{.status.summary}";
        let seen = bed_output(&["kubectl", "get", "raftcluster", "greeting", "-o", path])?;
        let (state, summary) = seen.split_once('|').unwrap_or((&seen, ""));
        if summary != last {
            println!("  {:>4} s  {summary}", started.elapsed().as_secs());
            summary.clone_into(&mut last);
        }
        if state == wanted {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            shown_kubectl(&["describe", "raftcluster", "greeting"])?;
            bail!("not Ready with {voters} voters after {} s", PATIENCE.as_secs());
        }
        sleep(GLANCE);
    }
}

fn shown_kubectl(words: &[&str]) -> Result<()> {
    shown("kubectl", words)
}

fn shown(program: &str, words: &[&str]) -> Result<()> {
    println!("$ {program} {}", words.join(" "));
    let all: Vec<&str> = std::iter::once(program).chain(words.iter().copied()).collect();
    bed(&all)
}
