//! Explain: what each listener of a Plan would do with a request, and why. Uses the same code as
//! live traffic.
//!
//! In:    a Plan and a question (URL, user, client certificate).
//! Out:   for each listener: the route or rule, the verdict, the addresses that a name resolves to
//!        here, and the response in each protocol.
//! Never: opens a connection, or decides by itself: it calls `policy::decide` and the dialler's own
//!        check.

use std::fmt::Write;
use std::sync::Arc;

use byway_dial::target::split_port;
use byway_dial::{BadTarget, Dialler, Target};
use byway_tls::ClientIdentity;

use crate::config::{EdgePlan, EgressPlan, ListenerPlan, Plan, Role, Serves, Transport};
use crate::exchange::path;
use crate::fault::{Fault, Reason, Who};
use crate::inbound::credentials;
use crate::outbound::engine;
use crate::route::{Allowed, Ask, Inquiry, Outbound, policy};
use crate::tls;

/// The request in question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    url: String,
    host: String,
    /// The path of a URL; `None` for `host:port`.
    path: Option<String>,
    target: Target,
    user: Option<String>,
    client: Option<ClientIdentity>,
}

impl Question {
    /// From `scheme://host[:port][/path]` or `host:port`.
    ///
    /// # Errors
    /// What is wrong with the host or the port.
    pub fn parse(url: &str, user: Option<&str>) -> Result<Self, BadTarget> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let cut = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(cut);
        let path = match tail.split(['?', '#']).next().unwrap_or_default() {
            "" if scheme.is_empty() => None,
            "" => Some("/".to_owned()),
            path => Some(path.to_owned()),
        };
        let port = match scheme.to_ascii_lowercase().as_str() {
            "https" | "wss" => Some(443),
            "http" | "ws" => Some(80),
            _ => None,
        };
        let target = match (authority.parse::<Target>(), port) {
            // An IPv6 address without brackets is not followed by a port, either.
            (Err(BadTarget::NoPort(_)), Some(port)) if split_port(authority).1.is_none() => {
                Target::from_host(authority, port)?
            }
            (parsed, _) => parsed?,
        };
        Ok(Self {
            url: url.to_owned(),
            host: split_port(authority).0.to_owned(),
            path,
            target,
            user: user.map(str::to_owned),
            client: None,
        })
    }

    /// The same, of a client that has presented a certificate.
    pub fn of_client(self, client: ClientIdentity) -> Self {
        Self {
            client: Some(client),
            ..self
        }
    }
}

/// One paragraph per listener.
pub fn explain(plan: Plan, question: &Question) -> String {
    let plan = Arc::new(plan);
    let mut text = format!("{}\n", question.url);
    for listener in &plan.listeners {
        let verdict = match &listener.frontend.role {
            Role::Edge(edge) => explain_edge(&plan, listener, edge, question),
            Role::Egress(egress) => explain_proxy(&plan, listener, egress, question),
            Role::Forward(forward) => format!("  every connection goes to {}\n", forward.to),
            Role::Link(link) => match &link.serves {
                // A desk does not tell an exit who its user is.
                Serves::Exit(_) => explain_egress(&plan, listener, question, None),
                Serves::Services { .. } => {
                    "  accepts links of agents, and no requests\n".to_owned()
                }
            },
            Role::Metrics => "  serves GET /metrics and GET /healthz only\n".to_owned(),
            Role::PublicPort(_) | Role::Agent(_) => String::new(),
        };
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "\n{} on {}\n{}{verdict}",
            role_name(&listener.frontend.role),
            listener.bind,
            transport(&plan, listener, &question.host)
        );
    }
    text
}

/// What a client gets before its request is looked at: the certificate for `host`, or a redirect.
fn transport(plan: &Plan, listener: &ListenerPlan, host: &str) -> String {
    match &listener.frontend.transport {
        Transport::Plain => String::new(),
        Transport::Redirect(https) => {
            format!("  redirected to the HTTPS listener on {https}, where:\n")
        }
        Transport::Tls => match tls::certificate_for(&plan.tls, host) {
            Ok(Some(file)) => format!("  over TLS, with the certificate {}\n", file.display()),
            Ok(None) => "  over TLS, and there is no certificate for it\n".to_owned(),
            Err(error) => format!("  over TLS, but: {error}\n"),
        },
    }
}

fn role_name(role: &Role) -> &'static str {
    match role {
        Role::Edge(_) => "edge",
        Role::Egress(_) => "proxy",
        Role::Forward(_) => "tcp",
        Role::Link(link) => link.serves.word(),
        Role::PublicPort(_) => "tcp",
        Role::Metrics => "metrics",
        Role::Agent(_) => "link",
    }
}

fn inquiry<'a>(
    plan: &'a Arc<Plan>,
    listener: &'a ListenerPlan,
    user: Option<&'a Arc<str>>,
    client: Option<&'a ClientIdentity>,
    own: &'a Arc<[std::net::SocketAddr]>,
    ask: Ask<'a>,
) -> Inquiry<'a> {
    Inquiry {
        plan,
        role: &listener.frontend.role,
        peer: None,
        user,
        // Without TLS there is no certificate.
        client: client.filter(|_| listener.frontend.transport != Transport::Plain),
        own,
        ask,
    }
}

