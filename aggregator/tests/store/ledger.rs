//! The ledger: a place is one batch's, and what is missing is missing once, with its reason and its time.

use crate::fixture::{Database, agent, batch, id, ms, new, whole};
use monitoring_aggregator::store::{
    BatchRow, GapRow, HistoryBefore, Ledger, LedgerQuery, News, Stored, ToldGap, UNEXPLAINED,
};
use proto::sample::Timestamp;
use std::collections::{HashMap, HashSet};

/// A batch that holds nothing but a gap, and stands at its end.
fn gap(epoch: u128, first_seq: u64, last_seq: u64, reason: &'static str) -> BatchRow {
    let gaps = vec![ToldGap { first_seq, last_seq, reason }];
    BatchRow { gaps, ..batch(1, epoch, last_seq) }
}

/// First, last, reason, and the window's ends.
type Shown = (u64, u64, String, Option<i64>, Option<i64>);

fn shown(gap: &GapRow) -> Shown {
    let (missing, at) = (&gap.missing, |at: Option<Timestamp>| at.map(Timestamp::as_millis));
    (missing.first_seq, missing.last_seq, missing.reason.clone(), at(missing.from_at), at(missing.until_at))
}

fn row(first: u64, last: u64, reason: &str, from: Option<i64>, until: Option<i64>) -> Shown {
    (first, last, reason.into(), from, until)
}

async fn ledger(database: &Database, from: i64, to: i64, limit: u32) -> Ledger {
    let query = LedgerQuery { agent_id: id(1), from: ms(from), to: ms(to), limit };
    database.store.load_ledger(&query).await.expect("up").expect("it is known")
}

async fn gaps(database: &Database) -> Vec<Shown> {
    ledger(database, i64::MIN, i64::MAX, 1_000).await.gaps.iter().map(shown).collect()
}

async fn with_agent(database: &Database) {
    database.store.save_agent(&agent(1)).await.expect("saved");
}

/// What is missing with a batch, which is new.
fn missing(stored: &Stored) -> Vec<(u64, u64)> {
    match stored {
        Stored::New(news) => news.missing.iter().map(|missing| (missing.first_seq, missing.last_seq)).collect(),
        other => panic!("a new batch, not {other:?}"),
    }
}

pub async fn a_place_where_another_batch_is_stored_is_taken(mut database: Database) {
    let other = |seq| BatchRow { digest: Some(7), payload: b"other".to_vec(), ..whole(1, 9, seq) };
    let group = [whole(1, 9, 1), other(1), whole(1, 9, 1), whole(1, 9, 2), gap(9, 3, 3, "corrupt")];
    let stored = database.commit(&group).await;
    assert_eq!(stored[1..3], [Stored::Taken, Stored::Replay], "{stored:?}");
    database.reopen().await;
    let again = [other(2), whole(1, 9, 2), gap(9, 2, 2, "corrupt"), other(3)];
    let judged = [Stored::Taken, Stored::Replay, Stored::Taken, Stored::Taken];
    assert_eq!(database.commit(&again).await, judged, "gaps are no content, and content is no gap");
    assert_eq!(database.replayed(Timestamp::ZERO).await.len(), 3);

    database.sql("DELETE FROM agent_epochs", "DELETE FROM monitoring.agent_epochs").await;
    assert_eq!(database.commit(&[other(1), whole(1, 9, 2)]).await, [Stored::Taken, Stored::Replay]);
    database.store.prune(ms(1_000)).await.expect("up");
    assert_eq!(database.commit(&[other(2)]).await, [Stored::Unproven], "nobody can tell any more");
}

pub async fn a_run_of_losses_is_one_row_over_commits_and_a_restart(mut database: Database) {
    with_agent(&database).await;
    database.commit(&[whole(1, 9, 1)]).await;
    for seq in 2..=6 {
        let stored = database.commit(&[gap(9, seq, seq, "refused")]).await;
        assert_eq!(missing(&stored[0]), [(seq, seq)], "what is news is the new one alone");
        if seq == 4 {
            database.reopen().await;
        }
    }
    assert_eq!(gaps(&database).await, [row(2, 6, "refused", Some(15), None)]);
    database.commit(&[gap(9, 7, 7, "refused"), gap(9, 8, 8, "corrupt"), whole(1, 9, 9)]).await;
    database.commit(&[gap(9, 10, 10, "refused")]).await;
    let (run, end) = (row(2, 6, "refused", Some(15), Some(90)), row(7, 7, "refused", Some(15), Some(90)));
    let rest = [row(8, 8, "corrupt", Some(15), Some(90)), row(10, 10, "refused", Some(95), None)];
    assert_eq!(gaps(&database).await, [vec![run, end], rest.to_vec()].concat());
}

