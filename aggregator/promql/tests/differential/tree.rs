//! A query as text with holes for smaller queries: enough to write it in other words and to make it smaller.

/// What a query gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Scalar,
    Vector,
    Matrix,
}

/// How its value relates to that of the older Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// To the last bit.
    Exact,
    /// But for rounding: sums are added in another way since, or the two languages' mathematics differ in the last bits.
    Rounded,
    /// Rounded, and the parts are those of `stddev` or `stdvar`: operator, grouping, `(`, argument, `)`. Prometheus 3 gives
    /// NaN for a group with a value that is not finite; before it did not where that is the first value.
    Deviation,
}

/// Whose words a query is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// Prometheus 3's.
    New,
    /// What gives the same in Prometheus 2.
    Old,
    /// The same, with each rounded value moved by a few parts in 10^14, each by others, and at each time.
    Moved,
}

#[derive(Clone, Debug)]
pub enum Part {
    Text(String),
    Hole(Tree),
}

#[derive(Clone, Debug)]
pub struct Tree {
    pub kind: Kind,
    pub rule: Rule,
    pub parts: Vec<Part>,
}

// === impl Tree ===

impl Tree {
    pub fn leaf(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, rule: Rule::Exact, parts: vec![Part::Text(text.into())] }
    }

    /// `template` with a hole at each `$`.
    pub fn new(kind: Kind, rule: Rule, template: &str, holes: Vec<Self>) -> Self {
        let mut holes = holes.into_iter();
        let mut parts = Vec::new();
        for (index, text) in template.split('$').enumerate() {
            if index > 0 {
                parts.push(Part::Hole(holes.next().expect("as many trees as holes")));
            }
            parts.push(Part::Text(text.to_owned()));
        }
        Self { kind, rule, parts }
    }

    pub fn text(&self, words: Words) -> String {
        self.written(words, &mut 0)
    }

    /// Whether the query itself, its outermost function, is one of these.
    pub fn is_call_of(&self, names: &[&str]) -> bool {
        let Some(Part::Text(first)) = self.parts.first() else { return false };
        names.iter().any(|name| first.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')))
    }

    /// Whether any part of it passes.
    pub fn any(&self, passes: &dyn Fn(&Self) -> bool) -> bool {
        passes(self) || self.holes().any(|hole| hole.any(passes))
    }

    pub fn is_leaf(&self) -> bool {
        self.holes().next().is_none()
    }

    pub fn holes(&self) -> impl Iterator<Item = &Self> {
        self.parts.iter().filter_map(|part| match part {
            Part::Hole(hole) => Some(hole),
            Part::Text(_) => None,
        })
    }

    /// Smaller queries: a part of it instead of it; or itself with a part made smaller, or made as simple as can be.
    pub fn smaller(&self) -> Vec<Self> {
        let mut all: Vec<Self> = self.holes().filter(|hole| hole.kind != Kind::Matrix).cloned().collect();
        for (index, part) in self.parts.iter().enumerate() {
            let Part::Hole(hole) = part else { continue };
            let mut instead = hole.smaller();
            instead.extend(hole.simplest());
            for hole in instead.into_iter().filter(|instead| instead.kind == hole.kind) {
                let mut tree = self.clone();
                tree.parts[index] = Part::Hole(hole);
                all.push(tree);
            }
        }
        all
    }

    /// A query of the same kind that there is no smaller one of.
    fn simplest(&self) -> Option<Self> {
        let text = match self.kind {
            Kind::Scalar => "1",
            Kind::Vector => "up",
            Kind::Matrix => "up[5m]",
        };
        (!self.is_leaf()).then(|| Self::leaf(self.kind, text))
    }

    fn written(&self, words: Words, rounded: &mut usize) -> String {
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            parts.push(match part {
                Part::Text(text) => text.clone(),
                Part::Hole(hole) => hole.written(words, rounded),
            });
        }
        let mut text = parts.concat();
        if self.rule == Rule::Deviation && words != Words::New {
            // Adds 0, and NaN where a value is not finite.
            let rest = text.find(['(', ' ']).map_or("", |end| &text[end..]);
            text = format!("({text} + 0 * sum{rest})");
        }
        if words != Words::New
            && self.parts.iter().any(|part| matches!(part, Part::Text(text) if text.contains("atan2")))
        {
            // Drops the name and nothing else.
            text = format!("({text} * 1)");
        }
        if self.rule != Rule::Exact && words == Words::Moved {
            *rounded += 1;
            let noise = format!("{rounded}e-15 * (1 + time() % 97)");
            text = format!("({text} * (1 + {noise}) + {noise})");
        }
        text
    }
}
