//! Tun: a TUN device in the network namespace of the calling thread.
//!
//! In:    a name.
//! Out:   a descriptor that reads or writes one IP packet per call, and never blocks.
//! Never: leaves the device behind: it is removed when the descriptor is closed.

#![allow(unsafe_code)] // one ioctl, which rustix has no safe form of

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read, write};
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Tun {
    device: File,
}

/// `TUNSETIFF` of `linux/if_tun.h`. Its number encodes an `int`, its argument is a `struct ifreq`.
const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);
/// IP packets without a link header (`IFF_TUN`), and without four bytes in front of each
/// (`IFF_NO_PI`).
const FLAGS: u16 = 0x0001 | 0x1000;
const NAME_BYTES: usize = 16;

/// `struct ifreq` of `linux/if.h`: a name and a union of 24 bytes, of which the flags are the first
/// two.
#[repr(C)]
#[derive(Clone, Copy)]
struct InterfaceRequest {
    name: [u8; NAME_BYTES],
    flags: u16,
    rest: [u8; 22],
}

impl Tun {
    /// Creates the device.
    pub(super) fn open(name: &str) -> Result<Self> {
        ensure!(
            name.len() < NAME_BYTES,
            "{name} is too long for a network device"
        );
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let device = open("/dev/net/tun", flags, Mode::empty()).context("opening /dev/net/tun")?;
        let mut request = InterfaceRequest {
            name: [0; NAME_BYTES],
            flags: FLAGS,
            rest: [0; 22],
        };
        request
            .name
            .iter_mut()
            .zip(name.bytes())
            .for_each(|(to, from)| *to = from);
        // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which `InterfaceRequest` matches
        // in size and layout, and keeps no pointer to it. The name ends with a zero byte, since it
        // is shorter than its field.
        unsafe {
            ioctl(
                &device,
                Updater::<TUNSETIFF, InterfaceRequest>::new(&mut request),
            )
        }
        .with_context(|| format!("making the network device {name}"))?;
        Ok(Self {
            device: device.into(),
        })
    }

    /// Reads the next packet that the namespace sends; `None` if there is none now.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        match read(&self.device, buffer) {
            Ok(n) => Ok(Some(n)),
            // EIO: the device is down.
            Err(Errno::AGAIN | Errno::INTR | Errno::IO) => Ok(None),
            Err(error) => Err(error).context("reading from a TUN device"),
        }
    }

    /// Passes a packet to the namespace. `false`: it was not accepted.
    pub(super) fn write(&self, packet: &[u8]) -> bool {
        write(&self.device, packet) == Ok(packet.len())
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}
