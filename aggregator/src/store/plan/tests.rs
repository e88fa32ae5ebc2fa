//! The plan alone: what a group changes, from where its streams stand.

use super::*;
use crate::store::{ToldGap, UNEXPLAINED};
use proto::message::Position;
use proto::sample::SchemaId;

fn ms(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A batch with samples from `10 * seq` to `10 * seq + 5`.
fn batch(agent: u128, epoch: u128, seq: u64) -> BatchRow {
    let at = i64::try_from(seq).unwrap_or(i64::MAX);
    BatchRow {
        agent_id: Uuid::from_u128(agent),
        position: Position { epoch, seq },
        received_at: ms(at),
        payload: Vec::new(),
        schemas: Vec::new(),
        digest: Some(seq),
        gaps: Vec::new(),
        sampled: Some((ms(at.saturating_mul(10)), ms(at.saturating_mul(10).saturating_add(5)))),
        events: Vec::new(),
        service: String::new(),
    }
}

fn gap(first_seq: u64, last_seq: u64, reason: &'static str) -> ToldGap {
    ToldGap { first_seq, last_seq, reason }
}

/// A batch that holds nothing but gaps.
fn gaps(seq: u64, gaps: Vec<ToldGap>) -> BatchRow {
    BatchRow { digest: None, sampled: None, gaps, ..batch(1, 9, seq) }
}

fn standing(last_seq: i64) -> Standing {
    Standing { last_seq, generation: 7, ..Standing::default() }
}

#[expect(clippy::needless_pass_by_value, reason = "each test makes one")]
fn plan(rows: &[BatchRow], standing: Standing) -> Plan<'_> {
    let group = Group::try_new(rows).expect("fits");
    group.plan(&group.streams.iter().map(|(stream, _)| (*stream, standing.clone())).collect())
}

/// First, last, reason, and the window's ends.
type Found<'a> = (u64, u64, &'a str, Option<i64>, Option<i64>);

/// What is missing.
fn found<'a>(plan: &'a Plan<'_>) -> Vec<Found<'a>> {
    let at = |at: Option<Timestamp>| at.map(Timestamp::as_millis);
    let gaps = plan.gaps.iter().map(|gap| &gap.missing);
    gaps.map(|m| (m.first_seq, m.last_seq, m.reason.as_str(), at(m.from_at), at(m.until_at))).collect()
}

