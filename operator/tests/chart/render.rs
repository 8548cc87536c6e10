//! The chart as Helm renders it, over a matrix of values.
//!
//! Helm 3 and 4 come from the test bed's cache (`make bed-build`). Where they are missing these tests say so and
//! end; in CI (`CI` is set) that is a failure.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_yaml::Value;

use super::chart;

/// A newer one than the chart's floor; `helm template` asks no API server.
const KUBE_VERSION: &str = "1.35.4";

fn helms() -> Vec<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let builds = cache.and_then(|cache| std::fs::read_dir(cache.join("quorate/bed")).ok());
    let mut found: Vec<PathBuf> = builds
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .flat_map(|build| ["helm3", "helm4"].map(|name| build.path().join("bin").join(name)))
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    if found.is_empty() {
        assert!(std::env::var_os("CI").is_none(), "no Helm: run make bed-build first");
        eprintln!("skipped: no Helm in the test bed's cache; make bed-build makes it");
    }
    found
}

fn helm(program: &PathBuf, words: &[&str]) -> Output {
    let home = tempfile::tempdir().expect("a folder for Helm's own files");
    Command::new(program)
        .args(words)
        .env("HELM_CACHE_HOME", home.path())
        .env("HELM_CONFIG_HOME", home.path())
        .env("HELM_DATA_HOME", home.path())
        .env_remove("KUBECONFIG")
        .output()
        .expect("Helm runs")
}

fn render(program: &PathBuf, sets: &[&str]) -> Result<Vec<Value>, String> {
    render_with(program, sets, &[])
}

fn render_with(program: &PathBuf, sets: &[&str], more: &[&str]) -> Result<Vec<Value>, String> {
    let chart = chart();
    let mut words = vec![
        "template",
        "quorate",
        chart.to_str().expect("a path in UTF-8"),
        "-n",
        "ns",
        "--kube-version",
        KUBE_VERSION,
    ];
    for set in sets {
        words.extend(["--set", set]);
    }
    words.extend(more);
    let output = helm(program, &words);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).expect("Helm writes UTF-8");
    let objects = serde_yaml::Deserializer::from_str(&text)
        .map(|document| <Value as serde::Deserialize>::deserialize(document).expect("Helm writes YAML"));
    Ok(objects.filter(|object| !object.is_null()).collect())
}

fn kinds<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// Acceptance 9: both Helms lint and render the same objects, for every toggle alone and together.
#[test]
fn every_toggle_renders_with_both_helms() {
    let all_off = [
        "crds.install=false",
        "rbac.clusterRead=false",
        "rbac.aggregate=false",
        "podDisruptionBudget.create=false",
        "replicas=1",
    ];
    for program in helms() {
        let lint =
            helm(&program, &["lint", "--strict", "--kube-version", KUBE_VERSION, chart().to_str().unwrap()]);
        assert!(lint.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&lint.stdout));
        let full = render(&program, &[]).unwrap();
        assert_eq!(full.len(), 10, "{}", program.display());
        assert_eq!(render(&program, &all_off).unwrap().len(), 4, "{}", program.display());
        let without = |set: &str| full.len() - render(&program, &[set]).unwrap().len();
        assert_eq!(without("crds.install=false"), 1);
        assert_eq!(without("rbac.clusterRead=false"), 2);
        assert_eq!(without("rbac.aggregate=false"), 2);
        assert_eq!(without("podDisruptionBudget.create=false"), 1);
        assert_eq!(without("replicas=1"), 1);
        assert_eq!(without("crds.keep=false"), 0);
    }
}

/// K52: uninstalling leaves the definition, and with it every cluster, unless somebody asked otherwise.
#[test]
fn the_definition_is_kept_unless_told_otherwise() {
    for program in helms() {
        let policy = |sets: &[&str]| {
            let objects = render(&program, sets).unwrap();
            let definition = kinds(&objects, "CustomResourceDefinition")[0].clone();
            definition["metadata"]["annotations"]["helm.sh/resource-policy"].clone()
        };
        assert_eq!(policy(&[]), Value::from("keep"));
        assert_eq!(policy(&["crds.keep=false"]), Value::Null);
    }
}

/// operator.md, "What must be true", 46: rules and monitors where there is a Prometheus operator, a clear refusal where not.
#[test]
fn alerts_and_monitors_need_the_definitions_of_the_prometheus_operator() {
    let asked = [
        "monitoring.alerts.create=true",
        "monitoring.podMonitors.create=true",
        "monitoring.labels.release=prom",
    ];
    for program in helms() {
        let refused = render(&program, &asked).expect_err("there is no such definition");
        assert!(
            refused.contains("monitoring.alerts.create needs the PrometheusRule definition"),
            "{refused}"
        );
        let objects = render_with(&program, &asked, &["--api-versions", "monitoring.coreos.com/v1"]).unwrap();
        let rule = kinds(&objects, "PrometheusRule")[0];
        assert_eq!(rule["metadata"]["labels"]["release"], Value::from("prom"));
        let written: Value = serde_yaml::from_str(&super::read("files/alerts.yaml")).unwrap();
        assert_eq!(
            rule["spec"], written,
            "what Prometheus reads is what the file says, templates of its own included"
        );
        assert_eq!(kinds(&objects, "PodMonitor").len(), 2);
    }
}

