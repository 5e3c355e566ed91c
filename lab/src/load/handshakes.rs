//! Handshakes: TLS connections that are opened and closed, several at a time.
//!
//! In:    the address, the client's TLS, whether sessions are resumed, how many at a time, how long.
//! Out:   the result of `measured`, which gets the counters of the load; the key exchange.
//! Never: counts a handshake before the program has checked the client's last message and sent a
//!        ticket, or one that resumed a session where it should not, or did not where it should.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;
use rustls::NamedGroup;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::counters::Counters;
use super::reach::Reach;
use super::tickets::Tickets;
use super::tls::TlsClient;
use super::wire::Wire;

/// The load.
#[derive(Clone)]
pub(crate) struct Handshakes {
    /// The origin, for requests through a proxy.
    pub(crate) origin: SocketAddr,
    /// How many at a time.
    pub(crate) lanes: usize,
    /// The client's TLS.
    pub(crate) tls: TlsClient,
    /// Whether each resumes the session of the one before.
    pub(crate) resumed: bool,
    /// How long handshakes are counted.
    pub(crate) window: Duration,
}

/// What the handshakes of a load had in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// The key exchange.
    pub(crate) group: NamedGroup,
    /// Tickets of each.
    pub(crate) tickets: u64,
}

impl Handshakes {
    /// Runs the load. `measured` starts after the warm-up and gets the counters of the load.
    pub(crate) async fn run<T>(
        &self,
        reach: Reach,
        measured: impl AsyncFnOnce(&Counters) -> Result<T>,
    ) -> Result<(T, Agreed)> {
        let counters = Arc::new(Counters::default());
        let leaving = Arc::new(AtomicBool::new(false));
        let agreed = Arc::new(Mutex::new(None));
        let mut lanes = JoinSet::new();
        for _ in 0..self.lanes {
            let lane = self.lane(reach, Arc::clone(&agreed));
            // The first has no ticket yet.
            lane.handshake(false).await?;
            lanes.spawn(repeat(lane, Arc::clone(&counters), Arc::clone(&leaving)));
        }
        let load = async {
            sleep(self.window / 6).await;
            measured(&counters).await
        };
        let result = tokio::select! {
            result = load => result,
            // No lane ends before `leaving` is set.
            broken = lanes.join_next() => match broken.context("no handshakes were requested")?? {
                Ok(()) => bail!("a connection ended early"),
                Err(error) => Err(error),
            },
        }?;
        leaving.store(true, Relaxed);
        // Lanes that are not done in time are dropped with the set.
        let _ = timeout(Duration::from_secs(2), async {
            while lanes.join_next().await.is_some() {}
        })
        .await;
        let agreed = agreed.lock().context("no handshake was completed")?;
        Ok((result, agreed))
    }

    fn lane(&self, reach: Reach, agreed: Arc<Mutex<Option<Agreed>>>) -> Lane {
        let tickets = Arc::new(Tickets::new(self.resumed));
        Lane {
            reach,
            origin: self.origin,
            tls: self.tls.with_tickets(Arc::clone(&tickets)),
            tickets,
            resumed: self.resumed,
            agreed,
        }
    }
}

/// One handshake after the other.
struct Lane {
    reach: Reach,
    origin: SocketAddr,
    tls: TlsClient,
    tickets: Arc<Tickets>,
    resumed: bool,
    agreed: Arc<Mutex<Option<Agreed>>>,
}

async fn repeat(lane: Lane, counters: Arc<Counters>, leaving: Arc<AtomicBool>) -> Result<()> {
    while !leaving.load(Relaxed) {
        lane.handshake(lane.resumed).await?;
        counters.add(1, 0);
    }
    Ok(())
}

