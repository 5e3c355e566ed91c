//! Deadline: which side an exchange waits for in each phase, and how long, in one table.
//!
//! | phase | waits for | limit | ends as |
//! |---|---|---|---|
//! | head of the request (`inbound/http/h1.rs`) | client | `head_timeout`, for all of it | 408 `request-head` |
//! | client waits for a 100 and has sent nothing | upstream | `first_byte` from then on | 504 `first-byte` |
//! | upload | client | a pause of `body_progress`, and `min_rate` | 408 `request-body`, `request-rate` |
//! | upload held back | upstream | a pause of `body_progress` | 504 `request-body` |
//! | part of the response head received, upload not finished | both | `first_byte` from its first byte, and the limits of the upload | 504 `first-byte`, or as the upload |
//! | request sent, head of the response not complete | upstream | `first_byte` from then on | 504 `first-byte` |
//! | interim response on its way to the client | client | a pause of `body_progress`, and `min_rate` | `response-body`, `response-rate` |
//! | download | upstream | a pause of `body_progress` | 504 or a cut response, `response-body` |
//! | download held back | client | a pause of `body_progress`, and `min_rate` | a cut response, `response-body`, `response-rate` |
//! | download and upload at once | both | a pause of `body_progress` on both sides; `min_rate` for an upload while no byte of the response passes | a cut response, `response-body`, `request-rate` |
//! | end of the response on its way to the client | client | a pause of `body_progress`, and `min_rate` | a cut response, `response-body`, `response-rate` |
//!
//! Only bytes in the awaited direction are progress: bytes of a response head are not progress of
//! an upload. If nothing is read from a client and nothing written to it, it is watched for a reset
//! after `WATCH_AFTER`. The pool may end an exchange in favour of another client (`recall.rs`)
//! while its client is waited for, and while the client waits for a 100: it may send its body
//! without one.
//!
//! In:    what is waited for, each time the exchange has to wait; the connection's timer.
//! Out:   the limit that was exceeded.
//! Never: fires while bytes move in time, however long the exchange takes; never costs a timer
//!        operation per byte: the timer is armed again only when it fires or when an earlier
//!        deadline begins, so a pause is noticed within twice its limit.

use std::task::{Context, Poll};
use std::time::Duration;

use byway_http::LazyTimer;
use tokio::time::Instant;

use super::min_rate::MinRate;
use crate::config::LimitsPlan;

/// One body, for the rate of its client.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    /// Bytes so far, from the client or to it.
    pub bytes: u64,
    /// Whether the exchange waits for the client.
    pub awaits_client: bool,
}

/// What an exchange waits for now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waiting {
    /// Whether `body_progress` applies, and the bytes that count as progress.
    pub progress: Option<u64>,
    /// The request's body.
    pub upload: Flow,
    /// The response.
    pub download: Flow,
    /// Bytes of the final response body: while they move, a slow upload is not ended.
    pub response_bytes: u64,
    /// Whether the upstream has to send, or to complete, the head of a response.
    pub awaits_head: bool,
    /// Whether the client connection is neither read nor written now, so that a reset would go
    /// unnoticed.
    pub is_silent: bool,
}

/// The limit that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// No progress within `body_progress`.
    Progress,
    /// The client sent its request body below `min_rate`.
    UploadRate,
    /// The client read the response below `min_rate`.
    DownloadRate,
    /// No complete head within `first_byte`.
    Head,
}

/// The deadlines of one exchange. Finds the limit that was exceeded, by the side that the exchange
/// waits for in each phase.
pub struct Deadlines<'a> {
    limits: &'a LimitsPlan,
    upload: MinRate,
    download: MinRate,
    progress: Option<Progress>,
    head_since: Option<Instant>,
    silent_since: Option<Instant>,
    is_watching: bool,
    /// [`Waiting::response_bytes`] when the upload rate was last checked.
    response_bytes: u64,
}

struct Progress {
    seen: u64,
    /// The last check that found progress.
    since: Instant,
    /// The next check.
    due: Instant,
}

