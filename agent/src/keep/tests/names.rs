//! Names that the aggregator knows for something else: a spool that was set back, a place that is taken.

use super::*;

fn epochs(agent: &Running, reason: &str) -> u64 {
    agent.meters.keep.spool.epochs.with_label_values(&[reason]).get()
}

#[test]
fn a_spool_that_was_set_back_gives_new_records_a_new_epoch_and_the_old_ones_keep_their_names() {
    let bench = Bench::new(Mode::Durable);
    let agent = &bench.agent;
    bench.record(1);
    bench.record(2);
    let last = agent.door.last();
    assert_eq!(last.seq, 2);
    let mut items = agent.door.open_session(Some(Rewound { last, stored_seq: 7 }));
    bench.record(3);
    let (first, second, third) = (receive(&mut items), receive(&mut items), receive(&mut items));
    assert_eq!((first, second.0), ((Position { seq: 1, ..last }, 1), last));
    assert_eq!((third.0.seq, third.1), (1, 3));
    assert_ne!(third.0.epoch, last.epoch);
    assert_eq!(agent.door.last(), third.0, "the next hello speaks of the new epoch");
    agent.door.heard(Outcome::Acked(third.0), Wake::Now);
    wait_for(|| agent.door.waiting() == 0);
    assert_eq!((epochs(agent, "rewound"), epochs(agent, "fresh")), (1, 1));
    bench.agent.stop();
}

#[test]
fn an_epoch_that_is_over_already_is_not_ended_again() {
    let bench = Bench::new(Mode::Durable);
    let agent = &bench.agent;
    bench.record(1);
    let rewound = Rewound { last: agent.door.last(), stored_seq: 7 };
    drop(agent.door.open_session(Some(rewound)));
    wait_for(|| epochs(agent, "rewound") == 1);
    let mut items = agent.door.open_session(Some(rewound)); // a hello from before the new epoch is answered late
    assert_eq!(receive(&mut items).1, 1);
    assert_eq!(epochs(agent, "rewound"), 1);
    bench.agent.stop();
}

#[test]
fn while_no_new_epoch_can_begin_nothing_is_sent_under_the_old_one() {
    let bench = Bench::new(Mode::Durable);
    let agent = &bench.agent;
    bench.record(1);
    let rewound = Rewound { last: agent.door.last(), stored_seq: 7 };
    bench.disk.fail(Operation::Rename, 0, u32::MAX, EIO);
    let mut items = agent.door.open_session(Some(rewound));
    assert_eq!(items.blocking_recv(), None, "the session is given up");
    bench.disk.heal();
    let mut items = agent.door.open_session(Some(rewound));
    assert_eq!(receive(&mut items).1, 1);
    wait_for(|| epochs(agent, "rewound") == 1);
    bench.agent.stop();
}

#[test]
fn a_record_whose_place_is_taken_comes_again_in_another_and_those_before_it_are_settled() {
    let bench = Bench::new(Mode::Durable);
    let agent = &bench.agent;
    (1..=3).for_each(|at| bench.record(at));
    let mut items = agent.door.open_session(None);
    let (_, second, third) = (receive(&mut items), receive(&mut items), receive(&mut items));
    agent.door.heard(Outcome::Taken(second.0), Wake::Now);
    let again = receive(&mut items);
    assert_eq!((again.1, again.0.seq), (2, 1));
    assert_ne!(again.0.epoch, second.0.epoch);
    wait_for(|| agent.door.waiting() == 2 && epochs(agent, "position_taken") == 1);
    let stats = agent.door.stats();
    assert_eq!((stats.delivered, stats.moved), (1, 1));
    agent.door.heard(Outcome::Acked(third.0), Wake::Now);
    agent.door.heard(Outcome::Acked(again.0), Wake::Now);
    wait_for(|| agent.door.waiting() == 0);
    assert_eq!(agent.meters.keep.spool.moved.get(), 1);
    bench.agent.stop();
}

