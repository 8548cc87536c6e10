//! The client: each call, tried until it is answered or its deadline passes.
//!
//! ```text
//!   write ─▶ registered? ─▶ open sequence ─▶ attempt ─▶ answer
//!                ▲                             │ no answer, or not yet: the same sequence again
//!                └── expired before anything else was sent: register anew
//! ```
//!
//! Invariant: once an attempt may have reached the cluster without an answer, the call ends in an answer to that
//! very sequence or in [`Error::OutcomeUnknown`].

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate_api::v1::cluster_client::ClusterClient;
use quorate_api::v1::kv_client::KvClient;
use quorate_api::v1::session_client::SessionClient;
use quorate_api::v1::{self, Tag};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::entry::{CasOutcome, Consistency, DeleteOutcome, Entry, ModifyIndex, Page, Read};
use crate::error::{Error, Failure, Meaning};
use crate::limits::{CALL_TIMEOUT_DEFAULT, CONNECT_TIMEOUT};
use crate::member::Member;
use crate::registration::Registration;
use crate::retry::Retry;
use crate::txn::{Txn, TxnOutcome};

/// Where a sidecar listens for the containers of its own Pod.
const ADDRESS_DEFAULT: &str = "127.0.0.1:7401";

/// A sidecar's client; cheap to clone, and all clones are one registered client.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) channel: Channel,
    kv: KvClient<Channel>,
    pub(crate) session: SessionClient<Channel>,
    cluster: ClusterClient<Channel>,
    registration: Arc<Mutex<Option<Arc<Registration>>>>,
    timeout: Duration,
}

impl Client {
    /// The sidecar at `QUORATE_GRPC_ADDR`, or at 127.0.0.1:7401 without it.
    pub fn from_env() -> Result<Self, Error> {
        let address = std::env::var("QUORATE_GRPC_ADDR").ok().filter(|address| !address.is_empty());
        Self::new(address.as_deref().unwrap_or(ADDRESS_DEFAULT))
    }

