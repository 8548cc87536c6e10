//! Large values: a state of which a copy takes long enough to be met in the middle.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use quorate_api::v1::cluster_client::ClusterClient;
use quorate_api::v1::{RestoreRequest, SnapshotRequest};
use quorate_processes::member::Member;
use quorate_processes::wait::PATIENCE;

use crate::load::client;

/// As large as a value may be.
pub(crate) const VALUE_BYTES: usize = 512 * 1024;
/// How many are written side by side.
const WRITERS: usize = 8;
/// Bytes of an archive in one message.
const PART_BYTES: usize = 256 * 1024;

/// The key of a large value.
pub(crate) fn large(number: usize) -> String {
    format!("large/{number}")
}

/// A large value.
pub(crate) fn value() -> Vec<u8> {
    vec![b'x'; VALUE_BYTES]
}

/// Writes so many large values through this member, over and over to so many keys. Each differs from the one before: what
/// changes nothing takes no space.
pub(crate) async fn write(member: &Member, writes: usize, keys: usize) {
    let client = client(&member.client_address(), PATIENCE);
    let value =
        |number: usize| vec![if (number / keys).is_multiple_of(2) { b'x' } else { b'y' }; VALUE_BYTES];
    let all = stream::iter(0..writes).map(|number| client.put(large(number % keys), value(number)));
    let _: Vec<_> = all.buffer_unordered(WRITERS).try_collect().await.unwrap();
}

/// An archive of the state, in the parts of a restore.
pub(crate) async fn save(member: &Member) -> Vec<RestoreRequest> {
    let address = format!("http://{}", member.client_address());
    let mut cluster = ClusterClient::connect(address).await.unwrap();
    let mut parts = cluster.snapshot(SnapshotRequest { is_stale: false }).await.unwrap().into_inner();
    let mut archive = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        archive.extend_from_slice(&part.data);
    }
    let part = |data| RestoreRequest { data: Bytes::copy_from_slice(data) };
    archive.chunks(PART_BYTES).map(part).collect()
}
