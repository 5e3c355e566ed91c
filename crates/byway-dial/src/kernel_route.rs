//! Kernel route: looks an address up in the routing table of this machine.
//!
//! In:    an address that may be dialled.
//! Out:   whether the kernel delivers its packets on this machine; an error if the look-up fails.
//! Never: sends a packet, blocks, or treats an error as an answer.

use std::io;
use std::net::IpAddr;

/// The kind of `ip` if its packets do not leave this machine by a unicast route; `None` if they do,
/// or if there is no route (connecting then fails).
///
/// # Errors
/// The kernel look-up failed, so nothing is known about the address.
pub(crate) fn local_kind(ip: IpAddr) -> io::Result<Option<&'static str>> {
    system::local_kind(ip)
}

const OF_THIS_MACHINE: &str = "an address of this machine";

/// One `RTM_GETROUTE` request on a netlink socket (rtnetlink(7)). The answer covers secondary
/// addresses, AnyIP routes (`ip route add local`) and policy routing. The kernel has queued the
/// answer when `send` returns.
#[cfg(target_os = "linux")]
mod system {
    use std::io;
    use std::net::IpAddr;

    use rustix::io::Errno;
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
    };

    use super::OF_THIS_MACHINE;

    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    const NLMSG_ERROR: u16 = 2;
    const RTM_NEWROUTE: u16 = 24;
    const RTM_GETROUTE: u16 = 26;
    const NLM_F_REQUEST: u16 = 1;
    const RTA_DST: u16 = 1;
    const RTN_UNICAST: u8 = 1;
    const RTN_LOCAL: u8 = 2;
    const RTN_BROADCAST: u8 = 3;
    const RTN_ANYCAST: u8 = 4;
    /// `struct nlmsghdr`.
    const HEADER: usize = 16;
    /// `struct rtmsg`.
    const ROUTE: usize = 12;
    /// `rtm_type` in the `struct rtmsg` that follows the header.
    const TYPE_AT: usize = HEADER + 7;

    pub(super) fn local_kind(ip: IpAddr) -> io::Result<Option<&'static str>> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Protocol 0, the default, is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        send(&socket, &request(ip), SendFlags::empty())?;
        // Only the first fields are needed; the rest of the answer is cut off.
        let mut answer = [0; 256];
        let (read, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
        kind_in(answer.get(..read).unwrap_or_default())
    }

    /// `struct nlmsghdr`, `struct rtmsg` and the attribute with the address.
    fn request(ip: IpAddr) -> Vec<u8> {
        let (family, address) = match ip {
            IpAddr::V4(ip) => (AF_INET, ip.octets().to_vec()),
            IpAddr::V6(ip) => (AF_INET6, ip.octets().to_vec()),
        };
        let attribute = 4 + address.len();
        let mut request = Vec::with_capacity(HEADER + ROUTE + attribute);
        request.extend_from_slice(&((HEADER + ROUTE + attribute) as u32).to_ne_bytes());
        request.extend_from_slice(&RTM_GETROUTE.to_ne_bytes());
        request.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
        request.extend_from_slice(&[0; 8]);
        request.extend_from_slice(&[family, (address.len() * 8) as u8]);
        request.extend_from_slice(&[0; ROUTE - 2]);
        request.extend_from_slice(&(attribute as u16).to_ne_bytes());
        request.extend_from_slice(&RTA_DST.to_ne_bytes());
        request.extend_from_slice(&address);
        request
    }

    fn kind_in(answer: &[u8]) -> io::Result<Option<&'static str>> {
        let malformed = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "netlink sent an unreadable answer",
            )
        };
        let kind = answer
            .get(4..6)
            .and_then(|kind| kind.try_into().ok())
            .map(u16::from_ne_bytes);
        match kind.ok_or_else(malformed)? {
            RTM_NEWROUTE => Ok(match *answer.get(TYPE_AT).ok_or_else(malformed)? {
                RTN_UNICAST => None,
                RTN_LOCAL | RTN_ANYCAST => Some(OF_THIS_MACHINE),
                RTN_BROADCAST => Some("a broadcast address"),
                _ => Some("an address without a unicast route"),
            }),
            NLMSG_ERROR => {
                let code = answer
                    .get(HEADER..HEADER + 4)
                    .and_then(|code| code.try_into().ok())
                    .map(i32::from_ne_bytes);
                let code = code.and_then(i32::checked_neg).ok_or_else(malformed)?;
                if no_route(code) {
                    Ok(None)
                } else {
                    Err(io::Error::from_raw_os_error(code))
                }
            }
            _ => Err(malformed()),
        }
    }

    /// The errors for an address without a usable route: no route, an `unreachable`, `prohibit` or
    /// `blackhole` route, or a kernel without IPv6.
    fn no_route(code: i32) -> bool {
        let codes = [
            Errno::NETUNREACH,
            Errno::HOSTUNREACH,
            Errno::ACCESS,
            Errno::INVAL,
            Errno::OPNOTSUPP,
            Errno::AFNOSUPPORT,
        ];
        codes.iter().any(|errno| errno.raw_os_error() == code)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn error(code: i32) -> Vec<u8> {
            let head = [
                &36_u32.to_ne_bytes()[..],
                &NLMSG_ERROR.to_ne_bytes(),
                &[0; 10],
                &(-code).to_ne_bytes(),
            ];
            [&head.concat()[..], &[0; 16]].concat()
        }

        #[test]
        fn an_error_of_the_kernel_is_an_error_unless_it_means_no_route() {
            for errno in [
                Errno::NETUNREACH,
                Errno::HOSTUNREACH,
                Errno::ACCESS,
                Errno::INVAL,
                Errno::OPNOTSUPP,
            ] {
                assert_eq!(
                    kind_in(&error(errno.raw_os_error())).unwrap(),
                    None,
                    "{errno}"
                );
            }
            for errno in [Errno::NOBUFS, Errno::NOMEM, Errno::PERM] {
                let code = kind_in(&error(errno.raw_os_error()))
                    .unwrap_err()
                    .raw_os_error();
                assert_eq!(code, Some(errno.raw_os_error()));
            }
            assert!(kind_in(&error(0)).is_err() && kind_in(&error(i32::MIN + 1)).is_err());
        }

        #[test]
        fn a_truncated_answer_is_an_error() {
            for len in 0..error(101).len() - 16 {
                assert!(kind_in(&error(101)[..len]).is_err(), "{len}");
            }
            let mut route = vec![0; TYPE_AT];
            route[4..6].copy_from_slice(&RTM_NEWROUTE.to_ne_bytes());
            assert!(kind_in(&route).is_err());
            route.push(RTN_LOCAL);
            assert_eq!(kind_in(&route).unwrap(), Some(OF_THIS_MACHINE));
        }
    }
}