/// operator.md, "What must be true", 5: with namespaces named, no right to Pods, claims or Secrets is cluster-wide.
#[test]
fn an_operator_of_some_namespaces_has_no_rights_beyond_them() {
    for program in helms() {
        let objects = render(&program, &["watchNamespaces={shop,stock}"]).unwrap();
        for role in kinds(&objects, "ClusterRole") {
            let text = serde_yaml::to_string(role).unwrap();
            for word in ["secrets", "pods", "persistentvolumeclaims"] {
                assert!(!text.contains(&format!("- {word}\n")), "a ClusterRole grants {word}:\n{text}");
            }
        }
        let roles = kinds(&objects, "Role");
        let places: Vec<_> = roles.iter().filter_map(|role| role["metadata"]["namespace"].as_str()).collect();
        assert_eq!(places, ["shop", "stock", "ns"], "a Role in each, and one for the Lease");
        let everywhere = render(&program, &[]).unwrap();
        assert_eq!(roles[0]["rules"], kinds(&everywhere, "ClusterRole")[0]["rules"], "the same rights");
        let environment = serde_yaml::to_string(kinds(&objects, "Deployment")[0]).unwrap();
        assert!(environment.contains("value: shop,stock"), "{environment}");
    }
}

/// K46: only accounts that were named may have tokens reviewed, and they may do nothing else everywhere.
#[test]
fn only_named_accounts_may_have_tokens_reviewed() {
    for program in helms() {
        let text = serde_yaml::to_string(&render(&program, &[]).unwrap()).unwrap();
        assert!(!text.contains("tokenreviews"), "nobody may by default");
        let objects =
            render(&program, &["rbac.tokenReview[0].namespace=shop", "rbac.tokenReview[0].name=db-member"])
                .unwrap();
        let of = |kind| {
            let is_it = |object: &&&Value| {
                object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with("-token-review"))
            };
            kinds(&objects, kind).iter().find(is_it).copied().cloned().unwrap()
        };
        let rules = serde_yaml::from_str::<Value>(
            "[{apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}]",
        );
        assert_eq!(of("ClusterRole")["rules"], rules.unwrap());
        let subjects =
            serde_yaml::from_str::<Value>("[{kind: ServiceAccount, namespace: shop, name: db-member}]");
        assert_eq!(of("ClusterRoleBinding")["subjects"], subjects.unwrap());
    }
}

/// The operator is closed but for its port for probes and metrics.
#[test]
fn the_network_policy_opens_one_port() {
    for program in helms() {
        let objects = render(&program, &["networkPolicy.create=true"]).unwrap();
        let spec = &kinds(&objects, "NetworkPolicy")[0]["spec"];
        assert_eq!(spec["ingress"][0]["ports"][0]["port"], Value::from("ops"));
        assert_eq!(spec["policyTypes"], serde_yaml::from_str::<Value>("[Ingress]").unwrap());
        let pod = &kinds(&objects, "Deployment")[0]["spec"]["template"]["metadata"]["labels"];
        for (key, value) in spec["podSelector"]["matchLabels"].as_mapping().unwrap() {
            assert_eq!(pod[key], *value, "it selects the operator's Pods");
        }
    }
}

/// Acceptance 11: the operator's Pod is admitted under the restricted Pod Security Standard, with a read-only root.
#[test]
fn the_operators_pod_is_restricted() {
    for program in helms() {
        let objects = render(&program, &[]).unwrap();
        let pod = &kinds(&objects, "Deployment")[0]["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], Value::from(true));
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], Value::from("RuntimeDefault"));
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(container["allowPrivilegeEscalation"], Value::from(false));
        assert_eq!(container["readOnlyRootFilesystem"], Value::from(true));
        assert_eq!(container["capabilities"]["drop"][0], Value::from("ALL"));
    }
}

/// Acceptance 4 of operator.md: a key that does not exist, or has the wrong type, is refused by name.
#[test]
fn a_wrong_value_is_refused_by_name() {
    let wrong = [
        ("replica=3", "replica"),
        ("replicas=three", "replicas"),
        ("replicas=0", "replicas"),
        ("image.repo=x", "repo"),
        ("sidecar.image.pullPolicy=Sometimes", "pullPolicy"),
        ("crds.instal=true", "instal"),
        ("crds.install=yes please", "install"),
        ("rbac.clusterread=false", "clusterread"),
        ("log.level=loud", "level"),
        ("resources.limit.memory=1Gi", "limit"),
    ];
    for program in helms() {
        for (set, name) in wrong {
            let error = render(&program, &[set]).expect_err(set);
            assert!(error.contains(name), "{} --set {set}: {error}", program.display());
        }
    }
}
