//! Config: parses any text as a config file.
//!
//! In:    bytes; text that is not UTF-8 is skipped.
//! Out:   nothing; panics if parsing panics, if errors cannot be rendered, or if a printed Plan
//!        does not parse back to itself.
//! Never: opens a file: password files read as a fixed word.

use std::path::Path;

use byway::config::{Diff, Effective, Surroundings, parse_with};

/// Parses `data` as a config file.
///
/// # Panics
/// If an invariant of the config is violated.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let around = Surroundings::without_files(Path::new("/state"));
    let plan = match parse_with(text, "fuzz.toml", &around) {
        Ok(plan) => plan,
        Err(errors) => {
            assert!(!errors.diagnostics().is_empty(), "refused without a reason");
            assert!(
                errors.to_string().starts_with("error: "),
                "an error that cannot be rendered"
            );
            errors.render(true);
            return;
        }
    };
    let shown = Effective(&plan).to_string();
    match parse_with(&shown, "effective", &around) {
        // Passwords print as ***, so the texts are compared and not the Plans.
        Ok(again) => assert_eq!(
            Effective(&again).to_string(),
            shown,
            "the effective Plan parses back as another"
        ),
        Err(errors) => panic!("the effective Plan does not parse back:\n{errors}\n{shown}"),
    }
    assert!(
        Diff::between(&plan, &plan).is_empty(),
        "a Plan differs from itself"
    );
}
