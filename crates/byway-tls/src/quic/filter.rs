//! Filter: a small program in the kernel that selects the socket for a datagram, among sockets that
//! share an address. Classic BPF, as in Linux's `Documentation/networking/filter.rst`.
//!
//! In:    instructions.
//! Out:   the option of the socket, set (`SO_ATTACH_REUSEPORT_CBPF`, socket(7)).
//! Never: selects by itself: the kernel runs the program.

use std::io;
use std::net::UdpSocket;

/// One instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instruction {
    code: u16,
    /// How many instructions are skipped if a test succeeds, and if it fails.
    if_true: u8,
    if_false: u8,
    operand: u32,
}

// The parts of an instruction's code.
const LOAD: u16 = 0x00;
const BYTE: u16 = 0x10;
const ABSOLUTE: u16 = 0x20;
const ARITHMETIC: u16 = 0x04;
const MODULO: u16 = 0x90;
const JUMP: u16 = 0x05;
const ANY_BIT_SET: u16 = 0x40;
const RETURN: u16 = 0x06;
const ACCUMULATOR: u16 = 0x10;

impl Instruction {
    const fn new(code: u16, operand: u32) -> Self {
        Self {
            code,
            if_true: 0,
            if_false: 0,
            operand,
        }
    }

    /// Loads the byte at this offset of the datagram. One that is shorter ends the program with 0.
    pub(super) const fn load_byte(offset: u32) -> Self {
        Self::new(LOAD | BYTE | ABSOLUTE, offset)
    }

    /// Skips the next `count` instructions unless a bit of `mask` is set in the loaded byte.
    pub(super) const fn skip_unless(mask: u32, count: u8) -> Self {
        Self {
            if_false: count,
            ..Self::new(JUMP | ANY_BIT_SET, mask)
        }
    }

    /// Skips the next `count` instructions.
    pub(super) const fn skip(count: u32) -> Self {
        Self::new(JUMP, count)
    }

    /// Divides the loaded byte by `divisor` and keeps the remainder.
    pub(super) const fn modulo(divisor: u32) -> Self {
        Self::new(ARITHMETIC | MODULO, divisor)
    }

    /// Returns what is loaded.
    pub(super) const fn return_loaded() -> Self {
        Self::new(RETURN | ACCUMULATOR, 0)
    }
}

/// Selects with this program among the sockets that share the address of `socket`. Each gets its
/// index when it is bound, from 0 on.
///
/// # Errors
/// If the system refuses, or has no such filters.
#[cfg(target_os = "linux")]
pub(super) fn attach(socket: &UdpSocket, program: &[Instruction]) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let mut instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|instruction| libc::sock_filter {
            code: instruction.code,
            jt: instruction.if_true,
            jf: instruction.if_false,
            k: instruction.operand,
        })
        .collect();
    let program = libc::sock_fprog {
        len: u16::try_from(instructions.len()).map_err(io::Error::other)?,
        filter: instructions.as_mut_ptr(),
    };
    let bytes = libc::socklen_t::try_from(size_of_val(&program)).map_err(io::Error::other)?;
    // SAFETY: the option takes a `sock_fprog` of this size, whose pointer and length are those of
    // `instructions`. The kernel copies both during the call.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            bytes,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Other systems have no such filters.
#[cfg(not(target_os = "linux"))]
pub(super) fn attach(_: &UdpSocket, _: &[Instruction]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
