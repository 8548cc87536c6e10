//! Starting and stopping the driver and its threads, in the order their promises need.
//!
//! Start: storage and machine first, so that the first output finds them. Stop: the driver first, so that
//! nothing new comes; then the machine, which flushes; then storage, which finishes what it has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_raft::{Address, Identity, Now, Raft, Settings, StartError, Stored};
use quorate_store::{
    ApplicationSnapshots, Directory, Log, LogThread, Opened, Report as StoreReport, Snapshots, Stages,
};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::application::Application;
use super::doom::Doom;
use super::gathering::Gathering;
use super::handle::{Handle, Shared};
use super::machine::{MachineThread, Report};
use super::meter::Meter;
use super::own_client::OwnClient;
use super::request::{Ask, Request};
use super::restore::{Claim, Hold};
use super::room::Room;
use super::seats::Seats;
use super::sessions::Sessions;
use super::tally::Tally;
use super::transfers::Transfers;
use super::turn::{Completion, Driver, Inboxes};
use super::view::{Outlook, Seen, View};
use super::work::Work;
use crate::autopilot::Reports;
use crate::exit::{Code, Failure};
use crate::limits::{
    ARCHIVES_MAX, CAUGHT_UP_TIMEOUT, COMPLETION_QUEUE_MAX, PEER_QUEUE_MAX, PROPOSAL_QUEUE_BYTES_MAX,
    PROPOSAL_QUEUE_MAX, STOP_FLUSH_TIMEOUT, STOP_STORAGE_TIMEOUT,
};
use crate::link::{FromPeer, Leaders, Links, Returns, Witness};
use crate::tls::CredentialsReceiver;

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) identity: Arc<Identity>,
    pub(crate) address: Address,
    pub(crate) opened: Opened,
    pub(crate) stages: Stages,
    pub(crate) snapshots: ApplicationSnapshots,
    pub(crate) credentials: CredentialsReceiver,
    pub(crate) settings: Settings,
    pub(crate) doom: Doom,
}

/// A running driver.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    /// For the link's server.
    pub(crate) inbox: mpsc::Sender<FromPeer>,
    pub(crate) returns: Returns,
    pub(crate) witness: Witness,
    pub(crate) reports: Reports,
    pub(crate) directory: Arc<Directory>,
    pub(crate) stages: Arc<Stages>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<(LogThread, Links)>,
    machine: MachineThread,
}

