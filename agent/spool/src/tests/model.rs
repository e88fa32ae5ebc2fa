//! The naive twin: a map of what was appended and what of it was promised. It drives a real spool and judges whatever
//! it yields by five laws:
//!
//! 1. Nothing is invented: each record read was appended, at that position, with those bytes.
//! 2. Nothing is silent: records and gaps together leave out no seq (but a tail that nobody was promised).
//! 3. Nothing promised is lost: a gap covers a promised record only if it is ordinary and the spool was full. What was
//!    skipped is in a gap of its own reason.
//! 4. Nothing is renamed: a position that was ever read never names other bytes.
//! 5. Nothing is shown early: in mode `Durable`, only what is synced.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use proptest::prelude::*;

use super::{DIR, dir};
use crate::memory::{MemoryDisk, PowerLoss};
use crate::{
    Appended, Class, Gap, Mode, NewEpoch, Next, Options, Position, Readmitted, Reason, Reserve, Spool, Stats, WhenFull,
};

/// Epochs in the order in which they began, then seq.
type At = (usize, u64);

#[derive(Debug, Clone)]
struct Entry {
    /// Why it never came to be, if it was skipped; then it has no payload.
    skipped: Option<Reason>,
    class: Class,
    payload: Vec<u8>,
    /// Must survive whatever the mode says it survives.
    promised: bool,
    /// Power was lost after it was appended and before it was promised.
    may_be_lost: bool,
    /// The opening in which it was appended.
    session: u32,
}

pub(super) struct Model {
    pub disk: MemoryDisk,
    pub options: Options,
    pub spool: Option<Spool>,
    history: BTreeMap<At, Entry>,
    /// Of a group that failed: a crash may leave those that were written, unless their places were given to others.
    attempted: BTreeMap<At, Vec<Entry>>,
    epochs: Vec<u128>,
    seen: HashMap<Position, Vec<u8>>,
    /// The last item read; `None` after opening, when replays are allowed.
    at: Option<At>,
    acked: At,
    /// What was read since the last rewind.
    window: Vec<(At, Position)>,
    /// Records that were copied and have not moved: they are not copied again.
    copied: BTreeSet<At>,
    session: u32,
    numbers: u64,
    boot: u32,
    /// Seqs in gaps. Over restarts: a hole is told where it is passed, and counted when the reader comes to the end of its
    /// segment, which may be after the ack and another opening.
    missing: u64,
    /// Whether a sync has failed and none has worked since: what it was for may be in memory only.
    has_failed: bool,
    /// Whether calls fail now and then, so that opening and reading may too.
    pub may_fail: bool,
}

impl Model {
    pub fn new(options: Options) -> Self {
        let mut model = Self {
            disk: MemoryDisk::default(),
            options,
            spool: None,
            history: BTreeMap::new(),
            attempted: BTreeMap::new(),
            epochs: Vec::new(),
            seen: HashMap::new(),
            at: None,
            acked: (0, 0),
            window: Vec::new(),
            copied: BTreeSet::new(),
            session: 0,
            numbers: 0,
            boot: 1,
            missing: 0,
            has_failed: false,
            may_fail: false,
        };
        model.open();
        model
    }

    /// The same past, after which power was lost and left this disk.
    pub fn after_power_loss(&self, disk: MemoryDisk) -> Self {
        let mut after = Self {
            disk,
            options: self.options.clone(),
            spool: None,
            history: self.history.clone(),
            attempted: self.attempted.clone(),
            epochs: self.epochs.clone(),
            seen: self.seen.clone(),
            window: Vec::new(),
            copied: BTreeSet::new(),
            ..*self
        };
        after.forget_unpromised();
        after.open();
        after
    }

    pub fn open(&mut self) {
        self.options.boot_id = format!("boot-{}", self.boot);
        let attempts = if self.may_fail { 9 } else { 1 };
        let open = |_| Spool::open(Arc::new(self.disk.clone()), dir(), self.options.clone()).ok();
        let (spool, _) = (0..attempts).find_map(open).expect("it opens");
        self.spool = Some(spool);
        self.learn_epoch();
        self.session += 1;
        self.at = None;
        self.window.clear();
        self.copied.clear();
    }

