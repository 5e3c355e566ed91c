//! Extra subject: another byway beside the one under test, by the name of its rows.
//!
//! In:    `NAME=FILE` of the command line.
//! Out:   a name that may stand in a table and in a file's name, and the program.
//! Never: two of one name.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Error, Result, ensure};

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExtraSubject {
    /// Its rows are `byway edge, NAME`, its files are named by it.
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
            "`{name}` is no name for a row: letters, digits and dashes only"
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
    /// The same with programs that are there.
    ///
    /// # Errors
    ///
    /// A name that comes twice, since its rows could not be told apart; a program that cannot be
    /// found.
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

    fn said(text: &str) -> String {
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
    fn a_name_that_could_be_no_file_name_is_refused_and_so_is_none() {
        assert_eq!(
            said("../up=byway"),
            "`../up` is no name for a row: letters, digits and dashes only"
        );
        assert_eq!(
            said("=byway"),
            "`` is no name for a row: letters, digits and dashes only"
        );
        assert!(said("a|b=byway").contains("letters, digits and dashes"));
        assert!(said("old/byway").starts_with("a name for its rows is missing: NAME=FILE"));
        assert!(said("old=").starts_with("`old` has no program"));
    }

    #[test]
    fn one_name_for_two_programs_is_an_error_and_so_is_a_program_that_is_not_there() {
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
