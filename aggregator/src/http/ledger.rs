//! `/api/agents/{id}/ledger`: what is complete of one agent, and what is missing and why.
//!
//! An answer is a row of spans. A gap lies between the samples around it; where several lie between the same two, or
//! their times overlap, each has a span of its own. Numbers are exact, times are those of the samples.
//!
//! `complete` and `missing_records` speak of all the time from `from` to `to`; the spans begin at `spans_from`, which is later
//! where the answer is `truncated`.
//!
//! Limit: [`GAPS_MAX`].

use super::Shared;
use super::agents::rfc3339;
use super::params::{Given, refused};
use super::problem::{Problem, shown};
use crate::store::{GapRow, Ledger, LedgerQuery};
use axum::Json;
use axum::extract::{Path, State};
use proto::sample::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Gaps of one answer, and epochs: the newest. More are a week of losing something every ten minutes.
const GAPS_MAX: u32 = 1_000;

/// A part of the time that was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Span<'a> {
    /// Everything is here.
    Complete(Timestamp, Timestamp),
    /// Something is missing; `None` where nothing came since.
    Missing(Timestamp, Option<Timestamp>, &'a GapRow),
    /// Nothing came since.
    Nothing(Timestamp),
}

/// One agent's ledger.
pub(super) async fn show(
    State(service): State<Shared>,
    Path(id): Path<String>,
    given: Given,
) -> Result<Json<Value>, Problem> {
    let params = given.only(&["from", "to", "clinic_id"])?;
    let (scope, from, to) = (params.scope()?, params.time("from")?, params.time("to")?);
    let to = to.unwrap_or_else(|| service.pages.clock.wall());
    if let Some(text) = params.text("from").filter(|_| from.is_some_and(|from| from > to)) {
        return Err(refused("from", text, "a time before `to`"));
    }
    let no_agent = || Problem::NoAgent { id: shown(&id) };
    let agent_id = Uuid::try_parse(&id).map_err(|_| no_agent())?;
    let ever = Timestamp::from_millis(i64::MIN);
    let query = LedgerQuery { agent_id, from: from.unwrap_or(ever), to, limit: GAPS_MAX + 1 };
    let found = service.pages.store.load_ledger(&query).await.map_err(|error| Problem::store(&error))?;
    let clinic = |ledger: &Ledger| ledger.agent.clinic_id.map(|id| id.to_string());
    let ledger = found.filter(|ledger| scope.admits(clinic(ledger).as_deref())).ok_or_else(no_agent)?;
    Ok(Json(to_json(ledger, from, to)))
}

fn to_json(mut ledger: Ledger, from: Option<Timestamp>, to: Timestamp) -> Value {
    let most = GAPS_MAX as usize;
    let is_cut = ledger.gaps.len() > most || ledger.epochs.len() > most;
    // Of what was left out nothing is known here: the spans begin where its newest gap ends, or began where it has no end.
    let cut = (ledger.gaps.len() > most).then(|| ledger.gaps.remove(0).missing);
    let cut = cut.and_then(|missing| missing.until_at.or(missing.from_at));
    let since = known_since(&ledger);
    let begin = from.map_or(since, |from| from.max(since)).min(to);
    let spans_from = cut.map_or(begin, |cut| cut.max(begin)).min(to);
    let spans = spans(&ledger, spans_from, to);
    let totals: Map<String, Value> =
        ledger.totals.iter().map(|(reason, records)| (reason.clone(), json!(records))).collect();
    json!({
        "agent": {
            "id": ledger.agent.agent_id,
            "service": ledger.agent.service,
            "instance": ledger.agent.instance,
            "clinic_id": ledger.agent.clinic_id,
        },
        "known_since": rfc3339(since),
        "from": rfc3339(begin),
        "spans_from": rfc3339(spans_from),
        "to": rfc3339(to),
        "complete": ledger.totals.is_empty(),
        "missing_records": totals,
        "spans": spans.iter().map(span_to_json).collect::<Vec<_>>(),
        "epochs": ledger.epochs.iter().map(epoch_to_json).collect::<Vec<_>>(),
        "truncated": is_cut,
    })
}

