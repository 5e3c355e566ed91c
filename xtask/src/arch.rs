//! Arch: whether imports follow the layers that ARCHITECTURE.md states.
//!
//! In:    the blocks of ARCHITECTURE.md that begin with "```layers FOLDER"; the sources.
//! Out:   each import that does not run from a higher layer to a lower one; for any folder, its
//!        imports and its cycles.
//! Never: looks at code that is compiled for tests only.

mod imports;
mod modules;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};

use self::modules::{Module, modules_of};
use crate::step;

/// Imports that may run against the layers: from, to, why. At most five.
const EXCEPTIONS: [(&str, &str, &str); 0] = [];

/// The layers of the modules of a folder, or of the crates of the workspace, the highest first. A
/// layer may import from those below it.
struct Layers {
    folder: String,
    layers: Vec<Vec<String>>,
}

/// Checks every order that ARCHITECTURE.md states. An order leaves no room for a cycle.
pub(crate) fn run() -> anyhow::Result<()> {
    const { assert!(EXCEPTIONS.len() <= 5, "too many exceptions") };
    let root = &step::root();
    let text = fs::read_to_string(root.join("ARCHITECTURE.md"))?;
    let stated = stated(&text);
    ensure!(!stated.is_empty(), "ARCHITECTURE.md states no layers");
    let mut problems = Vec::new();
    for layers in &stated {
        let imports = match layers.folder.as_str() {
            "crates" => crate_imports(&root.join("crates"))?,
            folder => top_imports(&modules_of(&root.join(folder))?),
        };
        problems.extend(layers.problems(&imports));
    }
    if problems.is_empty() {
        eprintln!("imports follow the layers of ARCHITECTURE.md");
        return Ok(());
    }
    bail!("{}", problems.join("\n"))
}

/// The blocks of layers in a document.
fn stated(text: &str) -> Vec<Layers> {
    let mut all: Vec<Layers> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(folder) = line.strip_prefix("```layers ") {
            inside = true;
            let folder = folder.trim().to_owned();
            all.push(Layers {
                folder,
                layers: Vec::new(),
            });
        } else if line.starts_with("```") {
            inside = false;
        } else if let Some(layers) = all.last_mut().filter(|_| inside) {
            let names = line.split("  ").next().unwrap_or_default();
            layers
                .layers
                .push(names.split_whitespace().map(str::to_owned).collect());
        }
    }
    all
}

impl Layers {
    fn layer_of(&self, name: &str) -> Option<usize> {
        self.layers
            .iter()
            .position(|names| names.iter().any(|known| known == name))
    }

    fn problems(&self, imports: &Imports) -> Vec<String> {
        let mut problems = Vec::new();
        let mut missing = BTreeSet::new();
        for ((from, to), files) in imports {
            let (Some(from_layer), Some(to_layer)) = (self.layer_of(from), self.layer_of(to))
            else {
                let unknown = [from, to]
                    .into_iter()
                    .filter(|it| self.layer_of(it).is_none());
                missing.extend(unknown.cloned());
                continue;
            };
            let is_excepted = EXCEPTIONS
                .iter()
                .any(|(from_name, to_name, _)| from_name == from && to_name == to);
            if from_layer >= to_layer && !is_excepted {
                let files: Vec<_> = files.iter().map(String::as_str).collect();
                let folder = &self.folder;
                problems.push(format!(
                    "{folder}: {from} imports {to}, which is not below it ({})",
                    files.join(", ")
                ));
            }
        }
        let folder = &self.folder;
        problems.extend(
            missing
                .iter()
                .map(|name| format!("{folder}: {name} is in no layer of ARCHITECTURE.md")),
        );
        problems
    }
}

/// Which module or crate imports from which, and in which files.
type Imports = BTreeMap<(String, String), BTreeSet<String>>;

/// Between the modules at the top of a crate.
fn top_imports(modules: &[Module]) -> Imports {
    let top: BTreeSet<&str> = modules.iter().filter_map(Module::top).collect();
    let mut imports = Imports::new();
    for module in modules {
        let from = module.top().unwrap_or("lib");
        for path in &module.imports {
            let Some(to) = path.first().filter(|to| top.contains(to.as_str())) else {
                continue;
            };
            // The root of a crate declares its modules, and re-exports from them.
            if to != from && from != "lib" {
                let key = (from.to_owned(), to.clone());
                imports.entry(key).or_default().insert(module.file.clone());
            }
        }
    }
    imports
}

