//! Guided: tests that need no build.

use super::*;

fn flags(encoded: Option<&str>, plain: Option<&str>, flag: &str) -> (&'static str, String) {
    let (name, value) = rustflags([encoded, plain], flag);
    (name, value.into_string().unwrap())
}

#[test]
fn the_flags_of_the_user_precede_ours() {
    assert_eq!(flags(None, None, "-Cx=/a"), ("RUSTFLAGS", "-Cx=/a".into()));
    assert_eq!(
        flags(None, Some("-Ctarget-cpu=native -g"), "-Cx=/a"),
        ("RUSTFLAGS", "-Ctarget-cpu=native -g -Cx=/a".into())
    );
}

#[test]
fn ours_is_among_the_encoded_flags_if_cargo_reads_only_those() {
    let encoded = flags(Some("-g\u{1f}-Clinker=my ld"), Some("-O"), "-Cx=/a");
    assert_eq!(
        encoded,
        (
            "CARGO_ENCODED_RUSTFLAGS",
            "-g\u{1f}-Clinker=my ld\u{1f}-Cx=/a".into()
        )
    );
}

#[test]
fn a_folder_with_a_space_does_not_split_a_flag() {
    let name = "CARGO_ENCODED_RUSTFLAGS";
    assert_eq!(
        flags(None, Some(" -g  -O "), "-Cx=/my code/a"),
        (name, "-g\u{1f}-O\u{1f}-Cx=/my code/a".into())
    );
    assert_eq!(
        flags(None, None, "-Cx=/my code/a"),
        (name, "-Cx=/my code/a".into())
    );
}

#[test]
fn the_host_is_read_from_the_output_of_the_compiler() {
    let said = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\nhost: aarch64-unknown-linux-gnu\nrelease: 1.95.0\n";
    assert_eq!(host(said), Some("aarch64-unknown-linux-gnu"));
    assert_eq!(host("rustc 1.95.0\n"), None);
}

/// A temporary folder, removed on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("byway-xtask-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_profdata_of_the_toolchain_is_found_in_its_folder() {
    let scratch = Scratch::new("found");
    let bin = scratch.0.join("lib/rustlib/a-host/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join("llvm-profdata"), "").unwrap();
    assert_eq!(
        profdata(&scratch.0, "a-host").unwrap(),
        bin.join("llvm-profdata")
    );
    assert!(profdata(&scratch.0, "another-host").is_err());
}

#[test]
fn without_the_component_the_error_has_the_command_to_install_it_for_this_toolchain() {
    let error = |sysroot: &str| {
        profdata(Path::new(sysroot), "a-host")
            .unwrap_err()
            .to_string()
    };
    let of_rustup = error("/no/such/toolchains/1.95.0-a-host");
    assert!(
        of_rustup
            .contains("/no/such/toolchains/1.95.0-a-host/lib/rustlib/a-host/bin/llvm-profdata"),
        "{of_rustup}"
    );
    assert!(
        of_rustup.ends_with("rustup component add llvm-tools --toolchain 1.95.0-a-host"),
        "{of_rustup}"
    );
    assert!(error("/no/such/usr").ends_with("rustup component add llvm-tools"));
}

#[test]
fn a_folder_of_an_earlier_run_is_removed_and_none_is_no_error() {
    let scratch = Scratch::new("emptied");
    let folder = scratch.0.join("profiles");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("old.profraw"), "").unwrap();
    emptied(&folder).unwrap();
    assert!(!folder.exists());
    emptied(&folder).unwrap();
    fs::write(&folder, "no folder").unwrap();
    assert!(
        emptied(&folder)
            .unwrap_err()
            .to_string()
            .starts_with("removing ")
    );
}
