//! Join: where the join string of a command comes from.
//!
//! In:    an argument, `--join-file`, the variable BYWAY_JOIN, or standard input, in this order.
//! Out:   the string, or the file that holds it; the config checks it.
//! Never: waits for a terminal unless `-` is given; reads more of standard input than
//!        [`MOST_INPUT_BYTES`].

use std::io::{self, BufRead, BufReader, IsTerminal, Read};

use clap::Args;

use crate::config::{JoinFlag, Secret};

/// The variable that may hold the join string.
const VARIABLE: &str = "BYWAY_JOIN";

/// A join string has about 100 bytes and a host name.
const MOST_INPUT_BYTES: u64 = 4 * 1024;

/// The flags of every command that joins, besides the join string itself.
#[derive(Args, Debug)]
pub(super) struct JoinArgs {
    /// A file whose first line that is not empty is the join string
    #[arg(long, value_name = "FILE")]
    join_file: Option<String>,
    /// The transport of the link. Default: auto, which is QUIC, and TLS where QUIC does not get
    /// through
    #[arg(long, value_name = "CARRIER", value_parser = ["auto", "quic", "tls"])]
    carrier: Option<String>,
}

impl JoinArgs {
    /// The join string of this command, where `given` is the argument called `name`.
    pub(super) fn find(&self, name: &'static str, given: Option<&str>) -> Result<JoinFlag, NoJoin> {
        let variable = std::env::var_os(VARIABLE).map(|value| value.to_string_lossy().into_owned());
        let input = io::stdin();
        let ways = Ways {
            given,
            name,
            file: self.join_file.as_deref(),
            variable: variable.filter(|value| !value.is_empty()),
            at_terminal: input.is_terminal(),
        };
        ways.find(input)
    }

    /// `--carrier`.
    pub(super) fn carrier(&self) -> Option<String> {
        self.carrier.clone()
    }
}

/// Why there is no join string. None of them repeats one.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoJoin {
    #[error("the join string is given twice, by {0} and by --join-file: leave one of them out")]
    Twice(&'static str),
    #[error(
        "there is no join string: give it by {0}, in --join-file FILE, in the variable {VARIABLE} or on standard input; \
         `byway serve` and `byway proxy serve` print one"
    )]
    Nowhere(&'static str),
    #[error(
        "the first line on standard input is longer than any join string: pipe in the line that the other node prints"
    )]
    TooLong,
    #[error("cannot read a join string from standard input: {0}")]
    Unreadable(#[from] io::Error),
}

/// Every way in which a join string may have been given.
struct Ways<'a> {
    given: Option<&'a str>,
    name: &'static str,
    file: Option<&'a str>,
    variable: Option<String>,
    at_terminal: bool,
}

