//! The images of our binaries, written without a registry and loaded onto the bed's nodes.

use std::path::Path;

use anyhow::{Context, Result};

use crate::bed::bed;
use crate::binaries::{build, target};
use crate::command::{output, say};

/// One image: its name on the nodes, and the file name of its one binary.
struct Image {
    name: &'static str,
    binary: &'static str,
    /// Where cargo puts the binary below the profile's folder.
    folder: &'static str,
}

const IMAGES: [Image; 3] = [
    Image { name: "localhost/quorate-operator:dev", binary: "quorate-operator", folder: "" },
    Image { name: "localhost/quorate-sidecar:dev", binary: "quorate-sidecar", folder: "" },
    Image { name: "localhost/quorate-example:dev", binary: "quorate-example", folder: "examples" },
];

/// Builds our binaries with `profile`, writes an image of each and loads them onto every node of the bed.
pub fn load(profile: &str) -> Result<()> {
    build(profile)?;
    for image in &IMAGES {
        say(&format!("image {}", image.name));
        let archive = write(image, profile)?;
        bed(&["load-image", &archive])?;
    }
    Ok(())
}

/// Installs the operator with its chart, from the images loaded; again: upgrades it.
pub fn install_chart() -> Result<()> {
    let words = [
        "helm",
        "upgrade",
        "--install",
        "quorate",
        "charts/quorate",
        "--namespace",
        "quorate-system",
        "--create-namespace",
        "--set",
        "image.repository=localhost/quorate-operator",
        "--set",
        "image.tag=dev",
        "--set",
        "sidecar.image.repository=localhost/quorate-sidecar",
        "--set",
        "sidecar.image.tag=dev",
        "--wait",
    ];
    println!("$ {}", words.join(" "));
    bed(&words)
}

/// Writes the image's archive: the binary, and the shared libraries it was linked with.
fn write(image: &Image, profile: &str) -> Result<String> {
    let folder = target().join(profile).join(image.folder);
    let binary = folder.join(image.binary);
    let archive = target().join(format!("{}.{profile}.tar", image.binary)).to_string_lossy().into_owned();
    // Where the Dockerfiles put it too: Pods name the program, and PATH finds it.
    let entrypoint = format!("/usr/bin/{}", image.binary);
    let mut words: Vec<String> = ["image", &archive, image.name, "--entrypoint", &entrypoint]
        .iter()
        .map(ToString::to_string)
        .collect();
    words.push(format!("{}={entrypoint}", binary.display()));
    for library in libraries(&binary)? {
        words.push(format!("{library}={library}"));
    }
    bed(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(archive)
}

/// The absolute paths `ldd` names: Debian's libc and its loader. The tests' own build is dynamic, and building a
/// second, static one would double the time of every run; the shipped Dockerfile does the same by its base image.
fn libraries(binary: &Path) -> Result<Vec<String>> {
    let listed = output(&["ldd", &binary.to_string_lossy()])
        .with_context(|| format!("listing the libraries of {}", binary.display()))?;
    let paths = listed.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(ToOwned::to_owned).collect())
}