/// Between crates: by the names that their sources use.
fn crate_imports(folder: &Path) -> anyhow::Result<Imports> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        names.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    let mut imports = Imports::new();
    for from in &names {
        for module in modules_of(&folder.join(from).join("src"))? {
            for to in &module.crates {
                let to = to.replace('_', "-");
                if names.contains(&to) && to != *from {
                    let key = (from.clone(), to);
                    imports.entry(key).or_default().insert(module.file.clone());
                }
            }
        }
    }
    Ok(imports)
}

/// One cycle through each module that is part of one, each cycle once.
fn cycles(imports: &Imports) -> Vec<Vec<String>> {
    let mut after: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in imports.keys() {
        after.entry(from).or_default().push(to);
    }
    let mut found: Vec<Vec<String>> = Vec::new();
    for start in after.keys() {
        let Some(cycle) = shortest_cycle(&after, start) else {
            continue;
        };
        let members: BTreeSet<_> = cycle.iter().collect();
        if !found
            .iter()
            .any(|known| known.iter().collect::<BTreeSet<_>>() == members)
        {
            found.push(cycle);
        }
    }
    found
}

/// The shortest way from `start` back to it.
fn shortest_cycle(after: &BTreeMap<&str, Vec<&str>>, start: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let last = way.last()?;
            for next in after.get(last).into_iter().flatten() {
                let way = [way.as_slice(), &[*next]].concat();
                if *next == start {
                    return Some(way.into_iter().map(str::to_owned).collect());
                }
                if seen.insert(*next) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

/// Prints what the modules of a folder import from each other, and their cycles.
pub(crate) fn print(folder: &str) -> anyhow::Result<()> {
    let modules = modules_of(&step::root().join(folder)).context("cannot read the folder")?;
    let imports = top_imports(&modules);
    for ((from, to), files) in &imports {
        eprintln!("{from} -> {to}: {} files", files.len());
    }
    for cycle in cycles(&imports) {
        eprintln!("cycle: {}", cycle.join(" -> "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(pairs: &[(&str, &str)]) -> Imports {
        let pairs = pairs.iter().map(|(from, to)| {
            let key = ((*from).to_owned(), (*to).to_owned());
            (key, BTreeSet::from([format!("{from}.rs")]))
        });
        pairs.collect()
    }

    const DOCUMENT: &str = "# Text\n```layers src\ncli      verbs\nnode link\nconfig\n```\n";

    #[test]
    fn layers_are_read_from_a_document_without_their_descriptions() {
        let stated = stated(DOCUMENT);
        assert_eq!(stated.len(), 1);
        assert_eq!(stated[0].folder, "src");
        let layers = [vec!["cli"], vec!["node", "link"], vec!["config"]];
        assert_eq!(stated[0].layers, layers);
    }

    #[test]
    fn an_import_that_runs_up_or_sideways_is_a_problem_and_one_that_runs_down_is_not() {
        let stated = stated(DOCUMENT);
        let down = imports(&[("cli", "node"), ("cli", "config"), ("link", "config")]);
        assert!(stated[0].problems(&down).is_empty());
        for wrong in [("config", "node"), ("node", "link"), ("config", "cli")] {
            let problems = stated[0].problems(&imports(&[wrong]));
            assert_eq!(problems.len(), 1, "{wrong:?}: {problems:?}");
        }
    }

    #[test]
    fn a_module_in_no_layer_is_a_problem() {
        let problems = stated(DOCUMENT)[0].problems(&imports(&[("cli", "new")]));
        assert_eq!(problems, ["src: new is in no layer of ARCHITECTURE.md"]);
    }

    #[test]
    fn a_cycle_is_found_once_whatever_its_length() {
        let found = cycles(&imports(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")]));
        assert_eq!(found, [["a", "b", "c", "a"]]);
        assert!(cycles(&imports(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
    }
}
