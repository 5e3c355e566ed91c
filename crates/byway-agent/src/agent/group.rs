//! Group: which connections are interchangeable: those of one origin, or of one name from the
//! caller's rule.
//!
//! In:    the parts of a request.   Out:   the pool's key, with a name for people.
//! Never: puts a plain and a TLS connection, or two verified names, into one group, whatever the
//!        rule returns.

use byway_dial::target::without_trailing_dot;
use byway_dial::{Route, ServerName};
use http::uri::Authority;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The key under which connections are counted and reused: by default scheme, host and port, with
/// the default port filled in and the host compared without regard to case.
///
/// Your own rule ([`AgentBuilder::group_by`](crate::AgentBuilder::group_by)) replaces host and port
/// by a name. It cannot mix plain with TLS, connections that were verified for different names, or
/// routes through proxies.
#[derive(Clone)]
pub struct Group {
    /// `Some` for TLS. `Verified::Host` means the host of the authority.
    verified: Option<Verified>,
    name: Name,
    /// The routes that a connection may take, best first; `None` for direct only, the usual case.
    routes: Option<Arc<[Route]>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Verified {
    Host,
    Name(ServerName),
}

#[derive(Clone)]
enum Name {
    Origin { authority: Authority, port: u16 },
    Custom(Arc<str>),
}

impl Group {
    pub(crate) fn origin(
        authority: Authority,
        port: u16,
        tls: bool,
        server_name: Option<ServerName>,
    ) -> Self {
        let verified = tls.then(|| server_name.map_or(Verified::Host, Verified::Name));
        Self {
            verified,
            name: Name::Origin { authority, port },
            routes: None,
        }
    }

    pub(crate) fn custom(name: Arc<str>, server_name: Option<ServerName>) -> Self {
        Self {
            verified: server_name.map(Verified::Name),
            name: Name::Custom(name),
            routes: None,
        }
    }

    /// Sets the routes of its connections.
    pub(crate) fn take(&mut self, routes: Vec<Route>) {
        self.routes = (routes != [Route::Direct]).then(|| routes.into());
    }

    /// The routes of its connections; `None` for direct.
    pub(crate) fn routes(&self) -> Option<&[Route]> {
        self.routes.as_deref()
    }

    /// Whether its connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.verified.is_some()
    }
}

fn host(authority: &Authority) -> &str {
    without_trailing_dot(authority.host())
}

impl PartialEq for Group {
    fn eq(&self, other: &Self) -> bool {
        self.verified == other.verified
            && self.routes == other.routes
            && match (&self.name, &other.name) {
                (
                    Name::Origin {
                        authority: a,
                        port: p,
                    },
                    Name::Origin {
                        authority: b,
                        port: q,
                    },
                ) => p == q && host(a).eq_ignore_ascii_case(host(b)),
                (Name::Custom(a), Name::Custom(b)) => a == b,
                _ => false,
            }
    }
}

impl Eq for Group {}

impl Hash for Group {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.verified.hash(state);
        self.routes.hash(state);
        match &self.name {
            Name::Origin { authority, port } => {
                state.write_u16(*port);
                hash_lower(host(authority).as_bytes(), state);
            }
            Name::Custom(name) => name.hash(state),
        }
    }
}

/// Hashes in lower case in pieces of 32 bytes, because hashing byte by byte is slow.
fn hash_lower(bytes: &[u8], state: &mut impl Hasher) {
    let mut lower = [0; 32];
    for piece in bytes.chunks(lower.len()) {
        let room = &mut lower[..piece.len()];
        room.copy_from_slice(piece);
        room.make_ascii_lowercase();
        state.write(room);
    }
    state.write_u8(0xff);
}