#[expect(clippy::print_stdout, reason = "a figure, and nobody is held to it")]
pub async fn more_open_gaps_than_a_commit_ends_end_by_the_next(database: Database) {
    with_agent(&database).await;
    database.commit(&[whole(1, 9, 1)]).await;
    let reason = |seq: u64| if seq.is_multiple_of(2) { "refused" } else { "corrupt" };
    let rows: Vec<BatchRow> = (2..=10_101).map(|seq| gap(9, seq, seq, reason(seq))).collect();
    database.commit(&rows).await;
    let open = async |database: &Database| {
        let all = ledger(database, i64::MIN, i64::MAX, 20_000).await.gaps;
        all.iter().filter(|gap| gap.missing.until_at.is_none()).map(|gap| gap.missing.first_seq).min()
    };
    let began = std::time::Instant::now();
    database.commit(&[whole(1, 9, 10_102)]).await;
    println!("a commit that ends 10000 gaps: {:?}", began.elapsed());
    assert_eq!(open(&database).await, Some(10_002), "the oldest ten thousand ended");
    database.commit(&[whole(1, 9, 10_103)]).await;
    assert_eq!(open(&database).await, None);
}

pub async fn content_in_the_place_of_a_gap_is_not_a_replay(mut database: Database) {
    with_agent(&database).await;
    let other = |seq| BatchRow { digest: Some(7), payload: b"other".to_vec(), ..whole(1, 9, seq) };
    let group = [whole(1, 9, 1), gap(9, 2, 3, "corrupt"), other(2), other(3), whole(1, 9, 6)];
    let stored = database.commit(&group).await;
    assert_eq!(stored[2..4], [Stored::Taken, Stored::Taken], "within one group as well");
    database.reopen().await;
    let late: Vec<BatchRow> = (1..=6).map(other).collect();
    assert_eq!(database.commit(&late).await, [const { Stored::Taken }; 6], "5 is unexplained: it is missing, too");
    let again = [gap(9, 2, 3, "corrupt"), gap(9, 4, 4, "refused")];
    assert_eq!(database.commit(&again).await, [Stored::Replay, Stored::Replay]);
    database.store.prune(ms(1_000)).await.expect("up");
    let pruned = [other(1), other(2), gap(9, 2, 3, "corrupt"), gap(9, 1, 1, "corrupt")];
    let judged = [Stored::Unproven, Stored::Taken, Stored::Replay, Stored::Unproven];
    assert_eq!(database.commit(&pruned).await, judged, "gaps outlive batches");
}

pub async fn a_gap_is_stored_with_its_batch_and_ends_by_the_next_sample(mut database: Database) {
    with_agent(&database).await;
    database.commit(&[whole(1, 9, 1)]).await;
    let stored = database.commit(&[gap(9, 2, 4, "spool_full"), gap(9, 6, 6, "corrupt")]).await;
    assert_eq!(stored.iter().map(missing).collect::<Vec<_>>(), [vec![(2, 4)], vec![(5, 5), (6, 6)]]);
    let open = [(2, 4, "spool_full"), (5, 5, UNEXPLAINED), (6, 6, "corrupt")];
    let open = open.map(|(first, last, reason)| row(first, last, reason, Some(15), None));
    assert_eq!(gaps(&database).await, open);
    database.reopen().await;
    assert_eq!(database.commit(&[gap(9, 2, 6, "corrupt")]).await, [Stored::Replay]);
    assert_eq!(gaps(&database).await, open, "under the reason that was told first");

    assert_eq!(database.commit(&[whole(1, 9, 7), whole(1, 9, 8)]).await, [new(), new()]);
    assert_eq!(gaps(&database).await, open.map(|(first, last, reason, from, _)| (first, last, reason, from, Some(70))));
    // Another's samples end nobody's gap, and one that is told beside its samples is over at once.
    database
        .commit(&[BatchRow { gaps: gap(9, 9, 9, "corrupt").gaps, ..whole(1, 9, 10) }, gap(9, 11, 11, "corrupt")])
        .await;
    database.commit(&[whole(2, 9, 1)]).await;
    let last = gaps(&database).await.split_off(3);
    assert_eq!(last, [row(9, 9, "corrupt", Some(85), Some(100)), row(11, 11, "corrupt", Some(105), None)]);
}

