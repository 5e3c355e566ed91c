//! Extra subject: another byway beside the one under test, and the name of its rows.
//!
//! In:    `NAME=FILE` of the command line.
//! Out:   a name that is valid in a table and in a file name, and the program.
//! Never: two subjects of one name.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Error, Result, ensure};

/// See the top of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExtraSubject {
    /// The name in its rows (`byway edge, NAME`) and its files.
    pub(crate) name: String,
    /// The program.
    pub(crate) program: PathBuf,
}

impl FromStr for ExtraSubject {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, program) = text
            .split_once('=')
            .context("a name for its rows is missing: NAME=FILE, for example old=old/byway")?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        ensure!(
            !name.is_empty() && name.bytes().all(plain),
            "`{name}` is not a valid row name: letters, digits and dashes only"
        );
        ensure!(
            !program.is_empty(),
            "`{name}` has no program: NAME=FILE, for example {name}=old/byway"
        );
        Ok(Self {
            name: name.to_owned(),
            program: program.into(),
        })
    }
}

impl ExtraSubject {
    /// Resolves the paths of the programs.
    ///
    /// # Errors
    ///
    /// A name that occurs twice, since its rows could not be distinguished; a program that cannot
    /// be found.
    pub(crate) fn found(all: &[Self]) -> Result<Vec<Self>> {
        for (place, extra) in all.iter().enumerate() {
            let twice = all
                .iter()
                .take(place)
                .any(|earlier| earlier.name == extra.name);
            ensure!(
                !twice,
                "--also names `{}` twice: give each byway a name of its own",
                extra.name
            );
        }
        let there = |extra: &Self| {
            let program = extra.program.canonicalize();
            let program = program
                .with_context(|| format!("--also {}: {}", extra.name, extra.program.display()))?;
            Ok(Self {
                name: extra.name.clone(),
                program,
            })
        };
        all.iter().map(there).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> String {
        text.parse::<ExtraSubject>().unwrap_err().to_string()
    }

    #[test]
    fn a_name_ends_at_the_first_equals_sign() {
        let extra: ExtraSubject = "guided-2=a=b/byway".parse().unwrap();
        assert_eq!(
            (extra.name.as_str(), extra.program),
            ("guided-2", PathBuf::from("a=b/byway"))
        );
    }

    #[test]
    fn a_name_that_is_no_valid_file_name_and_an_empty_name_are_refused() {
        assert_eq!(
            error_of("../up=byway"),
            "`../up` is not a valid row name: letters, digits and dashes only"
        );
        assert_eq!(
            error_of("=byway"),
            "`` is not a valid row name: letters, digits and dashes only"
        );
        assert!(error_of("a|b=byway").contains("letters, digits and dashes"));
        assert!(error_of("old/byway").starts_with("a name for its rows is missing: NAME=FILE"));
        assert!(error_of("old=").starts_with("`old` has no program"));
    }

    #[test]
    fn one_name_for_two_programs_and_a_missing_program_are_errors() {
        let all = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| text.parse().unwrap())
                .collect::<Vec<ExtraSubject>>()
        };
        let found =
            |texts: &[&str]| ExtraSubject::found(&all(texts)).map_err(|error| format!("{error:#}"));
        assert_eq!(found(&["a=/", "b=/"]).unwrap().len(), 2);
        assert!(
            found(&["a=/", "b=/", "a=/dev/null"])
                .unwrap_err()
                .contains("names `a` twice")
        );
        assert!(
            found(&["gone=/no/such/byway"])
                .unwrap_err()
                .starts_with("--also gone: /no/such/byway: ")
        );
    }
}
