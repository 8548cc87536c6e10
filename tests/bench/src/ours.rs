//! Ours: sidecars as in Pods, without Kubernetes.

use anyhow::{Result, anyhow};
use bytes::Bytes;
use quorate_api::v1::kv_client::KvClient;
use quorate_api::v1::numbered_result::Result as Answer;
use quorate_api::v1::numbered_write::Write;
use quorate_api::v1::{
    Consistency, GetRequest, NumberedWrite, PutRequest, RegisterClientRequest, Tag, WriteRequest,
    WriteResponse,
};
use quorate_processes::cluster::Cluster;
use quorate_processes::member::Member;
use quorate_processes::story::Story;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::call::{Call, Caller};
use crate::system::{CALL_TIMEOUT, Material, System, connect};

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
        Ok(OurCaller { kv, client_id, sequence: 0, pipeline: None })
    }

    fn address(&self, member: usize) -> String {
        self.cluster.members[member].client_address()
    }

    fn kill(&mut self, member: usize) {
        self.cluster.kill(member);
    }

    fn start(&mut self, member: usize) -> Result<()> {
        self.cluster.start(member);
        Ok(())
    }

    async fn hand_over(&self, leader: usize, to: usize) -> Result<()> {
        let members = &self.cluster.members;
        self.cluster.operator.transfer(&members[leader], &members[to]).await.map_err(|error| anyhow!(error))
    }

    async fn serves(&self, member: usize) -> bool {
        let read = async || -> Result<()> {
            let mut kv = KvClient::new(connect(self.address(member)).await?);
            let consistency = Consistency::Linearizable.into();
            kv.get(GetRequest { key: "a".into(), consistency }).await?;
            Ok(())
        };
        read().await.is_ok()
    }

    async fn whole(&self) -> Result<()> {
        self.cluster.all_ready().await;
        Ok(())
    }
}

/// A client that registered.
pub(crate) struct OurCaller {
    kv: KvClient<Channel>,
    client_id: u64,
    sequence: u64,
    /// Its stream, once it has one.
    pipeline: Option<Pipeline>,
}

/// A stream of writes.
struct Pipeline {
    requests: mpsc::Sender<WriteRequest>,
    responses: Streaming<WriteResponse>,
}

impl OurCaller {
    async fn write_together(&mut self, writes: Vec<(Bytes, Bytes)>) -> Result<(), String> {
        let (client_id, first) = (self.client_id, self.sequence + 1);
        let numbered = (first..).zip(writes).map(|(sequence, (key, value))| {
            let tag = Some(Tag { client_id, sequence, acked_below: first });
            NumberedWrite {
                number: sequence,
                write: Some(Write::Put(PutRequest { key, value, flags: 0, tag })),
            }
        });
        let writes: Vec<_> = numbered.collect();
        self.sequence += u64::try_from(writes.len()).unwrap_or(u64::MAX);
        let mut pipeline = match self.pipeline.take() {
            Some(pipeline) => pipeline,
            None => Pipeline::open(&mut self.kv).await.map_err(|status| status.message().to_owned())?,
        };
        // Broken off or late, it goes: what it has yet to answer is nobody's.
        let done = timeout(CALL_TIMEOUT, pipeline.answered(writes)).await;
        done.map_err(|_| "no answer before the deadline".to_owned())??;
        self.pipeline = Some(pipeline);
        Ok(())
    }
}

impl Pipeline {
    async fn open(kv: &mut KvClient<Channel>) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(1);
        let responses = kv.write(ReceiverStream::new(receiver)).await?.into_inner();
        Ok(Self { requests, responses })
    }

    /// Sends writes, and waits until each is answered.
    async fn answered(&mut self, writes: Vec<NumberedWrite>) -> Result<(), String> {
        let mut open = writes.len();
        let ended = || "the stream of writes ended".to_owned();
        self.requests.send(WriteRequest { writes }).await.map_err(|_| ended())?;
        while open > 0 {
            let response = self.responses.message().await.map_err(|status| status.message().to_owned())?;
            for result in response.ok_or_else(ended)?.results {
                let Some(Answer::Put(_)) = result.result else { return Err(format!("{result:?}")) };
                open -= 1;
            }
        }
        Ok(())
    }
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
            Call::WriteTogether(writes) => self.write_together(writes).await,
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