impl<'a> Deadlines<'a> {
    /// Those of `limits`. `may_pause`: the client may read as slowly as it likes.
    pub fn new(limits: &'a LimitsPlan, may_pause: bool) -> Self {
        Self {
            limits,
            upload: MinRate::new(limits),
            download: if may_pause {
                MinRate::off()
            } else {
                MinRate::new(limits)
            },
            progress: None,
            head_since: None,
            silent_since: None,
            is_watching: false,
            response_bytes: 0,
        }
    }

    /// Starts a phase: the next response head has its own deadline, and the pause is counted again.
    pub fn begin_phase(&mut self) {
        self.head_since = None;
        self.progress = None;
    }

    /// Whether the client is to be watched for a reset: its connection has been silent for
    /// `WATCH_AFTER`.
    pub const fn watches_client(&self) -> bool {
        self.is_watching
    }

    /// Ready once a limit is exceeded. Call it whenever the exchange has to wait.
    pub fn poll_exceeded(
        &mut self,
        cx: &mut Context<'_>,
        timer: &mut LazyTimer,
        waiting: &Waiting,
    ) -> Poll<Exceeded> {
        self.note(waiting);
        while let Some(due) = self.next_due() {
            if timer.poll_at(cx, due).is_pending() {
                return Poll::Pending;
            }
            if let Some(exceeded) = self.judge(waiting, Instant::now()) {
                return Poll::Ready(exceeded);
            }
        }
        Poll::Pending
    }

    /// Starts and stops the deadlines that `waiting` requires. Reads the clock once, and only if
    /// one starts or stops.
    fn note(&mut self, waiting: &Waiting) {
        let mut reading = None;
        let mut now = || *reading.get_or_insert_with(Instant::now);
        self.upload.wait(waiting.upload.awaits_client, &mut now);
        self.download.wait(waiting.download.awaits_client, &mut now);
        match (waiting.progress, self.progress.is_some()) {
            (Some(seen), false) => {
                let since = now();
                self.progress = Some(Progress {
                    seen,
                    since,
                    due: since + self.limits.body_progress,
                });
            }
            (None, true) => self.progress = None,
            _ => {}
        }
        if waiting.awaits_head != self.head_since.is_some() {
            self.head_since = waiting.awaits_head.then(&mut now);
        }
        if waiting.is_silent != self.silent_since.is_some() {
            self.silent_since = waiting.is_silent.then(&mut now);
            self.is_watching = false;
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let watch = self
            .silent_since
            .filter(|_| !self.is_watching)
            .map(|since| since + WATCH_AFTER);
        let head = self.head_since.map(|since| since + self.limits.first_byte);
        let progress = self.progress.as_ref().map(|progress| progress.due);
        [watch, head, progress].into_iter().flatten().min()
    }

    /// The upload has ended or is no longer needed: its rate is not checked any more.
    pub fn end_upload(&mut self) {
        self.upload = MinRate::off();
    }

    /// The limit that is exceeded at `now`, if any. Moves the deadlines that have passed to their
    /// next time.
    fn judge(&mut self, waiting: &Waiting, now: Instant) -> Option<Exceeded> {
        if self
            .silent_since
            .is_some_and(|since| now >= since + WATCH_AFTER)
        {
            self.is_watching = true;
        }
        if self
            .head_since
            .is_some_and(|since| now >= since + self.limits.first_byte)
        {
            return Some(Exceeded::Head);
        }
        let (Some(progress), Some(bytes)) = (&mut self.progress, waiting.progress) else {
            return None;
        };
        if now < progress.due {
            return None;
        }
        if bytes != progress.seen {
            (progress.seen, progress.since) = (bytes, now);
        } else if now >= progress.since + self.limits.body_progress {
            return Some(Exceeded::Progress);
        }
        if let Some(is_slow) = self.upload.judge(waiting.upload.bytes, now) {
            let responded = std::mem::replace(&mut self.response_bytes, waiting.response_bytes);
            if is_slow && responded == waiting.response_bytes {
                return Some(Exceeded::UploadRate);
            }
        }
        if self.download.is_too_slow(waiting.download.bytes, now) {
            return Some(Exceeded::DownloadRate);
        }
        let standstill = progress.since + self.limits.body_progress;
        let paces = [self.upload.due(now), self.download.due(now)];
        progress.due = paces.into_iter().flatten().fold(standstill, Instant::min);
        None
    }
}

/// How long a client connection must be silent before it is watched: the watch costs an allocation.
const WATCH_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use super::*;

