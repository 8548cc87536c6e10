//! One running member: store, driver, link, serve, autopilot and control, started and ended in order.
//!
//! ```text
//!   start:  certificate ─ store ─ listeners ─ driver ─ link ─ serve ─ autopilot, control
//!   stop:   hand over ─ serve drains ─ link ─ driver ─ machine flushes ─ storage finishes
//! ```
//!
//! Used by `run` (one per process), by `dev` and by tests (several).
//! Not here: exiting. A failed member says why; the process's `main` decides.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quorate_raft::{Identity, Incarnation, ServerId, Settings};
use quorate_store::{ApplicationSnapshots, Directory, Opened, RecoveryRequest, Stages};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::autopilot::{self, Autopilot, Publish};
use crate::control;
use crate::driver::{self, Doom, Handle, Parts, Running, storage_failure};
use crate::exit::{Code, Failure};
use crate::limits::{STOP_DRAIN_TIMEOUT, STOP_HANDOVER_TIMEOUT};
use crate::link::{self, LinkServer, Receiving, Staging};
use crate::recover;
use crate::serve;
use crate::settings::{Addresses, MemberSettings};

/// Bound ports of one member.
struct Listeners {
    /// Peers.
    peer: TcpListener,
    /// Everything that `serve` answers.
    serve: serve::Listeners,
}

impl Listeners {
    /// Binds all. An IPv6 loopback that the machine doesn't have is passed over.
    async fn bind(addresses: &Addresses) -> Result<Self, Failure> {
        Ok(Self {
            peer: bind(addresses.peer).await?,
            serve: serve::Listeners {
                grpc: bind_all(&addresses.grpc).await?,
                grpc_tls: bind_all(&addresses.grpc_tls).await?,
                https: bind_all(&addresses.https).await?,
                http: bind_all(&addresses.http).await?,
                ops: bind(addresses.ops).await?,
            },
        })
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| cannot_listen(address, &error))
}

async fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Failure> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            // Many containers have no IPv6 at all; the IPv4 loopback serves them.
            Err(error) if address.is_ipv6() && address.ip().is_loopback() && is_no_address(&error) => {}
            Err(error) => return Err(cannot_listen(*address, &error)),
        }
    }
    Ok(listeners)
}

fn is_no_address(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(EAFNOSUPPORT)
}

/// Linux: address family not supported. The standard library has no kind for it.
const EAFNOSUPPORT: i32 = 97;

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Failure {
    Failure::new(
        Code::Unavailable,
        format!("cannot listen on {address}: {error}; free the port or choose another one"),
    )
}

/// A member that runs.
pub struct Member {
    handle: Handle,
    autopilot: Autopilot,
    doom: Doom,
    /// A recovery that somebody asked this member for.
    recovery: watch::Receiver<Option<RecoveryRequest>>,
    stopping: watch::Sender<bool>,
    running: Running,
    tasks: JoinSet<()>,
}

impl Member {
    /// Opens (or creates) its directory, then its ports, and starts everything. Needs a tokio runtime.
    pub async fn start(settings: MemberSettings, addresses: &Addresses) -> Result<Self, Failure> {
        Self::start_with(settings, addresses, Settings::default()).await
    }

    /// As [`Member::start_with`], after another member ran on the same directory and ports in this process: work of it on
    /// other threads may hold them a moment longer.
    pub async fn start_again(
        settings: MemberSettings,
        addresses: &Addresses,
        raft: Settings,
    ) -> Result<Self, Failure> {
        let until = Instant::now() + RELEASE_PATIENCE;
        loop {
            match Self::start_with(settings.clone(), addresses, raft).await {
                Err(failure) if failure.code == Code::Unavailable && Instant::now() < until => {
                    tokio::time::sleep(RELEASE_GLANCE).await;
                }
                started => return started,
            }
        }
    }