impl fmt::Display for Group {
    /// `http://host:port`, or the custom name; then the verified name if it is not the host, and
    /// the proxies of the route without their passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls() { "https" } else { "http" };
        match &self.name {
            Name::Origin { authority, port } => write!(
                f,
                "{scheme}://{}:{port}",
                host(authority).to_ascii_lowercase()
            )?,
            Name::Custom(name) => f.write_str(name)?,
        }
        if let Some(Verified::Name(name)) = &self.verified {
            write!(f, " as {name}")?;
        }
        for (n, route) in self.routes().unwrap_or_default().iter().enumerate() {
            write!(f, "{}{route}", if n == 0 { " via " } else { ", else " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    fn origin(text: &str, port: u16, tls: bool) -> Group {
        Group::origin(text.parse().unwrap(), port, tls, None)
    }

    fn same(a: &Group, b: &Group) -> bool {
        let hasher = std::hash::RandomState::new();
        let equal = a == b;
        assert!(
            !equal || hasher.hash_one(a) == hasher.hash_one(b),
            "equal groups hash alike"
        );
        equal
    }

    #[test]
    fn case_default_port_and_trailing_dot_do_not_make_another_group() {
        let group = origin("example.com", 80, false);
        for text in [
            "EXAMPLE.com",
            "example.com:80",
            "Example.Com.",
            "example.com.:80",
        ] {
            assert!(same(&group, &origin(text, 80, false)), "{text}");
        }
        assert!(same(
            &origin(&format!("{}.com", "A".repeat(60)), 1, true),
            &origin(&format!("{}.com", "a".repeat(60)), 1, true)
        ));
    }

    #[test]
    fn scheme_host_port_and_verified_name_each_make_another_group() {
        let group = origin("example.com", 443, true);
        assert!(!same(&group, &origin("example.com", 443, false)));
        assert!(!same(&group, &origin("example.com", 444, true)));
        assert!(!same(&group, &origin("example.org", 443, true)));
        let name = ServerName::Host("other.example".parse().unwrap());
        assert!(!same(
            &group,
            &Group::origin("example.com".parse().unwrap(), 443, true, Some(name))
        ));
    }

    #[test]
    fn a_custom_name_never_mixes_plain_with_tls_or_two_verified_names() {
        let name = |text: &str| Some(ServerName::Host(text.parse().unwrap()));
        let plain = Group::custom("all".into(), None);
        assert!(same(&plain, &Group::custom("all".into(), None)));
        assert!(!same(
            &plain,
            &Group::custom("all".into(), name("a.example"))
        ));
        assert!(!same(
            &Group::custom("all".into(), name("b.example")),
            &Group::custom("all".into(), name("a.example"))
        ));
    }

    #[test]
    fn the_route_through_proxies_makes_another_group_and_its_password_is_not_shown() {
        let via = |proxy: &str, absolute: bool| {
            let parent = Arc::new(proxy.parse().unwrap());
            let mut group = Group::custom("all".into(), None);
            group.take(vec![if absolute {
                Route::Absolute(parent)
            } else {
                Route::Tunnel(parent)
            }]);
            group
        };
        let direct = {
            let mut group = Group::custom("all".into(), None);
            group.take(vec![Route::Direct]);
            group
        };
        assert!(same(&direct, &Group::custom("all".into(), None)));
        assert!(same(
            &via("http://u:secret@p", false),
            &via("http://u:secret@P:80", false)
        ));
        let others = [
            direct,
            via("http://u:secret@p", true),
            via("http://u:other@p", false),
            via("socks5h://p", false),
        ];
        for other in others {
            assert!(!same(&via("http://u:secret@p", false), &other), "{other}");
        }
        assert_eq!(
            via("http://u:secret@p", true).to_string(),
            "all via http://u:***@p:80"
        );
        let mut several = Group::custom("all".into(), None);
        several.take(vec![
            Route::Tunnel(Arc::new("socks5h://p".parse().unwrap())),
            Route::Direct,
        ]);
        assert_eq!(several.to_string(), "all via socks5h://p:1080, else direct");
    }

    #[test]
    fn a_group_has_a_name_for_people() {
        assert_eq!(
            origin("Example.com", 8080, false).to_string(),
            "http://example.com:8080"
        );
        let name = Some(ServerName::Host("a.example".parse().unwrap()));
        assert_eq!(
            Group::custom("cluster".into(), name).to_string(),
            "cluster as a.example"
        );
    }
}
