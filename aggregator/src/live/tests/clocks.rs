//! Our wall clock is wrong at the start, or is set while we run: nobody is silent by that, and nothing is forgotten.

use super::*;

/// What a clock may be set to, or show at a start, that is not the time.
const CLOCKS: [(&str, Timestamp); 6] = [
    ("right", NOW),
    ("an hour ahead", Timestamp::from_millis(1_700_003_600_000)),
    ("an hour behind", Timestamp::from_millis(1_699_996_400_000)),
    ("a little ahead", Timestamp::from_millis(1_700_000_001_000)),
    ("1970", Timestamp::from_millis(60_000)),
    ("2100", Timestamp::from_millis(4_102_444_800_000)),
];

#[test]
fn who_was_silent_when_we_ended_is_so_after_a_restart_whatever_the_clock_shows_then() {
    let known = || vec![row(1, SECOND, None), row(2, SECOND * 61, None), row(3, SECOND * 30, Some(NOW))];
    for (clock, wall) in CLOCKS {
        let room = Room::new();
        room.clock.jump_to(wall);
        assert_eq!(room.live.resume(known(), Some(pulse(NOW))), NOW);
        room.live.restored();
        let states = [1, 2, 3].map(|number| room.state(number));
        assert_eq!(states, [State::Up, State::Silent, State::Stopped], "{clock}");
        assert_eq!(room.unheard(), ["agenda-1", "agenda-2"], "{clock}");
        room.clock.advance(LOST_KEPT.saturating_sub(SECOND * 62));
        room.live.sweep();
        assert!(room.live.agent(id(2)).is_some(), "{clock}: it is gone for a day in time that we ran");
        room.clock.advance(SECOND);
        room.live.sweep();
        assert!(room.live.agent(id(2)).is_none(), "{clock}");
    }
}

#[test]
fn a_sign_of_our_life_that_was_ahead_of_what_was_believed_makes_nobody_silent() {
    let room = Room::new();
    let hour_ahead = Pulse { alive_at: NOW + SECOND * 3600, trusted_at: NOW };
    room.live.resume(vec![row(1, SECOND, None)], Some(hour_ahead));
    assert_eq!(room.state(1), State::Up, "the clock had been set forward, and is right again");
    // What was seen while the clock was ahead says nothing of when we ended.
    let ahead = AgentRow { last_seen: NOW + SECOND * 3600, ..row(1, SECOND, None) };
    room.live.resume(vec![ahead, row(2, SECOND, None), row(3, SECOND * 61, None)], Some(pulse(NOW)));
    assert_eq!([1, 2, 3].map(|number| room.state(number)), [State::Up, State::Up, State::Silent]);
}

#[test]
fn when_our_clock_is_set_the_head_goes_with_it_and_forgets_nothing() {
    for (clock, wrong) in CLOCKS {
        let room = Room::new();
        room.hello(1);
        for _ in 0..300 {
            room.clock.advance(SECOND);
            room.send(1, 1.0);
        }
        let right = room.clock.wall();
        let cpu = |at| room.live.read(|head| head.select(Some("cpu")).filter_map(|s| s.value_at(at, SECOND)).count());
        for wall in [wrong, right] {
            room.clock.jump_to(wall);
            room.live.truncate();
            for ago in [0, 60, 299] {
                assert_eq!(cpu(wall - SECOND * ago), 1, "{clock}: {ago} s ago");
            }
        }
        // What comes now finds room under the wrong clock, too, and is what is seen.
        room.clock.jump_to(wrong);
        for _ in 0..2 * Limits::default().samples_per_series {
            room.clock.advance(SECOND / 10);
            assert_eq!(room.send(1, 2.0).kept, 1, "{clock}");
        }
        assert_eq!((room.newest("cpu"), cpu(room.clock.wall())), (vec![shown("agenda-1", 2.0)], 1), "{clock}");
        assert!(room.live.sweep().is_empty(), "{clock}: nobody is silent by that");
    }
}

#[test]
fn when_our_clock_is_set_what_we_noted_of_an_agent_moves_with_it() {
    let room = Room::new();
    room.hello(1);
    room.hello(2);
    room.live.goodbye(id(2));
    room.clock.jump_to(NOW + SECOND * 3600);
    room.live.sweep();
    let row = |number| room.live.agent(id(number)).expect("it is known").row;
    assert_eq!((row(1).last_seen, row(2).stopped_at), (room.clock.wall(), Some(room.clock.wall())));
}
