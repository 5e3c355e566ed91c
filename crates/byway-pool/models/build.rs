//! Sets `cfg(loom)` for this package only: as a compiler flag for all packages it would also apply
//! to tokio, and rebuild everything.

#![allow(clippy::print_stdout)] // the interface of build scripts

fn main() {
    println!("cargo:rustc-cfg=loom");
    println!("cargo:rerun-if-changed=build.rs");
}
