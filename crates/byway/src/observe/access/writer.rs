//! Writer: the thread that writes the lines of all buffers of one log to the sink.
//!
//! In:    buffers, when it is woken; orders, from the owner of the log.
//! Out:   lines in the sink, those of one worker in order; or their number, if the sink did not
//!        take them.
//! Never: holds a buffer's lock while it writes, or stops because of an error of the sink.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};

use super::log_buffer::{Form, LogBuffer, PAGE_BYTES};
use super::log_waker::LogWaker;
use super::sink::Sink;
use crate::observe::counters::Counter;

/// How long lines of the access log are gathered before they are written together.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);

/// How long one write may wait before the writer checks for orders.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a sink that is being replaced may take for its remaining lines.
const PATIENCE_FOR_CHANGE: Duration = Duration::from_secs(1);

/// How often lost lines are reported.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// An order to the writer.
pub(in crate::observe) enum Order {
    /// Write all lines, then continue with this sink and form, or without any.
    Use(Option<(Sink, Form)>, Sender<()>),
    /// Open the file again.
    Reopen,
    /// Write all lines, at most until this time, and end.
    End(Instant, Sender<()>),
}

/// The owner's handle of a writer's thread.
pub(in crate::observe) struct Running {
    orders: Sender<Order>,
    waker: Arc<LogWaker>,
}

impl Running {
    /// Starts a thread called `name` for the writer that `make` returns.
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

    /// Sends `order`, and does not wait for it.
    pub(in crate::observe) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
        self.waker.wake_now();
    }

    /// From now on lines go to this sink in this form; waits at most `patience` for the switch.
    pub(in crate::observe) fn use_sink(&self, with: Option<(Sink, Form)>, patience: Duration) {
        let (done, is_done) = mpsc::channel();
        self.order(Order::Use(with, done));
        let _ = is_done.recv_timeout(patience);
    }

    /// Writes all lines, for at most `patience`, and ends the thread.
    pub(in crate::observe) fn end(self, patience: Duration) {
        let (done, is_done) = mpsc::channel();
        self.order(Order::End(Instant::now() + patience, done));
        // A write that blocks in the system cannot be cancelled: the thread is then left behind.
        let _ = is_done.recv_timeout(patience + patience / 2);
    }
}

/// The state of the thread that writes the lines of all buffers of one log to the sink. Lines that
/// the sink does not take are counted, and do not end the thread.
pub(in crate::observe) struct Writer<P> {
    /// The owners of the buffers.
    pub(in crate::observe) buffers: Vec<Arc<P>>,
    pub(in crate::observe) waker: Arc<LogWaker>,
    pub(in crate::observe) orders: Receiver<Order>,
    /// Lines that the sink did not take.
    pub(in crate::observe) lost: Arc<Counter>,
    pub(in crate::observe) sink: Option<Sink>,
    pub(in crate::observe) interval: Duration,
    pub(in crate::observe) notice: Notice,
    /// Why the sink refused lines; cleared by the report of it.
    pub(in crate::observe) failure: Option<io::Error>,
}

/// Where dropped lines are reported.
pub(in crate::observe) enum Notice {
    /// In the program's log: at once, then at intervals.
    ProgramLog(Option<LastNotice>),
    /// In this log itself, which is the program's: after the next lines that the sink takes. Holds
    /// how many were reported already.
    Itself(Reported),
}

/// How many dropped lines were reported.
#[derive(Default)]
pub(in crate::observe) struct Reported {
    dropped: u64,
    too_long: u64,
}

/// The last report.
pub(in crate::observe) struct LastNotice {
    at: Instant,
    dropped: u64,
}

