//! One member: a process of its own, and what a Pod would give it.

use std::fs::{self, File, OpenOptions};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use quorate_sidecar::dev::Authority;
use quorate_sidecar::settings::MEMBER_DIRECTORY;

use crate::ports::Ports;
use crate::wait::{PATIENCE, until};

/// The cluster of them all. Each has an authority of its own, so that they cannot talk to each other.
pub const CLUSTER_ID: u128 = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;

/// Where members listen for the operator at first: the plain ports have 127.0.0.1.
const POD_IP: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Words before a command that bind it to the thread that starts it: the kernel kills it when that is gone, so that
/// what is killed leaves nothing behind.
pub const BOUND: [&str; 4] = ["setpriv", "--pdeathsig", "KILL", "--"];

/// A member, running or not.
pub struct Member {
    /// Its name and its Raft ID.
    pub name: String,
    /// Its ports.
    pub ports: Ports,
    /// Where the operator reaches it.
    pub pod_ip: Ipv4Addr,
    /// Where other members reach it, as the configuration has it.
    pub address: String,
    /// What its process is first, if it is to have mounts of its own: words before its command that become it.
    pub before: Vec<String>,
    program: PathBuf,
    directory: PathBuf,
    child: Option<Child>,
}

impl Member {
    /// A member that was never started, with files and certificates below `directory`; `program` is the sidecar's.
    pub fn new(number: usize, directory: &Path, authority: &Authority, program: &Path) -> Self {
        let name = format!("db-{number}");
        let directory = directory.join(&name);
        fs::create_dir_all(&directory).unwrap();
        let issued = authority.issue(&name).unwrap();
        for (file, text) in
            [("ca.crt", issued.ca_pem), ("tls.crt", issued.certificate_pem), ("tls.key", issued.key_pem)]
        {
            fs::write(directory.join(file), text).unwrap();
        }
        let ports = Ports::draw();
        let address = format!("127.0.0.1:{}", ports.peer);
        Self {
            name,
            ports,
            pod_ip: POD_IP,
            address,
            before: Vec::new(),
            program: program.to_owned(),
            directory,
            child: None,
        }
    }

    /// Where its own containers reach it.
    pub fn client_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.client)
    }

    /// Starts the process.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let mut command = self.command();
        let program = command.get_program().to_owned();
        self.child =
            Some(command.spawn().unwrap_or_else(|error| panic!("starting {}: {error}", program.display())));
    }

    fn command(&self) -> Command {
        let mut words = self.before.clone();
        words.extend(BOUND.map(ToOwned::to_owned));
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg(&self.program)
            .arg("run")
            .env("QUORATE_CLUSTER", "db")
            .env("QUORATE_POD", &self.name)
            .env("QUORATE_CLUSTER_ID", format!("{CLUSTER_ID:032x}"))
            .env("QUORATE_RAFT_ID", &self.name)
            .env("QUORATE_DATA_DIR", self.data())
            .env("QUORATE_TLS_DIR", &self.directory)
            .env("QUORATE_ADVERTISE", &self.address)
            .env("QUORATE_POD_IP", self.pod_ip.to_string())
            .env("QUORATE_PEER_PORT", self.ports.peer.to_string())
            .env("QUORATE_CLIENT_PORT", self.ports.client.to_string())
            .env("QUORATE_OPS_PORT", self.ports.ops.to_string())
            .env("QUORATE_HTTP_PORT", self.ports.http.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log());
        command
    }

    /// Where its volume is mounted.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn log(&self) -> File {
        OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap()
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// The last lines of its log, all its lives together.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = fs::read_to_string(self.log_path()).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// How many lines of its log, all its lives together, have these words.
    pub fn log_count(&self, words: &str) -> usize {
        let text = fs::read_to_string(self.log_path()).unwrap_or_default();
        text.lines().filter(|line| line.contains(words)).count()
    }

    /// The names of the files in its data directory.
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.data().join(MEMBER_DIRECTORY)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// How many lines its log has.
    pub fn log_lines(&self) -> usize {
        fs::read_to_string(self.log_path()).unwrap_or_default().lines().count()
    }

    /// Whether it was started and not ended from here.
    pub fn is_up(&self) -> bool {
        self.child.is_some()
    }

    /// Kills it, as the kernel does when memory is short: it has no say.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A process that is gone already is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits until it has ended by itself or after a signal, and says how.
    pub async fn ended(&mut self) -> ExitStatus {
        let name = self.name.clone();
        let Some(child) = self.child.as_mut() else { panic!("{name} does not run") };
        let status = until(&format!("{name} to end"), PATIENCE, async || {
            child.try_wait().map_err(|error| error.to_string())?.ok_or_else(|| "it runs".to_owned())
        })
        .await;
        self.child = None;
        status
    }

    /// Asserts that it has not ended by itself.
    pub fn assert_alive(&mut self) {
        let Some(child) = self.child.as_mut() else { return };
        if let Some(status) = child.try_wait().unwrap() {
            panic!("{} ended by itself with {status}:\n{}", self.name, self.log_tail(5));
        }
    }

    /// The number of its process.
    pub fn process_id(&self) -> u32 {
        let child = self.child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name));
        child.id()
    }

    /// Stops it where it is. It holds its sockets and its place in the cluster, and does nothing.
    pub async fn pause(&self) {
        self.signal("STOP");
        let stat = format!("/proc/{}/stat", self.process_id());
        until(&format!("{} to be stopped", self.name), PATIENCE, async || {
            let text = fs::read_to_string(&stat).map_err(|error| error.to_string())?;
            // The state stands behind the name, which is in brackets.
            let state = text.rsplit(") ").next().unwrap_or_default().chars().next();
            if state == Some('T') { Ok(()) } else { Err(text.clone()) }
        })
        .await;
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.process_id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success(), "kill -{name} of {}: {sent}", self.name);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}
