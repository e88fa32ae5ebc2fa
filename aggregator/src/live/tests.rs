mod clocks;
mod report;

use super::*;
use proto::catalog::{AGENT_CLOCK_OFFSET_SECONDS, AGENT_UP};
use proto::message::Position;
use proto::name::SeriesKey;
use proto::sample::{Kind, Pass, STALE, SeriesDef};
use runtime::clock::ManualClock;
use std::pin::pin;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

/// A live view with a clock that is moved by hand.
struct Room {
    live: Live,
    clock: ManualClock,
}

impl Room {
    fn new() -> Self {
        Self::after_restart(Vec::new())
    }

    fn after_restart(known: Vec<AgentRow>) -> Self {
        let clock = ManualClock::at(NOW);
        Self { live: Live::new(Limits::default(), Arc::new(clock.clone()), known), clock }
    }

    /// Agent `number` says hello.
    fn hello(&self, number: u128) -> AgentRow {
        self.live.hello(&Hello { wall: self.clock.wall(), ..hello(number) })
    }

    /// Agent `number` sends `value` of `cpu`, read now.
    fn send(&self, number: u128, value: f64) -> Appended {
        self.live.append(id(number), &[frame(self.clock.wall(), value)])
    }

    fn state(&self, number: u128) -> State {
        self.live.agent(id(number)).expect("it is known").state
    }

    /// Newest sample of each series called `name`, by instance; `None` where it has ended.
    fn newest(&self, name: &str) -> Vec<(String, Option<f64>)> {
        let mut newest: Vec<_> = self.live.read(|head| {
            let shown = head.select(Some(name)).map(|series| {
                let instance = series.key().labels.get("instance").unwrap_or_default().to_string();
                (instance, series.last().map(|sample| sample.value).filter(|value| !value.is_nan()))
            });
            shown.collect()
        });
        newest.sort_by(|a, b| a.0.cmp(&b.0));
        newest
    }

    /// The instances that are not heard of.
    fn unheard(&self) -> Vec<String> {
        self.live.look(|Glance { unheard, .. }| unheard.iter().map(|(_, instance)| instance.to_string()).collect())
    }

    /// The time at which rules look now.
    fn looked_at(&self) -> Timestamp {
        self.live.look(|glance| glance.at)
    }

    fn up(&self) -> Vec<(String, Option<f64>)> {
        self.clock.advance(Duration::from_millis(1));
        self.live.sweep();
        self.newest(AGENT_UP.name)
    }
}

