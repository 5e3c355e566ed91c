//! Sets `cfg(loom)` for this package alone: as a compiler flag for all it would reach tokio, too,
//! and rebuild everything.

#![allow(clippy::print_stdout)] // how a build script speaks

fn main() {
    println!("cargo:rustc-cfg=loom");
    println!("cargo:rerun-if-changed=build.rs");
}
