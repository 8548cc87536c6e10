//! Ours: sidecars as in Pods, without Kubernetes.

use anyhow::{Result, anyhow};
use quorate_api::v1::kv_client::KvClient;
use quorate_api::v1::{Consistency, GetRequest, PutRequest, RegisterClientRequest, Tag};
use quorate_processes::cluster::Cluster;
use quorate_processes::member::Member;
use quorate_processes::story::Story;
use tonic::transport::Channel;

use crate::call::{Call, Caller};
use crate::system::{Material, System};

/// A cluster of sidecars.
pub(crate) struct Ours {
    cluster: Cluster,
}

impl System for Ours {
    type Caller = OurCaller;

    async fn form(material: &Material, members: usize) -> Result<Self> {
        let story = Story::new("members of ours", "again: make bench");
        let mut cluster = Cluster::below(&material.directory, &story, members, &material.program);
        cluster.form().await;
        Ok(Self { cluster })
    }

    fn processes(&self) -> Vec<u32> {
        self.cluster.members.iter().map(Member::process_id).collect()
    }

    async fn leader(&self) -> Result<usize> {
        self.cluster.leader_now().await.map_err(|error| anyhow!(error))
    }

    async fn caller(&self, channel: Channel) -> Result<OurCaller> {
        let mut kv = KvClient::new(channel);
        // As our client does: its writes are applied at most once, whatever happens (K20).
        let client_id = kv.register_client(RegisterClientRequest {}).await?.into_inner().client_id;
        Ok(OurCaller { kv, client_id, sequence: 0 })
    }

    fn address(&self, member: usize) -> String {
        self.cluster.members[member].client_address()
    }
}

/// A client that registered.
pub(crate) struct OurCaller {
    kv: KvClient<Channel>,
    client_id: u64,
    sequence: u64,
}

impl Caller for OurCaller {
    async fn call(&mut self, call: Call) -> Result<(), String> {
        let told = |status: tonic::Status| status.message().to_owned();
        match call {
            Call::Write(key, value) => {
                self.sequence += 1;
                let (client_id, sequence) = (self.client_id, self.sequence);
                let tag = Some(Tag { client_id, sequence, acked_below: sequence });
                self.kv.put(PutRequest { key, value, flags: 0, tag }).await.map(drop).map_err(told)
            }
            Call::Read(key) => {
                let request = GetRequest { key, consistency: Consistency::Linearizable.into() };
                found(self.kv.get(request).await.map_err(told)?.into_inner().entry.is_some())
            }
            Call::StaleRead(key) => {
                let request = GetRequest { key, consistency: Consistency::Stale.into() };
                found(self.kv.get(request).await.map_err(told)?.into_inner().entry.is_some())
            }
        }
    }
}

/// Every key was written before.
pub(crate) fn found(is_found: bool) -> Result<(), String> {
    if is_found { Ok(()) } else { Err("a key that was written is not there".to_owned()) }
}