impl<P: AsRef<LogBuffer>> Writer<P> {
    /// Runs until the order to end.
    pub(in crate::observe) fn run(mut self) {
        self.waker.belongs_here();
        let mut spare = Vec::with_capacity(PAGE_BYTES);
        let mut next = None;
        loop {
            let order = match next.take() {
                Some(order) => Some(order),
                None => match self.wait() {
                    Ok(order) => order,
                    Err(_disconnected) => return,
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
                    self.report_new(None);
                    self.switch_buffers(&mut spare, None, deadline);
                    self.report_new(Some("the log was closed before they were written"));
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
                        .buffers
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
            Err(error) => Err(error),
        }
    }

    /// Writes every buffer. Returns an order that a blocked sink must not delay.
    fn write_buffers(&mut self, spare: &mut Vec<u8>) -> Option<Order> {
        let (mut order, lost) = (None, self.lost.value());
        for index in 0..self.buffers.len() {
            let Some(log_buffer) = self.buffers.get(index).filter(|_| order.is_none()) else {
                break;
            };
            (**log_buffer).as_ref().swap(spare);
            order = self.write(spare, spare, None);
            spare.clear();
        }
        self.report_if_due(None);
        // If the sink refuses lines, it would refuse a notice too, and that loss would cause the
        // next one.
        if self.lost.value() == lost {
            self.report_in_itself();
        }
        order
    }

    /// From now on buffers are written in `form`, or not at all. Their current content goes to the
    /// old sink, until `deadline`.
    fn switch_buffers(&mut self, spare: &mut Vec<u8>, form: Option<Form>, deadline: Instant) {
        for index in 0..self.buffers.len() {
            let Some(log_buffer) = self.buffers.get(index) else {
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
    /// Meanwhile buffers fill, and drop lines without room. Without a deadline it returns early for
    /// an order that cannot wait.
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
                    self.report_if_due(Some("the sink accepts no data"));
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
                Ok(n) => left = left.get(n..).unwrap_or_default(),
                Err(error) => {
                    self.lose_behind(lines, left);
                    self.failure = Some(error);
                    self.report_if_due(None);
                    break;
                }
            }
        }
        None
    }

    /// Replaces a blocked sink by reopening its name: the line that was cut off is lost, the others
    /// continue in the new one.
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
            Some(Ok(())) => tracing::info!("the access log was reopened"),
            Some(Err(error)) => {
                tracing::error!("the access log cannot be reopened, the old file is kept: {error}")
            }
        }
    }

    fn dropped(&self) -> u64 {
        self.lost.value()
            + self
                .buffers
                .iter()
                .map(|log_buffer| (**log_buffer).as_ref().dropped())
                .sum::<u64>()
    }

    /// Reports lost lines: the first ones at once, then at intervals.
    fn report_if_due(&mut self, why: Option<&str>) {
        let Notice::ProgramLog(last_notice) = &self.notice else {
            return;
        };
        let is_due = last_notice
            .as_ref()
            .is_none_or(|last_notice| last_notice.at.elapsed() >= REPORT_EVERY);
        if is_due && why.is_some() {
            self.report(why);
        } else if is_due {
            self.report_new(None);
        }
    }

    /// Reports the lines that were lost since the last report, if any.
    fn report_new(&mut self, why: Option<&str>) {
        if let Notice::ProgramLog(last_notice) = &self.notice
            && self.dropped() > last_notice.as_ref().map_or(0, |last| last.dropped)
        {
            self.report(why);
        }
    }

    fn report(&mut self, why: Option<&str>) {
        let dropped = self.dropped();
        match self.failure.take() {
            Some(error) => tracing::warn!(
                dropped,
                "the access log cannot be written; its lines are dropped: {}",
                words(&error)
            ),
            None => {
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                tracing::warn!(
                    dropped,
                    "the access log does not keep up; lines for which there is no room are dropped{why}"
                );
            }
        }
        self.notice = Notice::ProgramLog(Some(LastNotice {
            at: Instant::now(),
            dropped,
        }));
    }

    /// Reports dropped lines in the same log.
    fn report_in_itself(&mut self) {
        let dropped_total = self.dropped();
        let of_buffer = |log_buffer: &Arc<P>| (**log_buffer).as_ref().too_long();
        let too_long_total = self.buffers.iter().map(of_buffer).sum();
        let Notice::Itself(reported) = &mut self.notice else {
            return;
        };
        let too_long = too_long_total - reported.too_long;
        let dropped = (dropped_total - reported.dropped).saturating_sub(too_long);
        *reported = Reported {
            dropped: dropped_total,
            too_long: too_long_total,
        };
        if too_long > 0 {
            tracing::warn!(
                "{too_long} lines of this log were dropped: they are longer than {PAGE_BYTES} bytes"
            );
        }
        if dropped > 0 {
            tracing::warn!(
                dropped_total,
                "{dropped} lines of this log were dropped: standard error was not read in time"
            );
        }
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::BrokenPipe => "its reader has closed the pipe".to_owned(),
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
