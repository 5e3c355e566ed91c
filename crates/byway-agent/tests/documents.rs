//! The documents agree with the sources and the tests.

#![allow(clippy::expect_used)]

use std::path::{Path, PathBuf};

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .expect("the file is there")
}

/// The files with the options.
fn options() -> String {
    let files = ["", "/connections", "/http2", "/sockets"];
    files
        .map(|file| read(format!("src/agent/builder{file}.rs")))
        .concat()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        match entry.path() {
            path if path.is_dir() => sources(&path, found),
            path if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            _ => {}
        }
    }
}

#[test]
fn the_table_of_nodes_behaviour_has_every_row_and_its_tests_exist() {
    let (table, mut files) = (read("docs/node.md"), Vec::new());
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"),
        &mut files,
    );
    let tests: String = files.iter().map(read).collect();
    for row in 1..=48 {
        assert!(
            table.contains(&format!("\n| {row} |")),
            "row {row} is missing"
        );
    }
    for hole in 1..=8 {
        assert!(
            table.contains(&format!("\n| N{hole} |")),
            "N{hole} is missing"
        );
    }
    let names = table
        .split('`')
        .filter(|name| name.len() > 30 && name.chars().all(|c| c.is_alphanumeric() || c == '_'));
    let mut named = 0;
    for name in names {
        assert!(tests.contains(&format!("fn {name}()")), "{name} is no test");
        named += 1;
    }
    assert!(named > 50, "only {named} tests are named");
    // No row's test is missing from the table.
    for line in tests.lines().filter_map(|line| {
        line.trim_start()
            .trim_start_matches("async ")
            .strip_prefix("fn ")
    }) {
        let name = line.split('(').next().unwrap_or_default();
        let of_row = name.starts_with("row_")
            || name.starts_with('n') && name[1..].starts_with(|c: char| c.is_ascii_digit());
        assert!(
            !of_row || table.contains(&format!("`{name}`")),
            "{name} is not in docs/node.md"
        );
    }
}

#[test]
fn every_option_that_the_migration_table_names_exists() {
    let (table, builder, agent) = (
        read("docs/coming-from.md"),
        options() + &read("src/agent/proxy.rs"),
        read("src/agent/mod.rs") + &read("src/agent/body.rs"),
    );
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    for row in rows {
        let ours = row.split('|').nth(1).unwrap_or_default();
        for name in ours.split('`').skip(1).step_by(2) {
            let name = name.split('(').next().unwrap_or_default();
            let name = name.rsplit("::").next().unwrap_or_default();
            let known = [&builder, &agent]
                .iter()
                .any(|source| source.contains(&format!("fn {name}")));
            assert!(known || name == "OnInterim", "{name} is no option");
        }
    }
}

#[test]
fn the_names_of_other_clients_options_are_aliases_of_ours() {
    let builder = options();
    for name in [
        "maxSockets",
        "maxTotalSockets",
        "maxFreeSockets",
        "MaxConnsPerHost",
        "MaxIdleConnsPerHost",
        "IdleConnTimeout",
        "pool_max_idle_per_host",
        "pool_idle_timeout",
        "keepAlive",
        "keepAliveTimeout",
        "connections",
        "clientTtl",
        "getName",
        "createConnection",
        "socketPath",
    ] {
        assert!(
            builder.contains(&format!("#[doc(alias = \"{name}\")]")),
            "{name} leads nowhere"
        );
    }
}
