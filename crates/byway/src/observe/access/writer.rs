//! Writer: the thread that brings the lines of all buffers of one log to the sink.
//!
//! In:    buffers, when the waker rings; orders, from whoever runs the node.
//! Out:   lines in the sink, those of one worker in their order; or their number, if the sink did
//!        not take them.
//! Never: holds a buffer's lock while it writes, or gives up because of what the sink does.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};

use super::log_buffer::{Form, LogBuffer, PAGE_BYTES};
use super::log_waker::LogWaker;
use super::sink::Sink;
use crate::observe::counters::Counter;

/// How long lines of the access log gather before they are written together.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);

/// How long one write may wait before the writer looks up.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a sink that is given up may take for what it was given.
const PATIENCE_FOR_CHANGE: Duration = Duration::from_secs(1);

/// How often people are told that lines are lost.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// What the writer is told.
pub(in crate::observe) enum Order {
    /// Write what there is, then go on with this sink and form, or without any.
    Use(Option<(Sink, Form)>, Sender<()>),
    /// Open the file again.
    Reopen,
    /// Write what there is, until then at most, and end.
    End(Instant, Sender<()>),
}

/// A writer's thread, as the owner of the log sees it.
pub(in crate::observe) struct Running {
    orders: Sender<Order>,
    waker: Arc<LogWaker>,
}

impl Running {
    /// Starts a thread called `name` for the writer that `make` gives.
    ///
    /// # Errors
    /// The system refused a thread.
    pub(in crate::observe) fn start<P: AsRef<LogBuffer> + Send + Sync + 'static>(
        name: &str,
        make: impl FnOnce(Receiver<Order>, Arc<LogWaker>) -> Writer<P>,
    ) -> io::Result<Self> {
        let (orders, taken) = mpsc::channel();
        let waker = Arc::new(LogWaker::default());
        let writer = make(taken, Arc::clone(&waker));
        std::thread::Builder::new()
            .name(name.into())
            .spawn(move || writer.run())?;
        Ok(Self { orders, waker })
    }

    /// Hands `order` over, and does not wait for it.
    pub(in crate::observe) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
        self.waker.wake_now();
    }

    /// From now on lines go to this sink in this form; waits for at most `patience` until they do.
    pub(in crate::observe) fn go_on_with(&self, with: Option<(Sink, Form)>, patience: Duration) {
        let (done, is_done) = mpsc::channel();
        self.order(Order::Use(with, done));
        let _ = is_done.recv_timeout(patience);
    }

    /// Writes what there is, for at most `patience`, and ends the thread.
    pub(in crate::observe) fn end(self, patience: Duration) {
        let (done, is_done) = mpsc::channel();
        self.order(Order::End(Instant::now() + patience, done));
        // A write that blocks in the system cannot be cancelled: the thread is left behind then.
        let _ = is_done.recv_timeout(patience + patience / 2);
    }
}

/// See the head of the file.
pub(in crate::observe) struct Writer<P> {
    /// Whatever has the buffers.
    pub(in crate::observe) pages: Vec<Arc<P>>,
    pub(in crate::observe) waker: Arc<LogWaker>,
    pub(in crate::observe) orders: Receiver<Order>,
    /// Lines that the sink did not take.
    pub(in crate::observe) lost: Arc<Counter>,
    pub(in crate::observe) sink: Option<Sink>,
    pub(in crate::observe) interval: Duration,
    pub(in crate::observe) notice: Notice,
    /// Why the sink has refused lines, since it took any.
    pub(in crate::observe) failure: Option<io::Error>,
}

/// Where people read that lines were dropped.
pub(in crate::observe) enum Notice {
    /// In the program's log: at once, then once in a while.
    ProgramLog(Option<LastNotice>),
    /// In this log itself, which is the program's: behind the next lines that the sink takes. Holds
    /// how many were reported already.
    Itself(u64),
}

/// What people were told last.
pub(in crate::observe) struct LastNotice {
    at: Instant,
    dropped: u64,
}

