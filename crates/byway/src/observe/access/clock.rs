//! Clock: the time of day in log lines, in UTC.
//!
//! In:    the system's coarse clock, which needs no system call and advances every few
//!        milliseconds.
//! Out:   `25/Nov/2026:19:08:19 +0000` and `2026-11-25T19:08:19.123Z`.
//! Never: formats a date twice in one second, or uses a time zone.

use std::time::Duration;

use crate::calendar::{civil, four, month_name, two};

/// Time since the Unix epoch, coarse.
pub fn now() -> Duration {
    #[cfg(target_os = "linux")]
    {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
        Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
    }
    #[cfg(not(target_os = "linux"))]
    {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
    }
}

/// The formatted date of the last line, usually that of the next one too.
#[derive(Debug)]
pub struct Dates {
    second: u64,
    combined: [u8; 26],
    /// Without fraction and zone.
    json: [u8; 19],
}

impl Default for Dates {
    fn default() -> Self {
        let mut dates = Self {
            second: 0,
            combined: [0; 26],
            json: [0; 19],
        };
        dates.format(0);
        dates
    }
}

impl Dates {
    /// The date in Apache's format.
    pub fn combined(&mut self, now: Duration) -> &[u8] {
        self.of(now);
        &self.combined
    }

    /// The date as RFC 3339, up to the second; the caller adds the fraction.
    pub fn json(&mut self, now: Duration) -> &[u8] {
        self.of(now);
        &self.json
    }

    fn of(&mut self, now: Duration) {
        if now.as_secs() != self.second {
            self.format(now.as_secs());
        }
    }

    fn format(&mut self, second: u64) {
        self.second = second;
        let (year, month, day) = civil(second / 86_400);
        let (hour, minute, rest) = (second / 3600 % 24, second / 60 % 60, second % 60);
        let name = month_name(month);
        let (y, [m, d]) = (four(year), [two(month), two(day)]);
        let [h, n, s] = [two(hour), two(minute), two(rest)];
        let pieces: [&[u8]; 12] = [
            &d, b"/", name, b"/", &y, b":", &h, b":", &n, b":", &s, b" +0000",
        ];
        fill(&mut self.combined, &pieces);
        let pieces: [&[u8]; 11] = [&y, b"-", &m, b"-", &d, b"T", &h, b":", &n, b":", &s];
        fill(&mut self.json, &pieces);
    }
}

fn fill(to: &mut [u8], pieces: &[&[u8]]) {
    for (to, from) in to.iter_mut().zip(pieces.iter().copied().flatten()) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(second: u64) -> [String; 2] {
        let (mut dates, now) = (Dates::default(), Duration::from_secs(second));
        let [combined, json] = [dates.combined(now).to_vec(), dates.json(now).to_vec()];
        [combined, json].map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (second, combined, json) in [
            (0, "01/Jan/1970:00:00:00 +0000", "1970-01-01T00:00:00"),
            (
                951_782_399,
                "28/Feb/2000:23:59:59 +0000",
                "2000-02-28T23:59:59",
            ),
            (
                951_782_400,
                "29/Feb/2000:00:00:00 +0000",
                "2000-02-29T00:00:00",
            ),
            (
                951_868_800,
                "01/Mar/2000:00:00:00 +0000",
                "2000-03-01T00:00:00",
            ),
            (
                1_795_633_699,
                "25/Nov/2026:19:08:19 +0000",
                "2026-11-25T19:08:19",
            ),
            (
                4_107_542_400,
                "01/Mar/2100:00:00:00 +0000",
                "2100-03-01T00:00:00",
            ),
        ] {
            assert_eq!(shown(second), [combined, json]);
        }
    }

    #[test]
    fn a_date_follows_the_clock_from_one_second_to_the_next() {
        let mut dates = Dates::default();
        assert_eq!(
            dates.json(Duration::from_millis(1_999)),
            b"1970-01-01T00:00:01"
        );
        assert_eq!(
            dates.json(Duration::from_millis(2_000)),
            b"1970-01-01T00:00:02"
        );
    }

    #[test]
    fn the_coarse_clock_agrees_with_the_fine_one() {
        let fine = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        assert!(now().abs_diff(fine) < Duration::from_secs(5));
    }
}
