//! `docs/from-the-sources.md` names files and tests that exist.

use std::path::PathBuf;

use super::*;

/// The page.
fn page() -> String {
    std::fs::read_to_string(format!("{ROOT}/docs/from-the-sources.md")).unwrap()
}

/// Adds the paths of the Rust files below `folder`, without those that are built.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        match entry.unwrap().path() {
            path if path.ends_with("target") => {}
            path if path.is_dir() => rust_files(&path, found),
            path if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            _ => {}
        }
    }
}

/// The texts in backticks in the tables of the page, with the row for the message.
fn named(page: &str) -> impl Iterator<Item = (&str, &str)> {
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| the source |"));
    rows.flat_map(|row| {
        row.split('`')
            .skip(1)
            .step_by(2)
            .map(move |text| (text, row))
    })
}

/// The name of a test, without its file and module; `None` for anything else. Names of tests are
/// sentences.
fn test_name(text: &str) -> Option<&str> {
    let name = text.rsplit([' ', ':']).next()?;
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_…".contains(c);
    let is_cut = name.contains('…') && name.contains('_');
    let is_whole = name.matches('_').count() >= 3;
    (name.chars().all(is_name) && (is_cut || is_whole)).then_some(name)
}

#[test]
fn every_test_that_the_page_names_exists() {
    let mut files = Vec::new();
    rust_files(&Path::new(ROOT).join("crates"), &mut files);
    let functions: Vec<_> = files
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            let functions = text
                .split("fn ")
                .skip(1)
                .filter_map(|rest| rest.split('(').next());
            functions.map(ToOwned::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let (page, mut checked) = (page(), 0);
    for (text, row) in named(&page) {
        let Some(name) = test_name(text) else {
            continue;
        };
        // A name that occurs again may be cut: `an_upload_over_…`, `…_over_the_limit`.
        let (start, end) = name.split_once('…').unwrap_or((name, ""));
        let matches = |function: &String| match name.contains('…') {
            true => function.starts_with(start) && function.ends_with(end),
            false => function == name,
        };
        assert!(
            functions.iter().any(matches),
            "{name} is no test, in: {row}"
        );
        checked += 1;
    }
    assert!(checked > 100, "only {checked} tests are named");
}

#[test]
fn every_file_that_the_page_names_exists() {
    let mut files = Vec::new();
    rust_files(&Path::new(ROOT).join("crates"), &mut files);
    let (page, mut checked) = (page(), 0);
    for (text, row) in named(&page) {
        let file = text.split([':', ' ']).next().unwrap();
        if !file.ends_with(".rs") {
            continue;
        }
        assert!(
            files.iter().any(|path| path.ends_with(file)),
            "{file} does not exist, in: {row}"
        );
        checked += 1;
    }
    assert!(checked > 100, "only {checked} files are named");
}

#[test]
fn every_example_has_its_command_and_its_row() {
    let (page, readme) = (page(), format!("{EXAMPLES}/from-the-sources/README.md"));
    let readme = std::fs::read_to_string(readme).unwrap();
    let mut checked = 0;
    for file in std::fs::read_dir(format!("{EXAMPLES}/from-the-sources")).unwrap() {
        let file = file.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".toml") else {
            continue;
        };
        let command = command(name).join(" ");
        assert!(readme.contains(&format!("`byway {command}`")), "{file}");
        assert!(page.contains(&file), "the page does not name {file}");
        // The comment of the example, or of its other end, shows the same command.
        let comments = ["server", "exit", ""].map(|end| {
            let other = name.rsplit_once('-').unwrap().0;
            let path = match end {
                "" => format!("{EXAMPLES}/from-the-sources/{file}"),
                end => format!("{EXAMPLES}/from-the-sources/{other}-{end}.toml"),
            };
            std::fs::read_to_string(path).unwrap_or_default()
        });
        let shown = |text: &String| text.lines().any(|line| line.ends_with(&command));
        assert!(
            comments.iter().any(shown),
            "no comment shows byway {command}"
        );
        checked += 1;
    }
    assert_eq!(checked, 7);
}
