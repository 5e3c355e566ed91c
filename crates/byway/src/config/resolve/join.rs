//! Join: the join string of a section, and its link.
//!
//! In:    `join`, `join_file` and `carrier` of an `[[expose]]` or a `[[proxy]]`.
//! Out:   one `JoinPlan` for all sections that share a join string and a carrier.
//! Never: repeats a join string in an error.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use byway_dial::Target;
use byway_link::{GrantId, JoinString};

use super::super::diagnostic::Diagnostic;
use super::super::link_plan::{JoinPlan, ServicePlan};
use super::super::place::{At, Place};
use super::super::secret::Secret;
use super::super::section::kind::{Kind, OneOf};
use super::super::section::{CarrierChoice, Egress, Join};
use super::Resolver;
use super::expose::ServiceKey;

/// Every link so far.
#[derive(Default)]
pub(super) struct Joins {
    joined: Vec<JoinEntry>,
    /// What is exposed through each grant, over any carrier.
    exposed: HashMap<(Grant, ServiceKey), Place>,
}

/// A grant of a node: the parts of a join string that are not secret.
type Grant = (Target, GrantId);

struct JoinEntry {
    plan: JoinPlan,
    purpose: Purpose,
    place: Place,
}

/// What a link is for: the node that it leads to offers one of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A `[[proxy]]` goes out through it.
    Desk,
    /// An `[[expose]]` is reached through it.
    Services,
}

/// An index into [`Joins`].
#[derive(Clone, Copy)]
pub(super) struct Link(usize);

impl Joins {
    /// The join string of a link.
    pub(super) fn string_of(&self, link: Link) -> Option<&JoinString> {
        self.joined.get(link.0).map(|joined| &joined.plan.join)
    }

    pub(super) fn into_plans(self) -> Vec<Arc<JoinPlan>> {
        self.joined
            .into_iter()
            .map(|joined| Arc::new(joined.plan))
            .collect()
    }

    /// Adds a service. Returns the place of an earlier one with the same key, if there is one.
    pub(super) fn expose(
        &mut self,
        link: Link,
        key: ServiceKey,
        service: ServicePlan,
        place: &Place,
    ) -> Option<Place> {
        let plan = &mut self.joined.get_mut(link.0)?.plan;
        plan.services.push(service);
        self.exposed.insert((grant(&plan.join), key), place.clone())
    }
}

