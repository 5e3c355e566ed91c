//! Advertise: the address that joining nodes dial.
//!
//! In:    `listen` and `advertise` of a `[[serve]]` or an `[[exit]]`, and the domain, if there is
//!        one.
//! Out:   the addresses where links arrive, and the `Advertise` for join strings.
//! Never: advertises an address that cannot be dialled: `0.0.0.0` and `::` are errors.

use std::net::IpAddr;

use byway_dial::{HostName, Target};

use super::super::bind::Bind;
use super::super::diagnostic::Diagnostic;
use super::super::link_plan::{Advertise, AdvertisedHost};
use super::super::place::{At, Place, Text};
use super::Resolver;

impl Resolver<'_> {
    /// The addresses where links arrive: TCP ones, each of which includes the same UDP port.
    pub(super) fn link_binds(
        &mut self,
        section: &str,
        place: &Place,
        listen: &Option<At<Vec<Text>>>,
    ) -> Vec<At<Bind>> {
        let mut binds = self.binds(section, place, listen);
        binds.retain(|bind| {
            let fits = matches!(bind.value, Bind::Tcp(_));
            if !fits {
                let message = format!(
                    "`{}` is a Unix socket: links arrive over TCP and UDP only",
                    bind.value
                );
                self.note(
                    Diagnostic::new(&bind.place, message)
                        .help("write an address, such as 0.0.0.0:7000"),
                );
            }
            fits
        });
        binds
    }

    /// The address for join strings. None if an error was noted, here or where `binds` were read.
    pub(super) fn advertise(
        &mut self,
        written: &Option<Text>,
        domain: Option<&HostName>,
        binds: &[At<Bind>],
    ) -> Option<Advertise> {
        let first = binds.first().and_then(|bind| match bind.value {
            Bind::Tcp(addr) => Some((bind, addr)),
            Bind::Unix(_) => None,
        });
        let own_port = first.map(|(_, addr)| addr.port()).filter(|port| *port != 0);
        if let Some(text) = written {
            let (host, port) = self.checked("advertise", &text.place, advertised(&text.value))?;
            return Some(Advertise {
                host,
                port: port.or(own_port),
            });
        }
        let (bind, addr) = first?;
        let host = match domain {
            Some(domain) => AdvertisedHost::Name(domain.clone()),
            None if !addr.ip().is_unspecified() => AdvertisedHost::Addr(addr.ip()),
            None => {
                let message =
                    format!("`{addr}` is every address of this machine: which one do others join?");
                let help = match bind.place.is_flag() {
                    true => "add --advertise HOST:PORT, as others reach this machine",
                    false => "add advertise = \"HOST:PORT\", as others reach this machine",
                };
                self.note(Diagnostic::new(&bind.place, message).help(help).absent());
                return None;
            }
        };
        Some(Advertise {
            host,
            port: own_port,
        })
    }
}

/// `HOST:PORT`, or `HOST` alone.
fn advertised(text: &str) -> Result<(AdvertisedHost, Option<u16>), String> {
    let (host, port) = match text.parse::<Target>() {
        Ok(Target::Addr(addr)) => (AdvertisedHost::Addr(addr.ip()), Some(addr.port())),
        Ok(Target::Host { name, port }) => (AdvertisedHost::Name(name), Some(port)),
        Ok(Target::Unix(_)) | Err(_) => (host_alone(text)?, None),
    };
    match host {
        AdvertisedHost::Addr(ip) if ip.is_unspecified() => Err(format!(
            "{ip} cannot be joined: write the address or the name that others reach this machine by"
        )),
        host => Ok((host, port)),
    }
}

fn host_alone(text: &str) -> Result<AdvertisedHost, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(ip) => Ok(AdvertisedHost::Addr(ip)),
        Err(_) => text.parse().map(AdvertisedHost::Name).map_err(|_| {
            format!("`{text}` is nothing to join at: write HOST:PORT, such as t.example.com:7000 or 192.0.2.1:7000")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        advertised(text).map(|(host, port)| Advertise { host, port }.to_string())
    }

    #[test]
    fn a_host_with_or_without_its_port_is_read_and_printed_alike() {
        for text in [
            "t.example.com:7000",
            "t.example.com",
            "192.0.2.1:7000",
            "192.0.2.1",
            "[2001:db8::1]:7000",
        ] {
            assert_eq!(shown(text), Ok(text.to_owned()));
        }
        assert_eq!(shown("2001:db8::1"), Ok("[2001:db8::1]".to_owned()));
        assert_eq!(shown("[2001:db8::1]"), Ok("[2001:db8::1]".to_owned()));
    }

    #[test]
    fn what_cannot_be_dialled_is_not_advertised() {
        for text in [
            "",
            ":7000",
            "7000",
            "a b:1",
            "t.example.com:0",
            "t.example.com:99999",
            "unix:/x",
            "http://t:1",
        ] {
            let error = shown(text).unwrap_err();
            assert!(
                error.starts_with(&format!("`{text}` is nothing to join at: write HOST:PORT")),
                "{error}"
            );
        }
        for text in ["0.0.0.0:7000", "[::]:7000", "::"] {
            assert!(
                shown(text).unwrap_err().contains(" cannot be joined: "),
                "{text}"
            );
        }
    }
}
