//! The `RaftCluster` resource.
