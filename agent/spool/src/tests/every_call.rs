//! Every call to the disk fails once, one after another, alone and with those that follow it; with each error. The model
//! judges: nothing that was promised is lost, nothing is renamed, and when the disk works again, so does the spool.

use super::model::Model;
use super::*;
use crate::Reason;
use crate::memory::{EIO, EMFILE, ENOSPC};

/// A life with every call in it, restarts included.
fn live(model: &mut Model) {
    for round in 0..4u8 {
        for (class, bytes) in [(Class::Ordinary, 40), (Class::Critical, 90), (Class::Ordinary, 150)] {
            model.append(class, bytes);
            model.sync();
        }
        model.append_all(Class::Ordinary, &[30, 60, 90]);
        model.skip(Reason::QueueFull, 2);
        model.sync();
        (0..4).all(|_| model.read());
        model.ack_last();
        match round {
            0 => model.kill(),
            1 => model.readmit_from(0, 3),
            2 => model.close(),
            _ => model.begin_epoch(),
        }
        model.append(Class::Critical, 120);
        model.sync();
        (0..4).all(|_| model.read());
        model.readmit_at(2);
        model.rewind();
        model.checkpoint();
    }
    model.read_all();
    model.ack_last();
}

/// A life on a disk that others fill, so that critical records go into the reserve.
fn live_on_a_full_disk(model: &mut Model) {
    for _ in 0..2 {
        model.append(Class::Critical, 50);
        model.sync();
        model.disk.limit_bytes(model.disk.used_bytes() + 30);
        for _ in 0..4 {
            model.append(Class::Critical, 60);
            model.append(Class::Ordinary, 60);
            model.sync();
        }
        model.disk.limit_bytes(u64::MAX);
        (0..5).all(|_| model.read());
        model.ack_last();
        model.checkpoint();
    }
}

fn judge_every_call(mode: Mode, max_bytes: u64, live: fn(&mut Model), least: u64) {
    let options = Options { segment_bytes: 400, ..Options::new(mode, max_bytes, "") };
    let calls = {
        let mut model = Model::new(options.clone());
        let before = model.disk.calls();
        live(&mut model);
        model.disk.calls() - before
    };
    assert!(calls > least, "the script does something: {calls}");
    for errno in [EIO, ENOSPC, EMFILE] {
        for times in [1, 4] {
            for call in 0..calls {
                eprintln!("errno {errno}, {times} from call {call}"); // shown if it fails
                let mut model = Model::new(options.clone());
                model.may_fail = true;
                model.disk.fail_calls(call, times, errno);
                live(&mut model);
                model.disk.heal();
                model.may_fail = false;
                model.append(Class::Critical, 50);
                model.sync();
                if call % 2 == 0 {
                    model.kill(); // what could not be unlinked is at opening
                } else {
                    model.checkpoint(); // or without a restart
                }
                model.finish();
                model.judge_room();
            }
        }
    }
}

#[test]
fn whichever_call_fails_in_mode_durable_the_laws_hold() {
    judge_every_call(Mode::Durable, 1 << 20, live, 300);
}

#[test]
fn whichever_call_fails_in_mode_fast_the_laws_hold() {
    judge_every_call(Mode::Fast, 1 << 20, live, 300);
}

#[test]
fn whichever_call_fails_in_a_full_spool_the_laws_hold() {
    judge_every_call(Mode::Durable, 2200, live, 300);
}

#[test]
fn whichever_call_fails_on_a_full_disk_the_laws_hold_and_the_reserve_is_set_aside_again() {
    judge_every_call(Mode::Durable, 1 << 20, live_on_a_full_disk, 60);
    judge_every_call(Mode::Fast, 1 << 20, live_on_a_full_disk, 60);
}