/// Starts the threads and the task.
pub(crate) fn start(parts: Parts) -> Result<Running, Failure> {
    let Parts { identity, address, opened, stages, snapshots, credentials, settings, doom } = parts;
    let (completions, completed) = mpsc::channel(COMPLETION_QUEUE_MAX);
    let (inbox, peers) = mpsc::channel(PEER_QUEUE_MAX);
    let (requests, asked) = mpsc::channel(PROPOSAL_QUEUE_MAX);
    let (stop, stopped) = oneshot::channel();
    let started = Instant::now();
    let applied = opened.stored.applied;
    let raft = start_core(&identity, settings, opened.stored)?;
    let log_reader = opened.log.reader();
    let log = start_log(opened.log, &completions, &doom)?;
    let (directory, stages, state) = (Arc::new(opened.directory), Arc::new(stages), opened.state);
    let (tally, sessions) = (Arc::new(Tally::new()), Arc::new(Sessions::new()));
    let (counted, told) = (Arc::clone(&tally), machine_reports(&completions));
    let machine = MachineThread::start(state.clone(), told, doom.clone(), counted, Arc::clone(&sessions))?;
    let links = Links::new(Arc::clone(&identity), credentials, inbox.clone());
    let (returns, reports) = (links.returns().clone(), links.reports().clone());
    let witness = Witness::new(links.book(), inbox.clone());
    let outlook = Outlook::new(View::first(Arc::clone(&identity), raft.status(), applied));
    let shared = Shared {
        requests: requests.clone(),
        bytes: Arc::new(Semaphore::new(PROPOSAL_QUEUE_BYTES_MAX)),
        machine: machine.queue().clone(),
        read_rounds: Arc::default(),
        keys_index: machine.keys_index().clone(),
        sessions_index: machine.sessions_index().clone(),
        history: Arc::clone(machine.history()),
        sessions,
        view: outlook.view.subscribe(),
        leadership: outlook.leadership.subscribe(),
        leaders: Leaders::new(Arc::clone(&identity), links.book()),
        own_client: OwnClient::new(),
        tally: Arc::clone(&tally),
        stages: Arc::clone(&stages),
        application: Arc::new(Application::new(machine.application().clone(), snapshots)),
        archives: Arc::new(Semaphore::new(ARCHIVES_MAX)),
    };
    let handle = Handle { shared: Arc::new(shared) };
    let work = Work::new(log, log_reader, machine.queue().clone(), completions.clone(), doom.clone());
    let driver = Driver {
        raft,
        identity,
        address,
        started,
        work,
        links,
        seats: Seats::default(),
        doom,
        completions,
        gathering: Gathering::default(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        outlook,
        space_asked_at: None,
        unlooked_bytes: 0,
        snapshots: Arc::new(Snapshots::new(&directory)),
        transfers: Transfers::default(),
        directory: Arc::clone(&directory),
        state,
        installing: None,
        stages: Arc::clone(&stages),
        restore: Hold::default(),
        waiting: Claim::default(),
        seen: Seen { applied, durable_applied: applied, ..Seen::default() },
        room: Room::default(),
        meter: Meter::new(tally),
    };
    let inboxes = Inboxes { completions: completed, peers, requests: asked, stop: stopped };
    let task = tokio::spawn(driver.run(inboxes));
    tokio::spawn(catch_up(handle.clone(), requests));
    Ok(Running { handle, inbox, returns, witness, reports, directory, stages, stop, task, machine })
}

fn start_core(identity: &Identity, settings: Settings, stored: Stored) -> Result<Raft, Failure> {
    Raft::new(identity.clone(), settings, stored, rand::random(), Now(Duration::ZERO))
        .map_err(|error| start_failure(&error))
}

fn start_log(log: Log, completions: &mpsc::Sender<Completion>, doom: &Doom) -> Result<LogThread, Failure> {
    let (reports, failed) = (completions.clone(), doom.clone());
    LogThread::start(log, move |report| {
        // Said here, because the driver may have ended for what followed from it.
        if let StoreReport::Failed(error) = &report {
            failed.storage(error);
        }
        // The driver is gone only when the member is ending.
        let _ = reports.blocking_send(Completion::Storage(report));
    })
    .map_err(|error| Failure::new(Code::Unavailable, format!("cannot start the storage thread: {error}")))
}

/// The machine's reports as completions. Its thread may wait for the driver, never the other way round.
fn machine_reports(completions: &mpsc::Sender<Completion>) -> impl Fn(Report) + Send + 'static {
    let completions = completions.clone();
    move |report| {
        // The driver is gone only when the member is ending.
        let _ = completions.blocking_send(Completion::Machine(report));
    }
}

/// Readiness (K38): once since the start this member had applied everything that was committed when it asked.
async fn catch_up(handle: Handle, requests: mpsc::Sender<Request>) {
    loop {
        if requests.is_closed() {
            return;
        }
        let deadline = tokio::time::Instant::now() + CAUGHT_UP_TIMEOUT;
        let reached = handle.read(super::handle::Consistency::Linearizable, deadline, |_| Ok(())).await;
        if reached.is_ok() {
            // A closed channel means that the member is gone.
            let _ = requests.send(Request { ask: Ask::CaughtUp, _permit: None }).await;
            return;
        }
        // Errors that come at once (a full queue) must not make this spin.
        tokio::time::sleep_until(deadline).await;
    }
}

impl Running {
    /// Ends everything within `STOP_FLUSH_TIMEOUT` and `STOP_STORAGE_TIMEOUT`, also over a disk that stands still; what is
    /// durable stays, what is not is told to nobody.
    pub(crate) async fn stop(self) {
        // The task may have ended by itself, at a storage error.
        let _ = self.stop.send(());
        let ended = self.task.await;
        self.machine.stop(STOP_FLUSH_TIMEOUT).await;
        // Finishes what was submitted, which the flush may have waited for; the files close with it.
        let finished = tokio::task::spawn_blocking(move || drop(ended));
        let _ = timeout(STOP_STORAGE_TIMEOUT, finished).await;
    }
}

fn start_failure(error: &StartError) -> Failure {
    let code = match error {
        StartError::WrongCluster { .. } => Code::WrongIdentity,
        StartError::Version { .. } => Code::Unavailable,
        StartError::Gap { .. } | StartError::Inconsistent { .. } => Code::CorruptData,
        _ => Code::Usage,
    };
    Failure::new(code, error)
}
