//! Config: any text as a config file.
//!
//! In:    bytes; what is no UTF-8 is passed over.
//! Out:   nothing; fails if reading panics, if errors cannot be drawn, or if a Plan does not read
//!        back as it prints.
//! Never: touches a file: password files read as a fixed word.

use std::path::Path;

use byway::config::{Diff, Effective, Surroundings, parse_with};

/// Reads `data` as a config file.
///
/// # Panics
/// If an invariant of the config is broken; that is what fuzzing looks for.
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
                "an error that cannot be drawn"
            );
            errors.render(true);
            return;
        }
    };
    let shown = Effective(&plan).to_string();
    match parse_with(&shown, "effective", &around) {
        // Passwords print as ***, so that the texts are compared and not the Plans.
        Ok(again) => assert_eq!(
            Effective(&again).to_string(),
            shown,
            "the effective Plan reads back as another"
        ),
        Err(errors) => panic!("the effective Plan does not read back:\n{errors}\n{shown}"),
    }
    assert!(
        Diff::between(&plan, &plan).is_empty(),
        "a Plan differs from itself"
    );
}