/// When its first hello came, or its first sample was taken: what waited in its spool is older than its hello.
fn known_since(ledger: &Ledger) -> Timestamp {
    let oldest = ledger.epochs.iter().find_map(|epoch| epoch.oldest_at);
    oldest.map_or(ledger.agent.first_seen, |oldest| oldest.min(ledger.agent.first_seen))
}

fn spans(ledger: &Ledger, begin: Timestamp, to: Timestamp) -> Vec<Span<'_>> {
    let within = |at: Timestamp| at.clamp(begin, to);
    let mut gaps: Vec<(Timestamp, &GapRow)> =
        ledger.gaps.iter().map(|gap| (gap.missing.from_at.map_or(begin, within), gap)).collect();
    gaps.sort_by_key(|(from, _)| *from);
    let (mut spans, mut at) = (Vec::new(), begin);
    for (from, gap) in gaps {
        if from > at {
            spans.push(Span::Complete(at, from));
        }
        let until = gap.missing.until_at.map(within);
        at = at.max(until.unwrap_or(from));
        spans.push(Span::Missing(from, until, gap));
    }
    let newest = ledger.epochs.iter().rev().find_map(|epoch| epoch.newest_at).map_or(begin, within);
    if newest > at {
        spans.push(Span::Complete(at, newest));
    }
    if newest.max(at) < to {
        spans.push(Span::Nothing(newest.max(at)));
    }
    spans
}

fn span_to_json(span: &Span) -> Value {
    match span {
        Span::Complete(from, until) => {
            json!({"state": "complete", "from": rfc3339(*from), "until": rfc3339(*until)})
        }
        Span::Missing(from, until, gap) => json!({
            "state": "missing",
            "from": rfc3339(*from),
            "until": until.map(rfc3339),
            "reason": gap.missing.reason,
            "records": gap.missing.records(),
            "epoch": format!("{:032x}", gap.epoch),
            "first_seq": gap.missing.first_seq,
            "last_seq": gap.missing.last_seq,
            "noted_at": rfc3339(gap.noted_at),
        }),
        Span::Nothing(from) => json!({"state": "nothing_since", "from": rfc3339(*from), "until": null}),
    }
}

