//! Lower crates never name higher ones.

use super::dependencies::metadata;
use crate::shell::Outcome;

/// From the lowest to the highest; crates of one line do not know each other.
const LAYERS: &[&[&str]] = &[
    &["vserver-model"],
    &["vserver-config", "vserver-kernel"],
    &["vserver-host", "vserver-tree"],
    &["vserver-plan"],
    &["vserver-run"],
    &["vserver-build"],
    &["vserver"],
];

/// The mechanisms know nothing of what an administrator configures, and the readers nothing of mechanisms.
const NEVER: &[(&str, &str)] = &[
    ("vserver-kernel", "vserver-config"),
    ("vserver-config", "vserver-kernel"),
    ("vserver-plan", "vserver-kernel"),
];

/// Compares the manifests with the table.
pub fn check() -> Outcome {
    let mut wrong = Vec::new();
    for package in
        metadata(&["--no-deps"])?["packages"].as_array().ok_or("cargo metadata names no packages")?
    {
        let name = package["name"].as_str().unwrap_or("?");
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let other = dependency["name"].as_str().unwrap_or("?");
            let upward = matches!((layer(name), layer(other)), (Some(own), Some(used)) if used >= own);
            if upward || NEVER.contains(&(name, other)) {
                wrong.push(format!("{name} must not know {other}"));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}
