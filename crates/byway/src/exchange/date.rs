//! Date: the current time as HTTP writes it (RFC 9110 section 5.6.7).
//!
//! In:    the system clock.
//! Out:   the 29 bytes of an IMF-fixdate.
//! Never: formats the same second twice on a thread.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::calendar::{civil, month_name, two};

const LEN: usize = 29;
const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];

thread_local! {
    static LAST: Cell<(u64, [u8; LEN])> = const { Cell::new((0, *b"Thu, 01 Jan 1970 00:00:00 GMT")) };
}

/// The current time, to the second.
pub fn now() -> [u8; LEN] {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    LAST.with(|last| {
        let (of, text) = last.get();
        if of == seconds {
            return text;
        }
        let text = imf_fixdate(seconds);
        last.set((seconds, text));
        text
    })
}

/// Seconds since 1970 as `Sun, 06 Nov 1994 08:49:37 GMT`. Years have four digits up to 9999.
fn imf_fixdate(seconds: u64) -> [u8; LEN] {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = text.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, DAYS.get((days % 7) as usize).copied().unwrap_or(b"Thu"));
    put(5, &two(day));
    put(8, month_name(month));
    put(12, &two(year / 100));
    put(14, &two(year % 100));
    put(17, &two(of_day / 3600));
    put(20, &two(of_day / 60 % 60));
    put(23, &two(of_day % 60));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_the_rfc_writes_them() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(String::from_utf8_lossy(&imf_fixdate(seconds)), text);
        }
    }
}
