//! etcd: members with its default settings but a larger quota, and TLS between them as between ours.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use quorate_processes::member::BOUND;
use quorate_processes::ports::port;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use crate::call::{Call, Caller};
use crate::ours::found;
use crate::system::{Material, System, connect};
use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::maintenance_client::MaintenanceClient;
use api::etcdserverpb::request_op::Request;
use api::etcdserverpb::{
    MoveLeaderRequest, PutRequest, RangeRequest, RequestOp, StatusRequest, StatusResponse, TxnRequest,
};

/// A cluster that does not serve by then is not going to.
const PATIENCE: Duration = Duration::from_secs(40);
/// etcd keeps every version of a key, and by default refuses writes once that takes 2 GiB: soon, with large values.
const QUOTA_BYTES: &str = "8589934592";
/// How often it is looked.
const GLANCE: Duration = Duration::from_millis(100);

/// What is said to it.
mod api {
    /// The calls.
    #[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    pub(super) mod etcdserverpb {
        tonic::include_proto!("etcdserverpb");
    }
    /// What it keeps.
    #[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    pub(super) mod mvccpb {
        tonic::include_proto!("mvccpb");
    }
}

/// A cluster of etcd; the members end before the directory goes.
pub(crate) struct Etcd {
    members: Vec<Member>,
    program: PathBuf,
    _directory: TempDir,
}

struct Member {
    client_port: u16,
    peer_port: u16,
    directory: PathBuf,
    process: Option<Child>,
}

impl System for Etcd {
    type Caller = EtcdCaller;

    async fn form(material: &Material, members: usize) -> Result<Self> {
        let directory = tempfile::tempdir_in(&material.directory).context("a directory for etcd")?;
        issue(directory.path()).context("certificates for etcd")?;
        let members = (0..members).map(|number| Member {
            client_port: port(),
            peer_port: port(),
            directory: directory.path().join(format!("m{number}")),
            process: None,
        });
        let program = material.program.clone();
        let mut etcd = Self { members: members.collect(), program, _directory: directory };
        for member in 0..etcd.members.len() {
            etcd.start(member)?;
        }
        etcd.agrees().await?;
        Ok(etcd)
    }

    fn processes(&self) -> Vec<u32> {
        self.members.iter().filter_map(|member| member.process.as_ref()).map(Child::id).collect()
    }

    async fn leader(&self) -> Result<usize> {
        let statuses = self.statuses().await?;
        let leads = |status: &StatusResponse| {
            status.header.as_ref().is_some_and(|header| header.member_id == status.leader)
        };
        match statuses.iter().position(leads) {
            Some(leader) if statuses.iter().all(|status| status.leader == statuses[leader].leader) => {
                Ok(leader)
            }
            _ => bail!("its members do not agree on a leader"),
        }
    }

    async fn caller(&self, channel: Channel) -> Result<EtcdCaller> {
        Ok(EtcdCaller { kv: KvClient::new(channel) })
    }

    fn address(&self, member: usize) -> String {
        format!("127.0.0.1:{}", self.members[member].client_port)
    }

    fn kill(&mut self, member: usize) {
        self.members[member].kill();
    }

    fn start(&mut self, member: usize) -> Result<()> {
        let all = self.all();
        self.members[member].start(&self.program, member, &all)
    }

    async fn hand_over(&self, leader: usize, to: usize) -> Result<()> {
        let statuses = self.statuses().await?;
        let target_id = statuses[to].header.as_ref().context("a status without its member")?.member_id;
        let mut maintenance = MaintenanceClient::new(connect(self.address(leader)).await?);
        maintenance.move_leader(MoveLeaderRequest { target_id }).await?;
        Ok(())
    }

    async fn serves(&self, member: usize) -> bool {
        let read = async || -> Result<()> {
            let mut kv = KvClient::new(connect(self.address(member)).await?);
            kv.range(RangeRequest { key: "a".into(), serializable: false }).await?;
            Ok(())
        };
        read().await.is_ok()
    }

    async fn whole(&self) -> Result<()> {
        self.agrees().await
    }
}

impl Etcd {
    /// All members as each is told of them.
    fn all(&self) -> String {
        let url = |(number, member): (usize, &Member)| format!("m{number}={}", member.peer_url());
        self.members.iter().enumerate().map(url).collect::<Vec<_>>().join(",")
    }

    /// Waits until all members know one leader.
    async fn agrees(&self) -> Result<()> {
        let began = Instant::now();
        while let Err(error) = self.leader().await {
            if began.elapsed() > PATIENCE {
                let logs: Vec<_> = self.members.iter().map(Member::last_words).collect();
                bail!("etcd does not serve within {PATIENCE:?}: {error:#}\n{}", logs.join("\n"));
            }
            sleep(GLANCE).await;
        }
        Ok(())
    }

    async fn statuses(&self) -> Result<Vec<StatusResponse>> {
        futures::future::try_join_all((0..self.members.len()).map(|member| self.status(member))).await
    }

    async fn status(&self, member: usize) -> Result<StatusResponse> {
        let mut maintenance = MaintenanceClient::new(connect(self.address(member)).await?);
        Ok(maintenance.status(StatusRequest {}).await?.into_inner())
    }
}

