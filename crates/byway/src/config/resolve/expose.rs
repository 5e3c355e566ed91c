//! Expose: an `[[expose]]`, a service of this node that is reached through another.
//!
//! In:    an `[[expose]]` as written.
//! Out:   a `ServicePlan` in the `JoinPlan` of its join string.
//! Never: exposes a name or a port twice through one join string.

use std::sync::Arc;

use byway_dial::Target;
use byway_dial::target::split_port;

use super::super::diagnostic::Diagnostic;
use super::super::link_plan::{ServiceKind, ServicePlan};
use super::super::nearest::nearest;
use super::super::place::{At, Place, Text};
use super::super::section::Expose;
use super::super::section::kind::{Count, Kind};
use super::Resolver;
use super::join::{Link, Purpose};

/// What must not be exposed twice through one grant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ServiceKey {
    Http(Arc<str>),
    Port(u16),
    Tcp(Arc<str>),
}

/// The longest DNS label (RFC 1035).
const MOST_LABEL_BYTES: usize = 63;

impl Resolver<'_> {
    pub(super) fn expose(&mut self, expose: &At<Expose>) {
        let link = self.join(
            "[[expose]]",
            &expose.place,
            &expose.value.join,
            Purpose::Services,
        );
        let service = self.service(expose, link);
        let (Some(link), Some((service, place))) = (link, service) else {
            return;
        };
        let key = match (service.kind, service.port) {
            (ServiceKind::Http, _) => ServiceKey::Http(service.name.clone()),
            (ServiceKind::Tcp, Some(port)) => ServiceKey::Port(port),
            (ServiceKind::Tcp, None) => ServiceKey::Tcp(service.name.clone()),
        };
        if let Some(first) = self.joins.expose(link, key.clone(), service, &place) {
            let (message, help) = match key {
                ServiceKey::Http(name) => (
                    format!("the HTTP service `{name}` is exposed twice through one join string"),
                    "give it another name",
                ),
                ServiceKey::Port(port) => (
                    format!("the port {port} is requested twice through one join string"),
                    "give it another port",
                ),
                ServiceKey::Tcp(name) => (
                    format!("the TCP service `{name}` is exposed twice through one join string"),
                    "give it another name, or a port",
                ),
            };
            self.note(
                Diagnostic::new(&place, message)
                    .earlier(&first, "first here")
                    .help(help),
            );
        }
    }

    /// The service, and the place to report if it is exposed twice.
    fn service(&mut self, expose: &At<Expose>, link: Option<Link>) -> Option<(ServicePlan, Place)> {
        let written = &expose.value;
        match (&written.http, &written.tcp) {
            (Some(http), None) => self.http_service(expose, http, link),
            (None, Some(tcp)) => self.tcp_service(written, tcp),
            (Some(http), Some(tcp)) => {
                let message = "this [[expose]] has both `http` and `tcp`: it exposes one service";
                let diagnostic =
                    Diagnostic::new(&tcp.place, message).earlier(&http.place, "the other one");
                self.note(
                    diagnostic.help("take one of them out, or write another [[expose]] for it"),
                );
                None
            }
            (None, None) => {
                let message = "this [[expose]] has neither `http` nor `tcp`";
                let help = "for example http = \"127.0.0.1:3000\" or tcp = \"127.0.0.1:22\"";
                self.note(Diagnostic::new(&expose.place, message).help(help).absent());
                None
            }
        }
    }

    fn http_service(
        &mut self,
        expose: &At<Expose>,
        http: &Text,
        link: Option<Link>,
    ) -> Option<(ServicePlan, Place)> {
        if let Some(port) = &expose.value.port {
            let message = "`port` goes with `tcp`: HTTP services share the port of the public end, and have a name";
            self.note(Diagnostic::new(&port.place, message).help("take it out"));
        }
        let to = self.local_target("http", http);
        let host = to
            .as_ref()
            .and_then(|to| self.service_host(&expose.value.host, to));
        if expose.value.name.is_none() && expose.place.is_flag() {
            let (to, name) = (to?, self.kept_name(http, link?));
            let service = ServicePlan {
                kind: ServiceKind::Http,
                name: name?,
                port: None,
                host,
                to,
            };
            return Some((service, expose.place.clone()));
        }
        let Some(name) = &expose.value.name else {
            let message = "this [[expose]] has no `name`, the label in front of the domain";
            self.note(
                Diagnostic::new(&expose.place, message)
                    .help("for example name = \"app\"")
                    .absent(),
            );
            return None;
        };
        let label = self.checked("name", &name.place, service_label(&name.value));
        let service = ServicePlan {
            kind: ServiceKind::Http,
            name: label?,
            port: None,
            host,
            to: to?,
        };
        Some((service, name.place.clone()))
    }

    /// The name that the state folder keeps for this target and join string.
    fn kept_name(&mut self, http: &Text, link: Link) -> Option<Arc<str>> {
        let to = self.local_target("http", http)?;
        let join = self.joins.string_of(link)?;
        let name = (self.around.name_service)(self.around.state, join, &to);
        self.checked("name", &http.place, name).map(Arc::from)
    }

    /// The Host that the service at `to` sees; none for the visitor's own.
    fn service_host(&mut self, written: &Option<Text>, to: &Target) -> Option<Arc<str>> {
        let text = written.as_ref()?;
        match text.value.as_str() {
            "keep" => None,
            "upstream" => Some(own_host(to)),
            _ => self.checked("host", &text.place, host_field(&text.value)),
        }
    }

    fn tcp_service(&mut self, written: &Expose, tcp: &Text) -> Option<(ServicePlan, Place)> {
        if let Some(host) = &written.host {
            let message = "`host` goes with `http`: the bytes of a TCP service are not inspected";
            self.note(Diagnostic::new(&host.place, message).help("take it out"));
        }
        let to = self.local_target("tcp", tcp);
        let port = Count::value(self, "port", &written.port, 1..=65_535);
        let name = self.label("name", &written.name);
        let place = written.port.as_ref().map(|port| &port.place);
        let place = place
            .or_else(|| name.as_ref().map(|name| &name.place))
            .unwrap_or(&tcp.place)
            .clone();
        let to = to?;
        let name = name.map_or_else(|| to.to_string().into(), |name| name.value.into());
        Some((
            ServicePlan {
                kind: ServiceKind::Tcp,
                name,
                port,
                host: None,
                to,
            },
            place,
        ))
    }

    fn local_target(&mut self, key: &str, text: &Text) -> Option<Target> {
        let shown = text.place.key_or_flag(key);
        if let Some((scheme, rest)) = text.value.split_once("://") {
            let rest = rest.trim_end_matches('/');
            if key == "http" && scheme.eq_ignore_ascii_case("http") && !rest.contains('/') {
                let with_port = if split_port(rest).1.is_some() {
                    rest.to_owned()
                } else {
                    format!("{rest}:80")
                };
                return self.target(key, &At::new(with_port, text.place.clone()));
            }
            let (message, help) = match (key, scheme.to_ascii_lowercase().as_str()) {
                ("http", "http") => {
                    let place = rest.split('/').next().unwrap_or_default();
                    let message = format!(
                        "`{shown}`: a service is exposed whole, so its target takes no path"
                    );
                    (message, format!("write {place:?}"))
                }
                ("http", "https") => {
                    let message = format!(
                        "`{shown}`: an HTTP service is reached in plain HTTP here, not by TLS"
                    );
                    (
                        message,
                        "name its plain HTTP port, or expose the TLS port as a TCP service"
                            .to_owned(),
                    )
                }
                _ => {
                    let message = format!(
                        "`{shown}`: the target of a service is an address, so it takes no `{scheme}://`"
                    );
                    (message, format!("write {rest:?}, with its port"))
                }
            };
            self.note(Diagnostic::new(&text.place, message).help(help));
            return None;
        }
        if let Ok(port) = text.value.parse::<u16>() {
            let message = format!("`{shown}`: `{port}` is a port alone: write 127.0.0.1:{port}");
            self.note(Diagnostic::new(&text.place, message));
            return None;
        }
        self.target(key, text)
    }
}