    /// As [`Member::start`], with timing and retention other than the defaults.
    pub async fn start_with(
        settings: MemberSettings,
        addresses: &Addresses,
        raft: Settings,
    ) -> Result<Self, Failure> {
        let Files { opened, stages, snapshots } = open(&settings).await?;
        // A directory from before a recovery must not be heard at all (K18): no port before it is judged.
        let listeners = Listeners::bind(addresses).await?;
        let identity = Arc::new(identity(&opened, &settings));
        info!(
            raft_id = %identity.server.raft_id,
            incarnation = %identity.server.incarnation,
            cluster_id = %identity.cluster_id,
            version = env!("CARGO_PKG_VERSION"),
            log_last = %opened.stored.last,
            "starting"
        );
        let doom = Doom::new();
        let running = driver::start(Parts {
            identity: Arc::clone(&identity),
            address: settings.advertise.clone(),
            opened,
            stages,
            snapshots,
            credentials: settings.credentials.clone(),
            settings: raft,
            doom: doom.clone(),
        })?;
        let (stopping, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let Listeners { peer, serve: listeners } = listeners;
        let handle = running.handle.clone();
        let autopilot = spawn_autopilot(&mut tasks, &running, &settings, &stopped);
        spawn_link(&mut tasks, &running, &settings, &doom, autopilot.clone(), (peer, stopped.clone()));
        let publishing = spawn_publish(&mut tasks, &settings, &autopilot, &identity, &stopped)?;
        spawn_until_stop(&mut tasks, driver::keep_registered(handle.clone()), &stopped);
        spawn_until_stop(&mut tasks, driver::keep_sessions(handle.clone()), &stopped);
        spawn_until_stop(&mut tasks, driver::keep_snapshot(handle.clone(), doom.clone()), &stopped);
        let trimmed = driver::keep_trimmed(handle.clone(), running.reports.clone());
        spawn_until_stop(&mut tasks, trimmed, &stopped);
        spawn_control(&mut tasks, &settings, &handle, &stopped)?;
        let (recovery, wanted) = watch::channel(None);
        let outside = settings.outside.map(serve::Outside::new).transpose();
        let context = serve::Context {
            outside: outside.map_err(|error| Failure::new(Code::Usage, error))?,
            publishing,
            recovery,
            handle: handle.clone(),
            autopilot: autopilot.clone(),
            name: settings.name.into(),
            node: settings.node.into(),
            words: settings.words,
            credentials: settings.credentials,
            admin_token: settings.admin_token.map(Into::into),
            stopping: stopped,
        };
        let failed = doom.clone();
        tasks.spawn(async move {
            if let Err(failure) = serve::run(context, listeners).await {
                failed.call(failure);
            }
        });
        Ok(Self { handle, autopilot, doom, recovery: wanted, stopping, running, tasks })
    }

    /// The way to ask it for anything.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Its autopilot.
    pub fn autopilot(&self) -> &Autopilot {
        &self.autopilot
    }

    /// Waits until somebody asks this member for a recovery: it is to be stopped, and started with it (K18).
    pub async fn recovery_wanted(&self) -> RecoveryRequest {
        let mut recovery = self.recovery.clone();
        match recovery.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(request)) => request.clone(),
            // The ports are closed: nobody asks any more.
            _ => std::future::pending().await,
        }
    }

    /// Waits until it can't go on, and says why.
    pub async fn failed(&self) -> Failure {
        self.doom.wait().await
    }

    /// Ends it gracefully: leadership is handed over, calls under way finish, state is flushed.
    pub async fn stop(self) {
        if !self.doom.is_called() {
            match self.handle.hand_over(STOP_HANDOVER_TIMEOUT).await {
                Ok(Some(leader)) => info!(%leader, "leadership handed over"),
                Ok(None) => {}
                Err(error) => info!(%error, "leadership was not handed over"),
            }
        }
        self.end(STOP_DRAIN_TIMEOUT).await;
    }

    /// Ends it at once, as far as a process can do that to itself: nobody is told, nothing is handed over.
    /// What a crash leaves on disk is the subject of other tests; this one is for what peers see.
    pub async fn abort(self) {
        self.end(Duration::ZERO).await;
    }

    async fn end(mut self, drain: Duration) {
        self.stopping.send_replace(true);
        let drained = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(drain, drained).await.is_err() {
            self.tasks.shutdown().await;
        }
        self.running.stop().await;
        info!("stopped");
    }
}

/// Who it is for its whole life: what the directory says, and what this build speaks.
fn identity(opened: &Opened, settings: &MemberSettings) -> Identity {
    let found = opened.directory.identity();
    Identity {
        cluster_id: settings.cluster_id,
        recovery_epoch: found.recovery_epoch,
        server: ServerId::new(found.raft_id.clone(), found.incarnation),
        versions: settings.versions,
    }
}

/// Runs what never ends by itself until the member stops.
fn spawn_until_stop(
    tasks: &mut JoinSet<()>,
    task: impl Future<Output = ()> + Send + 'static,
    stopped: &watch::Receiver<bool>,
) {
    let mut stop = stopped.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = task => {}
            _ = stop.wait_for(|stopping| *stopping) => {}
        }
    });
}

