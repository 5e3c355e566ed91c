//! Table: what the demo prints: every address, and lines to paste.
//!
//! In:    the addresses.
//! Out:   text.
//! Never: a line that does not run as printed, if the program that it names is installed.

use std::fmt::Display;

use byway_link::CarrierKind;

use super::addresses::{Addresses, Linked};
use super::plan::{DOMAIN, PASSWORD, USER};
use super::scene::Scene;

/// The whole text.
pub(super) fn text(scene: &Scene) -> String {
    let mut text = String::from(
        "byway demo: everything on this machine, while this runs (Ctrl-C ends it)\n\n",
    );
    for (what, address, about) in addresses(scene) {
        text += &format!("  {what:<9} {address:<46} {about}\n");
    }
    text += "\nTo try, in another terminal:\n";
    for (about, lines) in one_node(scene).into_iter().chain(two_nodes(scene)) {
        text += &format!("\n  # {about}\n");
        lines.iter().for_each(|line| text += &format!("  {line}\n"));
    }
    text
}

fn addresses(scene: &Scene) -> Vec<(&'static str, String, String)> {
    let (at, origin) = (&scene.at, &scene.origin);
    let url = |address: &dyn Display| format!("http://{address}/");
    let unix = |path: &std::path::Path| format!("unix:{}", path.display());
    let mut all = vec![
        (
            "origin",
            url(&origin.http),
            "the upstream of everything: HTTP, and WebSocket at /ws".into(),
        ),
        (
            "origin",
            unix(&origin.http_unix),
            "the same on a Unix socket".into(),
        ),
        (
            "edge",
            url(&at.edge),
            "the origin behind a reverse proxy; /unix/ takes the Unix socket".into(),
        ),
        (
            "egress",
            at.open.to_string(),
            "SOCKS5, SOCKS4a and HTTP on one port, to this machine and the public".into(),
        ),
        (
            "egress",
            at.guarded.to_string(),
            format!("the same for {USER}, whose password is {PASSWORD}"),
        ),
        (
            "forward",
            at.http.to_string(),
            "TCP, to the origin's HTTP".into(),
        ),
        (
            "forward",
            at.echo.to_string(),
            "TCP, to an echo on a Unix socket".into(),
        ),
        (
            "forward",
            unix(&at.echo_unix),
            "a Unix socket, to an echo on TCP".into(),
        ),
        (
            "server",
            at.server.to_string(),
            "where agents join, over UDP and TCP, to expose their services".into(),
        ),
        (
            "exit",
            at.exit.to_string(),
            "where desks join to go out through it".into(),
        ),
    ];
    for carrier in [CarrierKind::Quic, CarrierKind::Tls] {
        let Linked {
            name,
            tcp,
            echo,
            desk,
        } = at.over(carrier);
        all.extend([
            (
                "exposed",
                url(name),
                format!("the origin by a name of the server, over {carrier}"),
            ),
            (
                "exposed",
                tcp.to_string(),
                format!("the origin by a port of the server, over {carrier}"),
            ),
            (
                "exposed",
                echo.to_string(),
                format!("the echo by a port of the server, over {carrier}"),
            ),
            (
                "desk",
                desk.to_string(),
                format!("an egress that goes out through the exit, over {carrier}"),
            ),
        ]);
    }
    let configs = ["alone", "public", "inside"].map(|node| ("config", scene.ground.config(node)));
    let about = [
        "of the node without links: edge, egresses, forwards",
        "of the server and the exit",
        "of the agent and the desks that have joined them",
    ];
    all.extend(
        configs
            .into_iter()
            .zip(about)
            .map(|((what, path), about)| (what, path.display().to_string(), about.into())),
    );
    all
}