fn explain_edge(
    plan: &Arc<Plan>,
    listener: &ListenerPlan,
    edge: &EdgePlan,
    question: &Question,
) -> String {
    let Some(path) = &question.path else {
        return format!(
            "  serves requests with a path: explain http://{}/ instead\n",
            question.url
        );
    };
    let own = Arc::from([]);
    let decided =
        path::canonical(path.as_bytes(), edge.settings.reject_empty_segments).and_then(|path| {
            let ask = Ask::Request {
                host: &question.host,
                path: &path,
            };
            policy::decide(&inquiry(
                plan,
                listener,
                None,
                question.client.as_ref(),
                &own,
                ask,
            ))
        });
    match decided {
        Err(fault) => refusal(&fault),
        Ok(allowed) => {
            let mut text = format!("  allowed by {}\n", allowed.because());
            match allowed.outbound() {
                Outbound::Service(name) => {
                    let _ = writeln!(
                        text,
                        "  sent to the agent that exposes the {name}, if there is one"
                    );
                }
                Outbound::Pooled(route) => {
                    for upstream in &route.upstreams {
                        let _ = writeln!(text, "  sent to {} (round robin)", upstream.id);
                    }
                }
                Outbound::Direct(_) | Outbound::Via(..) | Outbound::Exit(..) => {}
            }
            text
        }
    }
}

fn explain_proxy(
    plan: &Arc<Plan>,
    listener: &ListenerPlan,
    egress: &EgressPlan,
    question: &Question,
) -> String {
    match credentials::with_correct_password(egress, question.user.as_deref()) {
        Err(fault) => refusal(&fault),
        Ok(user) => explain_egress(plan, listener, question, user.as_ref()),
    }
}

fn explain_egress(
    plan: &Arc<Plan>,
    listener: &ListenerPlan,
    question: &Question,
    user: Option<&Arc<str>>,
) -> String {
    let own = own_addresses(plan);
    let ask = Ask::Target(&question.target);
    match policy::decide(&inquiry(
        plan,
        listener,
        user,
        question.client.as_ref(),
        &own,
        ask,
    )) {
        Err(fault) => refusal(&fault),
        Ok(allowed) => {
            let way = way_out(plan, &allowed);
            match way {
                Ok(way) => format!("  allowed by {}\n{way}", allowed.because()),
                Err(fault) => format!(
                    "  the name is allowed by {}, but:\n{}",
                    allowed.because(),
                    refusal(&fault)
                ),
            }
        }
    }
}

/// Where an allowed stream would be opened. A name is resolved and every address checked, as the
/// dialler does.
fn way_out(plan: &Plan, allowed: &Allowed) -> Result<String, Fault> {
    match allowed.outbound() {
        Outbound::Via(parent, target) => Ok(format!("  {target} is sent to the parent {parent}\n")),
        Outbound::Pooled(_) | Outbound::Service(_) => Ok(String::new()),
        Outbound::Exit(link, target) => Ok(format!(
            "  {target} is sent unresolved to the exit at {link}, which resolves it and applies its own rules\n"
        )),
        Outbound::Direct(target) => {
            let addresses = checked_addresses(plan, target, allowed)?;
            Ok(addresses
                .iter()
                .map(|address| format!("  {target} is dialled at {address}\n"))
                .collect())
        }
    }
}

fn checked_addresses(
    plan: &Plan,
    target: &Target,
    allowed: &Allowed,
) -> Result<Vec<String>, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::new(Who::Us, Reason::Internal, format!("no runtime: {error}")))?;
    let resolver = engine::resolver(plan, runtime.handle());
    let dialler: Dialler = engine::dialler(plan, resolver).on_behalf_of(allowed.client().clone());
    let checked = runtime.block_on(dialler.addresses(target, allowed.rules()));
    let checked = checked.map_err(|error| Fault::dialling(target, error))?;
    Ok(checked
        .iter()
        .map(|address| address.addr().to_string())
        .collect())
}

/// The addresses that the node would listen on, as far as the Plan fixes their ports.
fn own_addresses(plan: &Plan) -> Arc<[std::net::SocketAddr]> {
    plan.listeners
        .iter()
        .filter_map(|listener| listener.bind.tcp())
        .collect()
}

fn refusal(fault: &Fault) -> String {
    let answer = fault.answer();
    let socks5 = match fault.reason {
        // Before there is a request to reply to.
        Reason::Unauthorized => "login refused".to_owned(),
        _ => format!("reply {:02x}", answer.socks5 as u8),
    };
    format!(
        "  refused: {fault}\n  reason: {}\n  answer: HTTP {}, SOCKS5 {socks5}, link reset {}; Proxy-Status: byway; error={}\n",
        fault.reason.word(),
        answer.status,
        answer.link,
        answer.proxy_status
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_parsed_in_every_usual_form() {
        for (url, target, host, path) in [
            ("https://10.0.0.5/", "10.0.0.5:443", "10.0.0.5", Some("/")),
            ("http://a.test/api?x=1", "a.test:80", "a.test", Some("/api")),
            ("http://a.test:8080", "a.test:8080", "a.test", Some("/")),
            ("example.com:443", "example.com:443", "example.com", None),
            ("http://[::1]:80/a", "[::1]:80", "[::1]", Some("/a")),
            ("http://[::1]/", "[::1]:80", "[::1]", Some("/")),
            (
                "https://[2001:db8::1]",
                "[2001:db8::1]:443",
                "[2001:db8::1]",
                Some("/"),
            ),
            ("[::1]:80", "[::1]:80", "[::1]", None),
        ] {
            let question = Question::parse(url, None).unwrap();
            assert_eq!(
                (
                    question.target.to_string().as_str(),
                    question.host.as_str(),
                    question.path.as_deref()
                ),
                (target, host, path),
                "{url}"
            );
        }
        for (url, error) in [
            ("example.com", "`example.com` has no port"),
            ("[::1]", "`[::1]` has no port"),
            ("::1", "`::1` has no port"),
            ("http://::1/", "`::1` has no port"),
            ("http://[::1/", "`[:` is no host"),
        ] {
            let refused = Question::parse(url, None).unwrap_err().to_string();
            assert!(refused.starts_with(error), "{url}: {refused}");
        }
    }
}
