//! How far the wall clock is believed where something is deleted by age.
//!
//! A clock that is set forward makes everything look old, and what is deleted then was acked and is gone. So the time
//! that deletion goes by moves with the monotonic clock alone, from where it stood when the program ran last. A wall
//! clock that is ahead of it (it was set, or the machine was off for a week) is believed after it ran beside the
//! monotonic one for [`CONFIRM`]. A wall clock that is behind is believed at once: it only keeps more.
//!
//! Pure: the times come in as arguments.

use proto::sample::Timestamp;
use std::time::Duration;

/// How long a wall clock must run evenly before it is believed: time for a person, or for NTP, to set it right.
pub const CONFIRM: Duration = Duration::from_secs(3600);
/// What the two clocks may differ by between two looks, or two runs of the program: NTP's small steps and a quick restart.
pub const TOLERANCE: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    /// How far the wall clock is believed.
    trusted: Timestamp,
    /// The clocks at the last look.
    wall: Timestamp,
    monotonic: Duration,
    /// Since when the two run evenly, monotonic.
    even_since: Duration,
}

/// What a look at the clocks showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing new.
    Even,
    /// The wall clock was set forward by so much.
    Forward(Duration),
    /// The wall clock was set back by so much.
    Back(Duration),
    /// A wall clock that was so far ahead is believed now.
    Confirmed(Duration),
}

impl Trust {
    /// `kept` is how far the clock was believed when the program ran last; a new database believes its first clock, and
    /// has nothing to lose.
    pub fn new(kept: Option<Timestamp>, wall: Timestamp, monotonic: Duration) -> Self {
        let trusted = kept.map_or(wall, |kept| kept.min(wall));
        Self { trusted, wall, monotonic, even_since: monotonic }
    }

    /// Looks at the clocks.
    pub fn look(&mut self, wall: Timestamp, monotonic: Duration) -> Look {
        let passed = monotonic.saturating_sub(self.monotonic);
        let expected = self.wall + passed;
        (self.wall, self.monotonic) = (wall, monotonic);
        self.trusted = (self.trusted + passed).min(wall);
        let (forward, back) = (wall.since(expected), expected.since(wall));
        if forward.max(back) > TOLERANCE {
            self.even_since = monotonic;
            return if forward > back { Look::Forward(forward) } else { Look::Back(back) };
        }
        let ahead = self.ahead();
        if ahead <= TOLERANCE {
            self.trusted = wall;
        } else if monotonic.saturating_sub(self.even_since) >= CONFIRM {
            self.trusted = wall;
            return Look::Confirmed(ahead);
        }
        Look::Even
    }

    /// How far the wall clock was believed at the last look.
    pub fn trusted(&self) -> Timestamp {
        self.trusted
    }

    /// How far the wall clock was ahead of that.
    pub fn ahead(&self) -> Duration {
        self.wall.since(self.trusted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const LOOK: Duration = Duration::from_secs(10);
    /// A look before the hour is over.
    const ALMOST: Duration = CONFIRM.saturating_sub(LOOK);
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

    /// Looks every ten seconds for `during`, beginning at a monotonic time; returns when it ended and what was news.
    fn run(trust: &mut Trust, wall: Timestamp, from: Duration, during: Duration) -> (Timestamp, Duration, Vec<Look>) {
        let (mut passed, mut news) = (Duration::ZERO, Vec::new());
        while passed < during {
            passed += LOOK;
            let look = trust.look(wall + passed, from + passed);
            if look != Look::Even {
                news.push(look);
            }
        }
        (wall + passed, from + passed, news)
    }

    #[test]
    fn an_even_clock_is_believed_and_one_that_jumps_forward_only_after_an_hour() {
        let mut trust = Trust::new(Some(START), START, Duration::ZERO);
        let (wall, now, news) = run(&mut trust, START, Duration::ZERO, LOOK * 3);
        assert_eq!((trust.trusted(), news), (wall, vec![]));
        let (_, now, news) = run(&mut trust, wall + YEAR, now, CONFIRM);
        assert_eq!(news, [Look::Forward(YEAR)]);
        assert_eq!((trust.trusted(), trust.ahead()), (wall + CONFIRM, YEAR));
        let wall = wall + YEAR + CONFIRM;
        assert_eq!(trust.look(wall + LOOK, now + LOOK), Look::Confirmed(YEAR));
        assert_eq!(trust.trusted(), wall + LOOK);
    }

    #[test]
    fn a_clock_that_is_set_right_again_within_the_hour_has_done_nothing() {
        let mut trust = Trust::new(Some(START), START, Duration::ZERO);
        let (wall, now, _) = run(&mut trust, START + YEAR, Duration::ZERO, CONFIRM / 2);
        let right = wall - YEAR;
        let (wall, _, news) = run(&mut trust, right, now, CONFIRM * 2);
        assert_eq!(news, [Look::Back(YEAR)]);
        assert_eq!(trust.trusted(), wall);
    }

    #[test]
    fn after_a_week_off_or_a_jump_before_the_start_the_clock_is_believed_after_an_hour_and_not_before() {
        let mut trust = Trust::new(Some(START), START + YEAR, Duration::ZERO);
        let (wall, now, news) = run(&mut trust, START + YEAR, Duration::ZERO, ALMOST);
        assert_eq!((trust.trusted(), news), (START + ALMOST, vec![]));
        assert_eq!(trust.look(wall + LOOK, now + LOOK), Look::Confirmed(YEAR));
    }

    #[test]
    fn restarts_do_not_shorten_the_hour() {
        let (mut kept, mut wall) = (START, START + YEAR);
        for _ in 0..100 {
            let mut trust = Trust::new(Some(kept), wall, Duration::ZERO);
            (wall, _, _) = run(&mut trust, wall, Duration::ZERO, CONFIRM / 10);
            kept = trust.trusted();
        }
        assert_eq!(kept, START + CONFIRM * 10);
    }

    #[test]
    fn a_new_database_believes_its_first_clock_and_a_clock_that_is_behind_is_believed_at_once() {
        assert_eq!(Trust::new(None, START, Duration::ZERO).trusted(), START);
        assert_eq!(Trust::new(Some(START + YEAR), START, Duration::ZERO).trusted(), START);
    }

    proptest! {
        #[test]
        fn whatever_the_clocks_do_no_more_is_believed_than_the_wall_says(
            kept in proptest::option::of(any::<i64>()),
            walls in proptest::collection::vec(any::<i64>(), 1..20),
        ) {
            let mut trust = Trust::new(kept.map(Timestamp::from_millis), Timestamp::from_millis(walls[0]), Duration::ZERO);
            for (step, wall) in (1..).zip(&walls) {
                let wall = Timestamp::from_millis(*wall);
                trust.look(wall, LOOK * step);
                prop_assert!(trust.trusted() <= wall);
            }
        }
    }
}