type Recipe = (&'static str, Vec<String>);

fn one_node(scene: &Scene) -> Vec<Recipe> {
    let Addresses {
        edge,
        open,
        guarded,
        http,
        echo,
        echo_unix,
        ..
    } = &scene.at;
    let (port, origin) = (scene.origin.http.port(), scene.origin.http);
    let (byway, config) = (this_program(), scene.ground.config("alone"));
    vec![
        (
            "the edge: the request as the origin receives it",
            vec![format!("curl http://{edge}/headers")],
        ),
        (
            "the edge: an upstream that refuses is skipped; without another one, the response is 502",
            vec![
                format!("curl http://{edge}/skip/"),
                format!("curl -i http://{edge}/refused/"),
            ],
        ),
        (
            "64 MiB down (compare the sum with X-Sha256) and up (the origin returns the sum of what it received)",
            vec![
                format!(
                    "curl -sD- http://{edge}/bytes/67108864 -o /tmp/byway-demo.bin && sha256sum /tmp/byway-demo.bin"
                ),
                format!("curl --data-binary @/tmp/byway-demo.bin http://{edge}/sink"),
                format!("curl -T /tmp/byway-demo.bin http://{edge}/sink"),
            ],
        ),
        (
            "the egress: SOCKS5, with names resolved there; SOCKS5 with a password; SOCKS4a",
            vec![
                format!("curl --noproxy '' -x socks5h://{open} http://localhost:{port}/headers"),
                format!(
                    "curl --noproxy '' -x socks5h://{USER}:{PASSWORD}@{guarded} http://localhost:{port}/headers"
                ),
                format!("curl --noproxy '' -x socks4a://{open} http://localhost:{port}/headers"),
            ],
        ),
        (
            "the egress: CONNECT, and a request in absolute form",
            vec![
                format!("curl --noproxy '' -p -x http://{open} http://{origin}/headers"),
                format!("curl --noproxy '' -x http://{open} http://{origin}/headers"),
                format!(
                    "curl --noproxy '' -x http://{USER}:{PASSWORD}@{guarded} http://{origin}/headers"
                ),
            ],
        ),
        (
            "the egress: a target that policy denies, and a wrong password",
            vec![
                format!("curl -i --noproxy '' -x http://{open} http://169.254.169.254/"),
                format!("curl -i --noproxy '' -x http://{USER}:wrong@{guarded} http://{origin}/"),
                format!("{byway} explain http://10.0.0.1/ -c {}", config.display()),
            ],
        ),
        (
            "a slow reader: the origin finishes at once, the rest waits on disk",
            vec![format!(
                "curl --noproxy '' --limit-rate 20M -x socks5h://{open} http://{origin}/bytes/209715200 | sha256sum"
            )],
        ),
        (
            "the forwards",
            vec![
                format!("curl http://{http}/headers"),
                format!("echo hello | nc -N {} {}", echo.ip(), echo.port()),
                format!("echo hello | nc -NU {}", echo_unix.display()),
            ],
        ),
        (
            "a WebSocket through the edge (with websocat, wscat or the console of a browser)",
            vec![format!("websocat ws://{edge}/ws")],
        ),
    ]
}

fn two_nodes(scene: &Scene) -> Vec<Recipe> {
    let Addresses {
        quic,
        tls,
        visitors,
        ..
    } = &scene.at;
    let (port, origin) = (scene.origin.http.port(), scene.origin.http);
    let (byway, state) = (this_program(), scene.ground.state("guest"));
    let (server, exit, state) = (
        scene.server_join.display(),
        scene.exit_join.display(),
        state.display(),
    );
    vec![
        (
            "an exposed service, by its name and by its port; curl and browsers find every name under localhost here",
            vec![
                format!("curl http://{}/headers", quic.name),
                format!("curl http://{}/headers", tls.name),
                format!("curl http://{}/headers", quic.tcp),
                format!("echo hello | nc -N {} {}", tls.echo.ip(), tls.echo.port()),
            ],
        ),
        (
            "a service that refuses connections",
            vec![format!(
                "curl -i http://refused.{DOMAIN}:{}/",
                visitors.port()
            )],
        ),
        (
            "a desk, and over its link an exit, which resolves the names and dials",
            vec![
                format!(
                    "curl --noproxy '' -x socks5h://{} http://localhost:{port}/headers",
                    quic.desk
                ),
                format!(
                    "curl --noproxy '' -p -x http://{} http://{origin}/headers",
                    tls.desk
                ),
                format!(
                    "curl -i --noproxy '' -x http://{} http://169.254.169.254/",
                    tls.desk
                ),
            ],
        ),
        (
            "a slow reader two hops away: the rest waits on the disk of the exit",
            vec![format!(
                "curl --noproxy '' --limit-rate 20M -x socks5h://{} http://{origin}/bytes/209715200 | sha256sum",
                quic.desk
            )],
        ),
        (
            "a service of your own, such as one on port 3000; stop it with Ctrl-C and start it again: visitors wait",
            vec![
                format!("{byway} http 3000 --name mine --join-file {server} --state {state}"),
                format!("curl http://mine.{DOMAIN}:{}/", visitors.port()),
            ],
        ),
        (
            "a desk of your own",
            vec![
                format!(
                    "{byway} proxy join --join-file {exit} --state {state} --listen 127.0.0.1:1090"
                ),
                format!(
                    "curl --noproxy '' -x socks5h://127.0.0.1:1090 http://localhost:{port}/headers"
                ),
            ],
        ),
        (
            "all of that and more, automatically",
            vec![format!("{byway} demo --check")],
        ),
    ]
}

/// The running program as a shell would call it: it may not be in PATH.
fn this_program() -> String {
    let path = std::env::current_exe()
        .unwrap_or_else(|_| "byway".into())
        .display()
        .to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if path.chars().all(is_plain) {
        path
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}
