//! `quorate.v1.Kv`.

use quorate_api::v1::{self, kv_server::Kv};
use quorate_machine::{ApiIndex, Command, Outcome, PageLimit, TxnOp};
use tonic::{Request, Response, Status, Streaming};

use super::Service;
use super::pipeline::{self, Responses, Writes};
use super::refused::Refused;
use super::shape;
use super::watch;
use crate::driver::{Consistency, ReadResult};
use crate::serve::limits::{LIST_BYTES_MAX, LIST_ROWS_MAX};
use crate::serve::rights::Right;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Kv for Service {
    async fn register_client(
        &self,
        request: Request<v1::RegisterClientRequest>,
    ) -> Answer<v1::RegisterClientResponse> {
        self.call("Kv.RegisterClient", Right::Data, request, |_, deadline| async move {
            match self.propose(Command::RegisterClient { owner: None }, None, deadline).await? {
                Outcome::Registered { client } => Ok(v1::RegisterClientResponse { client_id: client.0 }),
                _ => Err(Refused::unexpected("registering a client")),
            }
        })
        .await
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Answer<v1::PutResponse> {
        self.call("Kv.Put", Right::Data, request, |write, deadline| self.write_one(write, deadline)).await
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Answer<v1::GetResponse> {
        self.call("Kv.Get", Right::Data, request, |get, deadline| async move {
            let consistency = shape::consistency(get.consistency)?;
            let key = get.key;
            TxnOp::Get { key: key.clone() }.validate().map_err(|invalid| Refused::from_invalid(&invalid))?;
            let read = self.handle().read(consistency, deadline, move |state| state.get(&key)).await?;
            let mark = mark(&read, consistency, read.value.index);
            Ok(v1::GetResponse { entry: read.value.entry.map(shape::entry), mark: Some(mark) })
        })
        .await
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Answer<v1::DeleteResponse> {
        self.call("Kv.Delete", Right::Data, request, |write, deadline| self.write_one(write, deadline)).await
    }

    async fn delete_prefix(
        &self,
        request: Request<v1::DeletePrefixRequest>,
    ) -> Answer<v1::DeletePrefixResponse> {
        self.call("Kv.DeletePrefix", Right::Data, request, |write, deadline| self.write_one(write, deadline))
            .await
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Answer<v1::ListResponse> {
        self.call("Kv.List", Right::Data, request, |list, deadline| async move {
            self.list_page(list, deadline).await
        })
        .await
    }

    async fn compare_and_set(
        &self,
        request: Request<v1::CompareAndSetRequest>,
    ) -> Answer<v1::CompareAndSetResponse> {
        self.call("Kv.CompareAndSet", Right::Data, request, |write, deadline| self.write_one(write, deadline))
            .await
    }

    async fn acquire(&self, request: Request<v1::AcquireRequest>) -> Answer<v1::AcquireResponse> {
        self.call("Kv.Acquire", Right::Data, request, |write, deadline| self.write_one(write, deadline)).await
    }

    async fn release(&self, request: Request<v1::ReleaseRequest>) -> Answer<v1::ReleaseResponse> {
        self.call("Kv.Release", Right::Data, request, |write, deadline| self.write_one(write, deadline)).await
    }

    async fn txn(&self, request: Request<v1::TxnRequest>) -> Answer<v1::TxnResponse> {
        self.call("Kv.Txn", Right::Data, request, |txn, deadline| async move {
            let tag = shape::tag(txn.tag)?;
            let consistency = shape::consistency(txn.consistency)?;
            let ops = shape::ops(txn.ops)?;
            let command = Command::Txn(ops.clone());
            let outcome = if ops.iter().any(TxnOp::is_write) {
                self.propose(command, tag, deadline).await?
            } else {
                command.validate().map_err(|invalid| Refused::from_invalid(&invalid))?;
                self.handle().read(consistency, deadline, move |state| state.read_txn(&ops)).await?.value
            };
            shape::txn_response(outcome)
        })
        .await
    }

    type WatchStream = watch::Events;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answer<watch::Events> {
        self.call("Kv.Watch", Right::Data, request, |request, deadline| {
            watch::events(self, request, deadline)
        })
        .await
    }

    type WriteStream = Responses<v1::WriteResponse>;

    async fn write(&self, request: Request<Streaming<v1::WriteRequest>>) -> Answer<Self::WriteStream> {
        self.call("Kv.Write", Right::Data, request, |requests, _| async move {
            Ok(pipeline::responses::<Writes, _>(self.clone(), requests))
        })
        .await
    }
}

impl Service {
    async fn list_page(
        &self,
        list: v1::ListRequest,
        deadline: tokio::time::Instant,
    ) -> Result<v1::ListResponse, Refused> {
        let consistency = shape::consistency(list.consistency)?;
        if list.limit > LIST_ROWS_MAX {
            return Err(Refused::field(
                "limit",
                format!(
                    "limit is {}, the most is {LIST_ROWS_MAX} (LIST_ROWS_MAX): ask for pages with `after`",
                    list.limit
                ),
            ));
        }
        if !list.separator.is_empty() && !list.keys_only {
            return Err(Refused::field(
                "separator",
                "separator cuts keys and needs keys_only=true: set it, or leave separator empty",
            ));
        }
        for (field, key) in [("prefix", &list.prefix), ("after", &list.after)] {
            shape::check_length(field, key)?;
        }
        let rows = if list.limit == 0 { LIST_ROWS_MAX } else { list.limit } as usize;
        let after = Some(list.after).filter(|after| !after.is_empty());
        let (prefix, separator) = (list.prefix, list.separator);
        if list.keys_only {
            let separator = Some(separator).filter(|separator| !separator.is_empty());
            let read = self
                .handle()
                .read(consistency, deadline, move |state| {
                    state.keys(&prefix, separator.as_deref(), after.as_deref(), rows)
                })
                .await?;
            let mark = mark(&read, consistency, read.value.index);
            let entries = read.value.keys.into_iter().map(|key| v1::Entry { key, ..v1::Entry::default() });
            return Ok(v1::ListResponse {
                entries: entries.collect(),
                has_more: read.value.is_cut,
                mark: Some(mark),
            });
        }
        let limit = PageLimit { rows_max: rows, bytes_max: LIST_BYTES_MAX };
        let read = self
            .handle()
            .read(consistency, deadline, move |state| state.list(&prefix, after.as_deref(), limit))
            .await?;
        let mark = mark(&read, consistency, read.value.index);
        let entries = read.value.entries.into_iter().map(shape::entry).collect();
        Ok(v1::ListResponse { entries, has_more: read.value.is_cut, mark: Some(mark) })
    }
}

pub(super) fn mark<T>(read: &ReadResult<T>, consistency: Consistency, index: ApiIndex) -> v1::ReadMark {
    v1::ReadMark {
        index: index.0,
        leader_known: read.leader_known,
        last_contact_ms: read.last_contact.map(shape::millis),
        is_stale: consistency == Consistency::Stale,
    }
}