impl Ways<'_> {
    /// The order of precedence: the argument, the file, the variable, standard input.
    fn find(self, input: impl Read) -> Result<JoinFlag, NoJoin> {
        let text = |from, text: &str| {
            Ok(JoinFlag::Text {
                from,
                text: Secret::new(text),
            })
        };
        match (self.given, self.file, &self.variable) {
            (Some(_), Some(_), _) => Err(NoJoin::Twice(self.name)),
            (Some("-"), None, _) => text("standard input", &self.first_line(input)?),
            (Some(given), None, _) => text(self.name, given),
            (None, Some(file), _) => Ok(JoinFlag::File(file.to_owned())),
            (None, None, Some(variable)) => text(VARIABLE, variable),
            (None, None, None) if self.at_terminal => Err(NoJoin::Nowhere(self.name)),
            (None, None, None) => text("standard input", &self.first_line(input)?),
        }
    }

    /// The first line that is not empty. Does not wait for the end of the input.
    fn first_line(&self, input: impl Read) -> Result<String, NoJoin> {
        let mut input = BufReader::new(input.take(MOST_INPUT_BYTES));
        let mut line = Vec::new();
        while line.trim_ascii().is_empty() {
            line.clear();
            if input.read_until(b'\n', &mut line)? == 0 {
                return Err(NoJoin::Nowhere(self.name));
            }
        }
        if !line.ends_with(b"\n") && input.get_ref().limit() == 0 {
            return Err(NoJoin::TooLong);
        }
        Ok(String::from_utf8_lossy(line.trim_ascii()).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal with nothing given.
    const NOTHING: Ways<'static> = Ways {
        given: None,
        name: "--join",
        file: None,
        variable: None,
        at_terminal: true,
    };

    fn found(ways: Ways<'_>, input: impl Read) -> Result<String, String> {
        match ways.find(input) {
            Ok(JoinFlag::Text { from, text }) => Ok(format!("{from}: {}", text.expose())),
            Ok(JoinFlag::File(file)) => Ok(format!("file {file}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Fails each read.
    struct Untouched;

    impl Read for Untouched {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("was read"))
        }
    }

    #[test]
    fn the_precedence_is_the_argument_the_file_the_variable_and_standard_input() {
        let variable = Some("v".to_owned());
        let ways = Ways {
            given: Some("a"),
            variable: variable.clone(),
            at_terminal: false,
            ..NOTHING
        };
        assert_eq!(found(ways, Untouched), Ok("--join: a".into()));
        let ways = Ways {
            file: Some("f"),
            variable: variable.clone(),
            at_terminal: false,
            ..NOTHING
        };
        assert_eq!(found(ways, Untouched), Ok("file f".into()));
        let ways = Ways {
            variable,
            at_terminal: false,
            ..NOTHING
        };
        assert_eq!(found(ways, Untouched), Ok("BYWAY_JOIN: v".into()));
        assert_eq!(
            found(
                Ways {
                    at_terminal: false,
                    ..NOTHING
                },
                &b"\n s \r\nmore"[..]
            ),
            Ok("standard input: s".into())
        );
    }

    #[test]
    fn a_dash_reads_standard_input_even_from_a_terminal() {
        let ways = Ways {
            given: Some("-"),
            variable: Some("v".to_owned()),
            ..NOTHING
        };
        assert_eq!(found(ways, &b"s\n"[..]), Ok("standard input: s".into()));
    }

    #[test]
    fn a_terminal_is_not_waited_for_and_the_error_lists_all_ways() {
        let message = "there is no join string: give it by --join, in --join-file FILE, in the variable BYWAY_JOIN or on \
                    standard input; `byway serve` and `byway proxy serve` print one";
        assert_eq!(found(NOTHING, Untouched), Err(message.into()));
        for empty in ["", "\n", " \r\n\n"] {
            assert_eq!(
                found(
                    Ways {
                        at_terminal: false,
                        ..NOTHING
                    },
                    empty.as_bytes()
                ),
                Err(message.into())
            );
        }
    }

    #[test]
    fn an_argument_with_a_file_is_an_error() {
        let ways = Ways {
            given: Some("by1.secret@h:1"),
            file: Some("f"),
            ..NOTHING
        };
        let error = found(ways, Untouched).unwrap_err();
        assert_eq!(
            error,
            "the join string is given twice, by --join and by --join-file: leave one of them out"
        );
    }

    #[test]
    fn a_line_without_an_end_is_read_for_four_kibibytes_and_refused() {
        let ways = || Ways {
            given: Some("-"),
            ..NOTHING
        };
        assert!(
            found(ways(), io::repeat(b'x'))
                .unwrap_err()
                .contains("longer than any join string")
        );
        assert!(
            found(ways(), io::repeat(b'\n'))
                .unwrap_err()
                .starts_with("there is no join string")
        );
        assert!(
            found(ways(), Untouched)
                .unwrap_err()
                .ends_with("standard input: was read")
        );
        assert_eq!(
            found(ways(), &b"no end of line"[..]),
            Ok("standard input: no end of line".into())
        );
    }

    #[test]
    fn a_pipe_that_stays_open_is_not_waited_for() {
        /// Returns one line. A second read is an error of the caller.
        struct Open(bool);
        impl Read for Open {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                assert!(
                    !std::mem::replace(&mut self.0, true),
                    "read again after the whole line"
                );
                buf[..2].copy_from_slice(b"s\n");
                Ok(2)
            }
        }
        assert_eq!(
            found(
                Ways {
                    at_terminal: false,
                    ..NOTHING
                },
                Open(false)
            ),
            Ok("standard input: s".into())
        );
    }
}
