//! A volume fills up: first to the floor, then to the last byte.

use std::process::ExitStatus;

use prost::Message;
use quorate_api::v1::kv_client::KvClient;
use quorate_api::v1::{self, ErrorCode, ErrorDetail, WriteOutcome};
use quorate_processes::cluster::Cluster;
use quorate_processes::wait::{PATIENCE, until};
use quorate_sidecar::exit::Code;
use quorate_store::limits::{BALLAST_BYTES, BALLAST_GIVEN_UP_BELOW_BYTES, FREE_BYTES_MIN};
use tonic::Status;

use crate::bulk::{VALUE_BYTES, large, value};
use crate::disk::SmallDisk;
use crate::ground;
use crate::load::{Load, client};
use crate::story::Story;

/// The member with the small volume; it is bootstrapped, and so leads first.
const FULL: usize = 0;
/// The size of its volume at first: well above the floor and the ballast.
const AMPLE_BYTES: u64 = 2 * (FREE_BYTES_MIN + BALLAST_BYTES);
/// How much is free above the floor when it begins to fill.
const ABOVE_FLOOR_BYTES: u64 = 8 * 1024 * 1024;
/// More large values than this must not fit.
const VALUES_MAX: usize = 2_000;

/// K8, K39, P1; raft.md §7, 3: below the floor the leader refuses what grows and says so, long before anything fails;
/// deletes go on. A volume that others fill to the last byte ends the process with 74, which never makes the operator
/// replace a member; with room again it starts, and holds all that was acknowledged.
#[tokio::test]
async fn a_volume_that_fills_up_refuses_what_grows_and_a_full_one_ends_the_member_without_losing_anything() {
    let name =
        "a_volume_that_fills_up_refuses_what_grows_and_a_full_one_ends_the_member_without_losing_anything";
    if ground::is_missing(name) {
        return;
    }
    let story = Story::of(name);
    let mut cluster = story.cluster(3);
    let disk = SmallDisk::new(&cluster.members[FULL].data(), AMPLE_BYTES);
    cluster.members[FULL].before = disk.enter();
    cluster.form().await;
    let load = Load::on(&cluster, &story);
    lead(&cluster, FULL).await;

    disk.leave_free(FREE_BYTES_MIN + ABOVE_FLOOR_BYTES);
    let mut acknowledged = fill_to_the_floor(&cluster).await;
    let free = disk.free_bytes();
    story.say(&format!("growing writes refused with {} MiB free", free >> 20));
    // The space is looked at every two seconds, and a fast disk takes much in that time.
    assert!(free > FREE_BYTES_MIN / 4, "the floor was noticed with only {free} bytes left");
    deletes_go_on(&cluster, &mut acknowledged).await;
    // Others fill the volume: the ballast is given up for deletes.
    disk.leave_free(BALLAST_GIVEN_UP_BELOW_BYTES / 2);
    until("the ballast to be given up", PATIENCE, async || {
        let free = disk.free_bytes();
        if free > BALLAST_BYTES / 2 { Ok(()) } else { Err(format!("{free} bytes free")) }
    })
    .await;
    deletes_go_on(&cluster, &mut acknowledged).await;

    // Under a leader with room, growing writes are taken again, and reach the full volume.
    lead(&cluster, 1).await;
    disk.leave_free(1024 * 1024);
    let writer = client(&cluster.members[1].client_address(), PATIENCE);
    let number = acknowledged.len();
    let status = tokio::select! {
        status = cluster.members[FULL].ended() => status,
        () = async {
            for more in 0..VALUES_MAX {
                let key = large(number + more);
                writer.put(key.clone(), value()).await.unwrap();
                acknowledged.push(key);
            }
        } => panic!("{VALUES_MAX} values of {VALUE_BYTES} bytes fitted in"),
    };
    story.say(&format!("the full volume ended the member with {status}"));
    ended_for_want_of_space(&cluster, status);
    // Nothing was freed: the next start ends in the same way, and never calls the files damaged.
    disk.leave_free(0);
    cluster.start(FULL);
    let status = cluster.members[FULL].ended().await;
    ended_for_want_of_space(&cluster, status);
    load.answered_through(&[1, 2]).await;

    disk.leave_free(AMPLE_BYTES);
    cluster.start(FULL);
    cluster.all_ready().await;
    lead(&cluster, FULL).await;
    let reader = client(&cluster.members[FULL].client_address(), PATIENCE);
    for key in acknowledged {
        let entry = reader.get(key.clone()).await.unwrap();
        assert_eq!(entry.map(|entry| entry.value.len()), Some(VALUE_BYTES), "{key} was acknowledged");
    }
    load.answered_through(&[0, 1, 2]).await;
    cluster.assert_alive();
    load.finish().await;
}