fn spawn_autopilot(
    tasks: &mut JoinSet<()>,
    running: &Running,
    settings: &MemberSettings,
    stopping: &watch::Receiver<bool>,
) -> Autopilot {
    let parts = autopilot::Parts {
        defaults: settings.defaults,
        is_reconciling: settings.is_reconciling,
        words: settings.words.clone(),
        reports: running.reports.clone(),
    };
    let (autopilot, runner) = autopilot::start(running.handle.clone(), parts, stopping.clone());
    tasks.spawn(runner);
    autopilot
}

fn spawn_link(
    tasks: &mut JoinSet<()>,
    running: &Running,
    settings: &MemberSettings,
    doom: &Doom,
    autopilot: Autopilot,
    (listener, stopping): (TcpListener, watch::Receiver<bool>),
) {
    let server = LinkServer {
        identity: Arc::clone(&running.handle.view().identity),
        inbox: running.inbox.clone(),
        returns: running.returns.clone(),
        handle: running.handle.clone(),
        witness: running.witness.clone(),
        staging: Staging::new(running, doom.clone()),
        autopilot,
        words: settings.words.clone(),
        receiving: Receiving::new(
            Arc::clone(&running.directory),
            running.inbox.clone(),
            doom.clone(),
            stopping.clone(),
        ),
        stopping,
    };
    let credentials = settings.credentials.clone();
    tasks.spawn(async move {
        if let Err(error) = link::serve(server, listener, credentials).await {
            warn!(%error, "the peer port ended");
        }
    });
}

fn spawn_control(
    tasks: &mut JoinSet<()>,
    settings: &MemberSettings,
    handle: &Handle,
    stopping: &watch::Receiver<bool>,
) -> Result<(), Failure> {
    let Some(path) = &settings.control_socket else { return Ok(()) };
    let (requests, mut stop) = (control::serve(control::listen(path)?, handle.clone()), stopping.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = requests => {}
            _ = stop.wait_for(|stopping| *stopping) => {}
        }
    });
    Ok(())
}

fn spawn_publish(
    tasks: &mut JoinSet<()>,
    settings: &MemberSettings,
    autopilot: &Autopilot,
    identity: &Arc<Identity>,
    stopping: &watch::Receiver<bool>,
) -> Result<Option<watch::Receiver<quorate_publish::Publishing>>, Failure> {
    let Some(kubernetes) = &settings.kubernetes else { return Ok(None) };
    let (report, publishing) = watch::channel(quorate_publish::Publishing::default());
    let publish = Publish::new(kubernetes)?;
    tasks.spawn(publish.run(autopilot.clone(), Arc::clone(identity), report, stopping.clone()));
    Ok(Some(publishing))
}

/// What a member finds in its directory.
struct Files {
    opened: Opened,
    stages: Stages,
    snapshots: ApplicationSnapshots,
}

/// Opens the directory, creating it first if there is none, and what is staged in it; off the runtime's thread, because a
/// repair takes long, and so does reading an archive whole, which there is while a restore is under way.
async fn open(settings: &MemberSettings) -> Result<Files, Failure> {
    let (disk, raft_id) = (Arc::clone(&settings.disk), settings.raft_id.clone());
    let (minimum, recovery) = (settings.recovery_epoch_min, settings.recovery.clone());
    let opened = tokio::task::spawn_blocking(move || {
        if !Directory::exists_on(&disk)? {
            // K1: a new directory is a new server, and no two may ever be taken for one. It belongs to the cluster as
            // that was recovered last (K18).
            Directory::create_on(&disk, raft_id.clone(), Incarnation(rand::random()), minimum)?;
        }
        let mut opened = Directory::open_on(&disk, &raft_id)?;
        opened.directory.require_recovery_epoch(minimum)?;
        if let Some(request) = recovery
            && recover::carry_out(&mut opened, &request)?
        {
            // What was read at the opening is the old cluster's.
            drop(opened);
            opened = Directory::open_on(&disk, &raft_id)?;
        }
        let stages = Stages::open(&opened.directory, opened.stored.hard_state.term)?;
        let snapshots = ApplicationSnapshots::open(&opened.directory)?;
        Ok(Files { opened, stages, snapshots })
    })
    .await;
    match opened {
        Ok(result) => result.map_err(|error| storage_failure(&error)),
        Err(error) => Err(Failure::new(Code::Unavailable, format!("opening the data directory: {error}"))),
    }
}

/// How long a member that was stopped in this process may take to let go of its directory and ports.
const RELEASE_PATIENCE: Duration = Duration::from_secs(10);
/// How often that is looked at.
const RELEASE_GLANCE: Duration = Duration::from_millis(50);