pub async fn a_gap_before_a_new_epoch_begins_with_the_newest_sample_of_the_one_before(database: Database) {
    with_agent(&database).await;
    database.commit(&[whole(1, 9, 1), gap(9, 2, 2, "corrupt")]).await;
    database.commit(&[gap(3, 1, 2, "corrupt")]).await;
    database.commit(&[whole(1, 3, 3)]).await;
    let ended = [row(2, 2, "corrupt", Some(15), Some(30)), row(1, 2, "corrupt", Some(15), Some(30))];
    assert_eq!(gaps(&database).await, ended);
}

pub async fn an_older_epochs_samples_do_not_end_the_gap_of_a_newer_one(database: Database) {
    with_agent(&database).await;
    database.commit(&[whole(1, 9, 1)]).await;
    database.commit(&[gap(3, 1, 1, "corrupt"), gap(9, 2, 2, "corrupt")]).await;
    database.commit(&[whole(1, 9, 3)]).await;
    let (old, newer) = (row(2, 2, "corrupt", Some(15), Some(30)), row(1, 1, "corrupt", Some(15), None));
    assert_eq!(gaps(&database).await, [old.clone(), newer]);
    database.commit(&[whole(1, 3, 2), whole(1, 9, 4)]).await;
    assert_eq!(gaps(&database).await, [old, row(1, 1, "corrupt", Some(15), Some(20))]);
}

/// A batch with one sample.
fn at(millis: i64, row: BatchRow) -> BatchRow {
    BatchRow { sampled: Some((ms(millis), ms(millis))), ..row }
}

pub async fn gaps_of_two_epochs_end_in_one_group_each_by_the_first_sample_after_it(database: Database) {
    with_agent(&database).await;
    database.commit(&[whole(1, 9, 1)]).await;
    database.commit(&[gap(9, 2, 2, "corrupt"), gap(3, 1, 1, "corrupt")]).await;
    // The newer epoch's sample comes first, and would end both.
    database.commit(&[at(50, whole(1, 3, 2)), at(60, whole(1, 9, 3))]).await;
    let (old, newer) = (row(2, 2, "corrupt", Some(15), Some(60)), row(1, 1, "corrupt", Some(15), Some(50)));
    assert_eq!(gaps(&database).await, [old.clone(), newer.clone()]);
    // The older epoch's samples end no gap of the newer one, also where both are in one group.
    database.commit(&[gap(3, 3, 3, "corrupt"), at(70, whole(1, 9, 4))]).await;
    assert_eq!(gaps(&database).await, [old.clone(), newer.clone(), row(3, 3, "corrupt", Some(50), None)]);
    database.commit(&[at(80, whole(1, 3, 4))]).await;
    assert_eq!(gaps(&database).await, [old, newer, row(3, 3, "corrupt", Some(50), Some(80))]);
}

pub async fn a_run_of_losses_is_cut_where_samples_of_another_epoch_came_in_between(database: Database) {
    with_agent(&database).await;
    database.commit(&[whole(1, 9, 1), whole(1, 3, 1)]).await;
    // A newer epoch's end it, stored or in the same group.
    database.commit(&[gap(9, 2, 2, "corrupt")]).await;
    database.commit(&[at(50, whole(1, 3, 2)), gap(9, 3, 3, "corrupt"), at(60, whole(1, 3, 3))]).await;
    database.commit(&[gap(9, 4, 4, "corrupt"), at(70, whole(1, 3, 4)), gap(9, 5, 5, "corrupt")]).await;
    let ended = [(2, Some(50)), (3, Some(60)), (4, Some(70)), (5, None)];
    let ended = ended.map(|(seq, until)| row(seq, seq, "corrupt", Some(15), until));
    assert_eq!(gaps(&database).await, ended);
    // An older epoch's do not; what is lost after them was lost after them.
    database.commit(&[gap(2, 1, 1, "corrupt")]).await;
    database.commit(&[at(80, whole(1, 3, 5))]).await;
    database.commit(&[gap(2, 2, 2, "corrupt")]).await;
    let newest = [row(1, 1, "corrupt", Some(70), None), row(2, 2, "corrupt", Some(80), None)];
    assert_eq!(gaps(&database).await[4..], newest);
}