    fn limits(lines: &str) -> LimitsPlan {
        crate::testing::plan(&format!("{lines}\n[[tcp]]\nlisten = \":1\"\nto = \"a:1\""))
            .limits
            .clone()
    }

    /// What ends a wait without changes, and after how many seconds.
    async fn waited(limits: &LimitsPlan, waiting: Waiting) -> (Exceeded, u64) {
        let (mut deadlines, mut timer) = (Deadlines::new(limits, false), LazyTimer::default());
        let begun = Instant::now();
        let exceeded = poll_fn(|cx| deadlines.poll_exceeded(cx, &mut timer, &waiting)).await;
        (exceeded, begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn no_progress_for_the_whole_limit_is_a_stall_and_a_head_has_its_own_deadline() {
        let limits = limits("limits.body_progress = \"10s\"\nlimits.first_byte = \"7s\"");
        let body = Waiting {
            progress: Some(5),
            ..Waiting::default()
        };
        assert_eq!(waited(&limits, body).await, (Exceeded::Progress, 10));
        let head = Waiting {
            awaits_head: true,
            is_silent: true,
            ..Waiting::default()
        };
        assert_eq!(waited(&limits, head).await, (Exceeded::Head, 7));
        assert_eq!(
            waited(
                &limits,
                Waiting {
                    awaits_head: true,
                    ..body
                }
            )
            .await,
            (Exceeded::Head, 7)
        );
    }

    /// A body that arrives at one byte per `pause` seconds, `upstream` seconds of which are spent
    /// waiting for the upstream.
    async fn dripping(limits: &LimitsPlan, pause: u64, upstream: u64) -> (Option<Exceeded>, u64) {
        let (mut deadlines, mut timer) = (Deadlines::new(limits, false), LazyTimer::default());
        let begun = Instant::now();
        let mut tick = pin!(tokio::time::sleep(Duration::from_secs(upstream)));
        let mut upload = Flow::default();
        let ended = poll_fn(|cx| {
            while tick.as_mut().poll(cx).is_ready() {
                upload.bytes += u64::from(upload.awaits_client);
                upload.awaits_client = !upload.awaits_client;
                let next = if upload.awaits_client {
                    pause - upstream
                } else {
                    upstream
                };
                tick.as_mut()
                    .reset(Instant::now() + Duration::from_secs(next));
            }
            if upload.bytes == 100 {
                return Poll::Ready(None);
            }
            let waiting = Waiting {
                progress: Some(upload.bytes),
                upload,
                ..Waiting::default()
            };
            deadlines.poll_exceeded(cx, &mut timer, &waiting).map(Some)
        });
        (ended.await, begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn slow_but_steady_bytes_never_stall() {
        let limits = limits("limits.min_rate = \"none\"\nlimits.body_progress = \"10s\"");
        assert_eq!(dripping(&limits, 6, 0).await, (None, 600));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_upload_ends_after_a_limit_of_waiting_for_the_client_not_of_all_waiting() {
        let limits = limits("limits.min_rate = \"1B/s\"\nlimits.body_progress = \"60s\"");
        assert_eq!(
            dripping(&limits, 10, 0).await,
            (Some(Exceeded::UploadRate), 60)
        );
        let (ended, seconds) = dripping(&limits, 10, 5).await;
        assert_eq!(ended, Some(Exceeded::UploadRate));
        assert!(
            (115..=125).contains(&seconds),
            "after {seconds} s, half of which were spent waiting for the upstream"
        );
        assert_eq!(
            dripping(&limits, 10, 9).await,
            (None, 1000),
            "one byte per second is the minimum"
        );
    }
}