impl Member {
    fn peer_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.peer_port)
    }

    fn start(&mut self, program: &Path, number: usize, all: &str) -> Result<()> {
        fs::create_dir_all(&self.directory)?;
        let (client, peer) = (format!("http://127.0.0.1:{}", self.client_port), self.peer_url());
        let data = self.directory.join("data");
        let certificates = self.directory.parent().context("its certificates")?.to_owned();
        let file = |name: &str| certificates.join(name).display().to_string();
        let mut command = Command::new(BOUND[0]);
        command
            .args(&BOUND[1..])
            .arg(program)
            .args(["--name", &format!("m{number}"), "--data-dir", &data.display().to_string()])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args([
                "--initial-cluster",
                all,
                "--initial-cluster-state",
                "new",
                "--initial-cluster-token",
                "bench",
            ])
            .args(["--peer-client-cert-auth", "--peer-trusted-ca-file", &file("ca.crt")])
            .args(["--peer-cert-file", &file("tls.crt"), "--peer-key-file", &file("tls.key")])
            .args(["--quota-backend-bytes", QUOTA_BYTES, "--log-level", "warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.directory.join("log"))?);
        self.process = Some(command.spawn().with_context(|| format!("starting {}", program.display()))?);
        Ok(())
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // A process that is gone already is what is wanted.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        log.lines().last().unwrap_or("(nothing in its log)").to_owned()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An authority, and one certificate of it for all members: they are told apart by their ports alone.
fn issue(directory: &Path) -> Result<()> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "etcd in a benchmark");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    fs::write(directory.join("ca.crt"), authority.self_signed(&authority_key)?.pem())?;
    let key = KeyPair::generate()?;
    let mut member = CertificateParams::new(Vec::new())?;
    member.distinguished_name.push(DnType::CommonName, "member");
    member.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
    member.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    member.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = member.signed_by(&key, &Issuer::new(authority, authority_key))?;
    fs::write(directory.join("tls.crt"), certificate.pem())?;
    fs::write(directory.join("tls.key"), key.serialize_pem())?;
    Ok(())
}

/// A client.
pub(crate) struct EtcdCaller {
    kv: KvClient<Channel>,
}

impl EtcdCaller {
    async fn read(&mut self, key: bytes::Bytes, serializable: bool) -> Result<(), String> {
        let answer = self.kv.range(RangeRequest { key, serializable }).await;
        found(!answer.map_err(|status| status.message().to_owned())?.into_inner().kvs.is_empty())
    }
}

impl Caller for EtcdCaller {
    async fn call(&mut self, call: Call) -> Result<(), String> {
        match call {
            Call::Write(key, value) => {
                let answer = self.kv.put(PutRequest { key, value }).await;
                answer.map(drop).map_err(|status| status.message().to_owned())
            }
            Call::WriteTogether(writes) => {
                let puts = writes.into_iter().map(|(key, value)| RequestOp {
                    request: Some(Request::RequestPut(PutRequest { key, value })),
                });
                let answer = self.kv.txn(TxnRequest { success: puts.collect() }).await;
                let is_applied = answer.map_err(|status| status.message().to_owned())?.into_inner().succeeded;
                if is_applied { Ok(()) } else { Err("a transaction without a condition failed".to_owned()) }
            }
            Call::Read(key) => self.read(key, false).await,
            Call::StaleRead(key) => self.read(key, true).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message;

    use super::api::etcdserverpb::{RangeResponse, ResponseHeader};
    use super::*;

    /// The bytes as etcd's documentation numbers the fields: a number mistyped above would measure another call.
    #[test]
    fn calls_are_what_etcd_takes_them_for() {
        let put = PutRequest { key: Bytes::from("k"), value: Bytes::from("v") };
        assert_eq!(put.encode_to_vec(), b"\x0a\x01k\x12\x01v");
        let stale = RangeRequest { key: Bytes::from("k"), serializable: true };
        assert_eq!(stale.encode_to_vec(), b"\x0a\x01k\x38\x01");
        let put = RequestOp { request: Some(Request::RequestPut(put)) };
        assert_eq!(TxnRequest { success: vec![put] }.encode_to_vec(), b"\x12\x08\x12\x06\x0a\x01k\x12\x01v");
        let linearizable = RangeRequest { key: Bytes::from("k"), serializable: false };
        assert_eq!(linearizable.encode_to_vec(), b"\x0a\x01k");
    }

    #[test]
    fn answers_of_etcd_are_understood_with_all_that_is_left_out_of_them() {
        // A header with a revision (3), one key (2) with its mod revision (3) and its value (5), the count (4).
        let answer =
            RangeResponse::decode(&b"\x0a\x02\x18\x09\x12\x08\x0a\x01k\x18\x09\x2a\x01v\x20\x01"[..])
                .unwrap();
        assert_eq!((answer.kvs.len(), answer.kvs[0].value.as_ref()), (1, &b"v"[..]));
        // A header with the member (2), the version (2), the leader (4), the index (5).
        let status = StatusResponse::decode(&b"\x0a\x02\x10\x07\x12\x053.6.5\x20\x07\x28\x09"[..]).unwrap();
        assert_eq!((status.header, status.leader), (Some(ResponseHeader { member_id: 7 }), 7));
    }
}