pub async fn a_stored_gap_has_the_time_of_what_was_lost_although_a_slow_pass_began_before_it(database: Database) {
    with_agent(&database).await;
    for (newest, sampled) in [(15, (5, 40)), (15, (15, 40)), (15, (16, 40)), (15, (5, 10))] {
        let seq = ledger(&database, i64::MIN, i64::MAX, 9).await.epochs.first().map_or(0, |epoch| epoch.last_seq);
        let whole = |seq, (oldest, newest)| BatchRow { sampled: Some((ms(oldest), ms(newest))), ..whole(1, 9, seq) };
        database.commit(&[whole(seq + 1, (newest, newest))]).await;
        database.commit(&[gap(9, seq + 2, seq + 2, "corrupt")]).await;
        database.commit(&[whole(seq + 3, sampled)]).await;
    }
    let windows = [(5, 40), (15, 40), (15, 16), (5, 15)].map(|(from, until)| (Some(ms(from)), Some(ms(until))));
    let rows = ledger(&database, i64::MIN, i64::MAX, 9).await.gaps;
    assert_eq!(rows.iter().map(|gap| (gap.missing.from_at, gap.missing.until_at)).collect::<Vec<_>>(), windows);
}

pub async fn an_older_epoch_that_goes_on_is_told(database: Database) {
    let past = || Stored::New(News { is_past: true, ..News::default() });
    assert_eq!(database.commit(&[whole(1, 9, 1)]).await, [new()]);
    assert_eq!(database.commit(&[whole(1, 3, 1)]).await, [new()]);
    assert_eq!(database.commit(&[whole(1, 9, 1)]).await, [Stored::Replay], "a replay is nothing new");
    assert_eq!(database.commit(&[whole(1, 9, 2), whole(1, 3, 2), whole(2, 9, 1)]).await, [past(), new(), new()]);
}

/// The law of the ledger: up to an epoch's position each number is that of a batch, or missing, and never both.
pub async fn each_number_is_stored_or_missing_once(mut database: Database) {
    with_agent(&database).await;
    let mut random = fastrand::Rng::with_seed(20_261_125);
    let mut last: HashMap<u128, u64> = HashMap::new();
    let mut wholes: HashSet<(u128, u64)> = HashSet::new();
    for round in 0..60 {
        let batches = (0..random.usize(1..20)).map(|_| {
            let epoch = random.u128(1..3);
            let at = last.get(&epoch).copied().unwrap_or(0);
            let seq = random.u64(at.saturating_sub(2).max(1)..at + 5);
            last.insert(epoch, at.max(seq));
            let around = |random: &mut fastrand::Rng| random.u64(seq.saturating_sub(4)..seq + 3);
            let told = |reason: &'static str, random: &mut fastrand::Rng| ToldGap {
                first_seq: around(random),
                last_seq: around(random),
                reason,
            };
            let gaps = (0..random.usize(0..3)).map(|n| told(["corrupt", "spool_full"][n], &mut random)).collect();
            let base = if random.bool() { whole(1, epoch, seq) } else { batch(1, epoch, seq) };
            BatchRow { gaps, ..base }
        });
        let group: Vec<BatchRow> = batches.collect();
        let stored = database.commit(&group).await;
        let fresh = group.iter().zip(stored).filter(|(_, stored)| matches!(stored, Stored::New(_)));
        let fresh = fresh.filter(|(row, _)| !row.holds_only_gaps());
        wholes.extend(fresh.map(|(row, _)| (row.position.epoch, row.position.seq)));
        if round % 20 == 10 {
            database.reopen().await;
        }
    }
    let ledger = ledger(&database, i64::MIN, i64::MAX, 10_000).await;
    for (epoch, last) in last {
        let of_epoch = ledger.gaps.iter().filter(|gap| gap.epoch == epoch);
        let mut lost: Vec<u64> = of_epoch.flat_map(|gap| gap.missing.first_seq..=gap.missing.last_seq).collect();
        let lost_count = lost.len();
        lost.sort_unstable();
        lost.dedup();
        assert_eq!(lost.len(), lost_count, "no number is missing twice");
        let rows = database.replayed(Timestamp::ZERO).await;
        let stored: Vec<u64> =
            rows.iter().filter(|row| row.position.epoch == epoch).map(|row| row.position.seq).collect();
        let unaccounted: Vec<u64> = (1..=last).filter(|seq| !stored.contains(seq) && !lost.contains(seq)).collect();
        assert_eq!(unaccounted, Vec::<u64>::new(), "epoch {epoch}");
        assert!(!lost.iter().any(|seq| wholes.contains(&(epoch, *seq))), "what is stored is not missing");
        assert!(lost_count > 0 && wholes.iter().any(|whole| whole.0 == epoch), "else the run proves nothing");
    }
    let total: u64 = ledger.totals.iter().map(|(_, records)| records).sum();
    assert_eq!(total, ledger.gaps.iter().map(|gap| gap.missing.records()).sum::<u64>());
}