    fn spool(&mut self) -> &mut Spool {
        self.spool.as_mut().expect("the spool is open between the steps")
    }

    pub fn append(&mut self, class: Class, bytes: usize) -> bool {
        let payload = self.payload(bytes);
        let before = self.spool().stats();
        let appended = self.spool().append(class, &payload);
        self.weigh(&before); // a segment was left, and never unsynced
        let Ok(position) = appended else { return false };
        self.note(position, Entry { skipped: None, class, payload, promised: false, may_be_lost: false, session: 0 });
        true
    }

    /// Appends records of these sizes in one call.
    pub fn append_all(&mut self, class: Class, sizes: &[usize]) {
        let payloads: Vec<_> = sizes.iter().map(|&bytes| self.payload(bytes)).collect();
        let before = self.spool().stats();
        let Appended { first, count, refused } = self.spool().append_all(class, &payloads);
        assert_eq!(refused.is_none(), count == payloads.len(), "all, or a prefix and why");
        let after = self.spool().stats();
        assert_eq!(after.appended - before.appended, count as u64);
        self.weigh(&before);
        let may_be_lost = self.options.mode == Mode::Fast && after.sync_failures > before.sync_failures;
        let visible = self.spool().visible;
        for (seq, payload) in (first.seq..).zip(payloads) {
            let promised = self.options.mode == Mode::Durable && seq < visible.seq; // a segment was left behind it
            let entry = Entry { skipped: None, class, payload, promised, may_be_lost, session: self.session };
            let position = Position { seq, ..first };
            if seq < first.seq + count as u64 {
                self.note(position, entry);
            } else {
                let at = self.place(position);
                self.attempted.entry(at).or_default().push(Entry { may_be_lost: true, ..entry });
            }
        }
    }

    /// Bytes that no other record has.
    fn payload(&mut self, bytes: usize) -> Vec<u8> {
        self.numbers += 1;
        self.numbers.to_le_bytes().into_iter().cycle().take(bytes.max(8)).collect()
    }

    pub fn skip(&mut self, reason: Reason, count: u64) -> bool {
        let before = self.spool().stats();
        let skipped = self.spool().skip(reason, count);
        self.weigh(&before);
        let Ok(gap) = skipped else { return false };
        assert_eq!(gap.last_seq - gap.first_seq + 1, count);
        for seq in gap.first_seq..=gap.last_seq {
            let (payload, class) = (Vec::new(), Class::Critical);
            let entry =
                Entry { skipped: Some(reason), class, payload, promised: false, may_be_lost: false, session: 0 };
            self.note(Position { epoch: gap.epoch, seq }, entry);
        }
        true
    }

    pub fn begin_epoch(&mut self) {
        let before = self.spool().stats();
        if self.spool().begin_epoch(NewEpoch::Rewound).is_ok() {
            self.learn_epoch();
        }
        self.weigh(&before);
    }

    /// Gives new names to so many items from this share of the window on, as far as they are records.
    pub fn readmit(&mut self, share: prop::sample::Index, count: usize) {
        if !self.window.is_empty() {
            self.readmit_from(share.index(self.window.len()), count);
        }
    }

    pub fn readmit_at(&mut self, index: usize) {
        self.readmit_from(index, 1);
    }