impl Lane {
    async fn handshake(&self, resumed: bool) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(5);
        let done = timeout(PATIENCE, self.whole(resumed)).await;
        done.with_context(|| format!("a handshake was not done after {PATIENCE:?}"))?
    }

    async fn whole(&self, resumed: bool) -> Result<()> {
        let before = self.tickets.arrived();
        let tcp = self.reach.open(self.origin).await?;
        let mut stream = self.tls.handshake(tcp).await?;
        ensure!(
            stream.resumed() == resumed,
            "a session was {}resumed",
            if resumed { "not " } else { "" }
        );
        let group = stream.group().context("no key exchange took place")?;
        stream.until(|| self.tickets.arrived() > before).await?;
        stream.close_notify().await?;
        // The program closes too; nothing but further tickets may arrive.
        let more = stream.read(<[u8]>::len).await?;
        ensure!(more == 0, "{more} bytes were received without a request");
        let tickets = self.tickets.arrived() - before;
        let mut agreed = self.agreed.lock();
        let known = agreed.get_or_insert(Agreed { group, tickets });
        ensure!(
            known.group == group,
            "the key exchange changed from {:?} to {group:?}",
            known.group
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::{ServerConfig, ServerConnection};

    use super::*;
    use crate::load::tls::Groups;
    use crate::peers::front::CertificateFiles;

    /// A server that accepts connections and reads them to their end, without a protocol of its
    /// own. It ends with the test process.
    fn server(files: &CertificateFiles, tickets: bool) -> SocketAddr {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![files.read().unwrap()], key)
            .unwrap();
        config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
        config.send_tls13_tickets = if tickets { 2 } else { 0 };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for tcp in listener.incoming() {
                let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut tcp = tcp.unwrap();
                std::thread::spawn(move || {
                    let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
                    if tickets {
                        // To the end: the client sends no data.
                        let _ = stream.read(&mut [0; 64]);
                    } else {
                        let _ = stream.conn.complete_io(&mut stream.sock);
                    }
                    stream.conn.send_close_notify();
                    // The client may be gone.
                    let _ = stream.flush();
                });
            }
        });
        address
    }

    fn load(files: &CertificateFiles, origin: SocketAddr, groups: Groups) -> Handshakes {
        Handshakes {
            origin,
            lanes: 2,
            tls: TlsClient::new(&files.read().unwrap(), groups, b"h2").unwrap(),
            resumed: false,
            window: Duration::from_secs(60),
        }
    }

    /// The handshakes of a load that ends as soon as some are counted.
    async fn some(load: Handshakes) -> Result<Agreed> {
        let load = Handshakes {
            window: Duration::from_millis(6),
            ..load
        };
        let some = async |counters: &Counters| {
            while counters.answered() < 4 {
                sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        };
        Ok(load.run(Reach::Plain(load.origin), some).await?.1)
    }

    #[tokio::test]
    async fn full_and_resumed_handshakes_are_told_apart_and_the_group_is_the_one_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let files = CertificateFiles::make(dir.path()).unwrap();
        let address = server(&files, true);
        let classical = load(&files, address, Groups::Classical);
        let resumed = Handshakes {
            resumed: true,
            ..classical.clone()
        };
        let agreed = |group| Agreed { group, tickets: 2 };
        for load in [classical, resumed] {
            assert_eq!(some(load).await.unwrap(), agreed(NamedGroup::X25519));
        }
        let quantum = load(&files, address, Groups::PostQuantum);
        assert_eq!(
            some(quantum).await.unwrap(),
            agreed(NamedGroup::X25519MLKEM768)
        );
    }

    #[tokio::test]
    async fn a_program_without_tickets_or_with_another_certificate_ends_the_load() {
        let dir = tempfile::tempdir().unwrap();
        let files = CertificateFiles::make(dir.path()).unwrap();
        let without = load(&files, server(&files, false), Groups::Classical);
        assert!(some(without).await.is_err());
        let folder = tempfile::tempdir().unwrap();
        let others = CertificateFiles::make(folder.path()).unwrap();
        let other = load(&files, server(&others, true), Groups::Classical);
        assert!(some(other).await.is_err());
    }
}
