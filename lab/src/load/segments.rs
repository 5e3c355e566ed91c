//! Segments: how many TCP segments with data a socket has received (`TCP_INFO` of tcp(7)).
//!
//! In:    a TCP socket.
//! Out:   the kernel's count; `None` if this kernel has none.
//! Never: reads from the socket.

#![allow(unsafe_code)] // one getsockopt, which neither rustix nor socket2 has

use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd};

/// `tcpi_data_segs_in` in `struct tcp_info` of `linux/tcp.h`, since Linux 4.6.
const DATA_SEGS_IN: usize = 152;

/// See the top of the file.
pub(super) fn received(socket: &impl AsFd) -> Option<u64> {
    // SAFETY: this is getsockopt(2) as the C library of Linux declares it, with `socklen_t` of 32
    // bits.
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
    const ROOM: u32 = 256;

    let (mut info, mut bytes) = ([0_u8; ROOM as usize], ROOM);
    // SAFETY: the kernel writes at most `bytes` bytes to `info`, which has that length, and their
    // number to `bytes`; it keeps neither pointer. The descriptor is open, as `socket` is borrowed.
    let result = unsafe {
        getsockopt(
            socket.as_fd().as_raw_fd(),
            IPPROTO_TCP,
            TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    let filled = info.get(..bytes as usize).filter(|_| result == 0)?;
    let count = filled.get(DATA_SEGS_IN..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*count).into())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_write_on_loopback_is_one_segment() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        far.set_nodelay(true).unwrap();
        let mut room = vec![0; 16 << 10];
        for writes in 1..=3 {
            far.write_all(&room).unwrap();
            near.read_exact(&mut room).unwrap();
            assert_eq!(received(&near), Some(writes));
        }
    }
}
