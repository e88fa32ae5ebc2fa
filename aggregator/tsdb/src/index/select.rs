//! Which series pass a selector, and which names and values they have.
//!
//! Each matcher is taken apart into a positive twin and whether it is negated; the twin into a set U, the series that
//! *have* the label with a value that passes, and whether a series without the label passes (`""` does):
//!
//! ```text
//!              `""` does not pass the twin      `""` passes the twin
//!  positive    set ∩ U             (In)         set − (has − U)       (InOrAbsent)
//!  negated     set − U             (NotIn)      (set ∩ has) − U       (HasNotIn)
//! ```
//! so that no matcher ever needs the complement of a set. What is a look-up comes first, the fewest series first; what has
//! to ask values comes last, by which time few series are left: then these are asked instead of all values of the label.

use super::{Index, SeriesId};
use crate::dictionary::{Name, NameId};
use crate::labels::PairId;
use crate::matcher::{MatchOp, Matcher};
use crate::pattern::{AllFrom, Pattern};
use crate::postings::{self, Postings};
use crate::values::Stretch;
use roaring::RoaringBitmap;
use std::collections::BTreeSet;

/// One matcher on a label that some series have.
struct Step<'m> {
    matcher: &'m Matcher<'m>,
    name: NameId,
    form: Form,
    passing: Passing,
    /// Series or values to look at for it.
    cost: u64,
}

/// What is done with the set U; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    In,
    HasNotIn,
    NotIn,
    InOrAbsent,
}

/// The values that pass the positive twin.
enum Passing {
    /// All that there are: U is `has`.
    All,
    /// These.
    Pairs(Vec<PairId>),
    /// Those of a stretch that have so many bytes, none of which need be asked.
    Stretch(Stretch, usize),
    /// Those in these stretches that pass when they are asked, and these.
    Ask(Vec<Stretch>, Vec<PairId>),
}

/// Asking a series for a label's value costs as much as taking so many from postings into a set.
const SERIES_COST: u64 = 4;

// === impl Index ===

impl Index {
    /// The series that pass all of `matchers`, with the meaning of Prometheus: an absent label is an empty one. Without
    /// matchers it is all.
    pub fn select(&self, matchers: &[Matcher<'_>]) -> RoaringBitmap {
        let mut steps = Vec::with_capacity(matchers.len());
        for matcher in matchers {
            match self.dictionary.find_name(matcher.label) {
                Some(name) => steps.push(self.step(matcher, name)),
                // No series has the label: it passes for all or for none.
                None if matcher.passes("") => {}
                None => return RoaringBitmap::new(),
            }
        }
        steps.sort_by_key(Step::order);
        let mut set: Option<RoaringBitmap> = None;
        for step in &steps {
            let next = match set {
                Some(set) if set.is_empty() => return set,
                Some(set) => self.narrow(step, set),
                None => self.begin(step),
            };
            set = Some(next);
        }
        set.unwrap_or_else(|| self.live.clone())
    }

    /// Names of the labels that at least one of the series has, or of all where none are given; sorted.
    pub fn label_names(&self, among: Option<&RoaringBitmap>) -> Vec<&str> {
        let is_there = |name: &&Name| among.is_none_or(|set| name.series.meets(set));
        let mut names: Vec<&str> =
            self.dictionary.names().filter(is_there).map(|name| self.dictionary.name_text(name)).collect();
        names.sort_unstable();
        names
    }

    /// Values that at least one of the series has for a label, or any where none are given; sorted, at most `limit`.
    pub fn label_values(&self, label: &str, among: Option<&RoaringBitmap>, limit: usize) -> Vec<&str> {
        let Some(id) = self.dictionary.find_name(label) else { return Vec::new() };
        let name = self.dictionary.name(id);
        let all = name.values.iter(name.values.all());
        let text = |pair| self.dictionary.value_of(pair);
        match among {
            None => all.take(limit).map(text).collect(),
            Some(set) if set.len() < name.values.len() as u64 => {
                let values: BTreeSet<&str> =
                    set.iter().filter_map(|series| self.pair_of(series, id)).map(text).collect();
                values.into_iter().take(limit).collect()
            }
            Some(set) => all.filter(|&pair| self.dictionary.postings(pair).meets(set)).take(limit).map(text).collect(),
        }
    }

    fn step<'m>(&self, matcher: &'m Matcher<'m>, id: NameId) -> Step<'m> {
        let name = self.dictionary.name(id);
        let is_negated = matcher.op.is_negated();
        let passing = match matcher.op {
            MatchOp::Equal | MatchOp::NotEqual => Passing::Pairs(self.known(id, [matcher.value])),
            MatchOp::Regex | MatchOp::NotRegex => self.read(matcher, id),
        };
        let twin_passes_absent = matcher.passes("") != is_negated;
        let form = match (is_negated, twin_passes_absent) {
            (false, false) => Form::In,
            (false, true) => Form::InOrAbsent,
            (true, false) => Form::NotIn,
            (true, true) => Form::HasNotIn,
        };
        let series = |pairs: &[PairId]| pairs.iter().map(|&pair| self.dictionary.postings(pair).len()).sum::<u64>();
        let cost = match &passing {
            Passing::All => name.series.len(),
            Passing::Pairs(pairs) => series(pairs),
            Passing::Stretch(stretch, _) => name.values.count(*stretch) as u64,
            Passing::Ask(stretches, pairs) => {
                stretches.iter().map(|&stretch| name.values.count(stretch) as u64).sum::<u64>() + pairs.len() as u64
            }
        };
        Step { matcher, name: id, form, passing, cost }
    }

    /// The values that a pattern could match, from its text.
    fn read(&self, matcher: &Matcher<'_>, id: NameId) -> Passing {
        let pattern = Pattern::read(matcher.value);
        let name = self.dictionary.name(id);
        let text = |pair| self.dictionary.value_of(pair);
        let is_negated = matcher.op.is_negated();
        let mut pairs = self.known(id, pattern.texts.iter().map(String::as_str));
        pairs.retain(|&pair| matcher.passes(text(pair)) != is_negated);
        let stretch = |beginning: &Vec<u8>| name.values.with_prefix(beginning, text);
        let Some(all) = pattern.all else {
            let stretches: Vec<Stretch> = pattern.beginnings.iter().map(stretch).collect();
            return if stretches.is_empty() { Passing::Pairs(pairs) } else { Passing::Ask(stretches, pairs) };
        };
        let beginning = pattern.beginnings.first().map_or(&[][..], Vec::as_slice);
        if beginning.is_empty() {
            return Passing::All;
        }
        let least_bytes = match all {
            AllFrom::Nothing => 0,
            AllFrom::Something => beginning.len() + 1,
        };
        Passing::Stretch(name.values.with_prefix(beginning, text), least_bytes)
    }

    /// The pairs of a label with one of these values.
    fn known<'v>(&self, name: NameId, values: impl IntoIterator<Item = &'v str>) -> Vec<PairId> {
        values.into_iter().filter_map(|value| self.dictionary.find_value(name, value)).collect()
    }

