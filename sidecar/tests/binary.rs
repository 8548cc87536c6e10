//! The binary itself: exit codes, termination, signals, and what it prints.
#![allow(clippy::unwrap_used)] // A failed step of a test is a failed test; its helpers are no #[test] themselves.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use quorate_api::v1;
use quorate_api::v1::cluster_client::ClusterClient;
use quorate_api::v1::membership_client::MembershipClient;
use quorate_raft::{
    Address, ClusterId, Configuration, Entry, HardState, Incarnation, Index, Intent, Payload, Persist,
    RaftId, Sequence, Server, ServerId, Suffrage, Term,
};
use quorate_sidecar::dev::Authority;
use quorate_store::Directory;
use tonic::transport::Endpoint;

const CLUSTER_ID: u128 = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
const RAFT_ID: &str = "db-0-3f2a91c4";
const PATIENCE: Duration = Duration::from_mins(1);

/// What a Pod would have: a data directory and a Secret.
struct Pod {
    directory: tempfile::TempDir,
    peer_port: u16,
}

impl Pod {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let issued = Authority::new(CLUSTER_ID).unwrap().issue(RAFT_ID).unwrap();
        for (name, text) in
            [("ca.crt", issued.ca_pem), ("tls.crt", issued.certificate_pem), ("tls.key", issued.key_pem)]
        {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        Self { directory, peer_port: free_port() }
    }

    fn data(&self) -> std::path::PathBuf {
        self.directory.path().join("data")
    }

    fn command(&self) -> Command {
        let mut command = sidecar(["run"]);
        command
            .env("QUORATE_CLUSTER", "db")
            .env("QUORATE_POD", "db-0")
            .env("QUORATE_CLUSTER_ID", format!("{CLUSTER_ID:032x}"))
            .env("QUORATE_RAFT_ID", RAFT_ID)
            .env("QUORATE_DATA_DIR", self.data())
            .env("QUORATE_TLS_DIR", self.directory.path())
            .env("QUORATE_ADVERTISE", format!("127.0.0.1:{}", self.peer_port))
            .env("QUORATE_PEER_PORT", self.peer_port.to_string())
            .env("QUORATE_CLIENT_PORT", free_port().to_string())
            .env("QUORATE_OPS_PORT", free_port().to_string())
            .env("QUORATE_HTTP_PORT", free_port().to_string())
            .stderr(Stdio::piped());
        command
    }

    /// A process that is up: its control socket is the last thing it opens.
    fn start(&self) -> Running {
        self.start_as(self.command())
    }

    fn start_as(&self, mut command: Command) -> Running {
        let child = command.spawn().unwrap();
        let mut running = Running { child };
        let deadline = Instant::now() + PATIENCE;
        while !self.data().join("control.sock").exists() {
            assert!(Instant::now() < deadline, "the control socket did not open");
            assert!(running.child.try_wait().unwrap().is_none(), "ended: {}", running.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
        running
    }
}

/// Killed when the test ends, whatever happens.
struct Running {
    child: Child,
}

impl Running {
    fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sidecar<const N: usize>(args: [&str; N]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-sidecar"));
    command.args(args);
    command
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// K39: a wrong command line is not taken for a broken volume.
#[test]
fn a_wrong_command_line_ends_with_64_and_names_what_is_wrong() {
    let output = sidecar(["run", "--no-such-flag"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output).contains("--no-such-flag"), "{}", text(&output));

    let pod = Pod::new();
    let output = pod.command().env("QUORATE_CLUSTER_ID", "12").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output).contains("32 hex digits"), "{}", text(&output));
}

/// K39: the volume of another member is told by its own code, and by both names.
#[test]
fn the_volume_of_another_member_ends_with_78_and_names_both() {
    let pod = Pod::new();
    let directory = pod.data().join("member");
    std::fs::create_dir_all(&directory).unwrap();
    Directory::create(&directory, RaftId::new("db-1-77be02d9").unwrap()).unwrap();
    let output = pod.command().output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    assert!(text(&output).contains("db-1-77be02d9"), "{}", text(&output));
    assert!(text(&output).contains(RAFT_ID), "{}", text(&output));
}

/// A volume that was one of three voters: `db-0`, `db-1` and `db-2`.
fn survivor(pod: &Pod) {
    let directory = pod.data().join("member");
    std::fs::create_dir_all(&directory).unwrap();
    Directory::create(&directory, RaftId::new(RAFT_ID).unwrap()).unwrap();
    let mut opened = Directory::open(&directory, &RaftId::new(RAFT_ID).unwrap()).unwrap();
    let own = opened.directory.identity().incarnation;
    let server = |name: &str, incarnation| Server {
        id: ServerId::new(RaftId::new(name).unwrap(), incarnation),
        address: Address::new("127.0.0.1:1").unwrap(),
        suffrage: Suffrage::Voter,
        intent: Intent::Voter,
    };
    let others = ["db-1-77be02d9", "db-2-c01d77aa"].map(|name| server(name, Incarnation(1)));
    let servers = others.into_iter().chain([server(RAFT_ID, own)]).collect();
    let payload = Payload::Configuration(Configuration::new(servers).unwrap());
    let persist = Persist {
        sequence: Sequence(1),
        cluster_id: Some(ClusterId(CLUSTER_ID)),
        hard_state: Some(HardState { term: Term(3), vote: None, was_member: true }),
        install: None,
        truncate_from: None,
        entries: vec![Entry { term: Term(1), index: Index(1), payload }],
        commit: Index(0),
    };
    opened.log.commit(&[persist]).unwrap();
}

fn recover<const N: usize>(pod: &Pod, args: [&str; N]) -> (Option<i32>, String, String) {
    let output = sidecar(["recover", path(&pod.data())]).args(args).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), text(&output))
}

