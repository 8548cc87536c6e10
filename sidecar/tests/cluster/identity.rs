//! Who may take part: volumes and certificates.

use std::net::{Ipv4Addr, SocketAddr};

use quorate_sidecar::dev::Authority;
use quorate_sidecar::driver::Effect;
use quorate_sidecar::tls::{PeerIdentity, dial};
use tokio::io::AsyncReadExt;

use crate::{PATIENCE, cluster, read, write};

/// K1: a directory emptied under a running claim comes back as another server. It is refused, says so, and
/// serves nothing; the others go on.
#[tokio::test]
async fn a_member_whose_directory_was_emptied_is_refused_says_so_and_serves_nothing() {
    let (mut cluster, _directory) = cluster(3).await;
    write(cluster.handle(0), "before", "x").await.unwrap();
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let emptied = (leader + 1) % 3;
    let before = cluster.handle(emptied).view().identity.server.clone();
    cluster.stop_member(emptied).await;
    std::fs::remove_dir_all(cluster.member_directory(emptied)).unwrap();
    cluster.recreate_directory(emptied).unwrap();
    cluster.start_again(emptied).await.unwrap();
    let after = cluster.handle(emptied).view().identity.server.clone();
    assert_eq!(after.raft_id, before.raft_id);
    assert_ne!(after.incarnation, before.incarnation);
    let mut view = cluster.handle(emptied).watch_view();
    tokio::time::timeout(PATIENCE, view.wait_for(|view| view.is_volume_lost)).await.unwrap().unwrap();
    let refused = write(cluster.handle(emptied), "through-it", "x").await.unwrap_err();
    assert_eq!(refused.effect, Effect::NotApplied);
    assert!(refused.message.contains("not the one the cluster knows"), "{refused}");
    assert_eq!(cluster.handle(emptied).view().status.last.index.0, 0, "it must get no entry");
    let leader = cluster.leader(PATIENCE).await.unwrap();
    write(cluster.handle(leader), "without-it", "x").await.unwrap();
    assert_eq!(read(cluster.handle(leader), "before").await.as_deref(), Some("x"));
    cluster.stop().await;
}

/// K23: who has no certificate of this cluster's CA gets nothing from the peer port, and a member
/// dials nobody but the one it means.
#[tokio::test]
async fn a_stranger_s_certificate_and_a_wrong_name_are_refused() {
    let (mut cluster, _directory) = cluster(1).await;
    let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), cluster.ports(0).peer);
    let member = PeerIdentity::new(cluster.cluster_id().0, "dev-0");

    let own = cluster.authority().issue("dev-9").unwrap().credentials().unwrap();
    let mut stream = dial(address, &own, member.clone()).await.unwrap();
    // HTTP/2's first frame: the connection is served.
    assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 9);

    let wrong_name = dial(address, &own, PeerIdentity::new(cluster.cluster_id().0, "dev-1")).await;
    assert!(wrong_name.unwrap_err().to_string().contains("was expected"));

    let stranger = Authority::new(cluster.cluster_id().0).unwrap().issue("dev-1").unwrap();
    // It trusts our CA, but shows a certificate of its own.
    let mixed = quorate_sidecar::tls::Credentials::from_pem(
        cluster.authority().issue("x").unwrap().ca_pem.as_bytes(),
        stranger.certificate_pem.as_bytes(),
        stranger.key_pem.as_bytes(),
    )
    .unwrap();
    // In TLS 1.3 the caller learns of the refusal with its first read.
    let refused = match dial(address, &mixed, member).await {
        Ok(mut stream) => stream.read(&mut [0; 9]).await.map_or(true, |read| read == 0),
        Err(_) => true,
    };
    assert!(refused, "a stranger was served");
    cluster.stop().await;
}