fn epoch_to_json(epoch: &crate::store::EpochRow) -> Value {
    json!({
        "epoch": format!("{:032x}", epoch.epoch),
        "last_seq": epoch.last_seq,
        "first_batch_at": rfc3339(epoch.first_seen),
        "last_batch_at": rfc3339(epoch.last_received_at),
        "oldest_sample_at": epoch.oldest_at.map(rfc3339),
        "newest_sample_at": epoch.newest_at.map(rfc3339),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{AgentRow, EpochRow, Missing};
    use proptest::prelude::*;
    use std::time::Duration;

    const END: i64 = 100;

    fn ms(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// A gap's window: an end may be unknown.
    type Window = (Option<i64>, Option<i64>);

    fn ledger(windows: &[Window], sampled: Option<(i64, i64)>) -> Ledger {
        let agent = AgentRow {
            agent_id: Uuid::from_u128(1),
            service: "agenda".into(),
            instance: "agenda-0".into(),
            clinic_id: None,
            interval: Duration::from_secs(1),
            agent_version: "0.1.0".into(),
            first_seen: ms(10),
            last_seen: ms(90),
            stopped_at: None,
            position: None,
        };
        let gap = |(seq, (from, until)): (u64, &Window)| {
            let (from_at, until_at) = (from.map(ms), until.map(ms));
            let missing = Missing { first_seq: seq, last_seq: seq, reason: "corrupt".into(), from_at, until_at };
            GapRow { agent_id: agent.agent_id, epoch: 1, missing, noted_at: ms(90) }
        };
        let epoch = EpochRow {
            epoch: 1,
            last_seq: windows.len() as u64,
            first_seen: ms(10),
            last_received_at: ms(90),
            oldest_at: sampled.map(|(oldest, _)| ms(oldest)),
            newest_at: sampled.map(|(_, newest)| ms(newest)),
        };
        let gaps = (1..).zip(windows).map(gap).collect();
        Ledger { agent, epochs: vec![epoch], gaps, totals: Vec::new() }
    }

    /// Begin and end of each span, and whether it is complete; an end that is unknown is the beginning.
    fn shown(spans: &[Span]) -> Vec<(i64, i64, bool)> {
        let shown = |span: &Span| match span {
            Span::Complete(from, until) => (*from, *until, true),
            Span::Missing(from, until, _) => (*from, until.unwrap_or(*from), false),
            Span::Nothing(from) => (*from, ms(END), false),
        };
        spans.iter().map(shown).map(|(from, until, whole)| (from.as_millis(), until.as_millis(), whole)).collect()
    }

    fn window() -> impl Strategy<Value = Window> {
        let from = prop::option::weighted(0.9, -20_i64..120);
        (from, prop::option::weighted(0.9, 0_i64..50))
            .prop_map(|(from, lasts)| (from, lasts.map(|lasts| from.unwrap_or(0) + lasts)))
    }

    proptest! {
        #[test]
        fn every_moment_has_a_span_every_gap_has_one_of_its_own_and_no_gap_lies_in_what_is_complete(
            windows in prop::collection::vec(window(), 0..8),
            sampled in prop::option::of((-20_i64..50, 0_i64..80)),
            begin in 0_i64..END,
        ) {
            let ledger = ledger(&windows, sampled.map(|(oldest, lasts)| (oldest, oldest + lasts)));
            let spans = spans(&ledger, ms(begin), ms(END));
            let told: Vec<u64> = spans.iter().filter_map(|span| match span {
                Span::Missing(.., gap) => Some(gap.missing.first_seq),
                _ => None,
            }).collect();
            let mut sorted = told.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (1..=windows.len() as u64).collect::<Vec<_>>());
            let shown = shown(&spans);
            let mut known_until = begin;
            for (from, until, _) in &shown {
                prop_assert!(begin <= *from && from <= until && *until <= END, "{:?}", shown);
                prop_assert!(*from <= known_until, "nothing is said of {} to {}: {:?}", known_until, from, shown);
                known_until = known_until.max(*until);
            }
            prop_assert_eq!(known_until, END);
            for (from, until, _) in shown.iter().filter(|(.., whole)| *whole) {
                let touches = |(first, last): &(i64, i64)| first < until && from < last;
                let gap = windows.iter().map(|(first, last)| (first.unwrap_or(i64::MIN), last.unwrap_or(i64::MIN)));
                prop_assert!(!gap.clone().any(|gap| touches(&gap)), "{:?} of {:?}", shown, windows);
            }
        }
    }

    #[test]
    fn what_waited_in_the_spool_before_the_first_hello_is_known_too() {
        assert_eq!(known_since(&ledger(&[], None)), ms(10));
        assert_eq!(known_since(&ledger(&[], Some((3, 50)))), ms(3));
        assert_eq!(known_since(&ledger(&[], Some((30, 50)))), ms(10), "what it sampled first came late");
    }

    #[test]
    fn two_gaps_that_overlap_have_a_span_each_and_what_is_complete_begins_after_both() {
        let ledger = ledger(&[(Some(20), Some(60)), (Some(30), Some(40))], Some((0, 80)));
        let expected = [(10, 20, true), (20, 60, false), (30, 40, false), (60, 80, true), (80, END, false)];
        assert_eq!(shown(&spans(&ledger, ms(10), ms(END))), expected);
    }
}
