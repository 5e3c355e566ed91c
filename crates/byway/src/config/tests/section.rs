//! The declarations of the keys, and what is made of them: schema, reference, `byway init`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::super::schema::json_of;
use super::super::section::Section;
use super::super::section::description::{Default, Description, Key, Shape};
use super::super::*;
use super::*;

/// Every key, with the path of its section.
fn all_keys(section: &Description, path: &str, each: &mut impl FnMut(&str, &Key)) {
    for key in section.keys() {
        each(path, key);
        let path = match path {
            "" => key.name.to_owned(),
            path => format!("{path}.{}", key.name),
        };
        match &key.shape {
            Shape::Table(below) | Shape::Tables(below) | Shape::Inline(below) => {
                all_keys(below, &path, each);
            }
            _ => {}
        }
    }
}

/// The file at `path` from the folder of the workspace.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// What is wrong with `value`, by the keywords that the schema uses.
fn mistakes(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().unwrap() {
        let fails = match keyword.as_str() {
            "$schema" | "title" | "description" | "default" | "examples" => false,
            "type" => {
                let is = |name: &Value| match name.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_i64(),
                    "boolean" => value.is_boolean(),
                    other => panic!("no such type: {other}"),
                };
                !rule
                    .as_array()
                    .map_or_else(|| is(rule), |names| names.iter().any(is))
            }
            "enum" => !rule.as_array().unwrap().contains(value),
            "const" => rule != value,
            "minimum" => value
                .as_i64()
                .is_some_and(|value| value < rule.as_i64().unwrap()),
            "maximum" => value
                .as_i64()
                .is_some_and(|value| value > rule.as_i64().unwrap()),
            "pattern" => value.as_str().is_some_and(|value| {
                !regex::Regex::new(rule.as_str().unwrap())
                    .unwrap()
                    .is_match(value)
            }),
            "anyOf" => !rule.as_array().unwrap().iter().any(|one| {
                let mut found = Vec::new();
                mistakes(one, value, at, &mut found);
                found.is_empty()
            }),
            "required" => value.as_object().is_some_and(|members| {
                let missing = |name: &Value| !members.contains_key(name.as_str().unwrap());
                rule.as_array().unwrap().iter().any(missing)
            }),
            "properties" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    if let Some(below) = rule.get(name) {
                        mistakes(below, value, &format!("{at}.{name}"), found);
                    }
                }
                false
            }
            "additionalProperties" => {
                assert_eq!(*rule, Value::Bool(false));
                let known = schema["properties"].as_object().unwrap();
                let members = value.as_object();
                members.is_some_and(|members| members.keys().any(|name| !known.contains_key(name)))
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    mistakes(rule, item, at, found);
                }
                false
            }
            other => panic!("no such keyword: {other}"),
        };
        if fails {
            found.push(format!("{at}: {keyword}"));
        }
    }
}

/// What the schema finds wrong with the text of a file.
fn mistakes_of(text: &str) -> Vec<String> {
    let table = DeTable::parse(text).unwrap();
    let value = json_of(&DeValue::Table(table.into_inner()));
    let mut found = Vec::new();
    mistakes(&schema(), &value, "", &mut found);
    found
}

/// The file of `byway init` with every key taken in.
fn uncommented() -> String {
    let text = commented();
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if !key.is_empty() && !key.starts_with(' ') => key,
        _ => line,
    });
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_key_is_in_the_schema_the_reference_and_the_commented_file() {
    let (schema, reference, commented) = (schema(), reference(), commented());
    all_keys(&File::describe(), "", &mut |path, key| {
        let mut table = &schema;
        for section in path.split('.').filter(|section| !section.is_empty()) {
            table = &table["properties"][section];
            table = table.get("items").unwrap_or(table);
        }
        let property = &table["properties"][key.name];
        assert!(property.is_object(), "{path}.{}", key.name);
        assert!(
            !key.about.phrase.is_empty() && !key.about.phrase.ends_with('.'),
            "{path}.{}",
            key.name
        );
        let whole = format!("{path}.{}", key.name);
        if key.section().is_some() {
            let heading = key.heading(whole.trim_start_matches('.'));
            assert!(reference.contains(&format!("# `{heading}`: ")), "{heading}");
            assert!(commented.contains(&format!("{heading}\n")), "{heading}");
        } else {
            assert!(
                !property["description"].as_str().unwrap().is_empty(),
                "{whole}"
            );
            assert!(
                !property["examples"][0].is_null(),
                "the example of {whole} is no TOML"
            );
            assert!(
                property
                    .get("default")
                    .is_none_or(|default| !default.is_null()),
                "{whole}"
            );
            assert!(
                reference.contains(&format!("| `{}` | {}", key.name, key.about.phrase)),
                "{whole}"
            );
            let is_line = |line: &str| {
                let line = line.trim_start_matches('#').trim_start();
                line.starts_with(&format!("{} = ", key.name))
            };
            let is_inline = commented.contains(&format!("`{}`: ", key.name));
            assert!(commented.lines().any(is_line) || is_inline, "{whole}");
        }
    });
}

