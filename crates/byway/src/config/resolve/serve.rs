//! Serve: a `[[serve]]`, the public end of exposed services.
//!
//! In:    a `[[serve]]` as written and the `[limits]` it inherits.
//! Out:   one listener for each address where links arrive, then one for each where HTTP visitors
//!        do.
//! Never: lets two of them have one domain: a name would be ambiguous.

use std::sync::Arc;

use byway_dial::HostName;

use super::super::diagnostic::Diagnostic;
use super::super::link_plan::{LinkPlan, Serves};
use super::super::place::At;
use super::super::plan::{EdgePlan, ListenerPlan, Role};
use super::super::section::{EdgeSettings, LimitsPlan, Serve};
use super::Resolver;
use super::listen::{listeners_called, listeners_over};

impl Resolver<'_> {
    pub(super) fn serve(&mut self, serve: &At<Serve>, limits: &LimitsPlan) -> Vec<ListenerPlan> {
        let written = &serve.value;
        let binds = self.link_binds("[[serve]]", &serve.place, &written.listen);
        let visitors = written
            .http
            .as_ref()
            .map(|list| self.addresses("http", list))
            .unwrap_or_default();
        let https = self.https_binds(&written.https);
        let visitors = self.transports(visitors, https, &None);
        let domain = self.domain(written);
        let name = self.section_name(&written.name);
        if written.domain.is_some() && domain.is_none() {
            return Vec::new();
        }
        let Some(advertise) = self.advertise(&written.advertise, domain.as_ref(), &binds) else {
            return Vec::new();
        };
        let edge = EdgePlan {
            routes: Vec::new(),
            trusted_proxies: Vec::new(),
            settings: EdgeSettings {
                reject_empty_segments: false,
                hsts: None,
            },
            domain: domain.clone(),
        };
        let link = Role::Link(Arc::new(LinkPlan {
            advertise,
            serves: Serves::Services { domain },
        }));
        let mut listeners = listeners_called(name.as_ref(), binds, &link, limits);
        listeners.extend(listeners_over(
            name.as_ref(),
            visitors,
            &Role::Edge(Arc::new(edge)),
            limits,
        ));
        listeners
    }

    fn domain(&mut self, written: &Serve) -> Option<HostName> {
        match (
            written.http.as_ref().or(written.https.as_ref()),
            &written.domain,
        ) {
            (Some(http), None) => {
                let (needs, needed) = words(http.place.is_flag(), "http", "domain");
                let message = format!(
                    "`{needs}` needs `{needed}`, under which HTTP services get their names"
                );
                let help = if http.place.is_flag() {
                    "add --domain t.example.com"
                } else {
                    "add domain = \"t.example.com\""
                };
                self.note(
                    Diagnostic::new(&http.place, message)
                        .help(format!("for example, {help}"))
                        .absent(),
                );
            }
            (None, Some(domain)) => {
                let (needs, needed) = words(domain.place.is_flag(), "domain", "http");
                let message =
                    format!("`{needs}` needs `{needed}`, where visitors of HTTP services arrive");
                let help = if domain.place.is_flag() {
                    "add --http 0.0.0.0:80"
                } else {
                    "add http = \"0.0.0.0:80\""
                };
                self.note(
                    Diagnostic::new(&domain.place, message)
                        .help(format!("for example, {help}"))
                        .absent(),
                );
            }
            _ => {}
        }
        let text = written.domain.as_ref()?;
        let named = text.value.parse::<HostName>();
        let named = named.map_err(|_| {
            format!(
                "`{}` is not a host name: write one such as t.example.com",
                text.value
            )
        });
        let domain = self.checked("domain", &text.place, named)?;
        if let Some(first) = self.domains.insert(domain.clone(), text.place.clone()) {
            let message = format!(
                "the domain `{domain}` is that of another [[serve]]: names below it would be ambiguous"
            );
            self.note(Diagnostic::new(&text.place, message).earlier(&first, "first here"));
        }
        Some(domain)
    }
}

/// The two keys, or the two flags.
fn words(are_flags: bool, one: &str, other: &str) -> (String, String) {
    let dashes = if are_flags { "--" } else { "" };
    (format!("{dashes}{one}"), format!("{dashes}{other}"))
}