#[test]
fn a_record_that_cannot_move_stays_and_the_next_session_hears_of_it_again() {
    let bench = Bench::new(Mode::Durable);
    let agent = &bench.agent;
    bench.record(1);
    let mut items = agent.door.open_session(None);
    let (position, _) = receive(&mut items);
    bench.disk.fail(Operation::Rename, 0, u32::MAX, EIO);
    agent.door.heard(Outcome::Taken(position), Wake::Now);
    assert_eq!(items.blocking_recv(), None);
    bench.disk.heal();
    let mut items = agent.door.open_session(None);
    assert_eq!(receive(&mut items), (position, 1));
    agent.door.heard(Outcome::Taken(position), Wake::Now);
    assert_ne!(receive(&mut items).0, position);
    bench.agent.stop();
}

#[test]
fn a_run_of_records_whose_places_are_taken_moves_for_one_sync_and_a_stranger_in_it_is_stepped_over() {
    const COUNT: usize = 20;
    let bench = Bench::new(Mode::Durable);
    let agent = &bench.agent;
    (1..).take(COUNT).for_each(|at| bench.record(at));
    let mut items = agent.door.open_session(None);
    let sent: Vec<_> = (0..COUNT).map(|_| receive(&mut items)).collect();
    bench.record(100); // so that the counts of the steps before are shown
    let last = receive(&mut items);
    let (before, stranger) = (agent.door.stats().syncs, Position { epoch: 7, seq: 1 });
    for (index, (position, _)) in sent.iter().enumerate() {
        if index == COUNT / 2 {
            agent.door.heard(Outcome::Taken(stranger), Wake::Later); // of an earlier session
        }
        agent.door.heard(Outcome::Taken(*position), Wake::Later);
    }
    agent.door.heard(Outcome::Acked(last.0), Wake::Now);
    let again: Vec<_> = (0..COUNT).map(|_| receive(&mut items)).collect();
    let at = |items: &[(Position, i64)]| items.iter().map(|(_, at)| *at).collect::<Vec<_>>();
    assert_eq!(at(&again), at(&sent), "in their order");
    assert!(again.iter().all(|(position, _)| position.epoch != last.0.epoch));
    wait_for(|| agent.door.waiting() == COUNT as u64);
    let stats = agent.door.stats();
    assert_eq!((stats.moved, stats.delivered), (COUNT as u64, 1));
    assert_eq!(stats.syncs - before, 3, "the new epoch's, and one on either side of the stranger");
    bench.agent.stop();
}

/// Two records are sent; the first cannot move for what `fail` does to the disk, and the second is acked, heard `wake`.
fn an_ack_behind_a_record_that_could_not_move(fail: impl Fn(&MemoryDisk), wake: Wake) {
    let bench = Bench::new(Mode::Durable);
    let agent = &bench.agent;
    (1..=2).for_each(|at| bench.record(at));
    let mut items = agent.door.open_session(None);
    let (first, second) = (receive(&mut items), receive(&mut items));
    fail(&bench.disk);
    agent.door.heard(Outcome::Taken(first.0), wake);
    if wake == Wake::Now {
        assert_eq!(items.blocking_recv(), None, "the session is given up");
    }
    agent.door.heard(Outcome::Acked(second.0), Wake::Now); // it is stored over there
    assert_eq!(items.blocking_recv(), None, "the session is given up");
    bench.disk.heal();
    bench.record(3);
    let mut items = agent.door.open_session(None);
    assert_eq!(receive(&mut items), first, "it stays, and comes again");
    assert_eq!(agent.door.stats().delivered, 0);
    bench.agent.stop();
}

#[test]
fn an_ack_of_a_later_record_does_not_settle_one_that_could_not_move() {
    for wake in [Wake::Later, Wake::Now] {
        an_ack_behind_a_record_that_could_not_move(|disk| disk.fail(Operation::Rename, 0, u32::MAX, EIO), wake);
    }
}

#[test]
fn nor_does_it_where_the_machine_was_short_of_descriptors_for_a_moment() {
    for wake in [Wake::Later, Wake::Now] {
        an_ack_behind_a_record_that_could_not_move(|disk| disk.fail(Operation::Open, 0, 1, EMFILE), wake);
    }
}
