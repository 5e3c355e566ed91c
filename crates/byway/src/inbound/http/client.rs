//! Client: which client a request belongs to, where several share an upstream: the address that
//! trusted proxies report, otherwise the peer; at an egress the user, if there is one.
//!
//! In:    the peer's address, the fields of a request, the user.
//! Out:   the key by which the pool shares permits fairly.
//! Never: trusts a peer that is not a trusted proxy, or parses more of a field than a chain of
//!        proxies could have written.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use byway_dial::ClientId;
use byway_head::Request;
use byway_pool::Client;
use ipnet::IpNet;

/// How many entries of X-Forwarded-For are parsed, starting with the last.
const MOST_HOPS: usize = 16;

/// The client at the other end of a connection. All clients of Unix sockets are one.
pub fn of_peer(peer: Option<SocketAddr>) -> Client {
    peer.map_or(Client::ANYONE, |peer| of_address(peer.ip()))
}

/// The client behind a trusted proxy: the last address of X-Forwarded-For that is not a trusted
/// proxy itself. `None` if the proxy reports none.
pub fn reported(request: &Request<'_>, trusted: &[IpNet]) -> Option<Client> {
    let field = request.fields_named("X-Forwarded-For").last()?;
    let mut farthest = None;
    for entry in field.rsplit(|byte| *byte == b',').take(MOST_HOPS) {
        let Some(address) = address(entry) else { break };
        farthest = Some(address);
        if !trusted.iter().any(|net| net.contains(&address)) {
            break;
        }
    }
    farthest.map(of_address)
}

/// An authenticated user.
pub fn of_user(user: &Arc<str>) -> Client {
    Client::of(&ClientId::User(Arc::clone(user)))
}

fn of_address(address: IpAddr) -> Client {
    Client::of(&ClientId::peer(address))
}

/// An address, with or without brackets and a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let parsed = bare
        .parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    parsed.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use byway_h1::{Parsed, RequestParser};
    use byway_head::Limits;

    use super::*;

    fn reported_by(fields: &str) -> Option<Client> {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut index = RequestParser::default();
        assert!(matches!(
            index.parse(text.as_bytes(), &Limits::default()).unwrap(),
            Parsed::Complete(_)
        ));
        reported(
            &index.view(text.as_bytes()),
            &["10.0.0.0/8".parse().unwrap()],
        )
    }

    fn client(address: &str) -> Option<Client> {
        Some(of_address(address.parse().unwrap()))
    }

    #[test]
    fn the_last_address_that_is_no_trusted_proxy_is_the_client() {
        for (fields, expected) in [
            ("X-Forwarded-For: 192.0.2.1\r\n", client("192.0.2.1")),
            (
                "X-Forwarded-For: 192.0.2.9, 192.0.2.1, 10.0.0.7\r\n",
                client("192.0.2.1"),
            ),
            (
                "X-Forwarded-For: 192.0.2.9\r\nX-Forwarded-For: 192.0.2.1:4711\r\n",
                client("192.0.2.1"),
            ),
            (
                "X-Forwarded-For: [2001:db8::1]:80\r\n",
                client("2001:db8::2"),
            ),
            ("X-Forwarded-For: ::ffff:192.0.2.1\r\n", client("192.0.2.1")),
            (
                "X-Forwarded-For: 10.0.0.8, 10.0.0.7\r\n",
                client("10.0.0.8"),
            ),
            (
                "X-Forwarded-For: 192.0.2.9, unknown, 10.0.0.7\r\n",
                client("10.0.0.7"),
            ),
            ("X-Forwarded-For: unknown\r\n", None),
            ("", None),
        ] {
            assert_eq!(reported_by(fields), expected, "{fields}");
        }
    }
}