    pub fn readmit_from(&mut self, index: usize, count: usize) {
        let run: Vec<_> = self.window.iter().skip(index).take(count).copied().collect();
        let positions: Vec<_> = run.iter().map(|(_, position)| *position).collect();
        let records =
            positions.iter().take_while(|position| self.seen.get(position).is_some_and(|seen| !seen.is_empty()));
        let records = records.count();
        let (before, last) = (self.spool().stats(), self.last());
        let Readmitted { moved, refused } = self.spool().readmit_all(&positions);
        let after = self.spool().stats();
        assert_eq!(refused.is_none(), moved.len() == run.len(), "all, or a prefix and why");
        assert!(moved.len() <= records, "a gap keeps its name");
        self.learn_epoch();
        self.weigh(&before);
        self.note_copies(&run, last, after.appended - before.appended, after.sync_failures > before.sync_failures);
        for ((at, _), moved) in run.iter().zip(&moved) {
            let moved = self.place(*moved);
            assert!(moved.0 > at.0, "in another epoch than {at:?}: {moved:?}");
            let copy = self.history.get_mut(&moved).expect("it was noted");
            copy.promised = !copy.may_be_lost;
            self.acked = *at;
        }
        let acked = self.acked;
        self.window.retain(|(waiting, _)| *waiting > acked);
        if moved.is_empty() {
            assert!(after.delivered == before.delivered && after.moved == before.moved, "all stay in flight");
        }
    }

    /// The first so many of the run that were not before were appended again: behind `last`, or in the epoch that began on the way.
    fn note_copies(&mut self, run: &[(At, Position)], last: Position, copies: u64, has_sync_failed: bool) {
        let may_be_lost = self.options.mode == Mode::Fast && has_sync_failed;
        let (now, visible) = (self.last(), self.spool().visible);
        let in_new = if now.epoch == last.epoch { 0 } else { now.seq };
        let before = (1..=copies - in_new).map(|number| Position { seq: last.seq + number, ..last });
        let behind = (1..=in_new).map(|seq| Position { seq, ..now });
        let run: Vec<_> = run.iter().map(|(at, _)| *at).filter(|at| !self.copied.contains(at)).collect();
        for (position, at) in before.chain(behind).zip(run) {
            self.copied.insert(at);
            // A segment or an epoch was left behind it.
            let is_synced = position.epoch != now.epoch || position.seq < visible.seq;
            let promised = self.options.mode == Mode::Durable && is_synced;
            let copy = Entry { promised, may_be_lost, ..self.history[&at].clone() };
            self.note(position, copy);
        }
    }

    /// The last place that was given out.
    fn last(&mut self) -> Position {
        let spool = self.spool();
        Position { epoch: spool.epoch(), seq: spool.last_seq() }
    }

    fn learn_epoch(&mut self) {
        let epoch = self.spool().epoch();
        if self.epochs.last() != Some(&epoch) {
            assert!(!self.epochs.contains(&epoch), "an old epoch came back");
            self.epochs.push(epoch);
        }
    }

    /// What the syncs of a call, told by its counts, make of what was appended before it.
    fn weigh(&mut self, before: &Stats) {
        let after = self.spool().stats();
        if after.sync_failures > before.sync_failures {
            self.lose_hope();
        }
        if after.syncs > before.syncs {
            self.promise();
        }
    }

    fn note(&mut self, position: Position, entry: Entry) {
        let at = self.place(position);
        assert!(!self.seen.contains_key(&position), "law 4: {position:?} was read before and is given out again");
        assert!(at.1 == 1 || self.history.contains_key(&(at.0, at.1 - 1)), "law 2: no seq is left out before {at:?}");
        let session = self.session;
        self.attempted.remove(&at);
        self.history.retain(|&old, _| old < at); // what had this place or a later one was never promised, and is gone
        self.history.insert(at, Entry { session, ..entry });
    }

    pub fn sync(&mut self) -> bool {
        let synced = self.spool().sync().is_ok();
        if synced {
            self.promise();
        } else {
            self.lose_hope();
        }
        synced
    }

    /// After a failed sync in mode `Fast`, power loss may take what was appended by then, whatever syncs follow.
    fn lose_hope(&mut self) {
        self.has_failed = true;
        if self.options.mode == Mode::Fast {
            self.unpromised().for_each(|entry| entry.may_be_lost = true);
        }
    }

    fn unpromised(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.history.values_mut().filter(|entry| !entry.promised)
    }

    fn promise(&mut self) {
        self.has_failed = false;
        self.history.values_mut().filter(|entry| !entry.may_be_lost).for_each(|entry| entry.promised = true);
    }