#[test]
fn a_group_is_judged_in_its_own_order() {
    let rows = [batch(1, 9, 3), batch(1, 9, 3), batch(1, 9, 7), batch(2, 9, 1), batch(1, 9, 5)];
    let plan = plan(&rows, standing(0));
    let is_new: Vec<bool> = plan.stored.iter().map(|stored| matches!(stored, Stored::New(_))).collect();
    assert_eq!(is_new, [true, false, true, true, false]);
    assert_eq!(plan.fresh.iter().map(|entry| entry.place).collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!(plan.behind.iter().map(|entry| entry.place).collect::<Vec<_>>(), [1, 4]);
    assert_eq!(plan.moved.iter().map(|moved| moved.last_seq).collect::<Vec<_>>(), [7, 1]);
    let lacks = [(1, 2, UNEXPLAINED, None, Some(30)), (4, 6, UNEXPLAINED, Some(35), Some(70))];
    assert_eq!(found(&plan), lacks);
}

#[test]
fn a_group_of_replays_changes_nothing() {
    let mut row = batch(1, 9, 3);
    let schema_id = SchemaId(u64::MAX);
    row.schemas.push(crate::store::SchemaRow { agent_id: row.agent_id, schema_id, definition: vec![1].into() });
    let rows = [row];
    let plan = plan(&rows, standing(3));
    assert_eq!(plan.stored, [Stored::Replay]);
    assert!(plan.fresh.is_empty() && plan.moved.is_empty() && plan.schemas.is_empty() && plan.gaps.is_empty());
}

#[test]
fn one_number_that_does_not_fit_refuses_the_group() {
    assert!(Group::try_new(&[batch(1, 9, 1), batch(1, 9, u64::MAX)]).is_err());
}

#[test]
fn each_number_is_missing_once_under_the_reason_that_is_told_first() {
    let told = vec![gap(4, 6, "corrupt"), gap(1, 9, "spool_full"), gap(20, 30, "corrupt")];
    let rows = [gaps(12, told)];
    let plan = plan(&rows, standing(2));
    let reasons: Vec<_> = found(&plan).into_iter().map(|(first, last, reason, ..)| (first, last, reason)).collect();
    assert_eq!(reasons, [(3, 3, "spool_full"), (4, 6, "corrupt"), (7, 9, "spool_full"), (10, 11, UNEXPLAINED)]);
}

#[test]
fn a_gaps_own_place_is_missing_and_that_of_a_batch_which_holds_more_is_not() {
    let whole = gap(0, u64::MAX, "corrupt");
    let (alone, beside) = ([gaps(3, vec![whole.clone()])], [BatchRow { gaps: vec![whole], ..batch(1, 9, 3) }]);
    assert_eq!(found(&plan(&alone, standing(0)))[..], [(1, 3, "corrupt", None, None)]);
    assert_eq!(found(&plan(&beside, standing(0)))[..], [(1, 2, "corrupt", None, Some(30))]);
    let turned = [gaps(1, vec![gap(u64::MAX, 0, "corrupt")])];
    assert_eq!(found(&plan(&turned, standing(0)))[..], [], "it tells of nothing");
}

#[test]
fn a_gap_lies_between_the_samples_around_it_also_over_several_batches_and_epochs() {
    let open = Standing { before_at: Some(ms(4)), has_open_gaps: true, ..standing(0) };
    let rows = [gaps(2, vec![gap(1, 2, "corrupt")]), gaps(3, vec![gap(3, 3, "corrupt")]), batch(1, 9, 4)];
    let found_open = plan(&rows[..2], open.clone());
    assert_eq!(found(&found_open), [(1, 2, "corrupt", Some(4), None), (3, 3, "corrupt", Some(4), None)]);
    assert!(found_open.ends.is_empty());
    let closed = plan(&rows, open);
    assert_eq!(found(&closed), [(1, 2, "corrupt", Some(4), Some(40)), (3, 3, "corrupt", Some(4), Some(40))]);
    assert_eq!(
        closed.ends.iter().map(|end| (end.generation, end.sampled)).collect::<Vec<_>>(),
        [(7, (ms(40), ms(45)))]
    );
    assert_eq!((closed.moved[0].oldest_at, closed.moved[0].newest_at), (Some(ms(40)), Some(ms(45))));
}

#[test]
fn a_run_is_one_row_and_goes_on_from_the_stored_one_unless_that_ends() {
    let open = |reason: &str| OpenGap { first_seq: 2, reason: reason.into(), from_at: Some(ms(4)) };
    let after =
        |reason| Standing { before_at: Some(ms(4)), has_open_gaps: true, open: Some(open(reason)), ..standing(5) };
    let alone = |seq, reason| gaps(seq, vec![gap(seq, seq, reason)]);
    let run = [alone(6, "refused"), alone(7, "refused"), alone(8, "corrupt"), alone(9, "corrupt")];
    let joined = |rows: &[BatchRow], standing: Standing| {
        let mut plan = plan(rows, standing.clone());
        plan.join_gaps(&HashMap::from([((rows[0].agent_id, Uuid::from_u128(9)), standing)]));
        found(&plan).into_iter().map(|(first, last, ..)| (first, last)).collect::<Vec<_>>()
    };
    assert_eq!(joined(&run, after("refused")), [(2, 7), (8, 9)]);
    assert_eq!(joined(&run, after("corrupt")), [(6, 7), (8, 9)], "another reason");
    assert_eq!(joined(&run[1..], after("refused")), [(6, 6), (7, 7), (8, 9)], "6 is unexplained");
    let ended = [run[0].clone(), batch(1, 9, 7)];
    assert_eq!(joined(&ended, after("refused")), [(6, 6)], "its row ends in this commit");
}

#[test]
fn a_window_whose_clock_ran_back_is_the_time_between_all_the_same() {
    let rows = [batch(1, 9, 100), BatchRow { sampled: Some((ms(7), ms(8))), ..batch(1, 9, 102) }];
    let standing = Standing { newest_at: Some(ms(500)), ..standing(99) };
    assert_eq!(found(&plan(&rows, standing)), [(101, 101, UNEXPLAINED, Some(7), Some(1005))]);
}

#[test]
fn a_place_is_taken_where_something_else_stands_and_unproven_where_nothing_is_left() {
    let rows = [batch(1, 9, 1), batch(1, 9, 2), batch(1, 9, 3), batch(1, 9, 4), gaps(5, vec![]), gaps(6, vec![])];
    let mut plan = plan(&rows, standing(6));
    let at = |seq| ((rows[0].agent_id, Uuid::from_u128(9)), seq);
    let content = [(at(1), Held::Content(1)), (at(2), Held::Content(77)), (at(6), Held::Content(6))];
    plan.compare(&content.into_iter().chain([(at(3), Held::Gap), (at(5), Held::Gap)]).collect());
    let (replay, taken, unproven) = (Stored::Replay, Stored::Taken, Stored::Unproven);
    assert_eq!(plan.stored, [replay.clone(), taken.clone(), taken.clone(), unproven, replay, taken]);
}

#[test]
fn a_window_has_the_time_of_what_was_lost_although_the_next_batch_brings_a_pass_that_began_before_it() {
    // A batch each 100 ms; a slow pass that began at 950 comes with the batch of 1,300.
    let rows = [BatchRow { sampled: Some((ms(950), ms(1_300))), ..batch(1, 9, 102) }];
    let standing = Standing { newest_at: Some(ms(1_100)), ..standing(100) };
    assert_eq!(found(&plan(&rows, standing.clone())), [(101, 101, UNEXPLAINED, Some(950), Some(1_300))]);
    let rows = [BatchRow { sampled: Some((ms(1_100), ms(1_300))), ..batch(1, 9, 102) }];
    assert_eq!(
        found(&plan(&rows, standing)),
        [(101, 101, UNEXPLAINED, Some(1_100), Some(1_300))],
        "it began as that ended"
    );
}

/// A batch of agent 1 that holds nothing but its own gap.
fn lost(epoch: u128, seq: u64, reason: &'static str) -> BatchRow {
    BatchRow { gaps: vec![gap(seq, seq, reason)], digest: None, sampled: None, ..batch(1, epoch, seq) }
}

/// A batch of agent 1 with one sample.
fn at(millis: i64, epoch: u128, seq: u64) -> BatchRow {
    BatchRow { sampled: Some((ms(millis), ms(millis))), ..batch(1, epoch, seq) }
}

/// What is written where epoch 9 of agent 1 and the newer epoch 3 stand so; their samples so far end at 100.
fn written(rows: &[BatchRow], older: Standing, newer: Standing) -> Plan<'_> {
    let group = Group::try_new(rows).expect("fits");
    let of = |epoch| (Uuid::from_u128(1), Uuid::from_u128(epoch));
    let older = Standing { generation: 7, newest_at: Some(ms(100)), ..older };
    let newer = Standing { generation: 8, before_at: Some(ms(100)), ..newer };
    let standings = HashMap::from([(of(9), older), (of(3), newer)]);
    let mut plan = group.plan(&standings);
    plan.join_gaps(&standings);
    plan
}