/// The last sign of our life, by a clock that was believed.
fn pulse(alive_at: Timestamp) -> Pulse {
    Pulse { alive_at, trusted_at: alive_at }
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn hello(number: u128) -> Hello {
    Hello {
        agent_id: id(number),
        service: "agenda".into(),
        instance: format!("agenda-{number}"),
        clinic_id: None,
        interval: SECOND,
        wall: NOW,
        monotonic: Duration::ZERO,
        boot_id: "boot".into(),
        agent_version: "0.1.0".into(),
        run_id: Uuid::from_u128(1),
        last: Position { epoch: 1, seq: 0 },
    }
}

fn frame(at: Timestamp, value: f64) -> Frame {
    let key = SeriesKey::try_new("cpu", [("instance", "what it says of itself")]).expect("legal");
    let series = vec![SeriesDef { key, kind: Kind::Gauge }];
    let schema = Arc::new(Schema { source: "host".into(), interval: Duration::ZERO, series });
    Frame::try_new(SchemaId(1), schema, vec![Pass { at, values: vec![value] }]).expect("fits")
}

/// What the database knows of an agent that was seen so long before now.
fn row(number: u128, seen_before: Duration, stopped_at: Option<Timestamp>) -> AgentRow {
    AgentRow {
        agent_id: id(number),
        service: "agenda".into(),
        instance: format!("agenda-{number}"),
        clinic_id: None,
        interval: SECOND,
        agent_version: "0.1.0".into(),
        first_seen: NOW - seen_before,
        last_seen: NOW - seen_before,
        stopped_at,
        position: Some(Position { epoch: 1, seq: 7 }),
    }
}

fn shown(instance: &str, value: f64) -> (String, Option<f64>) {
    (instance.into(), Some(value))
}

#[test]
fn an_agents_identity_replaces_what_it_says_of_itself() {
    let room = Room::new();
    let clinic = Uuid::from_u128(900);
    room.live.hello(&Hello { clinic_id: Some(clinic), ..hello(1) });
    assert_eq!(room.send(1, 5.0).kept, 1);
    let key = room.live.read(|head| head.latest(id(1)).map(|(series, _)| series.key().clone()).next());
    let labels = key.expect("it is shown").labels;
    assert_eq!(labels.get("instance"), Some("agenda-1"));
    assert_eq!(labels.get("service"), Some("agenda"));
    assert_eq!(labels.get("clinic_id"), Some(clinic.to_string().as_str()));
}

#[test]
fn frames_of_an_agent_that_never_said_hello_are_ignored() {
    let room = Room::new();
    assert_eq!(room.send(1, 5.0), Appended { unknown_agent: 1, ..Appended::default() });
    assert_eq!(room.live.read(Head::series_count), 0);
}

#[test]
fn what_became_of_each_sample_is_counted() {
    let room = Room::new();
    room.hello(1);
    let frames = [frame(NOW, 1.0), frame(NOW, 2.0), frame(NOW + SECOND, f64::NAN), frame(NOW + SECOND, STALE)];
    let appended = room.live.append(id(1), &frames);
    assert_eq!((appended.kept, appended.duplicate, appended.not_a_number), (2, 1, 1));
}

#[test]
fn a_hello_keeps_when_an_agent_was_first_seen_and_where_its_stream_stood() {
    let room = Room::after_restart(vec![row(1, SECOND * 60, None)]);
    let back = room.hello(1);
    assert_eq!((back.first_seen, back.last_seen), (NOW - SECOND * 60, NOW));
    assert_eq!(back.position, Some(Position { epoch: 1, seq: 7 }));
    assert_eq!(back.stopped_at, None);
    assert_eq!(room.hello(2).first_seen, NOW);
}

#[test]
fn an_agents_clock_is_compared_with_ours_at_its_hello() {
    let room = Room::new();
    for (ahead, offset, correction) in [(90_500, 90.5, 90_500), (-500, -0.5, 0), (-2_000, -2.0, -2_000)] {
        let wall = Timestamp::from_millis(room.clock.wall().as_millis().saturating_add(ahead));
        room.live.hello(&Hello { wall, ..hello(1) });
        assert_eq!(room.live.correction_ms(id(1)), correction);
        room.up();
        assert_eq!(room.newest(AGENT_CLOCK_OFFSET_SECONDS.name), [shown("agenda-1", offset)]);
    }
    let wall = room.clock.wall() + SECOND * 7;
    room.live.hear_clock(id(1), ClockReading { wall, was_set: true });
    assert_eq!(room.live.correction_ms(id(1)), 7_000);
    assert_eq!(room.live.correction_ms(id(2)), 0, "nobody knows it");
}

#[test]
fn rules_look_at_a_sample_that_is_a_little_ahead_but_not_at_one_that_is_far() {
    let room = Room::new();
    room.hello(1);
    assert_eq!(room.looked_at(), NOW);
    room.live.append(id(1), &[frame(NOW + SECOND, 1.0)]);
    assert_eq!(room.looked_at(), NOW + SECOND);
    room.live.append(id(1), &[frame(NOW + SECOND * 60, 1.0)]);
    assert_eq!(room.looked_at(), NOW + SECOND);
    room.clock.advance(SECOND * 5);
    assert_eq!(room.looked_at(), NOW + SECOND * 5);
    room.clock.jump_to(NOW - SECOND);
    assert_eq!(room.looked_at(), NOW - SECOND, "our clock was set back, and the newest sample with it");
    room.live.append(id(1), &[frame(NOW - SECOND, 1.0)]);
    room.clock.jump_to(NOW - SECOND * 2);
    assert_eq!(room.looked_at(), NOW - SECOND, "by a second only");
}

#[test]
fn a_source_that_hangs_is_not_shown_while_its_agent_goes_on() {
    let room = Room::new();
    room.hello(1);
    let pass_of = |source: &str, value| {
        let one = frame(room.clock.wall(), value);
        let mut schema = (*one.schema).clone();
        (schema.source, schema.interval) = (source.into(), SECOND);
        schema.series[0].key = SeriesKey::try_new(source, []).expect("legal");
        let schema_id = SchemaId(source.len() as u64);
        room.live.append(id(1), &[Frame { schema_id, schema: Arc::new(schema), ..one }]);
    };
    pass_of("filesystem", 1.0);
    for second in 0..6 {
        room.clock.advance(SECOND);
        pass_of("host", f64::from(second));
        room.live.sweep();
    }
    let latest = || {
        let name = |(series, _): (&tsdb::Series, _)| series.key().name.to_string();
        room.live.read(|head| head.latest(id(1)).map(name).collect::<Vec<_>>())
    };
    assert_eq!(latest(), ["host"]);
    assert_eq!(room.newest("filesystem"), [shown("agenda-1", 1.0)], "it has not ended: rules look back");
    pass_of("filesystem", 2.0);
    assert_eq!(latest(), ["filesystem", "host"]);
}

#[test]
fn an_agent_that_comes_back_under_another_name_ends_what_it_reported_under_the_old_one() {
    let room = Room::new();
    room.hello(1);
    room.send(1, 5.0);
    room.live.hello(&Hello { instance: "renamed".into(), ..hello(1) });
    assert_eq!(room.newest("cpu"), [("agenda-1".into(), None)]);
    room.clock.advance(SECOND);
    room.send(1, 6.0);
    assert_eq!(room.newest("cpu"), [("agenda-1".into(), None), shown("renamed", 6.0)]);
}

#[test]
fn an_agent_is_silent_after_three_of_its_intervals_and_not_before() {
    let room = Room::new();
    room.hello(1);
    room.send(1, 5.0);
    room.clock.advance(SECOND * SILENT_INTERVALS);
    assert!(room.live.sweep().is_empty());
    assert_eq!(room.newest(AGENT_UP.name), [shown("agenda-1", 1.0)]);
    room.clock.advance(Duration::from_millis(1));
    assert_eq!(room.live.sweep().iter().map(|agent| agent.row.agent_id).collect::<Vec<_>>(), [id(1)]);
    assert_eq!(room.newest(AGENT_UP.name), [shown("agenda-1", 0.0)]);
    assert_eq!(room.newest("cpu"), [("agenda-1".into(), None)]);
    assert!(room.live.sweep().is_empty(), "it is news once");
}

#[test]
fn an_agent_that_samples_very_often_is_given_a_second() {
    let room = Room::new();
    room.live.hello(&Hello { interval: Duration::from_millis(100), ..hello(1) });
    room.clock.advance(SILENT_MIN);
    assert!(room.live.sweep().is_empty());
    room.clock.advance(Duration::from_millis(1));
    assert_eq!(room.live.sweep().len(), 1);
}

#[test]
fn a_clock_that_is_set_makes_nobody_silent() {
    let room = Room::new();
    room.hello(1);
    for hours in [1, -2, 1] {
        room.clock.jump_to(Timestamp::from_millis(room.clock.wall().as_millis() + hours * 3_600_000));
        assert!(room.live.sweep().is_empty(), "{hours}");
        assert_eq!(room.state(1), State::Up);
    }
}

#[test]
fn any_sign_of_life_makes_a_silent_agent_up_again() {
    let signs: [fn(&Room); 3] =
        [|room| drop(room.hello(1)), |room| assert_eq!(room.send(1, 5.0).kept, 1), |room| room.live.seen(id(1))];
    for sign in signs {
        let room = Room::new();
        room.hello(1);
        room.clock.advance(SECOND * 4);
        assert_eq!(room.up(), [shown("agenda-1", 0.0)]);
        sign(&room);
        assert_eq!(room.up(), [shown("agenda-1", 1.0)]);
        room.clock.advance(SECOND * 3);
        assert_eq!(room.state(1), State::Up);
    }
}

#[test]
fn an_agent_that_said_goodbye_is_neither_up_nor_down_and_only_a_hello_brings_it_back() {
    let room = Room::new();
    room.hello(1);
    room.send(1, 5.0);
    assert_eq!(room.up(), [shown("agenda-1", 1.0)]);
    room.live.goodbye(id(1));
    room.clock.advance(SECOND * 3600);
    room.live.seen(id(1));
    room.live.append(id(1), &[frame(NOW + Duration::from_millis(500), 6.0)]);
    assert_eq!(room.up(), [("agenda-1".into(), None)]);
    assert_eq!(room.newest("cpu"), [("agenda-1".into(), None)], "a late batch does not revive its series");
    assert_eq!(room.live.agent(id(1)).and_then(|agent| agent.row.stopped_at), Some(NOW + Duration::from_millis(1)));
    room.hello(1);
    assert_eq!(room.up(), [shown("agenda-1", 1.0)]);
}

#[test]
fn of_two_agents_of_one_name_the_one_that_is_up_speaks() {
    let room = Room::new();
    for number in [1, 2] {
        room.live.hello(&Hello { instance: "agenda-0".into(), ..hello(number) });
    }
    room.clock.advance(SECOND * 4);
    room.live.seen(id(2));
    assert_eq!(room.up(), [shown("agenda-0", 1.0)]);
    room.clock.advance(SECOND * 4);
    assert_eq!(room.up(), [shown("agenda-0", 0.0)]);
}

#[test]
fn an_agent_that_is_lost_for_a_day_is_no_longer_spoken_of() {
    let room = Room::new();
    room.hello(1);
    room.live.disconnected(id(1));
    room.clock.advance(23 * 3600 * SECOND);
    assert_eq!(room.up(), [shown("agenda-1", 0.0)]);
    room.clock.advance(3600 * SECOND);
    assert_eq!(LOST_KEPT, 24 * 3600 * SECOND);
    assert_eq!(room.up(), [("agenda-1".into(), None)]);
}

#[test]
fn after_a_restart_an_agent_has_time_to_come_back_before_it_is_silent() {
    let room = Room::after_restart(vec![row(1, SECOND, None), row(2, SECOND, None)]);
    room.live.restored();
    assert_eq!(room.unheard(), ["agenda-1", "agenda-2"]);
    room.clock.advance(RECONNECT_MAX);
    room.hello(1);
    room.send(1, 5.0);
    assert!(room.live.sweep().is_empty());
    assert_eq!(room.unheard(), ["agenda-2"], "it may still come");
    room.clock.advance(Duration::from_millis(1));
    assert_eq!(room.live.sweep().len(), 1);
    assert_eq!((room.state(1), room.state(2)), (State::Up, State::Silent));
    assert_eq!(room.unheard(), ["agenda-2"], "it is silent, which is no answer");
    room.clock.advance(UNHEARD_MAX.saturating_sub(RECONNECT_MAX));
    assert_eq!(room.unheard(), [""; 0], "but not for ever");
}

#[test]
fn what_an_agent_kept_in_its_spool_does_not_tell_how_things_stand_now() {
    let room = Room::after_restart(vec![row(1, SECOND * 600, None)]);
    room.hello(1);
    room.live.append(id(1), &[frame(NOW - SECOND * 600, 1.0)]);
    room.live.append(id(1), &[frame(NOW - SECOND * 6, 2.0)]);
    assert_eq!(room.unheard(), ["agenda-1"]);
    room.live.append(id(1), &[frame(NOW - SECOND, 3.0)]);
    assert_eq!(room.unheard(), [""; 0]);
}

#[test]
fn an_agent_that_has_come_back_is_silent_after_three_intervals_as_ever() {
    let room = Room::after_restart(vec![row(1, SECOND, None)]);
    room.hello(1);
    room.clock.advance(SECOND * 3 + Duration::from_millis(1));
    assert_eq!(room.live.sweep().len(), 1);
}

#[test]
fn agents_that_were_silent_or_stopped_before_a_restart_are_so_after_it() {
    // 1 was up when we ended; 2 was silent for a minute then, and 3 had stopped.
    let known = vec![row(1, SECOND, None), row(2, SECOND * 61, None), row(3, SECOND * 30, Some(NOW - SECOND * 30))];
    let room = Room::after_restart(known);
    for number in [1, 2, 3] {
        let last = room.live.agent(id(number)).expect("it is known").row.last_seen;
        assert_eq!(room.live.restore(id(number), &[frame(last, 9.0)]).kept, 1);
    }
    room.live.restored();
    assert_eq!((room.state(1), room.state(2), room.state(3)), (State::Up, State::Silent, State::Stopped));
    let cpu = [shown("agenda-1", 9.0), ("agenda-2".into(), None), ("agenda-3".into(), None)];
    assert_eq!(room.newest("cpu"), cpu, "else an alert on what is gone would fire again");
    assert_eq!(room.newest(AGENT_UP.name), [shown("agenda-1", 1.0), shown("agenda-2", 0.0)]);
    assert_eq!(room.unheard(), ["agenda-1", "agenda-2"], "what stopped is not waited for");
    room.hello(1);
    room.send(1, 9.0);
    assert_eq!(room.unheard(), ["agenda-2"]);
}

#[test]
fn an_agent_that_was_silent_for_long_before_a_restart_is_not_waited_for() {
    let room = Room::after_restart(vec![row(1, SECOND, None), row(2, SECOND + UNHEARD_MAX, None)]);
    assert_eq!(room.unheard(), ["agenda-1"]);
}

#[test]
fn a_silent_agent_is_not_heard_of_until_it_tells_of_now_and_not_for_longer_than_is_believed() {
    let room = Room::new();
    room.hello(1);
    assert_eq!(room.unheard(), ["agenda-1"], "a hello tells of nothing");
    room.send(1, 5.0);
    assert_eq!(room.unheard(), [""; 0]);
    room.clock.advance(SECOND * 10);
    room.live.sweep();
    assert_eq!(room.unheard(), ["agenda-1"]);
    room.hello(1);
    room.live.append(id(1), &[frame(NOW + SECOND, 5.0)]);
    assert_eq!(room.unheard(), ["agenda-1"], "this lay in its spool");
    room.clock.advance(UNHEARD_MAX.saturating_sub(Duration::from_millis(1)));
    assert_eq!(room.unheard(), ["agenda-1"]);
    room.clock.advance(Duration::from_millis(1));
    assert_eq!(room.unheard(), [""; 0]);
}

#[test]
fn an_agent_that_said_goodbye_is_not_waited_for() {
    let room = Room::new();
    room.hello(1);
    room.send(1, 5.0);
    room.clock.advance(SECOND * 4);
    room.live.sweep();
    room.live.goodbye(id(1));
    assert_eq!(room.unheard(), [""; 0]);
}

#[test]
fn of_two_agents_of_one_name_the_one_that_is_heard_speaks_and_a_hello_is_not_speaking() {
    let room = Room::new();
    let hello = |number| drop(room.live.hello(&Hello { instance: "agenda-0".into(), ..hello(number) }));
    hello(1);
    room.send(1, 5.0);
    room.clock.advance(SECOND * 4);
    room.live.sweep();
    hello(2);
    assert_eq!(room.unheard(), ["agenda-0"], "its successor has told nothing yet");
    room.send(2, 5.0);
    assert_eq!(room.unheard(), [""; 0]);
}

#[test]
fn an_agent_that_is_not_heard_of_is_not_heard_of_under_its_new_name_either() {
    let room = Room::new();
    room.hello(1);
    assert_eq!(room.unheard(), ["agenda-1"]);
    room.live.hello(&Hello { instance: "renamed".into(), ..hello(1) });
    assert_eq!(room.unheard(), ["renamed"]);
}

#[test]
fn an_agent_that_is_heard_again_after_its_silence_was_believed_speaks_for_its_successor() {
    let room = Room::new();
    let hello = |number| drop(room.live.hello(&Hello { instance: "agenda-0".into(), ..hello(number) }));
    hello(1);
    room.send(1, 5.0);
    room.clock.advance(SECOND * 4);
    room.live.sweep();
    room.clock.advance(UNHEARD_MAX);
    hello(2);
    assert_eq!(room.unheard(), ["agenda-0"]);
    room.live.seen(id(1));
    assert_eq!(room.unheard(), ["agenda-0"], "a sign of life tells of nothing");
    room.send(1, 6.0);
    assert_eq!(room.unheard(), [""; 0]);
}

#[test]
fn what_we_say_of_an_agent_is_heard_whatever_it_does() {
    let room = Room::new();
    room.hello(1);
    room.send(1, 5.0);
    room.live.restored();
    room.clock.advance(SECOND * 4);
    room.live.sweep();
    let hidden = |head: &Head, unheard: &Unheard, name: &str| {
        head.select(Some(name)).map(|series| unheard.reported(series)).collect::<Vec<_>>()
    };
    let hidden = room
        .live
        .look(|Glance { head, unheard, .. }| [hidden(head, unheard, "cpu"), hidden(head, unheard, AGENT_UP.name)]);
    assert_eq!(hidden, [[true], [false]]);
}

#[tokio::test]
async fn samples_wake_the_rules_once_and_say_which_schemas_they_are_of() {
    let room = Room::new();
    room.hello(1);
    assert!(futures::poll!(pin!(room.live.changed())).is_pending());
    room.live.restore(id(1), &[frame(NOW, 1.0)]);
    assert!(futures::poll!(pin!(room.live.changed())).is_pending(), "what was read from the log is no news");
    room.clock.advance(SECOND);
    room.send(1, 2.0);
    room.send(1, 2.0);
    assert!(futures::poll!(pin!(room.live.changed())).is_ready());
    assert!(futures::poll!(pin!(room.live.changed())).is_pending());
    assert_eq!(room.live.take_dirty().into_keys().collect::<Vec<_>>(), [SchemaId(1)]);
    assert!(room.live.take_dirty().is_empty());
}

#[test]
fn the_head_keeps_its_window_and_no_more() {
    let room = Room::new();
    room.hello(1);
    room.send(1, 1.0);
    room.clock.advance(HEAD_WINDOW);
    room.send(1, 2.0);
    room.live.truncate();
    assert_eq!(room.live.read(Head::sample_count), 2);
    room.clock.advance(Duration::from_millis(1));
    room.live.truncate();
    assert_eq!(room.live.read(Head::sample_count), 1);
}

#[test]
fn a_schema_has_a_metric_when_one_of_its_series_has_the_name() {
    let schema = &frame(NOW, 1.0).schema;
    assert!(has_metric(schema, &MetricName::try_new("cpu").expect("legal")));
    assert!(!has_metric(schema, &MetricName::try_new("cpu_seconds").expect("legal")));
}

#[test]
fn an_agent_that_is_gone_for_a_day_is_forgotten_and_one_that_is_up_is_not() {
    let room = Room::new();
    room.hello(1);
    room.hello(2);
    room.live.goodbye(id(1));
    room.live.disconnected(id(1));
    room.clock.advance(LOST_KEPT);
    room.send(2, 1.0);
    room.live.sweep();
    assert!(room.live.agent(id(1)).is_none());
    assert_eq!(room.state(2), State::Up);
}

#[test]
fn an_agent_that_sends_nothing_for_days_is_known_while_its_stream_stands() {
    let room = Room::new();
    room.hello(1);
    room.clock.advance(3 * LOST_KEPT);
    assert_eq!(room.up(), [shown("agenda-1", 0.0)], "it is silent, and still spoken of");
    room.clock.advance(SECOND);
    assert_eq!((room.send(1, 1.0).kept, room.state(1)), (1, State::Up));
    room.live.disconnected(id(1));
    room.clock.advance(LOST_KEPT);
    room.live.sweep();
    assert_eq!(room.state(1), State::Silent, "a day after it was seen last");
    room.live.sweep();
    assert!(room.live.agent(id(1)).is_none());
}

#[test]
fn there_is_room_for_so_many_agents_and_always_for_a_known_one() {
    let room = Room::new();
    for number in 0..AGENTS_MAX as u128 {
        assert!(room.live.make_room_for(id(number)));
        room.hello(number);
    }
    assert!(!room.live.make_room_for(id(u128::MAX)));
    assert!(room.live.make_room_for(id(0)));
    room.live.goodbye(id(7));
    room.clock.advance(SECOND);
    room.live.goodbye(id(3));
    assert!(room.live.make_room_for(id(u128::MAX)), "in the place of the one that stopped first");
    room.hello(u128::MAX);
    assert_eq!((room.live.agent(id(7)).is_some(), room.live.agent(id(3)).is_some()), (false, true));
    assert_eq!(room.live.agents().len(), AGENTS_MAX);
}

#[test]
fn the_only_agent_that_was_silent_before_a_restart_is_so_after_it() {
    let room = Room::new();
    let last = NOW - SECOND * 61;
    // The newest batch of all is its own, so only our own life tells that it was missed.
    room.live.resume(vec![row(1, SECOND * 61, None)], Some(pulse(last + SECOND * 4)));
    assert_eq!(room.live.restore(id(1), &[frame(last, 99.0)]).kept, 1);
    room.live.restored();
    assert_eq!(room.state(1), State::Silent);
    assert_eq!(room.newest("cpu"), [("agenda-1".into(), None)], "else an alert on it would fire again");
    assert_eq!(room.unheard(), ["agenda-1"], "a firing one is not over by that");
    room.live.resume(vec![row(1, SECOND * 61, None)], Some(pulse(last + SECOND * 3)));
    assert_eq!(room.state(1), State::Up, "it died with us, or after us");
}

#[test]
fn a_restart_knows_the_agents_of_the_last_day_and_no_more_than_there_may_be() {
    let day_ago = LOST_KEPT + SECOND;
    let known = vec![row(1, SECOND, None), row(2, day_ago, None), row(3, day_ago, Some(NOW - day_ago))];
    let room = Room::after_restart(known);
    assert_eq!(room.live.agents().iter().map(|agent| agent.row.agent_id).collect::<Vec<_>>(), [id(1)]);
    let many = (0..AGENTS_MAX as u128 + 10).map(|number| row(number, SECOND * u32::from(number < 10), None));
    let room = Room::after_restart(many.collect());
    assert_eq!(room.live.agents().len(), AGENTS_MAX);
    assert!(room.live.agent(id(9)).is_none(), "those seen last stay");
}

#[test]
fn a_batch_that_was_stored_after_its_stream_had_ended_is_kept_and_wakes_nobody() {
    let room = Room::new();
    room.hello(1);
    room.send(1, 1.0);
    room.clock.advance(SECOND * 2);
    assert_eq!(room.live.append_late(id(1), &[frame(NOW + SECOND, 2.0)]).kept, 1);
    room.clock.advance(SECOND + Duration::from_millis(1));
    assert_eq!(room.live.sweep().len(), 1, "it did not count as a sign of life");
    assert_eq!(room.live.append_late(id(1), &[frame(NOW + SECOND * 2, 3.0)]).kept, 1);
    assert_eq!((room.state(1), room.newest("cpu")), (State::Silent, vec![("agenda-1".into(), None)]));
}

#[test]
fn what_we_say_of_agents_has_no_agents_limit_and_what_a_limit_keeps_out_is_counted() {
    let with = |limits| {
        let clock = ManualClock::at(NOW);
        let room = Room { live: Live::new(limits, Arc::new(clock.clone()), Vec::new()), clock };
        (1..=3).for_each(|number| drop(room.hello(number)));
        let up = room.up().len();
        (up, room.live.take_unreported(), room.live.take_unreported())
    };
    assert_eq!(with(Limits { series_per_agent: 2, ..Limits::default() }), (3, 0, 0));
    // Two series of each agent, the offsets first.
    assert_eq!(with(Limits { series: 4, ..Limits::default() }), (1, 2, 0));
}

#[test]
fn an_agent_that_waits_for_us_is_up_but_not_heard_until_a_sample_of_now_comes() {
    let room = Room::new();
    room.hello(1);
    room.send(1, 5.0);
    for _ in 0..4 * 360 {
        room.clock.advance(SECOND / 4);
        room.live.waits(id(1));
        room.live.sweep();
    }
    assert_eq!((room.state(1), room.unheard()), (State::Up, vec!["agenda-1".to_string()]));
    room.live.append(id(1), &[frame(room.clock.wall() - SECOND * 300, 5.0)]);
    assert_eq!(room.unheard(), ["agenda-1"], "that was kept while it waited");
    room.send(1, 5.0);
    room.live.waits(id(1));
    assert!(room.unheard().is_empty());
}

#[test]
fn a_long_restore_makes_no_agent_silent() {
    let room = Room::after_restart(vec![row(1, SECOND, None)]);
    room.clock.advance(UNHEARD_MAX * 2);
    room.live.restored();
    assert!(room.live.sweep().is_empty(), "it was turned away until now");
    assert_eq!((room.state(1), room.unheard()), (State::Up, vec!["agenda-1".to_string()]));
}

#[test]
fn what_we_say_of_an_agent_is_said_when_it_is_news_and_again_every_ten_seconds() {
    let room = Room::new();
    room.hello(1);
    let said = || room.live.read(|head| head.select(Some(AGENT_UP.name)).map(tsdb::Series::len).sum::<usize>());
    for second in 0..30 {
        room.send(1, f64::from(second));
        room.live.sweep();
        room.clock.advance(SECOND);
    }
    assert_eq!(said(), 3, "at once, and every ten seconds");
    room.clock.advance(3 * SECOND);
    room.live.sweep();
    assert_eq!((said(), room.up()), (4, vec![shown("agenda-1", 0.0)]), "that it is silent is news");
}

/// Agent 1 sends batches without samples, as of events, for so many seconds.
fn send_events(room: &Room, seconds: u32) {
    for _ in 0..seconds {
        room.clock.advance(SECOND);
        room.live.append(id(1), &[]);
        room.live.sweep();
    }
}

#[test]
fn an_agent_that_delivers_events_while_its_collectors_hang_is_up_but_not_heard() {
    let room = Room::new();
    room.hello(1);
    room.send(1, 1.0);
    send_events(&room, SILENT_INTERVALS);
    assert!(room.unheard().is_empty(), "a pass may be late");
    send_events(&room, 1);
    assert_eq!((room.state(1), room.unheard()), (State::Up, vec!["agenda-1".to_string()]));
    send_events(&room, 400);
    assert_eq!(room.unheard(), ["agenda-1"], "also beyond the lookback: nothing of now is known");
    room.send(1, 2.0);
    assert!(room.unheard().is_empty());
}

#[test]
fn of_an_agent_that_has_nothing_but_events_no_sample_is_awaited_for_long() {
    let room = Room::new();
    room.hello(1);
    send_events(&room, 301);
    assert!(room.unheard().is_empty());
}

/// Prints figures and holds no one to them.
#[test]
fn what_a_look_at_many_agents_costs() {
    let room = Room::new();
    for number in 0..10_000 {
        room.hello(number);
    }
    room.live.sweep();
    let time = |what: &str, act: &dyn Fn(u128)| {
        let began = std::time::Instant::now();
        (0..20).for_each(act);
        println!("{what}, 10000 agents: {:?}", began.elapsed() / 20);
    };
    let sweep = || {
        room.clock.advance(Duration::from_millis(1));
        room.live.sweep();
    };
    time("a sweep", &|_| sweep());
    time("a sweep after one agent more", &|number| {
        room.hello(20_000 + number);
        sweep();
    });
    time("a sweep with one's news", &|number| {
        room.live.hear_clock(id(number), ClockReading { wall: room.clock.wall() + SECOND, was_set: true });
        sweep();
    });
    time("a goodbye", &|number| room.live.goodbye(id(number)));
    time("a copy of all agents", &|_| drop(room.live.agents()));
    time("their count by state", &|_| assert_eq!(room.live.agents_by_state()[2].1, 20));
    time("a look of the rules", &|_| room.live.look(|_| ()));
}
