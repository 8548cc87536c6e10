//! The CEL rules of the schema: one table of where, what, and what to do instead.
//!
//! CEL runs in the API server, on status writes too. A rule that walks a list needs the list bounded
//! (`schema.rs`), or the server refuses the whole CRD as too costly.
//! Not here: rules about other objects (a Service of the same name, an existing claim). The planner reports those.

/// One validation: where it sits, what must hold, and what a user reads when it does not.
pub(crate) struct Rule {
    /// JSON path of the schema node below `openAPIV3Schema`, with `/` between property names and `*` for items.
    pub(crate) at: &'static str,
    pub(crate) must_hold: &'static str,
    pub(crate) message: &'static str,
}

const fn rule(at: &'static str, must_hold: &'static str, message: &'static str) -> Rule {
    Rule { at, must_hold, message }
}

/// Every rule, from the root inwards.
pub(crate) const RULES: &[Rule] = &[
    rule(
        "",
        "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')",
        "metadata.name must start with a letter, end with a letter or digit, hold only lower-case letters, digits \
         and '-', and have at most 40 characters, because Pods and Secrets add a suffix: choose a shorter or plainer name",
    ),
    rule(
        "",
        "!has(oldSelf.status) || !has(oldSelf.status.raft) || (has(self.status) && has(self.status.raft))",
        "status.raft cannot be dropped once a leader wrote it: write the leader's view with its term",
    ),
    rule(
        "spec/replicas",
        "self >= 1 && self <= 9",
        "spec.replicas must be from 1 to 9: use 1, 3 or 5, and delete the RaftCluster to remove the last member",
    ),
    rule(
        "spec/application/mode",
        "self == oldSelf",
        "spec.application.mode is what the cluster was founded for and cannot change: put the old mode back, or create a new RaftCluster",
    ),
    rule(
        "spec/clusterDomain",
        "self == oldSelf",
        "spec.clusterDomain is part of every member's address and cannot change: create a new RaftCluster",
    ),
    rule(
        "spec/clusterDomain",
        "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
        "spec.clusterDomain must be a DNS name without a final dot, such as cluster.local",
    ),
    rule(
        "spec/clientAccess",
        "self.scope == 'Cluster' ? has(self.serviceAccounts) && size(self.serviceAccounts) > 0 : !has(self.serviceAccounts) || size(self.serviceAccounts) == 0",
        "spec.clientAccess.serviceAccounts names who may come from outside the Pod: with scope Cluster name at least one, with scope Pod leave it out",
    ),
    rule(
        "spec/clientAccess",
        "!has(self.serviceAccounts) || self.serviceAccounts.all(a, a.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$'))",
        "spec.clientAccess.serviceAccounts must be names of ServiceAccounts, such as web, or shop/web for one in another namespace",
    ),
    rule(
        "spec/storage",
        "!isQuantity(self.size) || quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0",
        "spec.storage.size can only grow, because a volume cannot shrink: put the old size back, or create a new RaftCluster",
    ),
    rule(
        "spec/storage",
        "has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
        "spec.storage.storageClassName cannot change, because a volume cannot move to another class: put the old class back, or create a new RaftCluster",
    ),
    rule(
        "spec/storage/size",
        "isQuantity(self) && quantity(self).compareTo(quantity('1Gi')) >= 0",
        "spec.storage.size must be a quantity of at least 1Gi, such as 10Gi: log, state and a snapshot must fit side by side",
    ),
    rule(
        "spec/autopilot/deadServerLastContactThreshold",
        "self.matches('^([0-9]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1m') && duration(self) <= duration('720h')",
        "spec.autopilot.deadServerLastContactThreshold must be a duration from 1m to 720h, such as 10m",
    ),
    rule(
        "spec/autopilot",
        "duration(self.deadServerLastContactThreshold) > duration(self.lastContactThreshold)",
        "spec.autopilot.deadServerLastContactThreshold must be longer than lastContactThreshold: a member would be dead before it is unhealthy",
    ),
    rule(
        "spec/autopilot/lastContactThreshold",
        "self.matches('^([0-9]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('300ms') && duration(self) <= duration('1h')",
        "spec.autopilot.lastContactThreshold must be a duration from 300ms (three heartbeats) to 1h, such as 1s",
    ),
    rule(
        "spec/autopilot/maxTrailingLogs",
        "self >= 1 && self <= 1000000",
        "spec.autopilot.maxTrailingLogs must be from 1 to 1000000, such as 250",
    ),
    rule(
        "spec/autopilot/serverStabilizationTime",
        "self.matches('^([0-9]{1,6}(ms|s|m|h))+$') && duration(self) <= duration('24h')",
        "spec.autopilot.serverStabilizationTime must be a duration of at most 24h, such as 10s: until then a new member has no vote",
    ),
    rule(
        "spec/autopilot/upgradeVersionFrom",
        "self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && (!self.startsWith('quorate.dev/') || self == 'quorate.dev/app-version')",
        "spec.autopilot.upgradeVersionFrom must be the name of an annotation of spec.template, such as quorate.dev/app-version or example.com/version; others under quorate.dev/ are set by the operator",
    ),
    rule(
        "spec/sidecar/imagePullPolicy",
        "self in ['Always', 'IfNotPresent', 'Never']",
        "spec.sidecar.imagePullPolicy must be Always, IfNotPresent or Never, or left out",
    ),
    rule(
        "spec/sidecar/image",
        "size(self) > 0",
        "spec.sidecar.image must name an image, or be left out to use the one the operator was installed with",
    ),
    rule(
        "spec/tls",
        "(self.mode == 'Secret') == has(self.secretRef) && (self.mode == 'CertManager') == has(self.issuerRef)",
        "spec.tls has one source: secretRef with mode Secret, issuerRef with mode CertManager, and neither with mode OperatorCA",
    ),
    rule(
        "spec/tls/issuerRef",
        "size(self.name) > 0 && size(self.kind) > 0 && size(self.group) > 0",
        "spec.tls.issuerRef.name must name an issuer of cert-manager; kind and group are Issuer and cert-manager.io if left out",
    ),
    rule(
        "spec/tls/secretRef/name",
        "size(self) > 0",
        "spec.tls.secretRef.name must name a Secret in the namespace of the RaftCluster",
    ),
    rule(
        "spec/template/metadata",
        "!has(self.labels) || self.labels.all(k, !k.startsWith('quorate.dev/') && !k.startsWith('app.kubernetes.io/'))",
        "spec.template.metadata.labels under quorate.dev/ and app.kubernetes.io/ are set by the operator: use a prefix of your own",
    ),
    rule(
        "spec/template/metadata",
        "!has(self.annotations) || self.annotations.all(k, !k.startsWith('quorate.dev/') || k == 'quorate.dev/app-version')",
        "spec.template.metadata.annotations under quorate.dev/ are set by the operator, quorate.dev/app-version aside: use a prefix of your own",
    ),
    rule(
        "spec/template/spec",
        "size(self.containers) > 0",
        "spec.template.spec.containers must name at least one container: leave spec.template.spec out to run the sidecar alone",
    ),
    rule(
        "spec/template/spec",
        "!has(self.hostNetwork) || !self.hostNetwork",
        "spec.template.spec.hostNetwork is not supported, because members on one node would share ports: leave it out, and use a Service to be reached from outside",
    ),
    rule(
        "spec/template/spec",
        "!has(self.hostname)",
        "spec.template.spec.hostname is set by the operator, because members find each other by it: leave it out",
    ),
    rule(
        "spec/template/spec",
        "!has(self.subdomain)",
        "spec.template.spec.subdomain is set by the operator, because members find each other by it: leave it out",
    ),
    rule(
        "spec/template/spec",
        "!has(self.nodeName)",
        "spec.template.spec.nodeName would put all members on one node: use nodeSelector or affinity",
    ),
    rule(
        "spec/template/spec",
        "!has(self.activeDeadlineSeconds)",
        "spec.template.spec.activeDeadlineSeconds would end every member after a while: leave it out",
    ),
    rule(
        "spec/template/spec",
        "!has(self.restartPolicy) || self.restartPolicy == 'Always'",
        "spec.template.spec.restartPolicy must be Always or left out: a member that stops has to come back",
    ),
    rule(
        "spec/template/spec",
        "!has(self.volumes) || self.volumes.all(v, !v.name.startsWith('quorate'))",
        "spec.template.spec.volumes must not have names beginning with quorate, which belong to the sidecar: choose another name",
    ),
    rule(
        "spec/template/spec",
        "!has(self.volumes) || self.volumes.all(v, !has(v.persistentVolumeClaim) || !v.persistentVolumeClaim.claimName.startsWith('raft-'))",
        "spec.template.spec.volumes must not mount claims beginning with raft-, which hold members' logs: use a claim of another name",
    ),
    rule("spec/template/spec/containers/*", CONTAINER_NAME, CONTAINER_NAME_MESSAGE),
    rule("spec/template/spec/containers/*", CONTAINER_PORTS, CONTAINER_PORTS_MESSAGE),
    rule("spec/template/spec/containers/*", CONTAINER_ENV, CONTAINER_ENV_MESSAGE),
    rule("spec/template/spec/containers/*", CONTAINER_MOUNTS, CONTAINER_MOUNTS_MESSAGE),
    rule("spec/template/spec/initContainers/*", CONTAINER_NAME, CONTAINER_NAME_MESSAGE),
    rule("spec/template/spec/initContainers/*", CONTAINER_PORTS, CONTAINER_PORTS_MESSAGE),
    rule("spec/template/spec/initContainers/*", CONTAINER_ENV, CONTAINER_ENV_MESSAGE),
    rule("spec/template/spec/initContainers/*", CONTAINER_MOUNTS, CONTAINER_MOUNTS_MESSAGE),
    // K2, K34: written once; a write from a stale read must not give the cluster a second beginning.
    rule(
        "status",
        "!has(oldSelf.clusterId) || (has(self.clusterId) && self.clusterId == oldSelf.clusterId)",
        "status.clusterId is the cluster's identity and never changes: create a new RaftCluster",
    ),
    rule(
        "status",
        "!has(oldSelf.founder) || !has(oldSelf.founder.bootstrapped) || !oldSelf.founder.bootstrapped || (has(self.founder) && has(self.founder.bootstrapped) && self.founder.bootstrapped)",
        "status.founder.bootstrapped never returns to false: a cluster begins once",
    ),
    rule(
        "status",
        "!has(oldSelf.founder) || !has(oldSelf.founder.incarnation) || (has(self.founder) && has(self.founder.incarnation) && self.founder.incarnation == oldSelf.founder.incarnation)",
        "status.founder.incarnation never changes: only the recorded directory may begin the cluster",
    ),
    rule(
        "status/raft",
        "!has(oldSelf.term) || (has(self.term) && ((has(self.recoveryEpoch) ? self.recoveryEpoch : 0) > (has(oldSelf.recoveryEpoch) ? oldSelf.recoveryEpoch : 0) || ((has(self.recoveryEpoch) ? self.recoveryEpoch : 0) == (has(oldSelf.recoveryEpoch) ? oldSelf.recoveryEpoch : 0) && self.term >= oldSelf.term)))",
        "status.raft is stale: it was written by a deposed leader, and (recoveryEpoch, term) never falls",
    ),
    rule(
        "status",
        // K18: a leader's epoch is recorded before it exists.
        "!has(self.raft) || !has(self.raft.recoveryEpoch) || self.raft.recoveryEpoch <= (has(self.recovery) ? self.recovery.epoch : 0)",
        "status.raft.recoveryEpoch is above the recovery epoch on record, status.recovery.epoch",
    ),
    rule(
        "status",
        "!has(oldSelf.recovery) || (has(self.recovery) && self.recovery.epoch >= oldSelf.recovery.epoch)",
        "status.recovery.epoch never falls: an earlier cluster must not come back",
    ),
];

