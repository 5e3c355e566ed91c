//! Observed: `[log]` and `[metrics]`.
//!
//! In:    the two tables as written.
//! Out:   the `LogPlan`; one listener for each address of the metrics.
//! Never: opens a file: the start of the node checks that it can be written.

use super::super::diagnostic::Diagnostic;
use super::super::file::{Log, Metrics};
use super::super::plan::{AccessFormat, AccessPlace, LimitsPlan, ListenerPlan, LogPlan, Role};
use super::Resolver;
use super::listen::listeners_called;

impl Resolver<'_> {
    pub(super) fn log(&mut self, written: &Log) -> LogPlan {
        let access = match &written.access {
            None => AccessPlace::Off,
            Some(text) => match text.value.as_str() {
                "off" => AccessPlace::Off,
                "stdout" => AccessPlace::Stdout,
                "" => {
                    let key = text.place.key_or_flag("log.access");
                    let message = format!("`{key}` is empty: write \"off\", \"stdout\" or a path");
                    self.note(Diagnostic::new(&text.place, message));
                    AccessPlace::Off
                }
                path => AccessPlace::File(self.path(path)),
            },
        };
        let formats = [
            ("combined", AccessFormat::Combined),
            ("json", AccessFormat::Json),
        ];
        let key = written
            .access_format
            .as_ref()
            .map_or("", |text| text.place.key_or_flag("log.access_format"));
        LogPlan {
            access,
            format: self.one_of(
                key,
                &written.access_format,
                &formats,
                AccessFormat::Combined,
            ),
        }
    }

    pub(super) fn metrics(&mut self, written: &Metrics, limits: &LimitsPlan) -> Vec<ListenerPlan> {
        let Some(listen) = &written.listen else {
            return Vec::new();
        };
        let binds = self.addresses("metrics.listen", listen);
        listeners_called(None, binds, &Role::Metrics, limits)
    }
}
