//! `[log]`.

use std::path::PathBuf;

use super::description::{Shape, quoted};
use super::kind::Read;
use super::prelude::*;
use crate::config::diagnostic::Diagnostic;
use crate::config::place::Text;

keys! {
    /// What is logged of each request.
    ///
    /// A reload applies it. SIGUSR1 opens a file again by its name, after a rename.
    pub struct Log {} => LogPlan {
        /// Where a line for each request goes, once it has ended.
        ///
        /// Access logs hold personal data, and a file without rotation fills a disk: both need a
        /// decision of the operator. Errors are in the log on stderr either way.
        access: AccessPlace => AccessPlace = AccessPlace::Off;
        /// The format of a line.
        ///
        /// `"combined"` is as Apache and nginx write it, `"json"` is one object a line, with times
        /// and reasons.
        access_format: OneOf<AccessFormat> => AccessFormat = AccessFormat::Combined;
    }
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessPlace {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to this file.
    File(PathBuf),
}

forms! {
    AccessPlace: Option<Text>, text,
        &'static str = "`\"off\"`, `\"stdout\"` or a path (`\"./off\"` for a file of that name)",
        Shape::Text;
}

impl Kind<Self> for AccessPlace {
    fn value(
        resolver: &mut Resolver<'_>,
        key: &str,
        written: &Self::Written,
        _: Self::Range,
    ) -> Option<Self> {
        let text = written.as_ref()?;
        match text.value.as_str() {
            "off" => Some(Self::Off),
            "stdout" => Some(Self::Stdout),
            "" => {
                let key = text.place.key_or_flag(key);
                let message = format!("`{key}` is empty: write \"off\", \"stdout\" or a path");
                resolver.note(Diagnostic::new(&text.place, message));
                None
            }
            path => Some(Self::File(resolver.path(path))),
        }
    }

    fn print(value: &Self) -> Option<String> {
        Some(match value {
            Self::Off => quoted("off"),
            Self::Stdout => quoted("stdout"),
            Self::File(path) => quoted(path.display()),
        })
    }
}

/// The format of a line of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// As Apache and nginx write it.
    Combined,
    /// One JSON object.
    Json,
}

impl Words for AccessFormat {
    const WORDS: &'static [(&'static str, Self)] =
        &[("combined", Self::Combined), ("json", Self::Json)];
}