/// K8: the leader's own volume has room, and those of both others have not. Nothing is committed without one of them, so
/// that what grows is refused, with their names, through whichever member; deletes go on. Room on one of the two is enough
/// for writes to go on.
#[tokio::test]
async fn volumes_of_a_majority_that_are_nearly_full_refuse_what_grows_under_a_leader_with_room() {
    let name = "volumes_of_a_majority_that_are_nearly_full_refuse_what_grows_under_a_leader_with_room";
    if ground::is_missing(name) {
        return;
    }
    let story = Story::of(name);
    let mut cluster = story.cluster(3);
    let disks = [1, 2].map(|number| {
        let disk = SmallDisk::new(&cluster.members[number].data(), AMPLE_BYTES);
        cluster.members[number].before = disk.enter();
        disk
    });
    cluster.form().await;
    lead(&cluster, 0).await;
    let writer = client(&cluster.members[0].client_address(), PATIENCE);
    writer.put(large(0), value()).await.unwrap();
    disks[0].leave_free(FREE_BYTES_MIN / 2);
    disks[1].leave_free(FREE_BYTES_MIN / 2);
    for through in [0, 1] {
        let refused = until("a refusal for want of space", PATIENCE, async || {
            lead(&cluster, 0).await;
            put(&cluster, through).await.err().ok_or_else(|| format!("taken through db-{through}"))
        })
        .await;
        refused_for_want_of_space(&refused);
        let names = "of a majority of the voters are nearly full (db-1, db-2)";
        assert!(refused.message().contains(names), "{refused}");
    }
    assert!(writer.delete(large(0)).await.unwrap(), "it was there");
    story.tell("one of the two has room again");
    disks[1].leave_free(AMPLE_BYTES);
    until("writes to go on", PATIENCE, async || {
        lead(&cluster, 0).await;
        put(&cluster, 1).await.map_err(|status| status.to_string())
    })
    .await;
    cluster.assert_alive();
}

/// One small write through this member.
async fn put(cluster: &Cluster, through: usize) -> Result<(), Status> {
    let address = format!("http://{}", cluster.members[through].client_address());
    let mut kv = KvClient::connect(address).await.unwrap();
    let request = v1::PutRequest { key: "k".into(), value: "v".into(), ..v1::PutRequest::default() };
    kv.put(request).await.map(drop)
}

fn refused_for_want_of_space(refused: &Status) {
    let detail = ErrorDetail::decode(refused.details()).unwrap();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    assert_eq!(detail.code(), ErrorCode::NoSpace, "{refused}");
    assert_eq!(detail.write_outcome(), WriteOutcome::NotApplied, "{refused}");
}

/// K39: the exit code and the words for a full disk.
fn ended_for_want_of_space(cluster: &Cluster, status: ExitStatus) {
    let member = &cluster.members[FULL];
    assert_eq!(status.code(), Some(i32::from(Code::Io.number())), "{status}: {}", member.log_tail(3));
    assert!(member.log_tail(3).contains("no space left in"), "{}", member.log_tail(3));
}

/// Moves leadership there.
async fn lead(cluster: &Cluster, target: usize) {
    until(&format!("db-{target} to lead"), PATIENCE, async || {
        let leader = cluster.leader_now().await?;
        if leader == target {
            return Ok(());
        }
        cluster.operator.transfer(&cluster.members[leader], &cluster.members[target]).await?;
        Err(format!("db-{leader} led"))
    })
    .await;
    cluster.story.tell(format!("db-{target} leads"));
}

/// Writes until a write is refused for want of space, directly and through another member; what was acknowledged.
async fn fill_to_the_floor(cluster: &Cluster) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for through in [FULL, 1] {
        let address = format!("http://{}", cluster.members[through].client_address());
        let mut kv = KvClient::connect(address).await.unwrap();
        let refused = loop {
            let key = large(acknowledged.len());
            let request = v1::PutRequest {
                key: key.clone().into(),
                value: value().into(),
                ..v1::PutRequest::default()
            };
            match kv.put(request).await {
                Ok(_) => acknowledged.push(key),
                Err(status) => break status,
            }
            assert!(acknowledged.len() < VALUES_MAX, "the floor was not noticed");
            // Under another leader the floor is another volume's.
            lead(cluster, FULL).await;
        };
        refused_for_want_of_space(&refused);
    }
    cluster.story.tell(format!("{} large values were acknowledged", acknowledged.len()));
    acknowledged
}

/// Deletes one of the large values while the member that is nearly full leads, and reads that it is gone.
async fn deletes_go_on(cluster: &Cluster, acknowledged: &mut Vec<String>) {
    let client = client(&cluster.members[1].client_address(), PATIENCE);
    until("a delete under the member that is nearly full", PATIENCE, async || {
        lead(cluster, FULL).await;
        let key = acknowledged.pop().unwrap();
        assert!(client.delete(key.clone()).await.unwrap(), "{key} was there");
        assert_eq!(client.get(key).await.unwrap(), None);
        let leader = cluster.leader_now().await?;
        if leader == FULL { Ok(()) } else { Err(format!("db-{leader} leads")) }
    })
    .await;
}
