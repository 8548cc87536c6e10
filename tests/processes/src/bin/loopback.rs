//! `loopback PROGRAM`: holds three members of this sidecar on loopback, as one cluster, for as long as its input is open.
//!
//! Once they all vote, and again after each line of input, it says with which processes and who leads:
//! `members: db-0=4711=follows db-1=4712=leads db-2=4713=follows`. The end of the input ends it and the members at any
//! time; any other end of it ends the members too. `make measure` is who asks: that program depends on none of ours.

use std::path::Path;
use std::process::ExitCode;

use quorate_processes::cluster::Cluster;
use quorate_processes::story::Story;
use tokio::sync::mpsc::{Receiver, channel};

/// As many as the figures in `docs/limits.md` are of.
const MEMBERS: usize = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(program) = std::env::args().nth(1) else {
        eprintln!("usage: loopback PROGRAM");
        return ExitCode::from(64);
    };
    let mut asked = lines_of_input();
    let story = Story::new("three members on loopback", "again: make measure ONLY=loopback");
    let mut cluster = Cluster::new(&story, MEMBERS, Path::new(&program));
    tokio::select! {
        () = cluster.form() => {}
        // Nothing is asked before the first answer: this is the end.
        _ = asked.recv() => return ExitCode::SUCCESS,
    }
    loop {
        cluster.assert_alive();
        let leader = cluster.leader().await;
        println!("members: {}", members(&cluster, leader));
        if asked.recv().await.is_none() {
            return ExitCode::SUCCESS;
        }
    }
}

fn members(cluster: &Cluster, leader: usize) -> String {
    let role = |number| if number == leader { "leads" } else { "follows" };
    let members = cluster.members.iter().enumerate();
    let words =
        members.map(|(number, member)| format!("{}={}={}", member.name, member.process_id(), role(number)));
    words.collect::<Vec<_>>().join(" ")
}

/// Read by a thread of its own, which nobody waits for: a read of the input cannot be given up.
fn lines_of_input() -> Receiver<String> {
    let (sender, lines) = channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}