/// With a stored gap of this reason at its end.
fn open(first_seq: u64, last_seq: i64, from_at: i64) -> Standing {
    let open = OpenGap { first_seq, reason: "corrupt".into(), from_at: Some(ms(from_at)) };
    Standing { has_open_gaps: true, open: Some(open), ..standing(last_seq) }
}

#[test]
fn in_one_group_an_older_epochs_samples_end_no_gap_of_a_newer_one() {
    let rows = [lost(3, 1, "corrupt"), at(200, 9, 6), at(300, 3, 2)];
    let open = written(&rows[..2], standing(5), standing(0));
    assert_eq!(found(&open), [(1, 1, "corrupt", Some(100), None)]);
    let ended = written(&rows, standing(5), standing(0));
    assert_eq!(found(&ended), [(1, 1, "corrupt", Some(100), Some(300))]);
}

#[test]
fn stored_gaps_end_in_the_order_of_their_epochs_by_the_first_samples_of_each() {
    let has_open_gaps = |last_seq| Standing { has_open_gaps: true, ..standing(last_seq) };
    let rows = [at(300, 3, 1), at(200, 9, 6), at(400, 3, 2), at(500, 9, 7)];
    let plan = written(&rows, has_open_gaps(5), has_open_gaps(0));
    let ends: Vec<_> = plan.ends.iter().map(|end| (end.generation, end.sampled.0)).collect();
    assert_eq!(ends, [(7, ms(200)), (8, ms(300))]);
}

#[test]
fn a_stored_gap_that_a_newer_epochs_sample_ends_does_not_go_on() {
    let rows = [at(200, 3, 1), lost(9, 6, "corrupt")];
    let newer = Standing { has_open_gaps: true, ..standing(0) };
    assert_eq!(found(&written(&rows, open(2, 5, 100), newer)), [(6, 6, "corrupt", Some(100), None)]);
    // An older epoch's does not end the newer one's.
    let rows = [at(200, 9, 6), lost(3, 6, "corrupt")];
    let older = Standing { has_open_gaps: true, ..standing(5) };
    assert_eq!(found(&written(&rows, older, open(2, 5, 100))), [(2, 6, "corrupt", Some(100), None)]);
}

#[test]
fn a_stored_gap_does_not_go_on_where_samples_came_since_that_do_not_end_it() {
    // Those of an older epoch: what is lost now was lost after them.
    let rows = [lost(3, 6, "corrupt")];
    assert_eq!(found(&written(&rows, standing(5), open(2, 5, 60))), [(6, 6, "corrupt", Some(100), None)]);
    assert_eq!(found(&written(&rows, standing(5), open(2, 5, 100))), [(2, 6, "corrupt", Some(100), None)]);
}

#[test]
fn losses_that_adjoin_are_two_where_a_newer_epochs_samples_ended_the_first() {
    let rows = [lost(9, 6, "corrupt"), at(200, 3, 1), lost(9, 7, "corrupt")];
    let both = [(6, 6, "corrupt", Some(100), Some(200)), (7, 7, "corrupt", Some(100), None)];
    assert_eq!(found(&written(&rows, standing(5), standing(0))), both);
    // Where that clock ran back the two end at one time, and do not begin at one.
    let rows = [lost(9, 6, "corrupt"), at(100, 3, 1), lost(9, 7, "corrupt"), at(50, 3, 2)];
    let both = [(6, 6, "corrupt", Some(100), Some(100)), (7, 7, "corrupt", Some(50), Some(100))];
    assert_eq!(found(&written(&rows, standing(5), standing(0))), both);
}