/// A socket can only be bound to addresses of this machine.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;
    use std::net::{IpAddr, UdpSocket};

    use super::OF_THIS_MACHINE;

    pub(super) fn local_kind(ip: IpAddr) -> io::Result<Option<&'static str>> {
        match UdpSocket::bind((ip, 0)) {
            Ok(_) => Ok(Some(OF_THIS_MACHINE)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn the_kernel_knows_its_own_addresses() {
        assert_eq!(
            local_kind(Ipv4Addr::LOCALHOST.into()).unwrap(),
            Some(OF_THIS_MACHINE)
        );
        assert_eq!(local_kind(Ipv4Addr::new(8, 8, 8, 8).into()).unwrap(), None);
        let public = Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888);
        assert_eq!(local_kind(public.into()).unwrap(), None);
    }

    #[cfg(target_os = "linux")]
    mod linux {
        use std::process::Command;

        use byway_testkit::netns::Network;
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

        use crate::rules::{AddressRules, Reason};

        fn reason(text: &str) -> Option<Reason> {
            AddressRules::guarded()
                .check(text.parse().unwrap())
                .err()
                .map(|denied| denied.reason)
        }

        fn ip(words: &str) {
            let status = Command::new("ip").args(words.split(' ')).status().unwrap();
            assert!(status.success(), "ip {words}");
        }

        #[test]
        fn a_secondary_address_and_an_anyip_route_are_this_machine() {
            let Some(network) = Network::new() else {
                return;
            };
            network.near(|| {
                ip("address add 20.0.0.1/24 dev way");
                ip("address add 20.0.0.7/24 dev way");
                ip("route add local 31.0.0.0/24 dev lo src 20.0.0.1");
                ip("route add blackhole 32.0.0.0/24");
                for own in [
                    "20.0.0.1:80",
                    "20.0.0.7:80",
                    "31.0.0.9:80",
                    "[::ffff:20.0.0.7]:80",
                ] {
                    assert_eq!(
                        reason(own),
                        Some(Reason::Guard("an address of this machine")),
                        "{own}"
                    );
                }
                assert_eq!(
                    reason("20.0.0.255:80"),
                    Some(Reason::Guard("a broadcast address"))
                );
                for other in ["20.0.0.8:80", "31.0.1.1:80", "32.0.0.1:80", "8.8.8.8:80"] {
                    assert_eq!(reason(other), None, "{other}");
                }
            });
        }

        /// Waits until the IPv6 routes have `destination`, in the form of /proc/self/net/ipv6_route.
        fn until_routed(destination: &str) {
            let begun = std::time::Instant::now();
            while !std::fs::read_to_string("/proc/thread-self/net/ipv6_route")
                .unwrap()
                .contains(destination)
            {
                assert!(begun.elapsed().as_secs() < 60, "no route to {destination}");
                std::thread::yield_now();
            }
        }

        #[test]
        fn an_anyip_route_of_ipv6_is_this_machine() {
            let Some(network) = Network::new() else {
                return;
            };
            network.near(|| {
                if !std::path::Path::new("/proc/net/if_inet6").exists() {
                    return;
                }
                ip("-6 address add 2a00:1::1/64 dev way nodad");
                ip("-6 route add local 2a00:2::/64 dev lo src 2a00:1::1");
                // The kernel adds the route of an address in a task of its own.
                until_routed("2a000001000000000000000000000001 80");
                for own in ["[2a00:1::1]:80", "[2a00:2::9]:80"] {
                    assert_eq!(
                        reason(own),
                        Some(Reason::Guard("an address of this machine")),
                        "{own}"
                    );
                }
                assert_eq!(reason("[2a00:1::2]:80"), None);
                assert_eq!(reason("[2a00:3::2]:80"), None);
            });
        }

        /// The limit applies to the process, so the test runs again in its own process.
        #[test]
        fn an_address_is_refused_when_no_descriptor_is_left_to_query_the_kernel() {
            const CHILD: &str = "BYWAY_TEST_WITHOUT_DESCRIPTORS";
            if std::env::var_os(CHILD).is_none() {
                let name = std::thread::current().name().unwrap().to_owned();
                let status = Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", &name, "--nocapture", "--test-threads", "1"])
                    .env(CHILD, "1")
                    .status()
                    .unwrap();
                assert!(status.success());
                return;
            }
            let before = getrlimit(Resource::Nofile);
            setrlimit(
                Resource::Nofile,
                Rlimit {
                    current: Some(0),
                    ..before
                },
            )
            .unwrap();
            let found = reason("8.8.8.8:80");
            setrlimit(Resource::Nofile, before).unwrap();
            assert!(matches!(found, Some(Reason::Unchecked(_))), "{found:?}");
        }
    }
}
