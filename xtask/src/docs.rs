//! Docs: builds the API documents without warnings, checks every link between the written documents,
//! and that ARCHITECTURE.md names things that are where it says.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::step;

/// Builds the API documents and checks the links.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut doc = step::cargo_command();
    doc.args([
        "doc",
        "--locked",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ]);
    step::run(doc.env("RUSTDOCFLAGS", "--deny warnings"))?;
    let mut broken = Vec::new();
    for page in pages(&step::root())? {
        let text = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
        let folder = page.parent().unwrap_or_else(|| Path::new("."));
        broken.extend(
            links(&text)
                .filter(|link| !leads_somewhere(folder, link))
                .map(|link| format!("{}: {link}", page.display())),
        );
    }
    ensure!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    names_exist(&step::root())
}

/// Checks each `` `folder/file.rs` (`name`) `` of ARCHITECTURE.md: the file of the program contains
/// the name.
fn names_exist(root: &Path) -> anyhow::Result<()> {
    let page = "ARCHITECTURE.md";
    let text = fs::read_to_string(root.join(page)).context(page)?;
    let mut wrong = Vec::new();
    for (before, after) in text
        .match_indices(".rs` (`")
        .map(|(at, _)| text.split_at(at))
    {
        let file = format!("{}.rs", before.rsplit('`').next().unwrap_or_default());
        let Ok(code) = fs::read_to_string(root.join("crates/byway/src").join(&file)) else {
            continue; // of another crate
        };
        let listed = after[".rs` (".len()..]
            .split(')')
            .next()
            .unwrap_or_default();
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let names = listed.split('`').skip(1).step_by(2);
        let missing = names
            .filter_map(|name| name.split(|c| !is_part(c)).next())
            .filter(|name| !code.contains(name));
        wrong.extend(missing.map(|name| format!("{file} has no `{name}`")));
    }
    ensure!(wrong.is_empty(), "{page}:\n{}", wrong.join("\n"));
    Ok(())
}

/// The Markdown files of the root, `docs`, `lab`, `examples` and the crates with a README.
fn pages(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut pages = Vec::new();
    let of_crates = [
        "crates/byway-agent",
        "crates/byway-agent/docs",
        "crates/byway-pool",
        "crates/byway-relay",
        "crates/byway-ws",
    ];
    let folders = [
        "",
        "docs",
        "lab",
        "lab/results",
        "examples",
        "examples/from-the-sources",
    ];
    for folder in folders.into_iter().chain(of_crates) {
        let Ok(entries) = fs::read_dir(root.join(folder)) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    Ok(pages)
}

/// The targets of `[text](target)`, outside of code blocks.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("```").step_by(2);
    prose
        .flat_map(|part| part.split("](").skip(1))
        .filter_map(|rest| rest.split(')').next())
}

fn leads_somewhere(folder: &Path, link: &str) -> bool {
    let elsewhere = link.contains("://") || link.starts_with('#') || link.starts_with("mailto:");
    let path = link.split('#').next().unwrap_or_default();
    elsewhere || folder.join(path).exists()
}
