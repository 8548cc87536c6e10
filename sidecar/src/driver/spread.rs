//! A file goes to the disks of a quorum before an entry names it (K17, K22).

use std::collections::BTreeSet;
use std::future::Future;

use quorate_raft::{Configuration, ServerId};
use tokio::sync::mpsc;

/// Whether those who have it are a majority of the voters, of both halves if there are two (K14).
pub(super) fn is_quorum(configuration: &Configuration, holders: &BTreeSet<ServerId>) -> bool {
    let is_enough = |voters: &BTreeSet<&ServerId>| {
        voters.iter().filter(|id| holders.contains(**id)).count() > voters.len() / 2
    };
    configuration.majorities().iter().all(is_enough)
}

/// Asks all other servers to take the file that `own` has, and returns how many have it once they are enough; the others go
/// on with it. The error names who could not, and why.
pub(super) async fn spread<F>(
    configuration: &Configuration,
    own: ServerId,
    is_enough: impl Fn(&BTreeSet<ServerId>) -> bool,
    ask: impl Fn(ServerId) -> F,
) -> Result<usize, String>
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let (done, mut ended) = mpsc::channel(configuration.servers().len().max(1));
    for server in configuration.servers().iter().filter(|server| server.id != own) {
        let (id, done, asked) = (server.id.clone(), done.clone(), ask(server.id.clone()));
        tokio::spawn(async move {
            let taken = asked.await;
            // Nobody listens any more once enough have it.
            let _ = done.send((id, taken)).await;
        });
    }
    drop(done);
    let (mut holders, mut reasons) = (BTreeSet::from([own]), Vec::new());
    while !is_enough(&holders) {
        match ended.recv().await {
            Some((id, Ok(()))) => {
                holders.insert(id);
            }
            Some((id, Err(error))) => reasons.push(format!("{}: {error}", id.raft_id)),
            None => return Err(reasons.join("; ")),
        }
    }
    Ok(holders.len())
}