/// K18, raft.md §7 item 20: without the user's word nothing is changed, and the refusal says which word; with it the
/// member is recovered, once; the recovered member elects itself and no longer starts from an older epoch.
#[test]
fn recover_asks_for_the_lost_by_name_and_is_done_once() {
    let pod = Pod::new();
    survivor(&pod);
    for args in [&[][..], &["--lost", "db-1-77be02d9"], &["--lost", "db-1-77be02d9,db-2-c01d77aa,db-9"]] {
        let output = sidecar(["recover", path(&pod.data())]).args(args).output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains("nothing was changed"), "{said}");
        assert!(said.contains("its log ends at term 1, index 1"), "{said}");
        assert!(said.contains("--lost db-1-77be02d9,db-2-c01d77aa"), "{said}");
    }
    let inspect = || {
        let output = sidecar(["inspect", path(&pod.data()), "--output", "json"]).output().unwrap();
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let before = inspect();
    assert_eq!((&before["last_log_term"], &before["last_log_index"]), (&1.into(), &1.into()));
    assert_eq!(before["recovery_epoch"], 0);
    let (code, said, error) = recover(&pod, ["--lost", "db-1-77be02d9,db-2-c01d77aa"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(said.contains("the one voter of its cluster now, at recovery epoch 1"), "{said}");
    let after = inspect();
    assert_eq!((&after["recovery_epoch"], &after["commit_index"]), (&1.into(), &2.into()));
    for args in [["--lost", "db-1-77be02d9,db-2-c01d77aa"], ["--epoch", "1"]] {
        let (code, said, error) = recover(&pod, args);
        assert_eq!(code, Some(0), "{error}");
        assert!(said.contains("at recovery epoch 1 already: nothing was changed"), "{said}");
    }
    assert_eq!(inspect(), after);
    let output = pod.command().env("QUORATE_RECOVERY_EPOCH", "2").output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
}

/// §7 item 20: there is nothing to make a cluster of in an empty directory, nor where there is none.
#[test]
fn recover_refuses_an_empty_directory_and_none() {
    let pod = Pod::new();
    let (code, _, said) = recover(&pod, []);
    assert_eq!(code, Some(69), "{said}");
    let directory = pod.data().join("member");
    std::fs::create_dir_all(&directory).unwrap();
    Directory::create(&directory, RaftId::new(RAFT_ID).unwrap()).unwrap();
    let (code, _, said) = recover(&pod, []);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("this directory is empty"), "{said}");
}

/// K18: whoever recovers a running member would pull its log from under it.
#[test]
fn recover_refuses_the_directory_of_a_running_member() {
    let pod = Pod::new();
    let _running = pod.start();
    let (code, _, said) = recover(&pod, ["--lost", "db-1-77be02d9"]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("in use by another process: stop it first"), "{said}");
}

/// K18: the same by a call, on a member that runs: without its word it is refused; with it the process goes on, recovered,
/// and leads; asked again it answers at once. It stays recovered.
#[tokio::test]
async fn a_running_member_is_recovered_by_a_call() {
    let pod = Pod::new();
    survivor(&pod);
    let token = "0123456789abcdef0123456789abcdef";
    std::fs::write(pod.directory.path().join("token"), token).unwrap();
    let client_port = free_port();
    let mut command = pod.command();
    command
        .env("QUORATE_CLIENT_PORT", client_port.to_string())
        .env("QUORATE_ADMIN_TOKEN_FILE", pod.directory.path().join("token"));
    let mut running = pod.start_as(command);
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{client_port}")).unwrap();
    let mut membership = MembershipClient::new(endpoint.connect_lazy());
    let mut recover = async |epoch: u64, lost: &[&str]| {
        let lost_raft_ids = lost.iter().map(ToString::to_string).collect();
        let mut request = tonic::Request::new(v1::RecoverRequest { epoch, lost_raft_ids });
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        membership.recover(request).await.map(|answer| answer.into_inner().recovery_epoch)
    };
    let lost = ["db-1-77be02d9", "db-2-c01d77aa"];
    let refused = recover(1, &lost[..1]).await.unwrap_err();
    assert!(refused.message().contains("nothing was changed: its log ends at term 1, index 1"), "{refused}");
    assert!(recover(0, &lost).await.unwrap_err().message().contains("epoch is missing"));

    assert_eq!(recover(1, &lost).await.unwrap(), 0, "it is about to");
    let deadline = Instant::now() + PATIENCE;
    let mut cluster = ClusterClient::new(endpoint.connect_lazy());
    loop {
        // While it starts anew nobody answers. Asked once is enough.
        if let Ok(status) = cluster.status(v1::StatusRequest {}).await.map(tonic::Response::into_inner)
            && (status.recovery_epoch, &*status.leader_raft_id, status.is_ready) == (1, RAFT_ID, true)
        {
            break;
        }
        assert!(Instant::now() < deadline, "it was not recovered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(recover(1, &lost).await.unwrap(), 1, "it is done");
    let again = recover(2, &[]).await.unwrap_err();
    assert!(again.message().contains("leads, so a majority is there"), "{again}");
    assert!(running.child.try_wait().unwrap().is_none(), "the process goes on");
    drop(running);
    let output = pod.command().env("QUORATE_RECOVERY_EPOCH", "2").output().unwrap();
    assert!(text(&output).contains("is at recovery epoch 1"), "{}", text(&output));
}

/// K18: a directory from before a recovery ends with 78 before any port is opened: here one of them could not be.
#[test]
fn a_directory_from_before_a_recovery_ends_with_78_before_it_opens_a_port() {
    let pod = Pod::new();
    survivor(&pod);
    let _taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, pod.peer_port)).unwrap();
    let output = pod.command().env("QUORATE_RECOVERY_EPOCH", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    assert!(text(&output).contains("is at recovery epoch 0"), "{}", text(&output));
}

/// K18: a member that joins a recovered cluster is made in its epoch.
#[test]
fn a_new_directory_is_made_in_the_epoch_it_is_started_for() {
    let pod = Pod::new();
    let mut command = pod.command();
    command.env("QUORATE_RECOVERY_EPOCH", "3");
    let running = pod.start_as(command);
    drop(running);
    let output = sidecar(["inspect", path(&pod.data()), "--output", "json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["recovery_epoch"], 3);
}

/// K39: a port that is taken says nothing about the volume.
#[test]
fn a_taken_port_ends_with_69_and_names_the_address() {
    let pod = Pod::new();
    let _taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, pod.peer_port)).unwrap();
    let output = pod.command().output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", text(&output));
    assert!(text(&output).contains(&pod.peer_port.to_string()), "{}", text(&output));
}

/// raft.md §7, 22: SIGTERM ends an idle member within a second with code 0, and `inspect` reads what it left.
#[test]
fn a_process_that_is_asked_to_stop_ends_with_0_within_a_second() {
    let pod = Pod::new();
    let mut running = pod.start();

    let hook = sidecar(["pre-stop", "--data-dir", path(&pod.data())]).output().unwrap();
    assert!(hook.status.success(), "{}", text(&hook));
    assert_eq!(String::from_utf8_lossy(&hook.stdout), "this member does not lead\n");
    assert!(running.child.try_wait().unwrap().is_none(), "the hook must not end the process");

    let before = Instant::now();
    let sent = Command::new("kill").args(["-TERM", &running.child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let status = running.child.wait().unwrap();
    let took = before.elapsed();
    assert_eq!(status.code(), Some(0), "{}", running.stderr());
    assert!(took < Duration::from_secs(1), "stopping took {took:?}");

    let report = sidecar(["inspect", path(&pod.data()), "--output", "json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(report["raft_id"], RAFT_ID);
    assert_eq!(report["cluster_id"], serde_json::Value::Null, "it was never bootstrapped");
    assert_eq!(report["term"], 0);
}

/// K43: without a process to ask, the hook says so and does not wait.
#[test]
fn pre_stop_without_a_running_member_fails_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let before = Instant::now();
    let output = sidecar(["pre-stop", "--data-dir", path(directory.path())]).output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output).contains("control.sock"), "{}", text(&output));
    assert!(before.elapsed() < Duration::from_secs(5));
}

/// The first thing anybody asks.
#[test]
fn version_is_printed_on_stdout() {
    let output = sidecar(["version"]).output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("quorate-sidecar 0."));
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
