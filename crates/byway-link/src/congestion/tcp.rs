//! Congestion control of carriers over TCP: sets the configured one in the kernel.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use socket2::SockRef;

use super::Congestion;

/// Whether it was logged that the kernel refuses the setting.
static LOGGED: AtomicBool = AtomicBool::new(false);

impl Congestion {
    /// Sets it on `socket`. If the kernel refuses, its default is kept, and the remedy is logged
    /// once.
    pub(crate) fn apply(self, socket: &SockRef<'_>) {
        let Err(error) = set(socket, self) else {
            return;
        };
        if !LOGGED.swap(true, Relaxed) {
            let advice = self.advice(&error);
            tracing::info!(
                "links over TLS keep the system's congestion control, as {self} cannot be used: {error}; {advice}"
            );
        }
    }

    /// Sets it again, and returns the remedy if the kernel refuses.
    pub(crate) fn missing(self, socket: &SockRef<'_>) -> Option<String> {
        set(socket, self).err().map(|error| self.advice(&error))
    }

    /// What to do for the kernel to allow it.
    fn advice(self, error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::NotFound => {
                format!(
                    "`modprobe tcp_{self}` loads it, then `sysctl net.ipv4.tcp_available_congestion_control` lists it"
                )
            }
            io::ErrorKind::PermissionDenied => {
                format!(
                    "`sysctl -w net.ipv4.tcp_allowed_congestion_control=\"reno cubic {self}\"` allows it"
                )
            }
            _ => "this system may not have it".to_owned(),
        }
    }
}

#[cfg(target_os = "linux")]
fn set(socket: &SockRef<'_>, congestion: Congestion) -> io::Result<()> {
    socket.set_tcp_congestion(congestion.to_string().as_bytes())
}

#[cfg(not(target_os = "linux"))]
fn set(_socket: &SockRef<'_>, _congestion: Congestion) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn a_socket_has_the_congestion_control_that_is_set_or_there_is_advice() {
        for congestion in [Congestion::Cubic, Congestion::Bbr] {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let (before, name) = (socket.tcp_congestion().unwrap(), congestion.to_string());
            congestion.apply(&SockRef::from(&socket));
            let after = socket.tcp_congestion().unwrap();
            match set(&SockRef::from(&socket), congestion) {
                Ok(()) => assert!(after.starts_with(name.as_bytes()), "{after:?}"),
                Err(error) => {
                    assert_eq!(after, before, "the old one is kept");
                    let advice = congestion.advice(&error);
                    assert!(
                        advice.contains("sysctl") && advice.contains(&name),
                        "{error}: {advice}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_missing_and_a_forbidden_congestion_control_have_different_remedies() {
        let missing = Congestion::Bbr.advice(&io::ErrorKind::NotFound.into());
        assert!(missing.starts_with("`modprobe tcp_bbr`"), "{missing}");
        let forbidden = Congestion::Bbr.advice(&io::ErrorKind::PermissionDenied.into());
        assert!(
            forbidden.contains("tcp_allowed_congestion_control=\"reno cubic bbr\""),
            "{forbidden}"
        );
    }
}