    /// Reads one item and judges it. `false` at the end.
    pub fn read(&mut self) -> bool {
        let may_fail = self.may_fail;
        let (item, payload) = match self.spool().read_next() {
            Ok(Next::Record(record)) => (Ok((record.position, record.class)), record.payload.to_vec()),
            Ok(Next::Gap(gap)) => (Err(gap), Vec::new()),
            Ok(Next::WindowFull) => return false,
            Ok(Next::Empty) => {
                self.judge_end();
                return false;
            }
            Err(_) if may_fail => return true, // it is tried again
            Err(error) => panic!("{error}"),
        };
        match item {
            Ok((position, class)) => self.judge_record(position, class, &payload),
            Err(gap) => self.judge_gap(gap),
        }
        true
    }

    pub fn read_all(&mut self) {
        while self.read() {}
    }

    fn judge_record(&mut self, position: Position, class: Class, payload: &[u8]) {
        let at = self.place(position);
        self.judge_order(at);
        let (session, is_durable) = (self.session, self.options.mode == Mode::Durable);
        let attempted = self.attempted.remove(&at).unwrap_or_default();
        if let Some(entry) = attempted.into_iter().find(|entry| entry.session < session && entry.payload == payload) {
            self.history.insert(at, entry);
        }
        let entry = self.history.get_mut(&at).expect("law 1: it was appended");
        assert_eq!(entry.skipped, None, "law 1: {at:?} never came to be");
        assert_eq!((entry.class, &entry.payload[..]), (class, payload), "law 1: as it was appended, at {at:?}");
        if is_durable {
            assert!(entry.promised || entry.session < session, "law 5: {at:?} is shown before it is synced");
            entry.promised = true; // what opening finds, it syncs
            entry.may_be_lost = false;
        }
        let before = self.seen.insert(position, payload.to_vec());
        assert!(before.is_none_or(|before| before == payload), "law 4: {position:?} has other bytes now");
        self.arrive(at, position);
    }

    fn judge_gap(&mut self, gap: Gap) {
        let last = self.place(gap.position());
        self.judge_order((last.0, gap.first_seq));
        let (session, is_durable) = (self.session, self.options.mode == Mode::Durable);
        let acked = self.acked;
        for (at, entry) in self.history.range_mut((last.0, gap.first_seq)..=last) {
            if *at <= acked {
                continue; // it is delivered and gone, and so are the cursors that knew
            }
            if entry.skipped == Some(gap.reason) {
                assert!(!is_durable || entry.promised || entry.session < session, "law 5: {at:?} before its sync");
                entry.promised |= is_durable;
                entry.may_be_lost &= !is_durable;
                self.seen.insert(Position { epoch: gap.epoch, seq: at.1 }, Vec::new());
                continue;
            }
            let excused = match gap.reason {
                Reason::SpoolFull => {
                    entry.may_be_lost
                        || entry.class == Class::Ordinary && self.options.when_full == WhenFull::DropOldest
                }
                Reason::Corrupt => entry.may_be_lost,
                _ => false,
            };
            assert!(excused, "law 3: {at:?} {entry:?} is lost: {gap:?}");
        }
        self.missing += gap.last_seq - gap.first_seq + 1;
        self.arrive(last, gap.position());
    }

    /// Law 2: it follows the last one; after opening, it is not later than what follows the last ack.
    fn judge_order(&self, at: At) {
        let before = self.at.unwrap_or(self.acked);
        let is_replay = self.at.is_none() && at <= before;
        let follows =
            at == (before.0, before.1 + 1) || at.0 > before.0 && at.1 == 1 && self.all_excused(before, (at.0, 0));
        assert!(is_replay || follows, "law 2: {at:?} comes after {before:?} {:?}", self.history);
    }

    fn judge_end(&self) {
        let before = self.at.unwrap_or(self.acked);
        let left = self.history.range(after(before)..);
        for (at, entry) in left {
            let hidden = self.options.mode == Mode::Durable && !entry.promised;
            assert!(hidden || entry.may_be_lost, "law 2: {at:?} {entry:?} is not there, after {before:?}");
        }
    }

