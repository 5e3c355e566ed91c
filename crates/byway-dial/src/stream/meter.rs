//! Meter: the kernel's counters of a TCP connection (`TCP_INFO` of tcp(7)).
//!
//! In:    a connected socket, which the meter does not keep open.
//! Out:   counters and estimates of its sender; `None` once the socket is closed or where the
//!        system has none.
//! Never: waits.

use std::sync::{Arc, Weak};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

/// A handle that reads the kernel's counters of one TCP connection. It does not keep the connection
/// open: once that is closed, its methods return `None`. Clones read the same connection.
#[derive(Clone, Debug)]
pub struct TcpMeter(Weak<TcpStream>);

/// Counters and present state of the sender of a TCP connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFigures {
    /// Data segments sent, including retransmissions.
    pub segments: u64,
    /// Retransmitted segments. A segment that the receiver reports as a duplicate (RFC 2883) was
    /// not lost and is not counted.
    pub lost: u64,
    /// Bytes that the peer has acknowledged.
    pub acknowledged: u64,
    /// How long data was unsent or unacknowledged; `None` before Linux 4.10.
    pub busy: Option<Duration>,
    /// The most bytes in flight.
    pub congestion_window: u64,
    /// The smoothed round trip.
    pub round_trip: Duration,
    /// The shortest recent round trip.
    pub least_round_trip: Duration,
}

impl TcpMeter {
    pub(super) fn new(socket: &Arc<TcpStream>) -> Self {
        Self(Arc::downgrade(socket))
    }

    /// The counters so far.
    pub fn figures(&self) -> Option<TcpFigures> {
        TcpFigures::parse(&info(&*self.0.upgrade()?)?)
    }

    /// Calls `act` with the socket, unless it is closed.
    pub fn with_socket<R>(&self, act: impl FnOnce(SockRef<'_>) -> R) -> Option<R> {
        let socket = self.0.upgrade()?;
        Some(act(SockRef::from(&*socket)))
    }

    /// How many written bytes the peer has not acknowledged yet.
    pub fn unacknowledged_bytes(&self) -> Option<u64> {
        super::unacknowledged::bytes(&*self.0.upgrade()?)
    }
}

/// Offsets in `struct tcp_info` of `linux/tcp.h`. They are the same on every architecture; new
/// fields are appended.
mod at {
    pub(super) const SND_MSS: usize = 16;
    pub(super) const RTT_US: usize = 68;
    pub(super) const SND_CWND: usize = 80;
    pub(super) const TOTAL_RETRANS: usize = 100;
    pub(super) const BYTES_ACKED: usize = 120;
    pub(super) const MIN_RTT_US: usize = 148;
    pub(super) const DATA_SEGS_OUT: usize = 156;
    pub(super) const BUSY_TIME_US: usize = 168;
    pub(super) const DSACK_DUPS: usize = 216;
}

impl TcpFigures {
    /// `None` before Linux 4.9, whose structure ends before these fields.
    fn parse(info: &[u8]) -> Option<Self> {
        let u32_at = |at: usize| {
            info.get(at..)?
                .first_chunk()
                .map(|bytes| u32::from_ne_bytes(*bytes))
        };
        let u64_at = |at: usize| {
            info.get(at..)?
                .first_chunk()
                .map(|bytes| u64::from_ne_bytes(*bytes))
        };
        let time_at = |at| u32_at(at).map(|us| Duration::from_micros(us.into()));
        // Added in Linux 4.19.
        let needless = u32_at(at::DSACK_DUPS).unwrap_or_default();
        Some(Self {
            segments: u32_at(at::DATA_SEGS_OUT)?.into(),
            lost: u32_at(at::TOTAL_RETRANS)?.saturating_sub(needless).into(),
            acknowledged: u64_at(at::BYTES_ACKED)?,
            busy: u64_at(at::BUSY_TIME_US).map(Duration::from_micros),
            congestion_window: u64::from(u32_at(at::SND_CWND)?) * u64::from(u32_at(at::SND_MSS)?),
            round_trip: time_at(at::RTT_US)?,
            least_round_trip: time_at(at::MIN_RTT_US)?,
        })
    }
}

/// The structure, as long as this kernel's.
#[cfg(target_os = "linux")]
fn info(socket: &TcpStream) -> Option<Vec<u8>> {
    use std::ffi::{c_int, c_void};
    use std::os::fd::AsRawFd;

    #[allow(unsafe_code)]
    // SAFETY: this is getsockopt(2) as POSIX and the C library of Linux declare it, with
    // `socklen_t` of 32 bits.
    unsafe extern "C" {
        fn getsockopt(
            socket: c_int,
            level: c_int,
            name: c_int,
            value: *mut c_void,
            bytes: *mut u32,
        ) -> c_int;
    }

    const IPPROTO_TCP: c_int = 6;
    const TCP_INFO: c_int = 11;
    /// More than any kernel fills; the kernel returns the length.
    const ROOM: u32 = 512;

    let (mut value, mut bytes) = (vec![0_u8; ROOM as usize], ROOM);
    // SAFETY: the kernel writes at most `bytes` bytes to `value`, which has that length, and the
    // number of them to `bytes`; it keeps neither pointer. The descriptor is open, as `socket` is
    // borrowed.
    #[allow(unsafe_code)]
    let result = unsafe {
        getsockopt(
            socket.as_raw_fd(),
            IPPROTO_TCP,
            TCP_INFO,
            value.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    value.truncate(bytes as usize);
    (result == 0).then_some(value)
}

#[cfg(not(target_os = "linux"))]
const fn info(_: &TcpStream) -> Option<Vec<u8>> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_structure_of_any_length_is_read_as_far_as_it_goes() {
        let info: Vec<u8> = (0..=255).collect();
        for length in 0..info.len() {
            let figures = TcpFigures::parse(&info[..length]);
            assert_eq!(
                figures.is_some(),
                length >= at::DATA_SEGS_OUT + 4,
                "{length} bytes"
            );
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_figures_of_a_tcp_connection_are_known() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        use tokio::net::TcpListener;

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        near.write_all(&[7; 1000]).await.unwrap();
        far.read_exact(&mut [0; 1000]).await.unwrap();
        // The response acknowledges everything received before it.
        far.write_all(&[7]).await.unwrap();
        near.read_exact(&mut [0]).await.unwrap();
        let near = Arc::new(near);
        let meter = TcpMeter::new(&near);
        let figures = meter.figures().unwrap();
        assert!(
            figures.segments >= 1 && figures.congestion_window >= 1000,
            "{figures:?}"
        );
        assert!(
            figures
                .busy
                .is_none_or(|busy| busy < Duration::from_secs(600)),
            "{figures:?}"
        );
        assert!(
            figures.least_round_trip < Duration::from_secs(60),
            "{figures:?}"
        );
        assert!(figures.acknowledged >= 1000, "{figures:?}");
        drop(near);
        assert_eq!(
            (meter.figures(), meter.unacknowledged_bytes()),
            (None, None),
            "the meter kept the socket open"
        );
    }
}
