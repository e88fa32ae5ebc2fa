//! Group commit: who shares a sync, what is promised, and what those hear for whom there is no room.

use super::*;
use crate::keep::door::Receipt;
use spool::memory::PowerLoss;
use tokio::sync::oneshot::error::TryRecvError;

fn answer(receipt: Receipt) -> Result<(), NotKept> {
    receipt.blocking_recv().expect("everybody is answered")
}

fn hand_in(agent: &Running, text: &str) -> Receipt {
    agent.door.hand_in(text.into(), 1).expect("there is room")
}

/// Hands in records of 50 kB until one is not kept; how many were, and why it was not.
fn fill(agent: &Running) -> (u64, NotKept) {
    let text = "x".repeat(50_000);
    for kept in 0.. {
        if let Err(why) = answer(hand_in(agent, &text)) {
            return (kept, why);
        }
    }
    unreachable!("no spool is endless")
}

/// All that can be read of a spool, as text.
fn records(disk: &MemoryDisk) -> Vec<String> {
    let options = Options::new(Mode::Durable, MAX_BYTES, "boot");
    let (mut spool, _) = Spool::open(Arc::new(disk.clone()), Path::new("/spool"), options).expect("it opens");
    let mut found = Vec::new();
    loop {
        match spool.read_next().expect("the disk works") {
            Next::Record(record) => found.push(String::from_utf8_lossy(record.payload).into_owned()),
            Next::Gap(_) => {}
            Next::Empty | Next::WindowFull => return found,
        }
    }
}

#[test]
fn those_who_wait_together_share_a_sync_and_nobody_is_answered_before_it() {
    let bench = Bench::new(Mode::Durable);
    let agent = &bench.agent;
    bench.disk.hang();
    let begun = agent.door.stats().syncs;
    let mut receipts = vec![hand_in(agent, "first")];
    wait_for(|| bench.disk.waiting_syncs() == 1);
    receipts.extend((1..64).map(|waiter| hand_in(agent, &waiter.to_string())));
    for receipt in &mut receipts {
        assert_eq!(receipt.try_recv(), Err(TryRecvError::Empty), "the disk has not answered");
    }
    assert_eq!(agent.meters.keep.events.waiting.get(), 64.0);
    bench.disk.heal();
    for receipt in receipts {
        assert_eq!(answer(receipt), Ok(()));
    }
    bench.record(1); // so that the counts of the step before are shown
    assert_eq!(agent.door.stats().syncs - begun, 3, "the first alone, the 63 together, and the record");
    assert_eq!((agent.meters.keep.events.kept.get(), agent.meters.keep.events.waiting.get()), (64, 0.0));
    assert!(agent.door.progress().durable_at.is_some());
    bench.agent.stop();
}

#[test]
fn a_failed_sync_answers_nobody_with_ok_and_the_next_group_is_kept() {
    let bench = Bench::new(Mode::Durable);
    let agent = &bench.agent;
    bench.disk.fail(Operation::Sync, 0, u32::MAX, EIO);
    let receipts: Vec<Receipt> = (0..8).map(|waiter| hand_in(agent, &waiter.to_string())).collect();
    for receipt in receipts {
        let why = answer(receipt).expect_err("nothing is durable");
        assert_eq!(why.reason(), "disk_error");
        assert!(!why.is_shortage() && why.to_string().contains("/spool"), "{why}");
    }
    assert!(agent.door.progress().failing_since.is_some());
    bench.disk.heal();
    assert_eq!(answer(hand_in(agent, "next")), Ok(()));
    wait_for(|| agent.door.progress().failing_since.is_none());
    let events = &agent.meters.keep.events;
    assert_eq!((events.kept.get(), events.refused.with_label_values(&["disk_error"]).get()), (1, 8));
    bench.agent.stop();
}

#[test]
fn what_was_answered_with_ok_survives_the_loss_of_power_at_any_operation() {
    let mut kept_in_all = 0;
    for operations in 0..40 {
        let (disk, clock) = (MemoryDisk::default(), Arc::new(SystemClock));
        let agent = start_on(Arc::new(disk.clone()), Path::new("/spool"), Mode::Durable, clock);
        disk.stop_after(operations);
        let mut kept = Vec::new();
        for group in 0..6 {
            let texts: Vec<String> = (0..4).map(|waiter| format!("{group}-{waiter}")).collect();
            let receipts: Vec<Receipt> = texts.iter().map(|text| hand_in(&agent, text)).collect();
            let answers = texts.into_iter().zip(receipts.into_iter().map(answer));
            kept.extend(answers.filter_map(|(text, answer)| answer.is_ok().then_some(text)));
        }
        agent.stop();
        disk.lose_power(PowerLoss::Tears(operations));
        let found = records(&disk);
        let lost: Vec<&String> = kept.iter().filter(|text| !found.contains(text)).collect();
        assert!(lost.is_empty(), "after {operations} operations {lost:?} of {kept:?} is missing in {found:?}");
        kept_in_all += kept.len();
    }
    assert!(kept_in_all > 40, "the run proves something: {kept_in_all} were kept");
}