const CONTAINER_NAME: &str = "self.name != 'quorate-sidecar'";
const CONTAINER_NAME_MESSAGE: &str = "the container name quorate-sidecar is taken by the sidecar: choose another name, and set the sidecar's image and resources under spec.sidecar";
const CONTAINER_PORTS: &str =
    "!has(self.ports) || self.ports.all(p, !(p.containerPort in [7400, 7401, 7402, 8500]))";
const CONTAINER_PORTS_MESSAGE: &str = "containerPort 7400, 7401, 7402 and 8500 are the sidecar's in every Pod: let the application listen on another port";
const CONTAINER_ENV: &str = "!has(self.env) || self.env.all(e, !e.name.lowerAscii().startsWith('quorate') || e.name in ['QUORATE_GRPC_ADDR', 'QUORATE_MEMBER'])";
const CONTAINER_ENV_MESSAGE: &str = "environment variables beginning with QUORATE are set by the operator (QUORATE_GRPC_ADDR and QUORATE_MEMBER may be overridden): choose another name";
const CONTAINER_MOUNTS: &str =
    "!has(self.volumeMounts) || self.volumeMounts.all(m, !m.name.startsWith('quorate'))";
const CONTAINER_MOUNTS_MESSAGE: &str = "volumes beginning with quorate hold the member's log and keys and are mounted by the sidecar only: mount a volume of your own";
