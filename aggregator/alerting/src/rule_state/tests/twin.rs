//! A naive twin: Prometheus's `AlertingRule.Eval`, restated in wall-clock times as it stands there. While the clock is
//! steady, evaluations succeed and nobody restarts, both must agree at every tick.

use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Inactive,
    Pending,
    Firing,
}

#[derive(Clone, Debug)]
struct Alert {
    state: State,
    active_at: i64,
    fired_at: Option<i64>,
    resolved_at: Option<i64>,
    keep_firing_since: Option<i64>,
}

#[derive(Default)]
struct Twin {
    active: BTreeMap<String, Alert>,
}

impl Twin {
    fn eval(&mut self, ts: i64, hold: i64, keep: i64, result: &BTreeSet<String>) {
        for name in result {
            let known = self.active.get(name).is_some_and(|alert| alert.state != State::Inactive);
            if !known {
                let alert = Alert {
                    state: State::Pending,
                    active_at: ts,
                    fired_at: None,
                    resolved_at: None,
                    keep_firing_since: None,
                };
                self.active.insert(name.clone(), alert);
            }
        }
        let names: Vec<String> = self.active.keys().cloned().collect();
        for name in names {
            let alert = self.active.get_mut(&name).expect("a key of the map");
            if result.contains(&name) {
                alert.keep_firing_since = None;
            } else {
                let mut keep_firing = false;
                if alert.state == State::Firing && keep > 0 {
                    let since = *alert.keep_firing_since.get_or_insert(ts);
                    keep_firing = ts - since < keep;
                }
                let forgotten = alert.resolved_at.is_some_and(|resolved| ts - resolved > 15 * 60);
                if alert.state == State::Pending || (alert.state == State::Inactive && forgotten) {
                    self.active.remove(&name);
                    continue;
                }
                if alert.state != State::Inactive && !keep_firing {
                    alert.state = State::Inactive;
                    alert.resolved_at = Some(ts);
                }
                continue;
            }
            if alert.state == State::Pending && ts - alert.active_at >= hold {
                alert.state = State::Firing;
                alert.fired_at = Some(ts);
            } else if alert.state == State::Firing && ts - alert.active_at < hold {
                alert.state = State::Pending;
                alert.fired_at = None;
            }
        }
    }

    fn shown(&self) -> Vec<(String, String)> {
        let line = |alert: &Alert| match alert.state {
            State::Inactive => format!("resolved at {:?}", alert.resolved_at),
            State::Pending => format!("pending since {}", alert.active_at),
            State::Firing => format!("firing since {:?}, kept since {:?}", alert.fired_at, alert.keep_firing_since),
        };
        self.active.iter().map(|(name, alert)| (name.clone(), line(alert))).collect()
    }
}

fn shown(state: &RuleState) -> Vec<(String, String)> {
    let seconds = |t: Timestamp| t.as_millis() / 1000;
    let line = |instance: &Instance| match instance.state {
        InstanceState::Inactive => unreachable!("an instance is never inactive"),
        InstanceState::Resolved => format!("resolved at {:?}", instance.resolved_at.map(seconds)),
        InstanceState::Pending => format!("pending since {}", seconds(instance.active_at)),
        InstanceState::Firing => {
            let (fired, kept) = (instance.fired_at.map(seconds), instance.keep_firing_since.map(seconds));
            format!("firing since {fired:?}, kept since {kept:?}")
        }
    };
    let mut shown: Vec<(String, String)> =
        state.instances().map(|i| (i.labels.get("i").unwrap_or_default().to_owned(), line(i))).collect();
    shown.sort();
    shown
}

proptest! {
    #[test]
    fn on_a_steady_clock_every_instance_goes_as_in_prometheus(
        keep in 0u32..4,
        story in prop::collection::vec((prop::array::uniform3(prop::bool::weighted(0.6)), 1u64..100, 0u32..5), 1..40),
    ) {
        let mut state = RuleState::new();
        let mut twin = Twin::default();
        let mut rule = rule(Duration::ZERO, INTERVAL * keep, 10);
        let mut now = 0;
        for (tick, (truth, elapsed, hold)) in story.into_iter().enumerate() {
            // A reload now and then; evaluations do not come at even intervals.
            if tick % 7 == 0 {
                rule.hold_for = INTERVAL * hold;
            }
            now += i64::try_from(elapsed).expect("small");
            let points = outcome(Some(truth)).expect("it does not fail");
            let names = points.iter().filter_map(|p| p.labels.get("i").map(str::to_owned)).collect();
            let whole = |duration: Duration| i64::try_from(duration.as_secs()).expect("small");
            twin.eval(now, whole(rule.hold_for), whole(rule.keep_firing_for), &names);
            let elapsed = Duration::from_secs(elapsed);
            state.step(&rule, Evaluation { at: at(now), elapsed, unheard: BTreeSet::new(), outcome: Ok(points) });
            prop_assert_eq!(shown(&state), twin.shown(), "at {}", now);
        }
    }

    #[test]
    fn what_has_resolved_is_forgotten_as_in_prometheus(gaps in prop::collection::vec(1u64..700, 1..12)) {
        let rule = rule(Duration::ZERO, Duration::ZERO, 10);
        let (mut state, mut twin, mut now) = (RuleState::new(), Twin::default(), 0);
        let first = BTreeSet::from(["a".to_owned()]);
        twin.eval(now, 0, 0, &first);
        state.step(&rule, evaluation(now, Ok(vec![point("a", 1.0)])));
        for gap in gaps {
            now += i64::try_from(gap).expect("small");
            twin.eval(now, 0, 0, &BTreeSet::new());
            let elapsed = Duration::from_secs(gap);
            state.step(&rule, Evaluation { elapsed, ..evaluation(now, Ok(vec![])) });
            prop_assert_eq!(shown(&state), twin.shown(), "at {}", now);
        }
    }
}
