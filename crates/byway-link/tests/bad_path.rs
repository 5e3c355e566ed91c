//! Bad path: a link over a simulated path that loses and reorders datagrams, with seeded random
//! numbers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use byway_dial::{Pipe, Read, Stream};
use byway_link::window::{CARRIER_BYTES, INITIAL_BYTES, WIDE_BYTES};
use byway_link::wire::{Open, Opened};
use byway_link::{Carriers, ClientKey, JoinString, Key, NodeBudget, OpenAttempts, Settings};
use common::shaped::{Change, ShapedPath};
use common::{Listening, Side, dialler, read_to_end};
use lab::shaping::counts::Cause;
use lab::shaping::shape::{Queue, Shape};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Guards against a hang; nothing is measured.
const PATIENCE: Duration = Duration::from_secs(120);

/// Two nodes with a QUIC link over a shaped path.
struct Across {
    dialler: Side,
    acceptor: Side,
    path: ShapedPath,
    /// Of the dialler and of the acceptor.
    budgets: [NodeBudget; 2],
    _listening: Listening,
}

impl Across {
    async fn new(seed: u64, changes: &[Change]) -> Self {
        let [near, far] = [(); 2].map(|()| Settings::default());
        let budgets = [&near, &far].map(|settings| settings.budget.clone());
        let listening = Listening::new(Key::generate().unwrap(), far).await;
        let path = ShapedPath::to(listening.address, seed, changes).await;
        let join = JoinString {
            address: byway_dial::Target::Addr(path.address),
            ..listening.join()
        };
        let dialler = dialler(join, Carriers::Quic, Key::generate().unwrap(), near);
        let welcoming = async { listening.pending().await.welcome().await.unwrap() };
        let (dialled, accepted) = tokio::join!(dialler.connect(1, 1, PATIENCE), welcoming);
        let (dialler, acceptor) = (Side::new(dialled.unwrap()), Side::new(accepted));
        Self {
            dialler,
            acceptor,
            path,
            budgets,
            _listening: listening,
        }
    }

    /// Sends `length` bytes from the acceptor to the dialler and checks each of them.
    async fn carries(&self, length: usize) {
        let (opened, (_, mut far)) = self.dialler.open_to(&self.acceptor).await;
        let mut near = opened.stream;
        let body: Vec<u8> = (0..length).map(|at| (at ^ (at >> 9)) as u8).collect();
        let (sent, received) = tokio::join!(send(&mut far, &body), read_to_end(&mut near));
        sent.unwrap();
        assert!(
            received.unwrap() == body,
            "the body is not the one that was sent"
        );
    }
}

async fn send(stream: &mut Stream, body: &[u8]) -> Result<(), byway_dial::Broken> {
    stream.write_all(body).await?;
    stream.finish().await
}

#[tokio::test]
async fn every_byte_arrives_over_a_path_that_loses_and_reorders() {
    let shape = Shape {
        delay: Duration::from_millis(2),
        ..Shape::default()
    };
    let shape = shape
        .losing(0.03)
        .reordering(0.03, Duration::from_millis(3));
    let across = Across::new(7, &[(0, shape)]).await;
    timeout(PATIENCE, across.carries(2_000_000))
        .await
        .expect("the stream has stalled");
    // The dialler sends few packets, so its direction may lose none by chance.
    let counted = across.path.counted();
    let dropped: u64 = counted.iter().map(|side| side.dropped(Cause::Loss)).sum();
    let late: u64 = counted.iter().map(|side| side.late).sum();
    let words: Vec<String> = counted.iter().map(|side| side.words()).collect();
    assert!(
        dropped > 0 && late > 0,
        "the path was clean: {}",
        words.join("; ")
    );
}

/// Streams that always have more to write than the path takes: together, more than the send window
/// of a connection.
const UPLOADS: usize = 120;

impl Across {
    /// Starts [`UPLOADS`] from the dialler to the acceptor, which reads them. They end with the
    /// tasks.
    async fn uploads(&self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for _ in 0..UPLOADS {
            let (opened, (_, mut far)) = self.dialler.open_to(&self.acceptor).await;
            let mut near = opened.stream;
            tasks.spawn(async move {
                let block = vec![7; 64 * 1024];
                while near.write_all(&block).await.is_ok() {}
            });
            tasks.spawn(async move {
                let mut room = vec![0; 64 * 1024];
                while let Ok(Read::Data(_)) = far.read(&mut room).await {}
            });
        }
        tasks
    }
}

