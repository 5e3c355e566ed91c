//! Writer: the thread that brings the lines of all pages to the sink.
//!
//! In:    pages, when the bell rings; orders, from whoever runs the node.
//! Out:   lines in the sink, those of one worker in their order; or their number, if the sink did not take them.
//! Never: holds a page's lock while it writes, or gives up because of what the sink does.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};

use super::bell::Bell;
use super::page::PAGE_BYTES;
use super::sink::Sink;
use crate::config::AccessFormat;
use crate::observe::counters::Counter;
use crate::observe::station::Station;

/// How long lines gather before they are written together.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long one write may wait before the writer looks up.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a sink that is given up may take for what it was given.
const PATIENCE_FOR_CHANGE: Duration = Duration::from_secs(1);

/// How often people are told that lines are lost.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What the writer is told.
pub(super) enum Order {
    /// Write what there is, then go on with this sink and format, or without any.
    Use(Option<(Sink, AccessFormat)>, Sender<()>),
    /// Open the file again.
    Reopen,
    /// Write what there is, until then at most, and end.
    End(Instant, Sender<()>),
}

/// See the head of the file.
pub(super) struct Writer {
    pub(super) stations: Vec<Arc<Station>>,
    pub(super) bell: Arc<Bell>,
    pub(super) orders: Receiver<Order>,
    /// Lines that the sink did not take.
    pub(super) lost: Arc<Counter>,
    pub(super) sink: Option<Sink>,
    pub(super) told: Option<Told>,
}

/// What people were told last.
pub(super) struct Told {
    at: Instant,
    dropped: u64,
}

impl Writer {
    /// Runs until it is told to end.
    pub(super) fn run(mut self) {
        self.bell.belongs_here();
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
                None => next = self.write_pages(&mut spare),
                Some(Order::Reopen) => self.reopen(),
                Some(Order::Use(with, done)) => {
                    let format = with.as_ref().map(|(_, format)| *format);
                    self.turn_pages_over(&mut spare, format, Instant::now() + PATIENCE_FOR_CHANGE);
                    self.sink = with.map(|(sink, _)| sink);
                    let _ = done.send(());
                }
                Some(Order::End(deadline, done)) => {
                    self.turn_pages_over(&mut spare, None, deadline);
                    if self.has_dropped_since() {
                        self.tell(Some("the end came before them"));
                    }
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
            self.bell.wait(|| {
                order = self.orders.try_recv();
                !matches!(order, Err(TryRecvError::Empty))
                    || self.stations.iter().any(|station| !station.page.is_empty())
            });
        }
        if matches!(order, Err(TryRecvError::Empty)) {
            self.bell.gather(INTERVAL, || {
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

    /// Writes every page. What comes out is an order that a stuck sink may not hold up.
    fn write_pages(&mut self, spare: &mut Vec<u8>) -> Option<Order> {
        let mut order = None;
        for index in 0..self.stations.len() {
            let Some(station) = self.stations.get(index).filter(|_| order.is_none()) else { break };
            station.page.swap(spare);
            order = self.write(spare, spare, None);
            spare.clear();
        }
        self.tell_if_due(None);
        order
    }

    /// From now on pages are written in `format`, or not at all. What stood on them goes to the old sink, until `deadline`.
    fn turn_pages_over(&mut self, spare: &mut Vec<u8>, format: Option<AccessFormat>, deadline: Instant) {
        for index in 0..self.stations.len() {
            let Some(station) = self.stations.get(index) else { break };
            station.page.turn_over(spare, format.map(|format| (format, Arc::clone(&self.bell))));
            self.write(spare, spare, Some(deadline));
            spare.clear();
        }
    }

    /// Writes `left`, the end of `lines`, however long the sink takes, or until `deadline`. Meanwhile pages fill, and drop
    /// what finds no room. Without a deadline it ends early for an order that cannot wait.
    fn write(&mut self, lines: &[u8], mut left: &[u8], deadline: Option<Instant>) -> Option<Order> {
        while !left.is_empty() {
            let Some(sink) = &mut self.sink else {
                self.lose(left);
                break;
            };
            let until_deadline = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match sink.write(left, until_deadline.unwrap_or(PATIENCE).min(PATIENCE)) {
                Ok(0) if until_deadline.is_some_and(|left| left.is_zero()) => {
                    self.lose_behind(lines, left);
                    break;
                }
                Ok(0) => {
                    self.tell_if_due(Some("the sink takes nothing"));
                    let order = if deadline.is_none() { self.orders.try_recv().ok() } else { None };
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
                    self.tell_if_due(Some(&error.to_string()));
                    break;
                }
            }
        }
        None
    }

    /// A stuck sink was replaced by name: the line that was cut is lost, the others go on in the new one.
    fn reopen_within<'l>(&mut self, lines: &[u8], left: &'l [u8]) -> &'l [u8] {
        self.reopen();
        if !is_within_a_line(lines, left) {
            return left;
        }
        self.lost.add(1);
        let end = left.iter().position(|byte| *byte == b'\n').map_or(left.len(), |at| at + 1);
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
        self.lost.add(memchr::memchr_iter(b'\n', lines).count() as u64);
    }

    fn reopen(&mut self) {
        match self.sink.as_mut().map(Sink::reopen) {
            None => {}
            Some(Ok(())) => tracing::info!("the access log was opened again"),
            Some(Err(error)) => tracing::error!("the access log cannot be opened again, the old file is kept: {error}"),
        }
    }

    fn dropped(&self) -> u64 {
        self.lost.value() + self.stations.iter().map(|station| station.page.dropped()).sum::<u64>()
    }

    /// Tells people of lost lines: of the first ones at once, then once in a while.
    fn tell_if_due(&mut self, why: Option<&str>) {
        let is_due = self.told.as_ref().is_none_or(|told| told.at.elapsed() >= TELL_EVERY);
        if is_due && (why.is_some() || self.has_dropped_since()) {
            self.tell(why);
        }
    }

    /// Whether lines were lost that nobody was told of.
    fn has_dropped_since(&self) -> bool {
        self.dropped() > self.told.as_ref().map_or(0, |told| told.dropped)
    }

    fn tell(&mut self, why: Option<&str>) {
        let dropped = self.dropped();
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        tracing::warn!(dropped, "the access log does not keep up; lines that find no room are dropped{why}");
        self.told = Some(Told { at: Instant::now(), dropped });
    }
}

/// Whether `left`, the end of `lines`, begins in the middle of a line.
fn is_within_a_line(lines: &[u8], left: &[u8]) -> bool {
    lines.len().checked_sub(left.len() + 1).and_then(|at| lines.get(at)).is_some_and(|before| *before != b'\n')
}
