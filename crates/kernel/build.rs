//! Names what the programs of network contexts are made from.
//!
//! They are pinned under a name that only programs like them may have. Making all of them to know it takes a start half a
//! millisecond; their sources are the same where they are the same.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    let own = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut files = Vec::new();
    for directory in [own.join("src"), own.join("../model/src")] {
        println!("cargo:rerun-if-changed={}", directory.display());
        collect(&directory, &mut files);
    }
    files.sort();
    // FNV-1a with 64 bits, twice with another beginning.
    let mut hashes = [0xcbf2_9ce4_8422_2325_u64, 0x8422_2325_cbf2_9ce4];
    for file in files {
        let bytes = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for byte in bytes.into_iter().chain([0]) {
            for hash in &mut hashes {
                *hash = (*hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    println!("cargo:rustc-env=VSERVER_KERNEL_SOURCES={:016x}{:016x}", hashes[0], hashes[1]);
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let path = entry.expect("the sources can be listed").path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}