    fn all_excused(&self, from: At, to: At) -> bool {
        let mut between = self.history.range(after(from)..to.max(after(from)));
        between.all(|(_, entry)| entry.may_be_lost)
    }

    fn arrive(&mut self, at: At, position: Position) {
        self.at = Some(at);
        self.window.push((at, position));
    }

    /// Acks the item at this share of the window.
    pub fn ack(&mut self, share: prop::sample::Index) {
        if self.window.is_empty() {
            return;
        }
        let index = share.index(self.window.len());
        let (at, position) = self.window[index];
        self.spool().ack(position).expect("it was read");
        self.acked = at;
        self.window.drain(..=index);
    }

    pub fn ack_last(&mut self) {
        if let Some(&(at, position)) = self.window.last() {
            self.spool().ack(position).expect("it was read");
            self.acked = at;
            self.window.clear();
        }
    }

    pub fn rewind(&mut self) {
        self.spool().rewind();
        self.window.clear();
        if self.at.is_some() {
            self.at = None; // to where the acks are, or, before the first since opening, to where opening stood
        }
    }

    pub fn checkpoint(&mut self) {
        drop(self.spool().checkpoint());
    }

    /// The process dies; the page cache lives.
    pub fn kill(&mut self) {
        self.spool = None;
        if std::mem::take(&mut self.has_failed) {
            self.unpromised().for_each(|entry| entry.may_be_lost = true);
        }
        self.open();
    }

    pub fn close(&mut self) {
        let closed = self.spool.take().expect("open").close();
        if closed.is_ok() {
            self.promise();
        }
        self.open();
    }

    pub fn lose_power(&mut self, loss: PowerLoss) {
        self.go_dark(loss);
        self.open();
    }

    /// Power is lost, and lost again after so many changes of the opening that follows.
    pub fn lose_power_while_opening(&mut self, loss: PowerLoss, changes: u64, then: PowerLoss) {
        self.go_dark(loss);
        self.disk.stop_after(changes);
        let boot = format!("boot-{}", self.boot);
        let options = Options { boot_id: boot, ..self.options.clone() };
        drop(Spool::open(Arc::new(self.disk.clone()), dir(), options));
        self.go_dark(then);
        self.open();
    }

    fn go_dark(&mut self, loss: PowerLoss) {
        self.spool = None;
        self.disk.lose_power(loss);
        self.forget_unpromised();
    }

    fn forget_unpromised(&mut self) {
        self.unpromised().for_each(|entry| entry.may_be_lost = true);
        self.has_failed = false;
        self.boot += 1;
    }

    /// Everything is read and acked; then nothing waits and hardly anything lies on the disk.
    pub fn finish(&mut self) {
        self.sync();
        self.read_all();
        self.ack_last();
        let stats = self.spool().stats();
        assert!(stats.dropped.corrupt <= self.missing, "what is counted as lost is in a gap: {stats:?}");
        assert_eq!(stats.waiting, 0, "{stats:?} {:?}", self.disk.files(dir()));
        assert!(stats.segments <= 2, "only the segments that are being written stay: {stats:?}");
        let files = self.disk.files(dir());
        let named = |end: &str| files.iter().filter(|path| path.to_string_lossy().ends_with(end)).collect::<Vec<_>>();
        assert_eq!(named(".seg").len() as u64, stats.segments, "{DIR} holds what the books say: {files:?}");
        assert_eq!(named(".foreign").len(), 0, "and no file of ours that is taken for another's: {files:?}");
    }

    /// On a disk that works, nothing takes room that the books do not know of, and room is set aside again.
    pub fn judge_room(&mut self) {
        self.checkpoint();
        let stats = self.spool().stats();
        assert_eq!((stats.leftovers, stats.reserve), (0, Reserve::Held), "{stats:?}");
        let files = self.disk.files(dir());
        let segments = files.iter().filter(|path| path.to_string_lossy().ends_with(".seg"));
        let bytes: usize = segments.map(|path| self.disk.read(path).map_or(0, |bytes| bytes.len())).sum();
        assert_eq!(bytes as u64, stats.bytes, "{stats:?}");
    }