pub async fn a_ledger_is_read_by_time_and_cut_at_its_limit(database: Database) {
    with_agent(&database).await;
    for seq in [1, 3, 5, 7] {
        database.commit(&[whole(1, 9, seq)]).await;
    }
    database.commit(&[gap(9, 8, 9, "corrupt")]).await;
    let firsts = |ledger: &Ledger| ledger.gaps.iter().map(|gap| gap.missing.first_seq).collect::<Vec<_>>();
    // 2 lies from 15 to 30, 4 from 35 to 50, 6 from 55 to 70, 8 from 75 on.
    for (from, to, found) in [
        (i64::MIN, i64::MAX, vec![2, 4, 6, 8]),
        (0, 14, vec![]),
        (31, 34, vec![]),
        (30, 35, vec![2, 4]),
        (40, 45, vec![4]),
        (1_000, 2_000, vec![8]),
    ] {
        assert_eq!(firsts(&ledger(&database, from, to, 9).await), found, "{from} to {to}");
    }
    let cut = ledger(&database, i64::MIN, i64::MAX, 2).await;
    assert_eq!((firsts(&cut), cut.totals), (vec![6, 8], vec![("corrupt".into(), 2), (UNEXPLAINED.into(), 3)]));
    assert_eq!(cut.agent, database.store.load_agents().await.expect("up")[0]);
    let epoch = &cut.epochs[0];
    assert_eq!((epoch.epoch, epoch.last_seq, cut.epochs.len()), (9, 9, 1));
    assert_eq!((epoch.oldest_at, epoch.newest_at), (Some(ms(10)), Some(ms(75))));
    // Numbers so large that their sum is none that SQL has.
    for epoch in [1, 2] {
        database.commit(&[BatchRow { received_at: ms(1), ..batch(1, epoch, i64::MAX.unsigned_abs()) }]).await;
    }
    assert_eq!(ledger(&database, i64::MIN, i64::MAX, 9).await.totals.len(), 2);
}

pub async fn an_unknown_agent_has_no_ledger(database: Database) {
    database.commit(&[whole(1, 9, 1)]).await;
    let query = LedgerQuery { agent_id: id(1), from: ms(0), to: ms(1), limit: 1 };
    assert_eq!(database.store.load_ledger(&query).await.expect("up"), None);
    assert_eq!(database.store.stored_seq(id(1), 9).await.expect("up"), 1);
    assert_eq!(database.store.stored_seq(id(1), 3).await.expect("up"), 0);
}

pub async fn gaps_that_end_lately_are_read_at_a_start(database: Database) {
    let noted = |at, row: BatchRow| BatchRow { received_at: ms(at), ..row };
    database.commit(&[noted(1, whole(1, 9, 1)), noted(2, whole(1, 9, 3)), noted(500, gap(9, 4, 4, "corrupt"))]).await;
    database.commit(&[noted(3, whole(2, 9, 40))]).await;
    let read = |gaps: Vec<GapRow>| gaps.iter().map(|gap| (gap.agent_id, gap.missing.first_seq)).collect::<Vec<_>>();
    let since = |at, limit| database.store.load_gaps(ms(at), limit);
    assert_eq!(read(since(0, 9).await.expect("up")), [(id(1), 2), (id(2), 1), (id(1), 4)]);
    assert_eq!(read(since(31, 9).await.expect("up")), [(id(2), 1), (id(1), 4)], "2 ended at 30");
    assert_eq!(read(since(501, 9).await.expect("up")), [], "4 has no end, and was heard of before");
    assert_eq!(read(since(0, 1).await.expect("up")), [(id(1), 4)]);
}

pub async fn gaps_go_with_the_retention_of_agents(database: Database) {
    with_agent(&database).await;
    database.commit(&[whole(1, 9, 50), whole(1, 9, 150)]).await;
    assert_eq!(gaps(&database).await.len(), 2);
    let never = ms(i64::MIN);
    let before = HistoryBefore { agents: ms(100), notifications: never, alerts: never, events: never };
    database.store.prune_history(&before).await.expect("up");
    assert_eq!(gaps(&database).await, [row(51, 149, UNEXPLAINED, Some(505), Some(1_500))]);
}
