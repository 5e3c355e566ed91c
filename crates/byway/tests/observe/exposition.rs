//! Exposition: a strict parser of the text that Prometheus scrapes. Any violation of the format
//! fails the test.

use std::collections::BTreeMap;

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b':'))
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'))
}

/// A strict parser of exposition format 0.0.4.
pub(super) fn parsed(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'));
    let (mut samples, mut families) = (BTreeMap::new(), BTreeMap::new());
    let mut current: Option<(String, String)> = None;
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, sentence) = rest.split_once(' ').unwrap();
            assert!(is_name(name) && sentence.ends_with('.'), "{line}");
            help = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(
                help.take().as_deref(),
                Some(name),
                "HELP stands before TYPE"
            );
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(
                families.insert(name.to_owned(), kind.to_owned()).is_none(),
                "{name} is there twice"
            );
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            current = Some((name.to_owned(), kind.to_owned()));
        } else {
            let (family, kind) = current.as_ref().expect("a family before its samples");
            let (key, value) = line.rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(value >= 0.0, "{line}");
            let name = key.split('{').next().unwrap();
            let wanted = match kind.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|end| name == format!("{family}{end}")),
                _ => name == family,
            };
            assert!(wanted, "{line} in {family}");
            check_labels(key.strip_prefix(name).unwrap());
            assert!(
                samples.insert(key.to_owned(), value).is_none(),
                "{key} is there twice"
            );
        }
    }
    for (family, _) in families.iter().filter(|(_, kind)| *kind == "histogram") {
        let prefix = format!("{family}_bucket{{le=\"");
        let bound = |key: &str| {
            key.strip_prefix(&prefix)?
                .strip_suffix("\"}")?
                .replace("+Inf", "inf")
                .parse::<f64>()
                .ok()
        };
        let mut buckets: Vec<_> = samples
            .iter()
            .filter_map(|(key, value)| Some((bound(key)?, *value)))
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(
            buckets.is_sorted_by(|a, b| a.1 <= b.1),
            "{family} is not cumulative"
        );
        let (last, count) = buckets.last().unwrap();
        assert!(
            last.is_infinite() && *count == samples[&format!("{family}_count")],
            "{family}"
        );
    }
    samples
}

/// `{name="value",…}` or nothing.
fn check_labels(text: &str) {
    let Some(inside) = text.strip_prefix('{') else {
        return assert_eq!(text, "");
    };
    let inside = inside.strip_suffix('}').unwrap();
    for label in inside.split("\",") {
        let (name, value) = label.split_once("=\"").unwrap_or_else(|| panic!("{text}"));
        assert!(
            is_name(name) && !value.trim_end_matches('"').contains('"'),
            "{text}"
        );
    }
}