    fn place(&self, position: Position) -> At {
        let epoch = self.epochs.iter().position(|&epoch| epoch == position.epoch);
        (epoch.expect("law 1: the epoch is known"), position.seq)
    }
}

fn after(at: At) -> At {
    (at.0, at.1 + 1)
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Append(Class, usize),
    AppendAll(Class, Vec<usize>),
    Skip(Reason, u64),
    Sync,
    Read(usize),
    Ack(prop::sample::Index),
    Rewind,
    Checkpoint,
    BeginEpoch,
    Readmit(prop::sample::Index, usize),
    Kill,
    Close,
    LosePower(PowerLoss),
}

impl Model {
    pub fn take(&mut self, step: &Step) {
        match *step {
            Step::Append(class, bytes) => {
                self.append(class, bytes);
            }
            Step::AppendAll(class, ref sizes) => self.append_all(class, sizes),
            Step::Skip(reason, count) => {
                self.skip(reason, count);
            }
            Step::Sync => {
                self.sync();
            }
            Step::Read(items) => {
                (0..items).all(|_| self.read());
            }
            Step::Ack(share) => self.ack(share),
            Step::Rewind => self.rewind(),
            Step::Checkpoint => self.checkpoint(),
            Step::BeginEpoch => self.begin_epoch(),
            Step::Readmit(share, count) => self.readmit(share, count),
            Step::Kill => self.kill(),
            Step::Close => self.close(),
            Step::LosePower(loss) => self.lose_power(loss),
        }
    }
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let class = || prop_oneof![3 => Just(Class::Ordinary), 1 => Just(Class::Critical)];
    let sizes = prop::collection::vec(0usize..200, 0..9);
    let skipped = prop_oneof![Just(Reason::TooLarge), Just(Reason::QueueFull)];
    let loss = prop_oneof![Just(PowerLoss::DropsAll), any::<u64>().prop_map(PowerLoss::Tears)];
    prop_oneof![
        12 => (class(), 0usize..200).prop_map(|(class, bytes)| Step::Append(class, bytes)),
        3 => (class(), sizes).prop_map(|(class, sizes)| Step::AppendAll(class, sizes)),
        2 => (skipped, 1u64..5).prop_map(|(reason, count)| Step::Skip(reason, count)),
        4 => Just(Step::Sync),
        6 => (1usize..12).prop_map(Step::Read),
        4 => any::<prop::sample::Index>().prop_map(Step::Ack),
        1 => Just(Step::Rewind),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::BeginEpoch),
        2 => (any::<prop::sample::Index>(), 1usize..6).prop_map(|(share, count)| Step::Readmit(share, count)),
        1 => Just(Step::Kill),
        1 => Just(Step::Close),
        1 => loss.prop_map(Step::LosePower),
    ]
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Durable), Just(Mode::Fast)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_five_laws_hold(
        mode in modes(), steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut model = Model::new(Options { segment_bytes: 600, ..Options::new(mode, 1 << 20, "") });
        for step in &steps {
            model.take(step);
        }
        model.finish();
    }

    #[test]
    fn in_a_spool_that_is_always_full_the_five_laws_hold(
        mode in modes(), drops: bool, steps in prop::collection::vec(step(), 1..160),
    ) {
        let when_full = if drops { WhenFull::DropOldest } else { WhenFull::RefuseNew };
        let options = Options { segment_bytes: 400, when_full, ..Options::new(mode, 3000, "") };
        let mut model = Model::new(options);
        let mut beyond = 0;
        for step in &steps {
            model.take(step);
            let stats = model.spool().stats();
            if matches!(step, Step::Readmit(..)) {
                beyond = 2 * 400; // records that move wait for no room
            }
            prop_assert!(stats.bytes <= 3000 + beyond, "{stats:?}");
        }
        model.finish();
    }
}
