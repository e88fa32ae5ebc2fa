//! What we say of the agents: whatever they do, the head says what a naive twin would say.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What may happen to agents.
#[derive(Clone, Debug)]
enum Event {
    Hello { agent: u128, name: u8, ahead_ms: i64 },
    Goodbye { agent: u128 },
    Disconnected { agent: u128 },
    Clock { agent: u128, ahead_ms: i64, was_set: bool },
    Sends { agent: u128 },
    Time { passes: Duration },
    OurClockIsSet { by_ms: i64 },
}

fn events() -> impl Strategy<Value = Event> {
    let agent = || 1..6_u128;
    // Each more than is no news, and none in between.
    let ahead_ms = || (-20_i64..20).prop_map(|steps| steps * 1_500);
    let passes = prop_oneof![Just(1), Just(3), Just(60), Just(12 * 3600)].prop_map(Duration::from_secs);
    prop_oneof![
        4 => (agent(), 0..3_u8, ahead_ms()).prop_map(|(agent, name, ahead_ms)| Event::Hello { agent, name, ahead_ms }),
        1 => agent().prop_map(|agent| Event::Goodbye { agent }),
        1 => agent().prop_map(|agent| Event::Disconnected { agent }),
        2 => (agent(), ahead_ms(), any::<bool>())
            .prop_map(|(agent, ahead_ms, was_set)| Event::Clock { agent, ahead_ms, was_set }),
        2 => agent().prop_map(|agent| Event::Sends { agent }),
        3 => passes.prop_map(|passes| Event::Time { passes }),
        1 => prop_oneof![Just(-3_600_000), Just(90_000)].prop_map(|by_ms| Event::OurClockIsSet { by_ms }),
    ]
}

fn befall(room: &Room, event: &Event) {
    let shown = |ahead_ms: i64| room.clock.wall().moved_by(ahead_ms);
    match *event {
        Event::Hello { agent, name, ahead_ms } => {
            let instance = format!("agenda-{name}");
            room.live.hello(&Hello { instance, wall: shown(ahead_ms), ..hello(agent) });
        }
        Event::Goodbye { agent } => room.live.goodbye(id(agent)),
        Event::Disconnected { agent } => room.live.disconnected(id(agent)),
        Event::Clock { agent, ahead_ms, was_set } => {
            room.live.hear_clock(id(agent), ClockReading { wall: shown(ahead_ms), was_set });
        }
        Event::Sends { agent } => drop(room.send(agent, 1.0)),
        Event::Time { passes } => room.clock.advance(passes),
        Event::OurClockIsSet { by_ms } => room.clock.jump_to(room.clock.wall().moved_by(by_ms)),
    }
}

/// Each series by its name and instance, from the agents alone.
fn naive(room: &Room) -> BTreeMap<(String, String), f64> {
    let (wall, now) = (room.clock.wall(), room.clock.monotonic());
    let mut told: BTreeMap<(String, String), f64> = BTreeMap::new();
    for agent in room.live.agents().iter().filter(|agent| is_reported(agent, now)) {
        let ahead = agent.clock.ahead_ms(wall, now).map(|ms| (AGENT_CLOCK_OFFSET_SECONDS.name, ms as f64 / 1000.0));
        let up = (AGENT_UP.name, f64::from(u8::from(agent.state == State::Up)));
        for (name, value) in [Some(up), ahead].into_iter().flatten() {
            let key = (name.to_string(), agent.row.instance.clone());
            told.entry(key).and_modify(|told| *told = told.max(value)).or_insert(value);
        }
    }
    told
}

/// The same, as the head has it.
fn said(room: &Room) -> BTreeMap<(String, String), f64> {
    room.live.read(|head| {
        let said = head.latest(OURSELVES).map(|(series, sample)| {
            let instance = series.key().labels.get("instance").unwrap_or_default();
            ((series.key().name.to_string(), instance.to_string()), sample.value)
        });
        said.collect()
    })
}

proptest! {
    #[test]
    fn whatever_befalls_the_agents_the_head_says_of_each_name_what_a_naive_twin_says(
        events in prop::collection::vec(events(), 1..60),
    ) {
        let room = Room::new();
        for event in &events {
            befall(&room, event);
            room.clock.advance(Duration::from_millis(1));
            room.live.sweep();
            let (said, naive) = (said(&room), naive(&room));
            prop_assert_eq!(said.keys().collect::<Vec<_>>(), naive.keys().collect::<Vec<_>>(), "after {:?}", event);
            for (key, value) in &naive {
                prop_assert!((said[key] - value).abs() < 0.1, "{:?} is {} and not {} after {:?}", key, said[key], value, event);
            }
        }
    }
}

#[test]
fn the_same_agents_are_said_under_one_schema_and_others_under_another() {
    let room = Room::new();
    let schemas = || {
        room.clock.advance(SECOND);
        room.live.sweep();
        room.live.take_dirty().into_keys().collect::<Vec<_>>()
    };
    room.hello(1);
    let alone = schemas();
    assert_eq!((alone.len(), schemas()), (1, alone.clone()));
    room.live.hello(&Hello { instance: "agenda-0".into(), ..hello(2) });
    assert_ne!(schemas(), alone);
    room.live.goodbye(id(2));
    assert_eq!(schemas(), alone, "it is the same again, for rules that read it by its schema");
}

#[test]
fn agents_are_counted_by_what_they_do() {
    let room = Room::new();
    (1..=6).for_each(|number| drop(room.hello(number)));
    (1..=3).for_each(|number| room.live.goodbye(id(number)));
    room.clock.advance(SECOND * 4);
    room.live.seen(id(4));
    room.live.sweep();
    assert_eq!(room.live.agents_by_state(), [(State::Up, 1), (State::Silent, 2), (State::Stopped, 3)]);
}

#[test]
fn a_goodbye_ends_what_is_said_of_an_agent_with_the_next_look() {
    let room = Room::new();
    room.hello(1);
    room.up();
    room.live.goodbye(id(1));
    assert_eq!(room.up(), [("agenda-1".into(), None)]);
    assert!(said(&room).is_empty());
}