/// A slow path.
fn megabits(rate: u64) -> Shape {
    Shape::clean(
        Duration::from_millis(20),
        rate * 1_000_000,
        Queue::Time(Duration::from_millis(200)),
    )
}

#[tokio::test]
async fn new_streams_do_not_wait_behind_uploads_that_fill_the_send_window() {
    let across = Across::new(3, &[(0, megabits(8))]).await;
    let _uploads = across.uploads().await;
    for _ in 0..10 {
        let (opened, (_, mut far)) = across.dialler.open_to(&across.acceptor).await;
        let mut near = opened.stream;
        let (sent, received) = tokio::join!(send(&mut near, b"a question"), read_to_end(&mut far));
        sent.unwrap();
        assert_eq!(received.unwrap(), b"a question");
    }
}

impl Across {
    /// A stream that the dialler opens for a client. The acceptor learns that it is another one than
    /// before, and no address.
    async fn open_for(&self, client: ClientKey) -> [Stream; 2] {
        let open = Open {
            service: 1,
            ..Open::default()
        };
        let mut attempts = OpenAttempts::default();
        let link = &self.dialler.link;
        let (opened, answered) = tokio::join!(
            link.open_again(&open, client, PATIENCE, &mut attempts),
            async {
                let (_, asked) = self.acceptor.next_asked().await;
                asked.opened(Opened::default()).await
            },
        );
        [opened.unwrap().stream, answered.unwrap()]
    }

    fn used(&self) -> [u64; 2] {
        self.budgets.each_ref().map(NodeBudget::used)
    }
}

#[tokio::test]
async fn idle_streams_of_one_client_kept_those_of_another_at_the_first_window() {
    let shape = Shape {
        delay: Duration::from_millis(5),
        ..Shape::default()
    };
    let across = Across::new(5, &[(0, shape)]).await;
    let [greedy, other] = ["greedy", "other"].map(|name| ClientKey::of(&name));
    let wide = u64::from(WIDE_BYTES - INITIAL_BYTES);
    let mut held = Vec::new();
    // Streams start wide once the round trip was measured.
    let filling = async {
        loop {
            let before = across.used();
            let stream = across.open_for(greedy).await;
            if across.used() != before {
                held.push(stream);
            } else if before.iter().all(|used| *used > 0) {
                return before;
            }
        }
    };
    let [unused, far] = timeout(PATIENCE, filling).await.expect("a stall");
    assert!(
        unused < far / 2,
        "{unused} of {far} for streams that were not used"
    );
    for [near_end, _] in &mut held {
        near_end.write_all(b"x").await.unwrap();
    }
    let full = across.used();
    assert!(
        full.iter()
            .all(|used| *used <= CARRIER_BYTES.early_bytes / 2)
            && full[0] > unused,
        "{full:?}"
    );
    held.push(across.open_for(other).await);
    assert_eq!(across.used(), full.map(|used| used + wide));
    // What another client uses now leaves room for new streams, on the side that knows it.
    drop(held.pop());
    for [near, _] in &mut held[..4] {
        near.count_for(other.number());
    }
    let [near_end, _] = &mut across.open_for(greedy).await;
    near_end.write_all(b"x").await.unwrap();
    let [near, far] = full;
    assert_eq!(across.used(), [near + wide, far]);
}

#[tokio::test]
async fn a_stream_that_was_used_again_stayed_narrow_for_the_next_client() {
    let shape = Shape {
        delay: Duration::from_millis(5),
        ..Shape::default()
    };
    let across = Across::new(6, &[(0, shape)]).await;
    let [greedy, other] = ["greedy", "other"].map(|name| ClientKey::of(&name));
    let mut held = Vec::new();
    let narrow = async {
        loop {
            let mut stream = across.open_for(greedy).await;
            let before = across.used();
            stream[0].write_all(b"x").await.unwrap();
            let is_wide = across.used()[0] != before[0];
            held.push(stream);
            if !is_wide && held.len() > 60 {
                return held.pop();
            }
        }
    };
    let [mut near, _far] = timeout(PATIENCE, narrow).await.expect("a stall").unwrap();
    let before = across.used()[0];
    near.count_for(other.number());
    near.write_all(b"x").await.unwrap();
    let wide = u64::from(WIDE_BYTES - INITIAL_BYTES);
    assert_eq!(across.used()[0], before + wide);
}