/// The Host of the target itself: without the port of HTTP, and `localhost` for a Unix socket.
fn own_host(to: &Target) -> Arc<str> {
    let whole = to.to_string();
    match to {
        Target::Unix(_) => "localhost".into(),
        _ => whole.strip_suffix(":80").unwrap_or(&whole).into(),
    }
}

/// `NAME`, `NAME:PORT` or an address.
fn host_field(text: &str) -> Result<Arc<str>, String> {
    let near = nearest(text, ["keep", "upstream"]);
    let help = "write \"keep\", \"upstream\", or a name such as app.test";
    if let Some(near) = near.filter(|_| !text.contains(['.', ':'])) {
        return Err(format!(
            "`{text}` is unknown: did you mean \"{near}\"? Otherwise {help}"
        ));
    }
    let with_port = if split_port(text).1.is_some() {
        text.to_owned()
    } else {
        format!("{text}:80")
    };
    match with_port.parse::<Target>() {
        Ok(Target::Addr(_) | Target::Host { .. }) => Ok(text.into()),
        Ok(Target::Unix(_)) | Err(_) => {
            Err(format!("`{text}` is not valid in a Host field: {help}"))
        }
    }
}

/// The label in front of the domain, in lower case.
fn service_label(text: &str) -> Result<Arc<str>, String> {
    let label = text.to_ascii_lowercase();
    let fits = (1..=MOST_LABEL_BYTES).contains(&label.len())
        && label
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !label.starts_with('-')
        && !label.ends_with('-');
    match fits {
        true => Ok(label.into()),
        false => Err(format!(
            "`{text}` is not a label of a domain name: write 1 to {MOST_LABEL_BYTES} of a-z, 0-9 and -, not at its ends"
        )),
    }
}
