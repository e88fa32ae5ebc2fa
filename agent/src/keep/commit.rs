//! Group commit: everything that has come in is appended, made durable by one sync, and only then answered.
//!
//! Nobody is told that a record is kept before the mode's promise holds: in mode `durable` after the sync, in mode `fast`
//! after the append. A record whose sync failed is answered with an error, though the spool may still save it: whoever
//! sends it again is recognised by its key.

use super::door::Handed;
use super::{Keeper, NotKept, RETRY_PAUSE};
use runtime::fail_point;
use runtime::log::chain;
use spool::{Appended, Class, MAX_SKIP, Mode, Reason, Refused};

impl Keeper {
    /// Writes the batch when it is due, and what somebody waits for at once.
    pub(super) fn commit_if_due(&mut self) {
        let is_due = self.batch.due_at().is_some_and(|due| due <= self.clock.monotonic());
        let handed = self.inside.take_handed();
        if is_due || !handed.is_empty() {
            self.commit(if is_due { self.batch.passes() as u64 } else { 0 }, handed);
        }
    }

    /// Writes all there is.
    pub(super) fn commit_rest(&mut self) {
        let handed = self.inside.take_handed();
        self.commit(self.batch.passes() as u64, handed);
    }

    /// Makes the batch of so many passes a record (0 leaves it), after a skip for what was lost before it; then those
    /// that somebody waits for. In mode `durable` all are synced.
    fn commit(&mut self, passes: u64, handed: Vec<Handed>) {
        let turned_away = std::mem::take(&mut self.inside.lock().turned_away);
        self.lose(Reason::QueueFull, turned_away);
        if passes == 0 && handed.is_empty() && self.untold.is_empty() {
            return;
        }
        self.tell_losses();
        let mut is_taken = passes > 0 && self.append_batch(passes);
        self.tell_losses(); // the batch itself may be one
        let (kept, not_kept) = self.append_handed(handed);
        is_taken |= !kept.is_empty();
        self.note_given_out();
        // In mode `fast` a record is accepted when it is taken, and nobody was promised a sync.
        let synced = if self.mode == Mode::Fast { Ok(()) } else { self.sync() };
        self.note_progress(is_taken, synced.is_ok());
        for handed in kept {
            self.answer(handed, synced.clone());
        }
        for (handed, why) in not_kept {
            self.answer(handed, Err(why));
        }
    }

    fn note_progress(&mut self, is_taken: bool, is_safe: bool) {
        let now = self.clock.monotonic();
        let progress = &mut self.inside.lock().progress;
        if is_taken && is_safe {
            (progress.written_at, progress.failing_since) = (Some(now), None);
        } else if !is_safe {
            progress.failing_since.get_or_insert(now);
        }
        self.retry_at = progress.failing_since.map(|_| now + RETRY_PAUSE);
    }

    /// Asks a disk again that did not take what was written: the records that wait for their sync, the losses that are
    /// not told, and the cursor, since nothing else may be there to ask with. It works again when it takes them all.
    pub(super) fn retry_if_due(&mut self) {
        let now = self.clock.monotonic();
        if self.retry_at.is_none_or(|at| now < at) {
            return;
        }
        self.tell_losses();
        self.note_given_out();
        let is_over = self.sync().is_ok() && self.checkpoint(now) && self.untold.is_empty();
        self.retry_at = (!is_over).then_some(now + RETRY_PAUSE);
        if is_over {
            self.inside.lock().progress.failing_since = None;
        }
    }

    fn answer(&self, handed: Handed, answer: Result<(), NotKept>) {
        let (events, meters) = (handed.events, &self.meters.events);
        match &answer {
            Ok(()) => meters.kept.inc_by(events),
            Err(why) => meters.refused.with_label_values(&[why.reason()]).inc_by(events),
        }
        meters.waiting.sub(events as f64);
        let _ = handed.answer.send(answer); // who does not listen any more has no answer to lose
    }