#[test]
fn every_default_and_every_example_is_valid_by_the_schema() {
    let schema = schema();
    let mut table = vec![&schema];
    let mut checked = 0;
    while let Some(next) = table.pop() {
        for property in next["properties"].as_object().unwrap().values() {
            let below = property.get("items").unwrap_or(property);
            if below.get("properties").is_some() {
                table.push(below);
            }
            let examples = property["examples"].as_array().into_iter().flatten();
            for value in examples.chain(property.get("default")) {
                let mut found = Vec::new();
                mistakes(property, value, "", &mut found);
                assert!(found.is_empty(), "{property}: {found:?}");
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "{checked}");
}

#[test]
fn the_shipped_examples_are_valid_by_the_schema() {
    let mut folders = vec![repository("examples")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                let text = fs::read_to_string(&path).unwrap();
                assert_eq!(mistakes_of(&text), [""; 0], "{}", path.display());
                files += 1;
            }
        }
    }
    assert!(files > 5, "{files}");
}

#[test]
fn what_the_schema_refuses_the_program_refuses_too() {
    for text in [
        with_listener("wokers = 1"),
        with_listener("workers = 0"),
        with_listener("limits.keep_alive = \"60\""),
        with_listener("limits.keep_alive = 60"),
        with_listener("limits.head_bytes = \"64K\""),
        with_listener("limits.head_bytes = 1"),
        with_listener("limits.min_rate = \"25Mb/s\""),
        with_listener("dial.family = \"5\""),
        with_listener("[drain]\ndeadlin = \"1s\""),
        with_route("to = \"a:1\"\npaths = \"^/\""),
        with_route("path = \"^/\""),
        with_egress("users = [{ nam = \"a\", password = \"b\" }]"),
        with_egress("[[proxy.rule]]\naction = \"permit\""),
        "[[exit]]\nlisten = \"127.0.0.1:1\"\n[[exit.rule]]\naction = \"deny\"\nuser = \"a\"\n"
            .into(),
        "[[tcp]]\nlisten = \"127.0.0.1:1\"\n".into(),
    ] {
        assert!(!mistakes_of(&text).is_empty(), "{text}");
        assert!(!errors(&text).is_empty(), "{text}");
    }
    assert_eq!(
        mistakes_of(&with_listener("limits.keep_alive = \"60s\"")),
        [""; 0]
    );
}

#[test]
fn the_committed_reference_is_the_declared_one() {
    let path = repository("docs/config.md");
    assert!(
        fs::read_to_string(&path).unwrap() == reference(),
        "write it again: cargo run -- schema --markdown > docs/config.md"
    );
}

#[test]
fn the_file_of_init_is_valid_as_it_is_and_serves_an_edge() {
    let plan = plan(&commented());
    let roles: Vec<RoleKind> = plan.roles().map(Role::kind).collect();
    assert_eq!(roles, [RoleKind::Edge]);
}

#[test]
fn the_file_of_init_with_every_key_taken_in_means_the_defaults() {
    let text = uncommented();
    assert_eq!(mistakes_of(&text), [""; 0], "{text}");
    let (written, defaults) = (plan(&text), plan(&with_listener("")));
    assert_eq!(written.drain, defaults.drain);
    let dial = DialPlan {
        local_address: None,
        ..written.dial.clone()
    };
    assert_eq!(dial, defaults.dial);
    assert_eq!(written.limits, defaults.limits);
    assert_eq!(written.pool, defaults.pool);
    assert_eq!(written.retry, defaults.retry);
    let spill = SpillPlan {
        directory: defaults.spill.directory.clone(),
        per_node: None,
        ..written.spill.clone()
    };
    assert_eq!(spill, defaults.spill);
    assert_eq!(written.log, defaults.log);
    assert_eq!(written.link, defaults.link);
    let kinds = |kind: RoleKind| written.roles().filter(|role| role.kind() == kind).count();
    for kind in [
        RoleKind::Edge,
        RoleKind::Egress,
        RoleKind::Forward,
        RoleKind::Metrics,
        RoleKind::Serve,
        RoleKind::Exit,
    ] {
        assert_eq!(kinds(kind), 1, "{kind:?}");
    }
    assert_eq!(written.joins.len(), 1);
}

#[test]
fn a_default_that_is_a_value_is_the_one_of_the_plan() {
    // Each key is written with its declared default. Only keys of single tables have one that the
    // Plan shows.
    let mut text = String::new();
    all_keys(&File::describe(), "", &mut |path, key| {
        if let (Default::Value(value), false) =
            (&key.default, path.is_empty() || path.contains('.'))
        {
            let is_single = ["edge", "proxy", "tcp", "serve", "exit", "expose"];
            if !is_single.contains(&path) {
                text += &format!("{path}.{} = {value}\n", key.name);
            }
        }
    });
    let (written, defaults) = (plan(&with_listener(&text)), plan(&with_listener("")));
    assert!(text.lines().count() > 30, "{text}");
    assert_eq!(
        Effective(&written).to_string(),
        Effective(&defaults).to_string()
    );
}

/// `http` of an `[[expose]]` once had the default "`tcp`", as if leaving both out meant a value.
#[test]
fn a_key_is_not_the_default_of_the_one_that_it_excludes() {
    fn check(section: &Description) {
        let of = |name: &str| section.keys().iter().find(|key| key.name == name);
        for key in section.keys() {
            match key.default {
                Default::Unless(other) => {
                    let other = of(other).unwrap();
                    assert!(matches!(other.default, Default::Unless(it) if it == key.name));
                }
                Default::Words(words) => {
                    let other = of(words.trim_matches('`'));
                    let excludes = |other: &Key| other.is_alternative || key.is_alternative;
                    assert!(!other.is_some_and(excludes), "{}: {words}", key.name);
                }
                Default::Value(_) | Default::Required => {}
            }
            match &key.shape {
                Shape::Inline(below) => check(below),
                _ => key.section().into_iter().for_each(check),
            }
        }
    }
    check(&File::describe());
}
