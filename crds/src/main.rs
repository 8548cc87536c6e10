//! Prints the `CustomResourceDefinition`: `make crds` writes it to `crds/raftclusters.yaml`.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(quorate_crds::crd_yaml().as_bytes())
}
