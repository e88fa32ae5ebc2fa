//! Dates of UTC: `year()`, `day_of_week()`, … with Go's answers for every number, sensible or not.
//!
//! ```text
//! seconds since 1970 → seconds since 1 March of a year far before all that 64 bits can say → days → date
//! ```
//! Years begin in March here, so that the leap day is the last of its year, and nothing is negative. A year of 400 has
//! 146,097 days, which are whole weeks.

use crate::LabelSet;
use crate::function::Function;
use crate::grid::{Grid, Row, Steps};

/// A moment of UTC, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub year: i64,
    /// 1 … 12
    pub month: u64,
    /// 1 … 31
    pub day: u64,
    /// Since midnight.
    pub second: u64,
    /// Sunday is 0.
    pub weekday: u64,
}

const DAY_SECONDS: u64 = 86_400;
/// Days of 400 years.
const CYCLE_DAYS: u64 = 146_097;
/// Cycles of 400 years before the year 0: enough that every number of seconds falls after the first day, as in Go.
const CYCLES_BEFORE: u64 = 730_692_556;
/// From 1 March of the year 0 to 1970.
const DAYS_TO_1970: u64 = 719_468;
/// Days of a year that begins in March before each of its months, in 5ths: 153 days are 5 months.
const MONTH_FIFTHS: u64 = 153;

/// The function, where it is one of a date.
pub(super) fn of_each(function: Function) -> Option<fn(Moment) -> u64> {
    use Function as F;
    Some(match function {
        F::DayOfMonth => |at| at.day,
        F::DayOfWeek => |at| at.weekday,
        F::DayOfYear => Moment::day_of_year,
        F::DaysInMonth => Moment::days_in_month,
        F::Hour => |at| at.second / 3600,
        F::Minute => |at| at.second / 60 % 60,
        F::Month => |at| at.month,
        // Of a year the sign matters; see `of_vector`.
        F::Year => |at| at.year.cast_unsigned(),
        _ => return None,
    })
}

/// The function of each value, or of the time itself where there is no vector.
pub(super) fn of_vector(rows: Option<Grid>, steps: Steps, of: fn(Moment) -> u64) -> Grid {
    let number = |seconds: i64| of(Moment::of(seconds)).cast_signed() as f64;
    if let Some(rows) = rows {
        return super::each_value(rows, |_, value| number(whole_seconds(value)));
    }
    let values = steps.iter().map(|at| number(at.as_millis() / 1000)).collect();
    vec![Row { labels: LabelSet::empty(), values }]
}

/// RFC 3339, to the second.
pub(super) fn text(seconds: i64) -> String {
    let Moment { year, month, day, second, .. } = Moment::of(seconds);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// A float as whole seconds; what does not fit becomes the smallest number, as Go's conversion has it on x86.
#[allow(clippy::cast_possible_truncation)] // the fraction goes, and what does not fit is judged before
fn whole_seconds(value: f64) -> i64 {
    // 2^63, the first float that does not fit; its negative does.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&value) { value as i64 } else { i64::MIN }
}

// === impl Moment ===

impl Moment {
    /// The moment so many seconds after 1970.
    pub fn of(seconds: i64) -> Self {
        let since = seconds.cast_unsigned().wrapping_add((CYCLES_BEFORE * CYCLE_DAYS + DAYS_TO_1970) * DAY_SECONDS);
        let (days, second) = (since / DAY_SECONDS, since % DAY_SECONDS);
        let (cycle, day_of_cycle) = (days / CYCLE_DAYS, days % CYCLE_DAYS);
        // A leap day at the end of every 4th year, but of no 100th, but of the 400th.
        let year_of_cycle = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
        let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
        let month_of_year = (5 * day_of_year + 2) / MONTH_FIFTHS;
        let day = day_of_year - (MONTH_FIFTHS * month_of_year + 2) / 5 + 1;
        let is_next_year = month_of_year >= 10;
        let year = (cycle.cast_signed() - CYCLES_BEFORE.cast_signed()) * 400 + year_of_cycle.cast_signed();
        Self {
            year: year + i64::from(is_next_year),
            month: if is_next_year { month_of_year - 9 } else { month_of_year + 3 },
            day,
            second,
            // 1 March of the year 0 was a Wednesday.
            weekday: (days + 3) % 7,
        }
    }

    fn is_leap_year(self) -> bool {
        self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0)
    }

    fn days_in_month(self) -> u64 {
        match self.month {
            2 => 28 + u64::from(self.is_leap_year()),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    /// 1 … 366
    fn day_of_year(self) -> u64 {
        let before = (1..self.month).map(|month| Self { month, ..self }.days_in_month()).sum::<u64>();
        before + self.day
    }
}
