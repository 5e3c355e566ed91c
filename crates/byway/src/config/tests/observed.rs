//! Observed: `[log]`, `[metrics]`, and the flags that override them.

use std::path::{Path, PathBuf};

use super::super::*;
use super::*;

fn log(text: &str) -> LogPlan {
    plan(&with_listener(text)).log
}

#[test]
fn access_log_and_metrics_are_off_by_default() {
    let plan = plan(&with_listener(""));
    assert_eq!(
        plan.log,
        LogPlan {
            access: AccessPlace::Off,
            access_format: AccessFormat::Combined
        }
    );
    assert!(
        plan.listeners
            .iter()
            .all(|listener| listener.frontend.role != Role::Metrics)
    );
}

#[test]
fn an_access_log_goes_nowhere_to_standard_output_or_into_a_file() {
    let places = [("off", AccessPlace::Off), ("stdout", AccessPlace::Stdout)].into_iter();
    let files = [
        ("/var/log/a", "/var/log/a"),
        ("a.log", "/a.log"),
        ("./stdout", "/./stdout"),
    ];
    let files = files.map(|(text, path)| (text, AccessPlace::File(PathBuf::from(path))));
    for (text, place) in places.chain(files) {
        assert_eq!(log(&format!("[log]\naccess = \"{text}\"")).access, place);
    }
    assert_eq!(
        log("[log]\naccess_format = \"json\"").access_format,
        AccessFormat::Json
    );
}

#[test]
fn errors_of_log_and_metrics_are_reported_with_their_place() {
    let text = with_listener(
        "[log]\naccess = \"\"\naccess_format = \"jsn\"\nacces = 1\n[metrics]\nlisten = [\"9100\"]\n",
    );
    let expected = [
        "2:10 `log.access` is empty: write \"off\", \"stdout\" or a path",
        "3:17 `log.access_format` must be \"combined\" or \"json\", found \"jsn\"",
        "4:1 unknown key `acces` in [log]",
        "6:11 `metrics.listen`: `9100` is a port alone: write 127.0.0.1:9100 for this machine only, or :9100 for every address",
    ];
    assert_eq!(errors(&text), expected);
}

#[test]
fn metrics_cannot_have_the_address_of_another_listener() {
    let [error] = errors(&with_listener("[metrics]\nlisten = \"127.0.0.1:1\""))
        .try_into()
        .unwrap();
    assert!(
        error.ends_with("`127.0.0.1:1` is listened on twice"),
        "{error}"
    );
}

#[test]
fn metrics_are_the_last_listeners_and_are_not_enough_alone() {
    let plan = plan(&with_listener(
        "[metrics]\nlisten = [\"127.0.0.1:9100\", \"unix:/run/m.sock\"]",
    ));
    let names: Vec<_> = plan
        .listeners
        .iter()
        .map(|listener| {
            (
                &*listener.frontend.name,
                listener.frontend.role == Role::Metrics,
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            ("127.0.0.1:1", false),
            ("127.0.0.1:9100", true),
            ("unix:/run/m.sock", true)
        ]
    );
    let alone = errors("[metrics]\nlisten = \"127.0.0.1:9100\"");
    assert!(
        alone[0].contains("there is nothing to listen on and nothing to expose"),
        "{alone:?}"
    );
}

#[test]
fn flags_override_the_file_and_are_named_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("byway.toml");
    fs::write(
        &path,
        with_listener("[log]\naccess = \"stdout\"\n[metrics]\nlisten = \":9\""),
    )
    .unwrap();
    let flags = ObserveFlags {
        access_log: Some("off".into()),
        access_log_format: Some("json".into()),
        metrics: vec!["127.0.0.1:9100".into()],
    };
    let plan = load_with(&path, Path::new("/state"), &flags).unwrap();
    assert_eq!(
        plan.log,
        LogPlan {
            access: AccessPlace::Off,
            access_format: AccessFormat::Json
        }
    );
    let metrics: Vec<_> = plan
        .listeners
        .iter()
        .filter(|listener| listener.frontend.role == Role::Metrics)
        .collect();
    assert_eq!(
        metrics
            .iter()
            .map(|listener| listener.bind.to_string())
            .collect::<Vec<_>>(),
        ["127.0.0.1:9100"]
    );

    let wrong = ObserveFlags {
        access_log_format: Some("xml".into()),
        metrics: vec!["x".into()],
        ..flags
    };
    let shown = load_with(&path, Path::new("/state"), &wrong)
        .unwrap_err()
        .to_string();
    assert!(
        shown.contains("`--access-log-format` must be \"combined\" or \"json\", found \"xml\""),
        "{shown}"
    );
    assert!(shown.contains("in --metrics x"), "{shown}");
}
