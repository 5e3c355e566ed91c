//! Table: what the demo prints: every address, and a line to paste for each journey.
//!
//! In:    the addresses.   Out: text for people.   Never: a line that does not run as it stands, given the program it names.

use super::origin::Origin;
use super::plan::{Addresses, PASSWORD, USER};

/// The whole text.
pub(super) fn text(at: &Addresses, origin: &Origin) -> String {
    let mut text =
        String::from("byway demo: everything on this machine, for as long as this runs (Ctrl-C ends it)\n\n");
    for (what, address, about) in addresses(at, origin) {
        text += &format!("  {what:<9} {address:<46} {about}\n");
    }
    text += "\nTo try, in another terminal:\n";
    for (about, lines) in recipes(at, origin) {
        text += &format!("\n  # {about}\n");
        lines.iter().for_each(|line| text += &format!("  {line}\n"));
    }
    text
}

fn addresses(at: &Addresses, origin: &Origin) -> Vec<(&'static str, String, String)> {
    let url = |address| format!("http://{address}/");
    let unix = |path: &std::path::Path| format!("unix:{}", path.display());
    vec![
        ("origin", url(origin.http), "what stands behind everything: HTTP, and WebSocket at /ws".into()),
        ("origin", unix(&origin.http_unix), "the same on a Unix socket".into()),
        ("edge", url(at.edge), "the origin behind a reverse proxy; /unix/ takes the Unix socket".into()),
        ("egress", at.open.to_string(), "SOCKS5, SOCKS4a and HTTP on one port, to this machine and the public".into()),
        ("egress", at.guarded.to_string(), format!("the same for {USER}, whose password is {PASSWORD}")),
        ("forward", at.http.to_string(), "TCP, to the origin's HTTP".into()),
        ("forward", at.echo.to_string(), "TCP, to an echo on a Unix socket".into()),
        ("forward", unix(&at.echo_unix), "a Unix socket, to an echo on TCP".into()),
        ("config", at.config.display().to_string(), "what all this was made of".into()),
    ]
}

fn recipes(at: &Addresses, origin: &Origin) -> Vec<(&'static str, Vec<String>)> {
    let Addresses { edge, open, guarded, http, echo, .. } = at;
    let (port, origin) = (origin.http.port(), origin.http);
    let byway = this_program();
    vec![
        ("the edge: what the origin sees of a request", vec![format!("curl http://{edge}/headers")]),
        (
            "the edge: an upstream that refuses is skipped, and if there is no other, the answer says so",
            vec![format!("curl http://{edge}/skip/"), format!("curl -i http://{edge}/refused/")],
        ),
        (
            "64 MiB down (X-Sha256 says what must come out) and up (the origin answers with what came in)",
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
                format!("curl --noproxy '' -x socks5h://{USER}:{PASSWORD}@{guarded} http://localhost:{port}/headers"),
                format!("curl --noproxy '' -x socks4a://{open} http://localhost:{port}/headers"),
            ],
        ),
        (
            "the egress: CONNECT, and a request in absolute form",
            vec![
                format!("curl --noproxy '' -p -x http://{open} http://{origin}/headers"),
                format!("curl --noproxy '' -x http://{open} http://{origin}/headers"),
                format!("curl --noproxy '' -x http://{USER}:{PASSWORD}@{guarded} http://{origin}/headers"),
            ],
        ),
        (
            "the egress: what policy denies, and what a wrong password gets",
            vec![
                format!("curl -i --noproxy '' -x http://{open} http://169.254.169.254/"),
                format!("curl -i --noproxy '' -x http://{USER}:wrong@{guarded} http://{origin}/"),
                format!("{byway} explain http://10.0.0.1/ -c {}", at.config.display()),
            ],
        ),
        (
            "a slow reader: the origin is done at once, the rest waits on disk",
            vec![format!(
                "curl --noproxy '' --limit-rate 20M -x socks5h://{open} http://{origin}/bytes/209715200 | sha256sum"
            )],
        ),
        (
            "the forwards",
            vec![
                format!("curl http://{http}/headers"),
                format!("echo hello | nc -N {} {}", echo.ip(), echo.port()),
                format!("echo hello | nc -NU {}", at.echo_unix.display()),
            ],
        ),
        (
            "a WebSocket through the edge (with websocat, wscat or the console of a browser)",
            vec![format!("websocat ws://{edge}/ws")],
        ),
        ("all of that and more, by itself", vec![format!("{byway} demo --check")]),
    ]
}

/// How a shell calls the program that is running: it need not be where shells look for programs.
fn this_program() -> String {
    let path = std::env::current_exe().unwrap_or_else(|_| "byway".into()).display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}
