//! Edge: the routes of an `[[edge]]`.
//!
//! In:    an `[[edge]]` as written and the `[limits]` it inherits.
//! Out:   its listeners, which share one `EdgePlan`.
//! Never: accepts a route that is never reached because an earlier one has the same hosts and path.

use std::collections::HashMap;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::super::bind::Bind;
use super::super::diagnostic::Diagnostic;
use super::super::host_pattern::HostPattern;
use super::super::place::{At, Place, Text};
use super::super::plan::{EdgePlan, ListenerPlan, Role, RouteId, RoutePlan, UpstreamPlan};
use super::super::section::kind::{Form, Kind, OrNone};
use super::super::section::{Edge, Http2Mode, LimitsPlan, Route, RouteSettings};
use super::super::tls_plan::UpstreamTlsPlan;
use super::super::units::ByteSize;
use super::Resolver;
use super::listen::listeners_over;
use super::upstream::parse_upstream;

/// A larger compiled pattern is a mistake, or an attempt to fill the memory.
const MOST_REGEX_BYTES: usize = 1 << 20;

impl Resolver<'_> {
    pub(super) fn edge(&mut self, edge: &At<Edge>, limits: &LimitsPlan) -> Vec<ListenerPlan> {
        let written = &edge.value;
        let plain = self.plain_binds("[[edge]]", &edge.place, &written.listen, &written.https);
        let https = self.https_binds(&written.https);
        let binds = [plain.clone(), https.clone()].concat();
        let max_body = self.max_body(&written.max_body, limits.max_body);
        let routes = self.routes(edge, &binds, max_body);
        let trusted_proxies = self.networks("trusted_proxies", &written.trusted_proxies);
        let plan = EdgePlan {
            routes,
            trusted_proxies,
            settings: written.resolve(self, ""),
            domain: None,
        };
        let role = Role::Edge(Arc::new(plan));
        let limits = LimitsPlan {
            max_body,
            ..limits.clone()
        };
        let name = self.section_name(&written.name);
        let binds = self.transports(plain, https, &written.redirect_to_https);
        listeners_over(name.as_ref(), binds, &role, &limits)
    }

    fn routes(
        &mut self,
        edge: &At<Edge>,
        binds: &[At<Bind>],
        max_body: Option<u64>,
    ) -> Vec<Arc<RoutePlan>> {
        if edge.value.route.is_empty() {
            let diagnostic = Diagnostic::new(&edge.place, "this [[edge]] has no [[edge.route]]");
            self.note(
                diagnostic
                    .help("add one: [[edge.route]] with to = \"127.0.0.1:3000\"")
                    .absent(),
            );
        }
        let before = binds.first().map_or(0, |bind| {
            let edges = self.edges.entry(bind.value.clone()).or_default();
            *edges += 1;
            *edges - 1
        });
        let mut seen = Seen::default();
        let mut routes = Vec::with_capacity(edge.value.route.len());
        for route in &edge.value.route {
            let noted = self.diagnostics.len();
            let plan = self.route(route, binds, before, max_body);
            // Without their refused patterns, different routes would look equal.
            if self.diagnostics.len() == noted {
                self.refuse_repeated(route, &plan, &mut seen);
            }
            routes.push(Arc::new(plan));
        }
        routes
    }

    /// `before`: how many sections that begin with the same address come before this one.
    fn route(
        &mut self,
        route: &At<Route>,
        binds: &[At<Bind>],
        before: usize,
        max_body: Option<u64>,
    ) -> RoutePlan {
        let written = &route.value;
        let hosts: Vec<HostPattern> = self.all_parsed("hosts", &written.hosts);
        let path = written.path.as_ref().and_then(|text| self.pattern(text));
        let name = self.label("name", &written.name).map(|name| name.value);
        let name = name.unwrap_or_else(|| derived_route_name(&hosts, path.as_ref()));
        if let Some(hosts) = written
            .hosts
            .as_ref()
            .filter(|hosts| hosts.value.is_empty())
        {
            self.note(Diagnostic::new(
                &hosts.place,
                "`hosts` is empty: leave it out to match every host",
            ));
        }
        if let Some(clients) = written
            .clients
            .as_ref()
            .filter(|clients| clients.value.is_empty())
        {
            self.note(Diagnostic::new(
                &clients.place,
                "`clients` is empty: leave it out to let every client use the route",
            ));
        }
        let settings = written.resolve(self, "");
        let place = written
            .path
            .as_ref()
            .map_or(&route.place, |path| &path.place);
        RoutePlan {
            line: self.line(place),
            id: RouteId::new(binds.first().map(|bind| &bind.value), before, &name),
            name: name.into(),
            hosts,
            path,
            clients: self.client_patterns("clients", &written.clients),
            upstreams: self.upstreams(route, binds, &settings),
            settings,
            max_body: self.max_body(&written.max_body, max_body),
        }
    }

    /// The longest request body; `inherited` if nothing is written.
    fn max_body(&mut self, written: &Option<Text>, inherited: Option<u64>) -> Option<u64> {
        type Longest = OrNone<ByteSize>;
        Longest::resolve(self, "max_body", written, Longest::ANY, inherited)
    }

    fn pattern(&mut self, text: &Text) -> Option<Regex> {
        let compiled = RegexBuilder::new(&text.value)
            .size_limit(MOST_REGEX_BYTES)
            .build();
        let result = compiled
            .map_err(|error| format!("not a valid regular expression: {}", regex_problem(&error)));
        self.checked("path", &text.place, result)
    }

    fn upstreams(
        &mut self,
        route: &At<Route>,
        binds: &[At<Bind>],
        settings: &RouteSettings,
    ) -> Vec<Arc<UpstreamPlan>> {
        let Some(to) = &route.value.to else {
            let diagnostic = Diagnostic::new(&route.place, "this route has no `to`");
            self.note(
                diagnostic
                    .help("for example to = \"127.0.0.1:3000\"")
                    .absent(),
            );
            return Vec::new();
        };
        if to.value.is_empty() {
            let key = to.place.key_or_flag("to");
            let message =
                format!("`{key}` is empty: name at least one upstream, such as 127.0.0.1:3000");
            self.note(Diagnostic::new(&to.place, message));
        }
        let options = self.upstream_tls(&route.value.tls).map(Arc::new);
        let upstreams: Vec<Arc<UpstreamPlan>> = to
            .value
            .iter()
            .filter_map(|text| self.upstream(text, binds, options.as_ref(), settings.h2))
            .collect();
        if options.is_some() && !upstreams.iter().any(|upstream| upstream.tls) {
            let message = "[edge.route.tls] needs an upstream that speaks TLS";
            let help = "write to = \"https://…\"";
            self.note(Diagnostic::new(&to.place, message).help(help));
        }
        if settings.h2 == Http2Mode::Auto && !upstreams.iter().any(|upstream| upstream.tls) {
            let message = "h2 = \"auto\" needs an upstream that speaks TLS, which chooses by ALPN";
            let help = "write h2 = true if it speaks HTTP/2 without TLS, or to = \"https://…\"";
            self.note(Diagnostic::new(&to.place, message).help(help));
        }
        upstreams
    }

    /// The upstream of `text`: one `Arc` for all with the same id.
    fn upstream(
        &mut self,
        text: &Text,
        binds: &[At<Bind>],
        options: Option<&Arc<UpstreamTlsPlan>>,
        http2: Http2Mode,
    ) -> Option<Arc<UpstreamPlan>> {
        if text.value.contains(',') {
            let message = format!("`{}` holds a comma: one `to` is one upstream", text.value);
            let help = match text.place.is_flag() {
                true => "give --to once for each upstream",
                false => "write a list: to = [\"127.0.0.1:9001\", \"127.0.0.1:9002\"]",
            };
            self.note(Diagnostic::new(&text.place, message).help(help));
            return None;
        }
        let mut upstream = self.checked("to", &text.place, parse_upstream(&text.value))?;
        if let Some(options) = options.filter(|_| upstream.tls) {
            upstream.id = format!("{} ({options})", upstream.url).into();
            upstream.options = Some(Arc::clone(options));
        }
        upstream.http2 = match (http2, upstream.tls) {
            (Http2Mode::Auto, false) => Http2Mode::Never,
            (http2, _) => http2,
        };
        match upstream.http2 {
            Http2Mode::Never => {}
            Http2Mode::Always => upstream.id = format!("{} (h2)", upstream.id).into(),
            Http2Mode::Auto => upstream.id = format!("{} (h2 auto)", upstream.id).into(),
        }
        self.refuse_loop("to", &text.place, binds, &upstream.target);
        let id = upstream.id.clone();
        Some(
            self.upstreams
                .entry(id)
                .or_insert_with(|| Arc::new(upstream))
                .clone(),
        )
    }

    fn refuse_repeated(&mut self, route: &At<Route>, plan: &RoutePlan, seen: &mut Seen) {
        if let Some(first) = seen.matches.get(&match_key(plan)) {
            let message = "this route is never reached: an earlier one has the same hosts and path";
            let diagnostic =
                Diagnostic::new(&route.place, message).earlier(first, "the earlier one");
            self.note(
                diagnostic
                    .help("give it other hosts or another path, or take it out")
                    .absent(),
            );
            return;
        }
        seen.matches.insert(match_key(plan), route.place.clone());
        let place = route
            .value
            .name
            .as_ref()
            .map_or(&route.place, |name| &name.place);
        if let Some(first) = seen.names.insert(plan.name.clone(), place.clone()) {
            let message = format!(
                "the name `{}` is taken by another route of this edge",
                plan.name
            );
            self.note(Diagnostic::new(place, message).earlier(&first, "first here"));
        }
    }
}

