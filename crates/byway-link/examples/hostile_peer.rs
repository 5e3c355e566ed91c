//! Hostile peer: does to a link port what an unauthenticated or authenticated client may try, and
//! holds the connections, so that the server's memory can be measured. For your own nodes, on
//! loopback.
//!
//! ```text
//! cargo run --release -p byway-link --example hostile_peer -- ADDRESS WHAT [COUNT] [SECONDS] [JOIN-STRING-FILE]
//! ```
//!
//! WHAT is one of `tls-open`, `quic-open` (streams of 32 KiB before the hello), `quic-idle`
//! (connections that send nothing), `quic-initials` (first packets whose answers are dropped) and
//! `announce` (an authenticated client opens streams that announce 64 KiB and never send them).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::net::SocketAddr;
use std::time::Duration;

use byway_dial::Stream;
use byway_link::JoinString;
use byway_link::mux::frame::FrameKind;
use byway_link::wire::{Control, Hello};
use common::quic::{RawQuic, call};
use common::raw::{RawKey, RawPeer, frame, hello};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How long one connection may try to send its bytes.
const TRY: Duration = Duration::from_secs(3);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut words = std::env::args().skip(1);
    let address: SocketAddr = words
        .next()
        .expect("an address")
        .parse()
        .expect("an address");
    let what = words.next().expect("what to do");
    let count: usize = words.next().map_or(4, |count| count.parse().unwrap());
    let seconds: u64 = words.next().map_or(5, |seconds| seconds.parse().unwrap());
    let join = words.next().map(|path| {
        std::fs::read_to_string(path)
            .unwrap()
            .trim()
            .parse::<JoinString>()
            .unwrap()
    });
    match what.as_str() {
        "tls-open" => tls_open(address, count, seconds).await,
        "quic-open" => quic_open(address, count, seconds).await,
        "quic-idle" => quic_idle(address, count, seconds).await,
        "quic-initials" => quic_initials(address, count, seconds).await,
        "announce" => announce(address, &join.expect("a join string"), count, seconds).await,
        other => panic!("{other} is unknown"),
    }
}

async fn hold(seconds: u64) {
    println!("holding for {seconds} s");
    sleep(Duration::from_secs(seconds)).await;
}

async fn dial(address: SocketAddr) -> RawPeer {
    RawPeer::dialled(
        Stream::tcp(TcpStream::connect(address).await.unwrap()),
        &RawKey::generate(),
    )
    .await
}

async fn tls_open(address: SocketAddr, count: usize, seconds: u64) {
    let (mut peers, mut taken) = (Vec::new(), 0);
    for _ in 0..count {
        let mut peer = dial(address).await;
        let _ = timeout(TRY, async {
            for place in 0..8192 {
                peer.writer
                    .frame(FrameKind::Open, 2 * place + 1, &[0; 32 * 1024])
                    .await?;
                taken += 32 * 1024;
            }
            std::io::Result::Ok(())
        })
        .await;
        peers.push(peer);
    }
    println!("{count} clients over TLS: {} KiB taken", taken / 1024);
    hold(seconds).await;
}

async fn quic_open(address: SocketAddr, count: usize, seconds: u64) {
    let (mut peers, mut taken) = (Vec::new(), 0);
    for _ in 0..count {
        let peer = RawQuic::dialled(address, &RawKey::generate()).await;
        let mut streams = Vec::new();
        let _ = timeout(TRY, async {
            while let Ok((mut send, recv)) = peer.connection.open_bi().await {
                let _ = timeout(Duration::from_millis(200), async {
                    for _ in 0..32 {
                        taken += send.write(&[0; 1024]).await.unwrap_or(0);
                    }
                })
                .await;
                streams.push((send, recv));
            }
        })
        .await;
        peers.push((peer, streams));
    }
    println!("{count} clients over QUIC: {} KiB taken", taken / 1024);
    hold(seconds).await;
}

async fn quic_idle(address: SocketAddr, count: usize, seconds: u64) {
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let key = RawKey::generate();
    let mut peers = Vec::new();
    for _ in 0..count {
        if let Ok(Ok(connection)) = timeout(TRY, call(&endpoint, address, &key)).await {
            peers.push(connection);
        }
    }
    println!("{} idle connections over QUIC", peers.len());
    hold(seconds).await;
}

async fn quic_initials(address: SocketAddr, count: usize, seconds: u64) {
    // A packet to the first socket leaves from the second, which is not read.
    let (near, far) = (udp().await, udp().await);
    let relay = near.local_addr().unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let key = RawKey::generate();
    let _calling: Vec<_> = (0..count).map(|_| call(&endpoint, relay, &key)).collect();
    let relaying = async {
        let mut packet = [0; 2048];
        loop {
            let length = near.recv(&mut packet).await.unwrap();
            far.send_to(&packet[..length], address).await.unwrap();
        }
    };
    println!("{count} first packets, holding for {seconds} s");
    let _ = timeout(Duration::from_secs(seconds), async {
        tokio::join!(relaying).0
    })
    .await;
}

async fn udp() -> tokio::net::UdpSocket {
    tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

async fn announce(address: SocketAddr, join: &JoinString, count: usize, seconds: u64) {
    let mut peers = Vec::new();
    for _ in 0..count {
        let mut peer = dial(address).await;
        let (grant, secret) = (join.id.as_bytes().to_vec(), join.secret.expose().to_vec());
        peer.writer
            .send(Control::Hello(Hello {
                grant,
                secret,
                purpose: 1,
                ..hello()
            }))
            .await;
        peer.reader.welcome().await;
        let opens: Vec<u8> = (0..8190)
            .flat_map(|place| frame(FrameKind::Open, 2 * place + 1, &[0, 1, 0, 0]))
            .collect();
        println!("{} bytes are sent", opens.len());
        let _ = timeout(TRY, peer.writer.bytes(&opens)).await;
        peers.push(peer);
    }
    hold(seconds).await;
}