impl<P: AsRef<LogBuffer>> Writer<P> {
    /// Runs until it is told to end.
    pub(in crate::observe) fn run(mut self) {
        self.waker.belongs_here();
        let mut spare = Vec::with_capacity(PAGE_BYTES);
        let mut next = None;
        loop {
            let order = match next.take() {
                Some(order) => Some(order),
                None => match self.wait() {
                    Ok(order) => order,
                    Err(_gone) => return,
                },
            };
            match order {
                None => next = self.write_buffers(&mut spare),
                Some(Order::Reopen) => self.reopen(),
                Some(Order::Use(with, done)) => {
                    let form = with.as_ref().map(|(_, form)| *form);
                    self.switch_buffers(&mut spare, form, Instant::now() + PATIENCE_FOR_CHANGE);
                    self.sink = with.map(|(sink, _)| sink);
                    let _ = done.send(());
                }
                Some(Order::End(deadline, done)) => {
                    self.report_in_itself();
                    self.switch_buffers(&mut spare, None, deadline);
                    self.report_at_end();
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    /// Waits for lines, or for an order.
    fn wait(&self) -> Result<Option<Order>, TryRecvError> {
        let mut order = self.orders.try_recv();
        if matches!(order, Err(TryRecvError::Empty)) {
            self.waker.wait(|| {
                order = self.orders.try_recv();
                !matches!(order, Err(TryRecvError::Empty))
                    || self
                        .pages
                        .iter()
                        .any(|log_buffer| !(**log_buffer).as_ref().is_empty())
            });
        }
        if matches!(order, Err(TryRecvError::Empty)) {
            self.waker.gather(self.interval, || {
                order = self.orders.try_recv();
                !matches!(order, Err(TryRecvError::Empty))
            });
        }
        match order {
            Ok(order) => Ok(Some(order)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(gone) => Err(gone),
        }
    }

    /// Writes every buffer. What comes out is an order that a stuck sink may not hold up.
    fn write_buffers(&mut self, spare: &mut Vec<u8>) -> Option<Order> {
        let (mut order, lost) = (None, self.lost.value());
        for index in 0..self.pages.len() {
            let Some(log_buffer) = self.pages.get(index).filter(|_| order.is_none()) else {
                break;
            };
            (**log_buffer).as_ref().swap(spare);
            order = self.write(spare, spare, None);
            spare.clear();
        }
        self.report_if_due(None);
        // A notice that the sink would refuse, too, would be lost and cause the next one.
        if self.lost.value() == lost {
            self.report_in_itself();
        }
        order
    }

    /// From now on buffers are written in `form`, or not at all. What stood on them goes to the old
    /// sink, until `deadline`.
    fn switch_buffers(&mut self, spare: &mut Vec<u8>, form: Option<Form>, deadline: Instant) {
        for index in 0..self.pages.len() {
            let Some(log_buffer) = self.pages.get(index) else {
                break;
            };
            (**log_buffer)
                .as_ref()
                .switch(spare, form.map(|form| (form, Arc::clone(&self.waker))));
            self.write(spare, spare, Some(deadline));
            spare.clear();
        }
    }

    /// Writes `left`, the end of `lines`, however long the sink takes, or until `deadline`.
    /// Meanwhile buffers fill, and drop what finds no room. Without a deadline it ends early for an
    /// order that cannot wait.
    fn write(&mut self, lines: &[u8], mut left: &[u8], deadline: Option<Instant>) -> Option<Order> {
        while !left.is_empty() {
            let Some(sink) = &mut self.sink else {
                self.lose(left);
                break;
            };
            let until_deadline =
                deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match sink.write(left, until_deadline.unwrap_or(PATIENCE).min(PATIENCE)) {
                Ok(0) if until_deadline.is_some_and(|left| left.is_zero()) => {
                    self.lose_behind(lines, left);
                    break;
                }
                Ok(0) => {
                    self.report_if_due(Some("the sink takes nothing"));
                    let order = if deadline.is_none() {
                        self.orders.try_recv().ok()
                    } else {
                        None
                    };
                    let until = match &order {
                        None => continue,
                        Some(Order::Reopen) => {
                            left = self.reopen_within(lines, left);
                            continue;
                        }
                        Some(Order::Use(..)) => Instant::now() + PATIENCE_FOR_CHANGE,
                        Some(Order::End(until, _)) => *until,
                    };
                    // One level deep: with a deadline no order is taken.
                    self.write(lines, left, Some(until));
                    return order;
                }
                Ok(n) => {
                    self.failure = None;
                    left = left.get(n..).unwrap_or_default();
                }
                Err(error) => {
                    self.lose_behind(lines, left);
                    self.report_if_due(Some(&words(&error)));
                    self.failure = Some(error);
                    break;
                }
            }
        }
        None
    }

    /// A stuck sink was replaced by name: the line that was cut is lost, the others go on in the
    /// new one.
    fn reopen_within<'l>(&mut self, lines: &[u8], left: &'l [u8]) -> &'l [u8] {
        self.reopen();
        if !is_within_a_line(lines, left) {
            return left;
        }
        self.lost.add(1);
        let end = left
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(left.len(), |at| at + 1);
        left.get(end..).unwrap_or_default()
    }

    fn lose_behind(&mut self, lines: &[u8], left: &[u8]) {
        if is_within_a_line(lines, left)
            && let Some(sink) = &mut self.sink
        {
            sink.tear();
        }
        self.lose(left);
    }

    fn lose(&self, lines: &[u8]) {
        self.lost
            .add(memchr::memchr_iter(b'\n', lines).count() as u64);
    }

    fn reopen(&mut self) {
        match self.sink.as_mut().map(Sink::reopen) {
            None => {}
            Some(Ok(())) => tracing::info!("the access log was opened again"),
            Some(Err(error)) => tracing::error!(
                "the access log cannot be opened again, the old file is kept: {error}"
            ),
        }
    }

    fn dropped(&self) -> u64 {
        self.lost.value()
            + self
                .pages
                .iter()
                .map(|log_buffer| (**log_buffer).as_ref().dropped())
                .sum::<u64>()
    }

    /// Tells people of lost lines: of the first ones at once, then once in a while.
    fn report_if_due(&mut self, why: Option<&str>) {
        let Notice::ProgramLog(last_notice) = &self.notice else {
            return;
        };
        let is_due = last_notice
            .as_ref()
            .is_none_or(|last_notice| last_notice.at.elapsed() >= REPORT_EVERY);
        let is_new = self.dropped()
            > last_notice
                .as_ref()
                .map_or(0, |last_notice| last_notice.dropped);
        if is_due && (why.is_some() || is_new) {
            self.report(why);
        }
    }

    fn report_at_end(&mut self) {
        let Notice::ProgramLog(last_notice) = &self.notice else {
            return;
        };
        if self.dropped()
            > last_notice
                .as_ref()
                .map_or(0, |last_notice| last_notice.dropped)
        {
            let failure = self.failure.take().map(|error| words(&error));
            self.report(Some(
                failure.as_deref().unwrap_or("the end came before them"),
            ));
        }
    }

    fn report(&mut self, why: Option<&str>) {
        let dropped = self.dropped();
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        tracing::warn!(
            dropped,
            "the access log does not keep up; lines that find no room are dropped{why}"
        );
        self.notice = Notice::ProgramLog(Some(LastNotice {
            at: Instant::now(),
            dropped,
        }));
    }

    /// Reports dropped lines in the log that lacks them.
    fn report_in_itself(&mut self) {
        let dropped_total = self.dropped();
        let Notice::Itself(reported) = &mut self.notice else {
            return;
        };
        let dropped = dropped_total - *reported;
        if dropped > 0 {
            *reported = dropped_total;
            tracing::warn!(
                dropped_total,
                "{dropped} lines of this log were dropped: standard error was not read in time"
            );
        }
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::BrokenPipe => "the program that read it has closed the pipe".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether `left`, the end of `lines`, begins in the middle of a line.
fn is_within_a_line(lines: &[u8], left: &[u8]) -> bool {
    lines
        .len()
        .checked_sub(left.len() + 1)
        .and_then(|at| lines.get(at))
        .is_some_and(|before| *before != b'\n')
}
