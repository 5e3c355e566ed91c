//! Network changes: reports when the addresses, interfaces or routes of this machine change, and
//! when the machine has slept.
//!
//! In:    rtnetlink(7) events of this network namespace, and the difference between two clocks.
//! Out:   one signal for all changes of half a second.
//! Never: reports what has changed, or signals more than twice a second.
//!
//! On other platforms than Linux nothing is signalled: there are no events, and no clock that shows
//! sleep.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

/// The minimum time between two signals.
const APART: Duration = Duration::from_millis(500);

/// How often the clocks are compared.
const COMPARED_EVERY: Duration = Duration::from_secs(1);

/// A machine has slept if the clock that counts sleep has gained this much on the clock that does
/// not.
const SLEPT: Duration = Duration::from_millis(500);

/// Signals when the addresses, interfaces or routes of this machine change, and when it has slept,
/// at most twice a second. On other platforms than Linux it never signals.
pub struct NetworkChanges {
    events: Option<system::Events>,
    ticks: Interval,
    /// The total time that the machine has slept, as last seen.
    asleep: Duration,
    /// No signal before this time.
    not_before: Instant,
}

impl NetworkChanges {
    /// Watches from now on. The error explains why netlink gives no events; sleep is detected
    /// anyway. Needs a tokio runtime with I/O and time.
    pub fn watch() -> (Self, io::Result<()>) {
        let (events, result) = match system::Events::new() {
            Ok(events) => (Some(events), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let mut ticks = interval(COMPARED_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        (
            Self {
                events,
                ticks,
                asleep: system::asleep(),
                not_before: Instant::now(),
            },
            result,
        )
    }

    /// Waits for the next change. Cancel safe: a change that was not signalled is signalled by the
    /// next call.
    pub async fn next(&mut self) {
        sleep_until(self.not_before).await;
        loop {
            tokio::select! {
                () = read(&mut self.events) => break,
                _ = self.ticks.tick() => {
                    if has_slept(&mut self.asleep, system::asleep()) {
                        break;
                    }
                }
            }
        }
        self.not_before = Instant::now() + APART;
    }
}

/// Waits for events and takes all pending ones. If the socket fails, there are none from then on.
async fn read(events: &mut Option<system::Events>) {
    if let Some(open) = events {
        match open.read().await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(%error, "network changes are no longer detected: netlink failed")
            }
        }
        *events = None;
    }
    std::future::pending().await
}

/// Whether the machine has slept since `before`, which becomes `now`.
fn has_slept(before: &mut Duration, now: Duration) -> bool {
    let gained = now.saturating_sub(*before);
    *before = now;
    gained >= SLEPT
}

#[cfg(target_os = "linux")]
mod system {
    use std::io;
    use std::os::unix::net::UnixDatagram as StdDatagram;
    use std::time::Duration;

    use rustix::io::Errno;
    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
    use rustix::time::{ClockId, clock_gettime};
    use tokio::io::Interest;
    use tokio::net::UnixDatagram;

    /// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR` and
    /// `RTMGRP_IPV6_ROUTE`.
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

    /// Events that are taken at once. The rest is the next change.
    const TAKEN: usize = 256;

    /// A netlink socket that receives changes. Of tokio's type only the readiness is used, which
    /// any datagram socket has.
    pub(super) struct Events(UnixDatagram);

    impl Events {
        pub(super) fn new() -> io::Result<Self> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            // No protocol is protocol 0, which is NETLINK_ROUTE.
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
            Ok(Self(UnixDatagram::from_std(StdDatagram::from(socket))?))
        }

        /// Waits for at least one event, and takes all pending ones. Cancel safe.
        pub(super) async fn read(&self) -> io::Result<()> {
            let mut taken = 0;
            while taken < TAKEN {
                // The content of the events is not needed, so one byte of each is enough.
                match self.0.try_io(Interest::READABLE, || {
                    Ok(recv(&self.0, &mut [0_u8; 1], RecvFlags::empty())?)
                }) {
                    Ok(_) => taken += 1,
                    // Too many events came and some were dropped: that is a change, too.
                    Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                        taken += 1
                    }
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    Err(_) if taken > 0 => break,
                    Err(_) => self.0.readable().await?,
                }
            }
            Ok(())
        }
    }

    /// How long the machine has slept since it was started.
    pub(super) fn asleep() -> Duration {
        let of = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
        // In this order a pause between the two readings does not look like sleep.
        let with_sleep = of(ClockId::Boottime);
        with_sleep.saturating_sub(of(ClockId::Monotonic))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;
    use std::time::Duration;

    pub(super) struct Events;

    impl Events {
        pub(super) fn new() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) async fn read(&self) -> io::Result<()> {
            std::future::pending().await
        }
    }

    pub(super) const fn asleep() -> Duration {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_slept_if_the_clock_that_counts_sleep_has_gained() {
        let mut asleep = Duration::from_secs(100);
        assert!(!has_slept(&mut asleep, Duration::from_secs(100)));
        assert!(!has_slept(&mut asleep, Duration::from_millis(100_400)));
        assert!(has_slept(&mut asleep, Duration::from_millis(100_900)));
        assert!(
            !has_slept(&mut asleep, Duration::from_secs(5)),
            "a clock that goes back is not sleep"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_new_address_a_new_route_and_an_interface_that_goes_down_are_changes() {
        use std::process::Command;

        use byway_testkit::netns::Network;

        let Some(network) = Network::new() else {
            return;
        };
        network.near(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let (mut changes, watched) = NetworkChanges::watch();
                watched.unwrap();
                let changes_of = [
                    "address add 20.0.0.7/24 dev way",
                    "route add 31.0.0.0/24 dev way",
                    "address delete 20.0.0.7/24 dev way",
                    "link set way down",
                ];
                for words in changes_of {
                    let status = Command::new("ip").args(words.split(' ')).status().unwrap();
                    assert!(status.success(), "ip {words}");
                    let next = tokio::time::timeout(Duration::from_secs(60), changes.next());
                    next.await
                        .unwrap_or_else(|_| panic!("no signal after: ip {words}"));
                }
                // All events of a command are one signal, so nothing is left.
                let mut next = std::pin::pin!(changes.next());
                assert!(futures_util::poll!(&mut next).is_pending());
            });
        });
    }
}
