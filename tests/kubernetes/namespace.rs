//! A namespace per test, under the restricted Pod Security Standard, gone at its end.
//!
//! A test that fails says what a person would have looked at: the resource, its Pods, events and logs.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace as Resource;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use crate::bed::{self, OPERATOR_NAMESPACE, attempt, kubectl};

/// Lines of each log that are printed for a test that failed.
const LOG_LINES: &str = "--tail=60";

/// A namespace of one test's own.
pub(crate) struct Namespace {
    /// Its name: the test's with something random.
    pub(crate) name: String,
    /// The API server, as the administrator.
    pub(crate) client: Client,
    started: Instant,
}

/// Runs a test in a namespace of its own, with others beside it.
pub(crate) async fn namespace(name: &str, test: impl AsyncFnOnce(&Namespace) -> Result<()>) -> Result<()> {
    let _beside = bed::beside_others().await?;
    run(name, test).await
}

/// Runs a test that disturbs nodes or the operator: no other runs meanwhile.
pub(crate) async fn namespace_alone(
    name: &str,
    test: impl AsyncFnOnce(&Namespace) -> Result<()>,
) -> Result<()> {
    let _alone = bed::alone().await?;
    run(name, test).await
}

async fn run(name: &str, test: impl AsyncFnOnce(&Namespace) -> Result<()>) -> Result<()> {
    bed::install_operator().await?;
    let namespace = Namespace::create(name).await?;
    let ended = AssertUnwindSafe(test(&namespace)).catch_unwind().await;
    let result = ended.unwrap_or_else(|panic| Err(anyhow!("{}", text_of(panic.as_ref()))));
    match &result {
        Ok(()) => namespace.say("passed"),
        Err(error) => {
            namespace.say(&format!("FAILED: {error:#}"));
            namespace.explain().await;
        }
    }
    // What is left of it goes in the background; the next test has another name.
    kubectl(&["delete", "namespace", &namespace.name, "--wait=false"]).await?;
    result
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "a panic".to_owned())
}

impl Namespace {
    async fn create(name: &str) -> Result<Self> {
        let client = Client::try_default().await.context("no KUBECONFIG: these tests run inside the bed")?;
        let restricted = ("pod-security.kubernetes.io/enforce".to_owned(), "restricted".to_owned());
        let resource = Resource {
            metadata: ObjectMeta {
                generate_name: Some(format!("{name}-")),
                labels: Some(BTreeMap::from([restricted])),
                ..ObjectMeta::default()
            },
            ..Resource::default()
        };
        let made = Api::all(client.clone()).create(&PostParams::default(), &resource).await?;
        let name = made.metadata.name.context("the API server named the namespace")?;
        Ok(Self { name, client, started: Instant::now() })
    }

    /// Prints a line with the test's name and how long it has been running.
    pub(crate) fn say(&self, what: &str) {
        println!("{} {:>4} s  {what}", self.name, self.started.elapsed().as_secs());
    }

    /// kubectl in this namespace.
    pub(crate) async fn kubectl(&self, words: &[&str]) -> Result<String> {
        kubectl(&[&["-n", &self.name], words].concat()).await
    }

    /// Everything one would look at. Best effort: it is printed because something is broken already.
    async fn explain(&self) {
        let here = ["-n", self.name.as_str()];
        let operator = ["-n", OPERATOR_NAMESPACE];
        for words in [
            [&here[..], &["describe", "raftclusters"]].concat(),
            [&here[..], &["get", "pods,pvc,lease,endpointslices,pdb", "-o", "wide"]].concat(),
            [&here[..], &["get", "events", "--sort-by=.metadata.creationTimestamp"]].concat(),
            [
                &here[..],
                &["logs", "-l", "quorate.dev/cluster", "-c", "quorate-sidecar", "--prefix", LOG_LINES],
            ]
            .concat(),
            [&operator[..], &["logs", "-l", "app.kubernetes.io/component=operator", "--prefix", LOG_LINES]]
                .concat(),
        ] {
            let Ok(output) = attempt("kubectl", &words, None).await else { continue };
            println!("$ kubectl {}", words.join(" "));
            println!("{}", String::from_utf8_lossy(&output.stdout));
            println!("{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
