//! Calendar: days as dates.
//!
//! In:    days since 1970.
//! Out:   year, month and day, and their digits.
//! Never: reads a clock, or knows a time zone.

/// The months as HTTP and access logs write them, January first.
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Year, month (1 to 12) and day (1 to 31) of the proleptic Gregorian calendar. Years begin in
/// March here, so that the leap day comes last and months have a regular length: 153 days in five.
pub fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The short name of a month (1 to 12).
pub fn month_name(month: u64) -> &'static [u8; 3] {
    let index = usize::try_from(month).unwrap_or_default().wrapping_sub(1);
    MONTHS.get(index).copied().unwrap_or(b"???")
}

/// The last four digits.
pub fn four(number: u64) -> [u8; 4] {
    [number / 1000, number / 100, number / 10, number].map(|digit| b'0' + (digit % 10) as u8)
}

/// The last two digits.
pub fn two(number: u64) -> [u8; 2] {
    let [_, _, tens, ones] = four(number);
    [tens, ones]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates_also_around_leap_days() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (11_015, (2000, 2, 28)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (19_782, (2024, 2, 29)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil(days), date);
        }
    }
}
