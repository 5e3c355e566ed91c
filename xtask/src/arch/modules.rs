//! Modules: the source files of a crate as modules, and what each imports.
//!
//! In:    the `src` folder of a crate.
//! Out:   its modules, without those that are compiled for tests only.
//! Never: follows a `#[path]`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::imports::{self, Scanned};

/// One source file.
pub(super) struct Module {
    /// Its file, below `src`.
    pub(super) file: String,
    /// Its place in the crate: `a::b` for `a/b.rs`; empty for the root.
    path: Vec<String>,
    /// What it imports from its own crate, from the root on.
    pub(super) imports: BTreeSet<Vec<String>>,
    /// The crates that it names.
    pub(super) crates: BTreeSet<String>,
}

impl Module {
    /// The module at the top of the crate that it belongs to; none for the root.
    pub(super) fn top(&self) -> Option<&str> {
        self.path.first().map(String::as_str)
    }
}

/// The modules of the crate whose sources are in `src`.
pub(super) fn modules_of(src: &Path) -> anyhow::Result<Vec<Module>> {
    let mut files = Vec::new();
    collect(src, src, &mut files)?;
    files.sort();
    let (mut modules, mut for_tests) = (Vec::new(), Vec::new());
    for file in files {
        let path = path_of(&file);
        let text = fs::read_to_string(src.join(&file))?;
        let scanned = imports::scan(&text, &path);
        let Scanned {
            imports,
            crates,
            test_modules,
        } = scanned;
        for name in test_modules {
            for_tests.push([path.as_slice(), &[name]].concat());
        }
        modules.push(Module {
            file,
            path,
            imports,
            crates,
        });
    }
    modules.retain(|module| !for_tests.iter().any(|test| module.path.starts_with(test)));
    Ok(modules)
}

fn collect(folder: &Path, src: &Path, files: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, src, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.strip_prefix(src)?.to_string_lossy().into_owned();
            files.push(file);
        }
    }
    Ok(())
}

/// `a::b` for `a/b.rs` and for `a/b/mod.rs`.
fn path_of(file: &str) -> Vec<String> {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    match stem {
        "lib" | "main" => Vec::new(),
        stem => stem.split('/').map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_module_that_rust_takes_it_for() {
        assert!(path_of("lib.rs").is_empty());
        assert_eq!(path_of("a/mod.rs"), ["a"]);
        assert_eq!(path_of("a/b.rs"), ["a", "b"]);
    }

    #[test]
    fn modules_for_tests_are_left_out_with_what_is_below_them() {
        let folder = std::env::temp_dir().join(format!("byway-modules-{}", std::process::id()));
        fs::create_dir_all(folder.join("a/tests")).unwrap();
        fs::write(
            folder.join("lib.rs"),
            "mod a;\n#[cfg(test)]\nmod testing;\n",
        )
        .unwrap();
        fs::write(
            folder.join("a/mod.rs"),
            "#[cfg(test)]\nmod tests;\nuse crate::b;\n",
        )
        .unwrap();
        fs::write(folder.join("a/tests/one.rs"), "use crate::c;\n").unwrap();
        fs::write(folder.join("testing.rs"), "use crate::a;\n").unwrap();
        let modules = modules_of(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let files: Vec<_> = modules.iter().map(|module| &*module.file).collect();
        assert_eq!(files, ["a/mod.rs", "lib.rs"]);
    }
}
