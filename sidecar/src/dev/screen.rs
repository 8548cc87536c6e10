//! What `dev` says to the person at the terminal. Colours only there; talk goes to stdout, logs to stderr.

use std::io::IsTerminal;
use std::path::Path;

use quorate_raft::Mode;

use super::cluster::Cluster;

pub(super) struct Screen {
    is_coloured: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { is_coloured: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    pub(super) fn starting(&self, members: usize, directory: &Path, is_kept: bool) {
        let fate = if is_kept { "kept" } else { "removed at the end" };
        let plural = if members == 1 { "member" } else { "members" };
        say(&format!(
            "Starting {members} {plural} in {} ({fate}) ...",
            self.dim(&directory.display().to_string())
        ));
    }

    pub(super) fn ready(&self, cluster: &Cluster, directory: &Path) {
        say(&format!("{}\n", self.bold("The cluster is up.")));
        for number in 0..cluster.len() {
            let ports = cluster.ports(number);
            let role = if cluster.handle(number).view().is_leader() { "leader" } else { "follower" };
            say(&format!(
                "  dev-{number}  {role:<8}  http://127.0.0.1:{}  grpc 127.0.0.1:{}  ops http://127.0.0.1:{}",
                ports.http, ports.grpc, ports.ops
            ));
        }
        let first = cluster.ports(0);
        let last = cluster.ports(cluster.len() - 1);
        let latest = cluster.handle(0).view().status.latest.clone();
        if latest.is_some_and(|latest| latest.configuration.mode() == Mode::Log) {
            say(&format!(
                "\n{}",
                self.bold(
                    "Run an application that is its own state machine at two members, in two more terminals:"
                )
            ));
            for (number, grpc) in [first.grpc, last.grpc].into_iter().enumerate() {
                say(&format!(
                    "  QUORATE_GRPC_ADDR=127.0.0.1:{grpc} cargo run --profile bed --example bank-log -- {}",
                    directory.join(format!("bank-{number}")).display()
                ));
            }
        } else {
            say(&format!("\n{}", self.bold("Write through one member, read through another:")));
            say(&format!("  curl -X PUT -d 'hello' http://127.0.0.1:{}/v1/kv/greeting", first.http));
            say(&format!("  curl 'http://127.0.0.1:{}/v1/kv/greeting?raw'", last.http));
        }
        say(&format!("\n{}", self.bold("Look around:")));
        say(&format!("  curl http://127.0.0.1:{}/v1/status/leader", first.http));
        say(&format!("  curl http://127.0.0.1:{}/status", first.ops));
        say(&format!("\n{} {}", self.bold("Admin token (X-Consul-Token):"), cluster.admin_token()));
        say(&self.dim("Ctrl-C stops everything."));
    }

    pub(super) fn stopping(&self) {
        say(&format!("\n{}", self.dim("Stopping ...")));
    }

    fn bold(&self, text: &str) -> String {
        self.styled(text, "1")
    }

    fn dim(&self, text: &str) -> String {
        self.styled(text, "2")
    }

    fn styled(&self, text: &str, code: &str) -> String {
        if self.is_coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// A closed pipe is no reason to stop a cluster.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}