/// The routes of one edge so far.
#[derive(Default)]
struct Seen {
    names: HashMap<Arc<str>, Place>,
    matches: HashMap<(Vec<HostPattern>, Option<String>), Place>,
}

fn match_key(plan: &RoutePlan) -> (Vec<HostPattern>, Option<String>) {
    let mut hosts = plan.hosts.clone();
    hosts.sort();
    (
        hosts,
        plan.path.as_ref().map(|path| path.as_str().to_owned()),
    )
}

/// The name of a route without one: what it matches, which does not change when other routes are
/// added or removed.
pub(in super::super) fn derived_route_name(hosts: &[HostPattern], path: Option<&Regex>) -> String {
    let hosts: Vec<String> = hosts.iter().map(HostPattern::to_string).collect();
    match (hosts.is_empty(), path) {
        (true, None) => "*".to_owned(),
        (true, Some(path)) => path.as_str().to_owned(),
        (false, None) => hosts.join(","),
        (false, Some(path)) => format!("{} {}", hosts.join(","), path.as_str()),
    }
}

/// The regex crate draws its own caret over several lines; the last one is the message.
fn regex_problem(error: &regex::Error) -> String {
    if let regex::Error::CompiledTooBig(_) = error {
        return "it is too large when compiled; use fewer or smaller repetitions".to_owned();
    }
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}