    /// The series that pass a step, of all.
    fn begin(&self, step: &Step<'_>) -> RoaringBitmap {
        match step.form {
            Form::In => self.union(step),
            Form::HasNotIn => self.dictionary.name(step.name).series.to_bitmap() - self.union(step),
            Form::NotIn | Form::InOrAbsent => self.narrow_by_set(step, self.live.clone()),
        }
    }

    /// The series of `set` that pass a step.
    fn narrow(&self, step: &Step<'_>, set: RoaringBitmap) -> RoaringBitmap {
        let is_single =
            matches!(&step.passing, Passing::All) || matches!(&step.passing, Passing::Pairs(p) if p.len() <= 1);
        if is_single || set.len() * SERIES_COST > step.cost {
            return self.narrow_by_set(step, set);
        }
        let passes = |id: &SeriesId| {
            let pair = self.pair_of(*id, step.name);
            step.matcher.passes(pair.map_or("", |pair| self.dictionary.value_of(pair)))
        };
        set.iter().filter(passes).collect()
    }

    fn narrow_by_set(&self, step: &Step<'_>, mut set: RoaringBitmap) -> RoaringBitmap {
        let has = &self.dictionary.name(step.name).series;
        match step.form {
            Form::In => match self.single(step) {
                Some(postings) => postings.intersect(&mut set),
                None => set &= self.union(step),
            },
            Form::NotIn => match self.single(step) {
                Some(postings) => postings.subtract_from(&mut set),
                None => set -= self.union(step),
            },
            Form::HasNotIn => {
                has.intersect(&mut set);
                set -= self.union(step);
            }
            Form::InOrAbsent => {
                let mut inside = self.union(step);
                inside &= &set;
                has.subtract_from(&mut set);
                set |= inside;
            }
        }
        set
    }

    /// Where U is one pair's postings, or all of the label's.
    fn single(&self, step: &Step<'_>) -> Option<&Postings> {
        match &step.passing {
            Passing::All => Some(&self.dictionary.name(step.name).series),
            Passing::Pairs(pairs) if pairs.len() == 1 => Some(self.dictionary.postings(pairs[0])),
            _ => None,
        }
    }

    /// U of a step.
    fn union(&self, step: &Step<'_>) -> RoaringBitmap {
        let name = self.dictionary.name(step.name);
        let postings = |pair: PairId| self.dictionary.postings(pair);
        match &step.passing {
            Passing::All => name.series.to_bitmap(),
            Passing::Pairs(pairs) => postings::union(pairs.iter().map(|&pair| postings(pair))),
            &Passing::Stretch(stretch, least_bytes) => {
                let is_long = |pair: &PairId| least_bytes == 0 || self.dictionary.value_of(*pair).len() >= least_bytes;
                postings::union(name.values.iter(stretch).filter(is_long).map(postings))
            }
            Passing::Ask(stretches, pairs) => {
                let is_negated = step.matcher.op.is_negated();
                let asked = stretches.iter().flat_map(|&stretch| name.values.iter(stretch));
                let passing = asked.filter(|&pair| step.matcher.passes(self.dictionary.value_of(pair)) != is_negated);
                postings::union(passing.chain(pairs.iter().copied()).map(postings))
            }
        }
    }
}

// === impl Step ===

impl Step<'_> {
    /// Look-ups before what goes over values, and that before what asks them; what narrows from nothing before what takes
    /// away; then the cheapest first.
    fn order(&self) -> (u8, Form, u64) {
        let effort = match self.passing {
            Passing::All | Passing::Pairs(_) => 0,
            Passing::Stretch(..) => 1,
            Passing::Ask(..) => 2,
        };
        (effort, self.form, self.cost)
    }
}