impl Resolver<'_> {
    /// The id of the link that a `[[proxy]]` goes out through, if it does.
    pub(super) fn desk(&mut self, egress: &At<Egress>) -> Option<Arc<str>> {
        let written = &egress.value.join;
        match (&written.join, &written.join_file, &written.carrier) {
            (None, None, None) => return None,
            (None, None, Some(carrier)) => {
                let message = "`carrier` needs `join` or `join_file`: without a link there is nothing to carry";
                let diagnostic = Diagnostic::new(&carrier.place, message);
                self.note(
                    diagnostic
                        .help("take it out, or add join_file = \"…\"")
                        .absent(),
                );
                return None;
            }
            _ => {}
        }
        let Link(index) = self.join("[[proxy]]", &egress.place, written, Purpose::Desk)?;
        self.joins
            .joined
            .get(index)
            .map(|joined| joined.plan.id.clone())
    }

    /// The link of a section.
    pub(super) fn join(
        &mut self,
        section: &str,
        place: &Place,
        written: &Join,
        purpose: Purpose,
    ) -> Option<Link> {
        let carrier = OneOf::resolve(self, "carrier", &written.carrier, (), CarrierChoice::Auto);
        let (key, place, secret, file) = match (&written.join, &written.join_file) {
            (Some(join), None) => ("join", &join.place, join.value.clone(), None),
            (None, Some(file)) => {
                let (secret, path) = self.join_file(file)?;
                ("join_file", &file.place, secret, Some(path))
            }
            (Some(join), Some(file)) => {
                let message = format!("this {section} has both `join` and `join_file`");
                let diagnostic =
                    Diagnostic::new(&file.place, message).earlier(&join.place, "the join string");
                self.note(diagnostic.help("take one of them out"));
                return None;
            }
            (None, None) => {
                let message = format!("this {section} has neither `join` nor `join_file`");
                let help = "add join_file = \"…\", or join = \"…\", with the line that `byway serve` prints";
                self.note(Diagnostic::new(place, message).help(help).absent());
                return None;
            }
        };
        let join = self.checked(key, place, read_join(&secret))?;
        let plan = JoinPlan {
            id: id(&join, carrier),
            join,
            file,
            carrier,
            services: Vec::new(),
        };
        self.link_to(plan, purpose, place)
    }

    /// The join string in a file.
    fn join_file(&mut self, file: &At<String>) -> Option<(Secret, PathBuf)> {
        if file.value.trim_start().starts_with("by1.") {
            let key = file.place.key_or_flag("join_file");
            let message = format!("`{key}` holds a join string, not the name of a file");
            let help = if file.place.is_flag() {
                "give it as --join"
            } else {
                "write it in `join`"
            };
            self.note(Diagnostic::new(&file.place, message).help(help));
            return None;
        }
        let path = self.path(&file.value);
        let line = self
            .first_line(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()));
        let line = self.checked("join_file", &file.place, line)?;
        Some((Secret::new(&line), path))
    }

    /// The first line of a file that is not empty.
    pub(super) fn first_line(&self, path: &Path) -> io::Result<String> {
        let text = self.read_file(path)?;
        Ok(text
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default()
            .to_owned())
    }

    /// The link of `plan`: the existing one, if an earlier section has the same.
    fn link_to(&mut self, plan: JoinPlan, purpose: Purpose, place: &Place) -> Option<Link> {
        let same_grant = |joined: &&JoinEntry| grant(&joined.plan.join) == grant(&plan.join);
        if let Some(earlier) = self.joins.joined.iter().find(same_grant) {
            let wrong = if earlier.plan.join != plan.join {
                Some((
                    "this join string and an earlier one are of the same grant, and differ",
                    "one of them is old: copy the one that the other node prints now to both places",
                ))
            } else if earlier.purpose != purpose {
                Some((
                    "one join string is used by a [[proxy]] and by an [[expose]]",
                    "a [[proxy]] takes what `byway proxy serve` prints, an [[expose]] what `byway serve` prints",
                ))
            } else {
                None
            };
            if let Some((message, help)) = wrong {
                let diagnostic =
                    Diagnostic::new(place, message).earlier(&earlier.place, "the earlier one");
                self.note(diagnostic.help(help));
                return None;
            }
        }
        let known = self
            .joins
            .joined
            .iter()
            .position(|joined| joined.plan.id == plan.id);
        let index = known.unwrap_or(self.joins.joined.len());
        if known.is_none() {
            self.joins.joined.push(JoinEntry {
                plan,
                purpose,
                place: place.clone(),
            });
        }
        Some(Link(index))
    }
}

/// `***` is what the effective Plan prints; it holds no join string.
fn read_join(secret: &Secret) -> Result<JoinString, String> {
    match secret.expose() {
        "***" => Err(
            "`***` is a hidden join string: write the string itself, or use `join_file`".to_owned(),
        ),
        text => text
            .parse::<JoinString>()
            .map_err(|error| error.to_string()),
    }
}

fn grant(join: &JoinString) -> Grant {
    (join.address.clone(), join.id)
}

/// See [`JoinPlan::id`].
fn id(join: &JoinString, carrier: CarrierChoice) -> Arc<str> {
    let chosen = match carrier {
        CarrierChoice::Auto => "",
        CarrierChoice::Quic => "quic ",
        CarrierChoice::Tls => "tls ",
    };
    format!("{chosen}{} grant {}", join.address, join.id).into()
}
