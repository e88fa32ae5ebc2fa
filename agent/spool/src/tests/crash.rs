//! The machine stops at each change that a script makes to the disk, one after another, and comes back with each kind
//! of loss. The model judges what is left.

use super::model::Model;
use super::*;
use crate::Reason;
use crate::memory::PowerLoss;

/// A life with everything in it that touches the disk: two lanes, rolls, acks, evictions and new names.
fn live(model: &mut Model) {
    for round in 0..4u8 {
        for number in 0..6u8 {
            let class = if number % 4 == 3 { Class::Critical } else { Class::Ordinary };
            model.append(class, 90 + usize::from(number));
            if number == 4 {
                model.skip(Reason::TooLarge, 1 + u64::from(round));
            }
            if number % 2 == 1 {
                model.sync();
            }
        }
        model.append_all(Class::Ordinary, &[70, 10, 250, 30]);
        model.sync();
        (0..5).all(|_| model.read());
        match round {
            1 => model.readmit_from(0, 3),
            3 => model.begin_epoch(),
            _ => {}
        }
        model.ack_last();
        if round == 2 {
            model.checkpoint();
            model.rewind();
        }
    }
}

/// A life on a disk that others fill, so that critical records go to the reserve, and then leave again.
fn live_on_a_full_disk(model: &mut Model) {
    for _ in 0..2 {
        model.append(Class::Ordinary, 50);
        model.append(Class::Critical, 50);
        model.sync();
        model.disk.limit_bytes(model.disk.used_bytes() + 100);
        for number in 0..9 {
            model.append(Class::Critical, 60);
            model.append(Class::Ordinary, 60);
            if number % 2 == 0 {
                model.sync();
            }
        }
        model.disk.limit_bytes(u64::MAX);
        (0..5).all(|_| model.read());
        model.ack_last();
        model.checkpoint();
    }
}

/// The same things, synced so often that all that power loss can leave may be gone through.
fn live_in_small_steps(model: &mut Model) {
    for round in 0..3 {
        for (class, bytes) in
            [(Class::Ordinary, 40), (Class::Critical, 90), (Class::Ordinary, 150), (Class::Ordinary, 200)]
        {
            model.append(class, bytes);
            model.sync();
        }
        model.append_all(Class::Ordinary, &[30, 60]);
        (0..3).all(|_| model.read());
        model.ack_last();
        model.skip(Reason::QueueFull, 3);
        model.sync();
        model.read_all();
        match round {
            0 => model.readmit_at(1),
            1 => model.begin_epoch(),
            _ => {}
        }
        model.read_all();
        model.ack_last();
    }
}

/// Stops at each change of a life, and goes through every state in which power loss may then leave the disk.
fn judge_every_crash_state(mode: Mode, max_bytes: u64, live: fn(&mut Model)) {
    let options = Options { segment_bytes: 400, ..Options::new(mode, max_bytes, "") };
    let mut states = 0;
    for stop in 0.. {
        let mut model = Model::new(options.clone());
        model.disk.stop_after(stop);
        live(&mut model);
        let has_lived = !model.disk.has_stopped();
        for (number, disk) in model.disk.clone().crash_states().enumerate() {
            eprintln!("stop {stop}, state {number}"); // shown if it fails
            let mut after = model.after_power_loss(disk);
            after.read_all();
            after.append(Class::Ordinary, 60);
            after.finish();
            states += 1;
        }
        if has_lived {
            break;
        }
    }
    println!("{mode:?}, {max_bytes} bytes: {states} states");
    assert!(states > 300, "the script does something: {states}");
}

#[test]
fn every_state_in_which_power_loss_can_leave_the_disk_keeps_the_laws() {
    judge_every_crash_state(Mode::Durable, 1 << 20, live_in_small_steps);
    judge_every_crash_state(Mode::Fast, 1 << 20, live_in_small_steps);
    judge_every_crash_state(Mode::Durable, 2200, live_in_small_steps);
}

fn judge_all_crashes(mode: Mode, max_bytes: u64, live: fn(&mut Model)) {
    let options = Options { segment_bytes: 400, ..Options::new(mode, max_bytes, "") };
    let changes = {
        let mut model = Model::new(options.clone());
        let before = model.disk.operations();
        live(&mut model);
        model.disk.operations() - before
    };
    assert!(changes > 40, "the script does something: {changes}");
    for stop in 0..=changes {
        for seed in 0..8 {
            let loss = if seed == 0 { PowerLoss::DropsAll } else { PowerLoss::Tears(stop * 100 + seed) };
            eprintln!("stop {stop}, seed {seed}"); // shown if it fails
            let mut model = Model::new(options.clone());
            model.disk.stop_after(stop);
            live(&mut model);
            model.lose_power(loss);
            model.read_all();
            live(&mut model);
            model.finish();
        }
    }
}

#[test]
fn wherever_the_machine_stops_in_mode_durable_the_laws_hold() {
    judge_all_crashes(Mode::Durable, 1 << 20, live);
}

#[test]
fn wherever_the_machine_stops_in_mode_fast_the_laws_hold() {
    judge_all_crashes(Mode::Fast, 1 << 20, live);
}

#[test]
fn wherever_the_machine_stops_in_a_full_spool_the_laws_hold() {
    judge_all_crashes(Mode::Durable, 2500, live);
    judge_all_crashes(Mode::Fast, 2500, live);
}

#[test]
fn wherever_the_machine_stops_on_a_full_disk_the_laws_hold() {
    judge_all_crashes(Mode::Durable, 1 << 20, live_on_a_full_disk);
    judge_all_crashes(Mode::Fast, 1 << 20, live_on_a_full_disk);
}

#[test]
fn wherever_the_machine_stops_while_opening_after_a_crash_the_laws_hold() {
    for mode in [Mode::Durable, Mode::Fast] {
        for stop in 0..30 {
            for seed in 0..8 {
                let mut model = Model::new(Options { segment_bytes: 400, ..Options::new(mode, 1 << 20, "") });
                live(&mut model);
                model.lose_power_while_opening(PowerLoss::Tears(seed), stop, PowerLoss::Tears(stop * 100 + seed));
                model.read_all();
                live(&mut model);
                model.finish();
            }
        }
    }
}