    /// The sidecar at `host:port`. Connects with the first call, and again whenever the connection breaks.
    pub fn new(address: &str) -> Result<Self, Error> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| Error::Address { address: address.to_owned(), reason: error.to_string() })?;
        let channel = endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true).connect_lazy();
        Ok(Self {
            kv: KvClient::new(channel.clone()),
            session: SessionClient::new(channel.clone()),
            cluster: ClusterClient::new(channel.clone()),
            channel,
            registration: Arc::default(),
            timeout: CALL_TIMEOUT_DEFAULT,
        })
    }

    /// The same client with another deadline for each call (10 s by default, 60 s at most).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Writes a key. Acknowledged means that a majority of the members has it on disk.
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<ModifyIndex, Error> {
        let request = v1::PutRequest { key: key.into(), value: value.into(), ..v1::PutRequest::default() };
        let response = self
            .write(|mut kv, tag| {
                let request = v1::PutRequest { tag: Some(tag), ..request.clone() };
                move |timeout| async move { kv.put(with_timeout(request, timeout)).await }
            })
            .await?;
        Ok(ModifyIndex(response.modify_index))
    }

    /// Writes a key only if it is at `expected`; `None`: only if it does not exist.
    pub async fn compare_and_set(
        &self,
        key: impl Into<Bytes>,
        expected: Option<ModifyIndex>,
        value: impl Into<Bytes>,
    ) -> Result<CasOutcome, Error> {
        let request = v1::CompareAndSetRequest {
            key: key.into(),
            value: value.into(),
            expected_modify_index: expected.map_or(0, |index| index.0),
            ..v1::CompareAndSetRequest::default()
        };
        let response = self
            .write(|mut kv, tag| {
                let request = v1::CompareAndSetRequest { tag: Some(tag), ..request.clone() };
                move |timeout| async move { kv.compare_and_set(with_timeout(request, timeout)).await }
            })
            .await?;
        let index = response.modify_index;
        Ok(if response.succeeded {
            CasOutcome::Written(ModifyIndex(index))
        } else {
            CasOutcome::Mismatch((index != 0).then_some(ModifyIndex(index)))
        })
    }

    /// Deletes a key; says whether there was anything to delete.
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<bool, Error> {
        Ok(self.delete_request(key.into(), None).await?.existed)
    }

    /// Deletes a key only if it is at `expected`. A missing key counts as deleted.
    pub async fn compare_and_delete(
        &self,
        key: impl Into<Bytes>,
        expected: ModifyIndex,
    ) -> Result<DeleteOutcome, Error> {
        let response = self.delete_request(key.into(), Some(expected.0)).await?;
        Ok(if response.succeeded {
            DeleteOutcome::Deleted { existed: response.existed }
        } else {
            DeleteOutcome::Mismatch(ModifyIndex(response.modify_index))
        })
    }

    /// Deletes every key that begins with `prefix` (empty: every key); says whether there was any.
    pub async fn delete_prefix(&self, prefix: impl Into<Bytes>) -> Result<bool, Error> {
        let request = v1::DeletePrefixRequest { prefix: prefix.into(), tag: None };
        let response = self
            .write(|mut kv, tag| {
                let request = v1::DeletePrefixRequest { tag: Some(tag), ..request.clone() };
                move |timeout| async move { kv.delete_prefix(with_timeout(request, timeout)).await }
            })
            .await?;
        Ok(response.existed)
    }

    /// Runs a transaction.
    pub async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        let request = v1::TxnRequest { ops: txn.into_wire(), ..v1::TxnRequest::default() };
        let response = self
            .write(|mut kv, tag| {
                let request = v1::TxnRequest { tag: Some(tag), ..request.clone() };
                move |timeout| async move { kv.txn(with_timeout(request, timeout)).await }
            })
            .await?;
        Ok(TxnOutcome::from_wire(response))
    }

    /// Reads a key: linearizable, through whichever member this is.
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<Entry>, Error> {
        Ok(self.get_with(key, Consistency::Linearizable).await?.value)
    }

    /// Reads a key as fresh as asked for, and says how fresh it is.
    pub async fn get_with(
        &self,
        key: impl Into<Bytes>,
        consistency: Consistency,
    ) -> Result<Read<Option<Entry>>, Error> {
        let request = v1::GetRequest { key: key.into(), consistency: consistency.to_wire() };
        let response = self
            .read(|timeout| {
                let (mut kv, request) = (self.kv.clone(), request.clone());
                async move { kv.get(with_timeout(request, timeout)).await }
            })
            .await?;
        Ok(Read::new(response.entry.map(Entry::from_wire), response.mark))
    }

    /// Lists entries under a prefix in byte order: up to `limit` (at most 1,000), those after the key `after` if given.
    pub async fn list(
        &self,
        prefix: impl Into<Bytes>,
        after: Option<Bytes>,
        limit: u32,
    ) -> Result<Read<Page>, Error> {
        let request = v1::ListRequest {
            prefix: prefix.into(),
            after: after.unwrap_or_default(),
            limit,
            ..v1::ListRequest::default()
        };
        let response = self
            .read(|timeout| {
                let (mut kv, request) = (self.kv.clone(), request.clone());
                async move { kv.list(with_timeout(request, timeout)).await }
            })
            .await?;
        let entries = response.entries.into_iter().map(Entry::from_wire).collect();
        Ok(Read::new(Page { entries, has_more: response.has_more }, response.mark))
    }

    /// The member this client talks to, and the leader it knows. Answered without a leader too.
    pub async fn member(&self) -> Result<Member, Error> {
        let response = self
            .read(|timeout| {
                let mut cluster = self.cluster.clone();
                async move { cluster.status(with_timeout(v1::StatusRequest {}, timeout)).await }
            })
            .await?;
        Ok(Member::from_wire(response))
    }

    async fn delete_request(&self, key: Bytes, expected: Option<u64>) -> Result<v1::DeleteResponse, Error> {
        let request = v1::DeleteRequest { key, expected_modify_index: expected, tag: None };
        self.write(|mut kv, tag| {
            let request = v1::DeleteRequest { tag: Some(tag), ..request.clone() };
            move |timeout| async move { kv.delete(with_timeout(request, timeout)).await }
        })
        .await
    }

    /// A call without effect: tried again until it succeeds, is refused, or the deadline passes.
    pub(crate) async fn read<T, A>(&self, attempt: impl Fn(Duration) -> A) -> Result<T, Error>
    where
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let mut retry = Retry::new(self.timeout);
        loop {
            let failure = match bounded(&retry, &attempt).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if let Some(error) = definite(&failure) {
                return Err(error);
            }
            if !retry.wait().await {
                return Err(Error::Unavailable { message: failure.message });
            }
        }
    }

    /// A write: each attempt under the same tag.
    pub(crate) async fn write<T, C, A>(&self, call: impl Fn(KvClient<Channel>, Tag) -> C) -> Result<T, Error>
    where
        C: FnOnce(Duration) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let mut retry = Retry::new(self.timeout);
        let mut registration = self.registered(&mut retry).await?;
        let mut open = opened(&registration, &retry).await?;
        // Whether an attempt may have taken effect without our knowing.
        let mut is_unknown = false;
        loop {
            let tag = open.tag();
            let failure = match bounded(&retry, |timeout| call(self.kv.clone(), tag)(timeout)).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let message = failure.message.clone();
            match failure.meaning {
                Meaning::Expired => {
                    self.forget(&registration);
                    if is_unknown {
                        return Err(Error::OutcomeUnknown { message });
                    }
                    // Nothing else was sent under the old tag: the write may go out under a new one.
                    registration = self.registered(&mut retry).await?;
                    open = opened(&registration, &retry).await?;
                }
                Meaning::Unknown => is_unknown = true,
                Meaning::Retry => {}
                Meaning::Invalid | Meaning::Refused if is_unknown => {
                    return Err(Error::OutcomeUnknown { message });
                }
                Meaning::Invalid => return Err(Error::Invalid { message }),
                Meaning::Refused => return Err(Error::Refused { message }),
            }
            if !retry.wait().await {
                return Err(if is_unknown {
                    Error::OutcomeUnknown { message }
                } else {
                    Error::Unavailable { message }
                });
            }
        }
    }

    /// The registration, made with the first write. Two first writes at once may register twice; one is kept, the other
    /// ages out of the cluster.
    async fn registered(&self, retry: &mut Retry) -> Result<Arc<Registration>, Error> {
        loop {
            if let Some(registration) = &*self.slot() {
                return Ok(Arc::clone(registration));
            }
            let mut kv = self.kv.clone();
            let register = |timeout| async move {
                kv.register_client(with_timeout(v1::RegisterClientRequest {}, timeout)).await
            };
            match bounded(retry, register).await {
                Ok(response) => {
                    let made = Arc::new(Registration::new(response.client_id));
                    return Ok(Arc::clone(self.slot().get_or_insert(made)));
                }
                Err(failure) => {
                    if let Some(error) = definite(&failure) {
                        return Err(error);
                    }
                    // Registering twice does no harm, and the write itself was not sent.
                    if !retry.wait().await {
                        return Err(Error::Unavailable { message: failure.message });
                    }
                }
            }
        }
    }

    fn forget(&self, expired: &Arc<Registration>) {
        let mut slot = self.slot();
        if slot.as_ref().is_some_and(|present| Arc::ptr_eq(present, expired)) {
            *slot = None;
        }
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Registration>>> {
        self.registration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the window, before the deadline.
async fn opened(
    registration: &Arc<Registration>,
    retry: &Retry,
) -> Result<crate::registration::OpenWrite, Error> {
    tokio::time::timeout(retry.remaining(), registration.open()).await.map_err(|_| Error::Unavailable {
        message: format!(
            "too many writes of this client wait for an answer ({} at most): write slower; not applied",
            crate::limits::WRITES_OPEN_MAX
        ),
    })
}

/// One attempt, which ends by the deadline whatever the sidecar does.
async fn bounded<T, A>(retry: &Retry, attempt: impl FnOnce(Duration) -> A) -> Result<T, Failure>
where
    A: Future<Output = Result<Response<T>, Status>>,
{
    let remaining = retry.remaining();
    match tokio::time::timeout(remaining, attempt(remaining)).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Failure::from_status(&status)),
        Err(_) => Err(Failure {
            meaning: Meaning::Unknown,
            message: "the sidecar did not answer before the deadline".to_owned(),
        }),
    }
}

/// The error of a failure that another attempt of a call without effect won't cure.
fn definite(failure: &Failure) -> Option<Error> {
    let message = failure.message.clone();
    match failure.meaning {
        Meaning::Invalid => Some(Error::Invalid { message }),
        Meaning::Refused | Meaning::Expired => Some(Error::Refused { message }),
        Meaning::Retry | Meaning::Unknown => None,
    }
}

/// The sidecar learns how long the caller waits, and answers by then (`grpc-timeout`).
pub(crate) fn with_timeout<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}
