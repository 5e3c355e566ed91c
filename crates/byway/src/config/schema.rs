//! Schema: the keys of a config file as a JSON Schema (draft 2020-12), for editors.
//!
//! In:    the [`Description`] of all keys.
//! Out:   the schema of the file, with its tables as objects and its lists as arrays.
//! Never: checks all that `byway check` does: what a text means, and what excludes what.

use serde_json::{Map, Value, json};
use toml::de::{DeTable, DeValue};

use super::section::description::{Default, Description, Key, Shape};
use super::section::{File, Section};
use super::units::UnitKind;

/// The schema of a config file.
pub fn schema() -> Value {
    let mut schema = table(&File::describe());
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "byway.toml".into();
    schema
}

fn table(section: &Description) -> Value {
    let properties: Map<String, Value> = section
        .keys()
        .iter()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    let required: Vec<&str> = section
        .keys()
        .iter()
        .filter(|key| matches!(key.default, Default::Required))
        .map(|key| key.name)
        .collect();
    json!({
        "type": "object",
        "description": section.about.sentences(),
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn property(key: &Key) -> Value {
    let mut schema = shape(&key.shape);
    if key.section().is_some() {
        return schema;
    }
    let mut text = format!("{} Values: {}.", key.about.sentences(), key.shape);
    match &key.default {
        Default::Value(default) => schema["default"] = from_toml(default),
        Default::Words(words) => text += &format!(" Default: {words}."),
        Default::Unless(other) => text += &format!(" Required, unless `{other}` is given."),
        Default::Required => {}
    }
    schema["description"] = text.into();
    schema["examples"] = json!([from_toml(&key.example)]);
    schema
}

fn shape(shape: &Shape) -> Value {
    match shape {
        Shape::Count(range) => {
            json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() })
        }
        Shape::Size(range) => json!({ "anyOf": [
            { "type": "string", "pattern": UnitKind::Size.pattern() },
            { "type": "integer", "minimum": range.start(), "maximum": range.end() },
        ] }),
        Shape::Period(_) => json!({ "type": "string", "pattern": UnitKind::Period.pattern() }),
        Shape::Rate => json!({ "type": "string", "pattern": UnitKind::Rate.pattern() }),
        Shape::Truth => json!({ "type": "boolean" }),
        Shape::TruthOr(words) => {
            json!({ "anyOf": [{ "type": "boolean" }, { "enum": words }] })
        }
        Shape::Words(words) => json!({ "enum": words }),
        Shape::OrNone(value) => json!({ "anyOf": [{ "const": "none" }, self::shape(value)] }),
        Shape::Text(_) => json!({ "type": "string" }),
        Shape::Texts(_) => one_or_several(json!({ "type": "string" })),
        Shape::NumbersOrTexts(_) => one_or_several(json!({ "type": ["string", "integer"] })),
        Shape::Table(below) | Shape::Group(below) => table(below),
        Shape::Tables(below) | Shape::Inline(below) => {
            json!({ "type": "array", "items": table(below) })
        }
    }
}

fn one_or_several(one: Value) -> Value {
    json!({ "anyOf": [one, { "type": "array", "items": one }] })
}

/// A value of TOML.
fn from_toml(text: &str) -> Value {
    let line = format!("value = {text}");
    let table = DeTable::parse(&line).ok();
    let value = table
        .as_ref()
        .and_then(|table| table.get_ref().get("value"));
    value.map_or(Value::Null, |value| json_of(value.get_ref()))
}

/// The same value as JSON.
pub(super) fn json_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .into(),
        DeValue::Float(number) => number.as_str().parse::<f64>().ok().into(),
        DeValue::Boolean(truth) => (*truth).into(),
        DeValue::Datetime(date) => date.to_string().into(),
        DeValue::Array(list) => list.iter().map(|item| json_of(item.get_ref())).collect(),
        DeValue::Table(table) => {
            let members = table.iter();
            let members =
                members.map(|(key, value)| (key.get_ref().to_string(), json_of(value.get_ref())));
            Value::Object(members.collect())
        }
    }
}