#[test]
fn in_mode_fast_who_waits_is_answered_without_a_sync() {
    let bench = Bench::new(Mode::Fast);
    bench.disk.hang();
    assert_eq!(answer(hand_in(&bench.agent, "a")), Ok(()));
    bench.disk.heal();
    bench.agent.stop();
}

#[test]
fn beyond_the_queue_nobody_waits_and_those_in_it_take_no_place_from_the_passes() {
    let bench = Bench::new(Mode::Durable);
    let agent = &bench.agent;
    bench.disk.hang();
    let mut receipts = vec![hand_in(agent, "the keeper has it")];
    wait_for(|| bench.disk.waiting_syncs() == 1);
    receipts.extend((0..HANDED_MAX).map(|_| hand_in(agent, "waits")));
    assert_eq!(agent.door.hand_in("too many".into(), 3).map(|_| ()), Err(NotKept::QueueFull));
    assert_eq!(agent.meters.keep.events.refused.with_label_values(&["queue_full"]).get(), 3);
    for _ in 1..INBOX_PASSES {
        assert!(agent.door.deliver(folded(1)), "one place was enough to wake the keeper");
    }
    bench.disk.heal();
    assert!(receipts.into_iter().map(answer).all(|answer| answer.is_ok()));
    bench.agent.stop();
}

#[test]
fn large_records_fill_the_queue_by_their_bytes() {
    let bench = Bench::new(Mode::Durable);
    let agent = &bench.agent;
    bench.disk.hang();
    let first = hand_in(agent, "the keeper has it");
    wait_for(|| bench.disk.waiting_syncs() == 1);
    let half = "x".repeat(HANDED_MAX_BYTES / 2);
    let receipts = [first, hand_in(agent, &half), hand_in(agent, &half)];
    assert_eq!(agent.door.hand_in("x".into(), 1).map(|_| ()), Err(NotKept::QueueFull));
    bench.disk.heal();
    assert!(receipts.into_iter().map(answer).all(|answer| answer.is_ok()));
    bench.agent.stop();
}

#[test]
fn a_full_spool_and_a_full_disk_are_told_as_a_shortage_by_their_names() {
    let disk = MemoryDisk::default();
    let options = Options::new(Mode::Durable, 1 << 20, "boot");
    let agent = start_with(Arc::new(disk.clone()), Path::new("/spool"), options, Arc::new(SystemClock));
    let (kept, why) = fill(&agent);
    assert!((15..21).contains(&kept), "{kept} of 50 kB fit into 1 MiB");
    assert_eq!((why.reason(), why.is_shortage()), ("spool_full", true));
    assert!(why.to_string().contains("spool /spool is full"), "{why}");
    assert_eq!(agent.door.stats().waiting, kept, "who waits is never dropped for who comes");
    agent.stop();

    let bench = Bench::new(Mode::Durable);
    bench.disk.limit_bytes(0);
    let (_, why) = fill(&bench.agent); // the spool has set some room aside
    assert_eq!((why.reason(), why.is_shortage()), ("disk_full", true));
    bench.agent.stop();
}

#[test]
fn at_the_end_who_waits_is_answered_and_nobody_is_taken_in_any_more() {
    let bench = Bench::new(Mode::Durable);
    let door = bench.agent.door.clone();
    bench.disk.hang();
    let first = hand_in(&bench.agent, "first");
    wait_for(|| bench.disk.waiting_syncs() == 1);
    let receipts: Vec<Receipt> = (0..64).map(|waiter| hand_in(&bench.agent, &waiter.to_string())).collect();
    door.stop();
    assert_eq!(door.hand_in("late".into(), 1).map(|_| ()), Err(NotKept::Stopping));
    bench.disk.heal();
    bench.agent.thread.join().expect("the keeper ends");
    assert!(receipts.into_iter().chain([first]).map(answer).all(|answer| answer.is_ok()));
    assert_eq!(records(&bench.disk).len(), 65);
}
