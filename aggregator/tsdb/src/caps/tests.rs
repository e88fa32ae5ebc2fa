use super::*;
use proptest::prelude::*;

const LIMITS: SeriesLimits = SeriesLimits { series: 20, per_owner: 8, per_clinic: 6, per_metric: 4 };

fn owner(i: u8) -> Uuid {
    Uuid::from_u128(u128::from(i))
}

fn claim<'a>(owner_: u8, clinic: Option<&'a str>, metric: &'a str) -> Claim<'a> {
    Claim { owner: owner(owner_), clinic, metric }
}

#[test]
fn each_limit_refuses_with_its_own_reason_and_counts_it() {
    let mut caps = Caps::new(LIMITS);
    for metric in ["a", "a", "a", "a", "b", "b", "b", "b"] {
        caps.claim(claim(1, None, metric)).expect("room");
    }
    assert_eq!(caps.claim(claim(1, None, "c")), Err(Refused::Owner { limit: 8 }));
    for _ in 0..4 {
        caps.claim(claim(2, Some("x"), "a")).expect("room");
    }
    assert_eq!(caps.claim(claim(2, Some("x"), "a")), Err(Refused::Metric { limit: 4 }));
    caps.claim(claim(3, Some("x"), "a")).expect("another agent's series of the same metric");
    caps.claim(claim(3, Some("x"), "b")).expect("room");
    assert_eq!(caps.claim(claim(3, Some("x"), "b")), Err(Refused::Clinic { limit: 6 }));
    for _ in 0..6 {
        caps.claim(claim(0, None, "all")).expect("the nil agent may own any number");
    }
    assert_eq!(caps.claim(claim(4, None, "a")), Err(Refused::Series { limit: 20 }));
    let reasons: Vec<_> = caps.refusals().by_reason().collect();
    let expected =
        [("agent_series_limit", 1), ("clinic_series_limit", 1), ("metric_series_limit", 1), ("series_limit", 1)];
    assert_eq!(reasons, expected);
    let worst: Vec<_> =
        caps.refusals().top(2).into_iter().map(|worst| (worst.metric.to_string(), worst.count)).collect();
    assert_eq!(worst, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
}

/// A claim that was granted: to whom, and the numbers of agent, clinic and metric.
type Held = (OwnerId, u8, u8, u8);

proptest! {
    /// Limits are never exceeded, counts are those of what is claimed, and nothing is left when all is released.
    #[test]
    fn claims_are_a_ledger(ops in proptest::collection::vec((0..3_u8, 0..4_u8, 0..4_u8, 0..4_u8), 1..300)) {
        let mut caps = Caps::new(LIMITS);
        let mut held: Vec<Held> = Vec::new();
        let clinic = |i: u8| (i > 0).then(|| ["", "x", "y", "z"][usize::from(i)]);
        let metric = |i: u8| ["a", "b", "c", "d"][usize::from(i)];
        for (kind, o, c, m) in ops {
            if kind > 0 {
                let is_full = {
                    let count = |is: &dyn Fn(&Held) -> bool| held.iter().filter(|h| is(h)).count();
                    held.len() >= 20
                        || (o > 0 && count(&|h| h.1 == o) >= 8)
                        || (c > 0 && count(&|h| h.2 == c) >= 6)
                        || (o > 0 && count(&|h| h.1 == o && h.3 == m) >= 4)
                };
                let claimed = caps.claim(claim(o, clinic(c), metric(m)));
                prop_assert_eq!(claimed.is_err(), is_full);
                if let Ok(id) = claimed {
                    prop_assert_eq!(caps.owner(id), owner(o));
                    held.push((id, o, c, m));
                }
            } else if !held.is_empty() {
                let (id, _, c, m) = held.swap_remove(usize::from(o + 4 * c + 16 * m) % held.len());
                caps.release(id, clinic(c), metric(m));
            }
            prop_assert_eq!(caps.series(), held.len());
            for i in 0..4 {
                prop_assert_eq!(caps.of_owner(owner(i)), held.iter().filter(|h| h.1 == i).count());
                let of_clinic = held.iter().filter(|h| h.2 == i && i > 0).count();
                prop_assert_eq!(clinic(i).map_or(0, |clinic| caps.of_clinic(clinic)), of_clinic);
                let of_metric = held.iter().filter(|h| h.1 == o && h.3 == i).count();
                prop_assert_eq!(caps.of_metric(owner(o), metric(i)), of_metric);
            }
        }
        for (id, _, c, m) in held.drain(..) {
            caps.release(id, clinic(c), metric(m));
        }
        prop_assert_eq!(caps.series(), 0);
        prop_assert!(caps.owners.numbers.is_empty() && caps.clinics.numbers.is_empty());
        prop_assert!(caps.metrics.numbers.is_empty() && caps.of_metric.is_empty());
    }
}