    /// Appends the batch. Whether the spool took it.
    fn append_batch(&mut self, passes: u64) -> bool {
        let (label, reason, error) = match self.batch.take() {
            Err(error) => (error.reason(), Reason::TooLarge, chain(&error)),
            Ok(record) => match self.spool.append(Class::Ordinary, &record) {
                Ok(_) => {
                    self.note_given_out(); // before they are no passes any more: what waits, waits somewhere
                    self.meters.passes.kept.inc_by(passes);
                    self.meters.passes.waiting.sub(passes as f64);
                    self.note_taken();
                    return true;
                }
                Err(error) => (reason_of(&error).as_str(), reason_of(&error), chain(&error)),
            },
        };
        self.meters.passes.dropped.with_label_values(&[label]).inc_by(passes);
        self.meters.passes.waiting.sub(passes as f64);
        self.lose(reason, 1);
        self.note_not_taken(reason, &error);
        false
    }

    /// Appends what somebody waits for: what the spool took, and what not and why.
    fn append_handed(&mut self, mut handed: Vec<Handed>) -> (Vec<Handed>, Vec<(Handed, NotKept)>) {
        if handed.is_empty() {
            return (handed, Vec::new());
        }
        let Appended { count: taken, refused, .. } = self.spool.append_all(Class::Critical, &handed);
        if taken > 0 {
            self.note_taken();
        }
        let Some(refused) = refused else { return (handed, Vec::new()) };
        let (reason, text) = (reason_of(&refused), chain(&refused));
        self.note_not_taken(reason, &text);
        let rest = handed.split_off(taken).into_iter();
        (handed, rest.map(|handed| (handed, NotKept::Spool { reason, text: text.clone() })).collect())
    }

    fn note_taken(&mut self) {
        if self.write_fault.is_over() {
            tracing::info!("the spool takes records again");
        }
    }

    fn note_not_taken(&mut self, reason: Reason, error: &str) {
        let now = self.clock.monotonic();
        if self.write_fault.is_news(reason.as_str(), now) {
            tracing::error!(error, "the spool took no record; more of the same is counted, and told once a minute");
        }
        if matches!(reason, Reason::DiskFull | Reason::DiskError) {
            self.inside.lock().progress.failing_since.get_or_insert(now);
        }
    }

    /// Makes all that was appended durable.
    pub(super) fn sync(&mut self) -> Result<(), NotKept> {
        let now = self.clock.monotonic();
        let Err(error) = self.spool.sync() else {
            fail_point::hit("agent.synced");
            if self.sync_fault.is_over() {
                tracing::info!("the spool is durable again");
            }
            self.inside.lock().progress.durable_at = Some(now);
            return Ok(());
        };
        let text = chain(&error);
        if self.sync_fault.is_news("sync", now) {
            tracing::error!(error = text, "spool not durable; it will be written elsewhere");
        }
        Err(NotKept::Spool { reason: Reason::DiskError, text })
    }

    /// Notes records that will never be.
    fn lose(&mut self, reason: Reason, records: u64) {
        if records > 0 {
            *self.untold.entry(reason).or_default() += records;
        }
    }

    /// Gives what is lost its seqs, so that the aggregator hears of it where it would have been.
    fn tell_losses(&mut self) {
        while let Some(mut entry) = self.untold.first_entry() {
            let told = (*entry.get()).min(MAX_SKIP);
            // What the disk does not take now, it may later.
            if self.spool.skip(*entry.key(), told).is_err() {
                return;
            }
            *entry.get_mut() -= told;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// Why the records are lost that the spool did not take.
fn reason_of(refused: &Refused) -> Reason {
    match refused {
        Refused::TooLarge { .. } => Reason::TooLarge,
        Refused::Full { .. } => Reason::SpoolFull,
        Refused::NoSpace { .. } => Reason::DiskFull,
        Refused::Disk { .. } => Reason::DiskError,
    }
}
