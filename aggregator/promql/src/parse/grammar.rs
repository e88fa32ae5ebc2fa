//! Tokens to a tree: operands, what stands behind them, and operators by their precedence.
//!
//! ```text
//! expression := operand {operator [modifiers] operand}
//! operand    := {'+' | '-'} primary {'[' range ']' | 'offset' duration | '@' time}
//! primary    := number | string | '(' expression ')' | selector | function '(' … ')' | aggregation …
//! ```
//! From the loosest: `or`; `and unless`; comparisons; `+ -`; `* / % atan2` and a sign; `^`. All group to the left but `^`.
//!
//! Operators wait on a stack of their own, so that only brackets nest calls here; their depth is bounded by the tokens, and
//! how many operators wait at a time by [`DEPTH_MAX`] too. So a tree is deep only where a chain groups to the left.
//! Types are checked afterwards, by `check`, but for one case: a range behind a range is refused at once, since such
//! a chain would nest the tree without a bracket or an operator.

use super::literal;
use crate::DEPTH_MAX;
use crate::expr::{
    AggregateOp, BinaryOp, Card, EXPERIMENTAL_AGGREGATIONS, Expr, Grouping, Kind as Given, Matching, Node, Span,
};
use crate::function::{EXPERIMENTAL, Function};
use crate::token::{Fault, Kind, Token};

/// Words that are no metric's name where an expression begins.
const NO_METRIC: [&str; 6] = ["bool", "on", "ignoring", "group_left", "group_right", "atan2"];

/// Modifiers of an operator that a default Prometheus does not have.
const FILLS: [&str; 3] = ["fill", "fill_left", "fill_right"];

/// Reads tokens from the left to the right.
pub(super) struct Parser<'a> {
    tokens: &'a [Token<'a>],
    next: usize,
    /// Regexes met so far.
    pub regexes: usize,
    /// Operators that wait, those around the innermost bracket included.
    waiting: usize,
}

/// An operator whose right side is not complete.
enum Waiting {
    Sign { negates: bool, at: Span },
    Binary { op: BinaryOp, returns_bool: bool, matching: Matching },
}

/// Parses all of the tokens, of which the last is the end.
pub(super) fn tree(tokens: &[Token<'_>]) -> Result<Expr, Fault> {
    let mut parser = Parser { tokens, next: 0, regexes: 0, waiting: 0 };
    if parser.peek().kind == Kind::End {
        return Err(Fault::new("no expression found in input", 0));
    }
    let expr = parser.expression()?;
    match parser.peek() {
        token if token.kind == Kind::End => Ok(expr),
        token => Err(unexpected(token, "", "")),
    }
}

// === impl Parser ===

impl<'a> Parser<'a> {
    /// The token that comes; the end stays.
    pub fn peek(&self) -> &'a Token<'a> {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> &'a Token<'a> {
        let last = self.tokens.len().saturating_sub(1);
        &self.tokens[(self.next + ahead).min(last)]
    }

    pub fn take(&mut self) -> &'a Token<'a> {
        let token = self.peek();
        self.next += 1;
        token
    }

    /// Takes the bracket or sign `text` if it comes.
    pub fn takes(&mut self, text: &str) -> bool {
        let comes = self.peek().is(text);
        self.next += usize::from(comes);
        comes
    }

    /// Takes the keyword `word` if it comes.
    fn takes_word(&mut self, word: &str) -> bool {
        let comes = self.peek().is_word(word);
        self.next += usize::from(comes);
        comes
    }

    pub fn expect(&mut self, text: &str, context: &str, expected: &str) -> Result<(), Fault> {
        if self.takes(text) { Ok(()) } else { Err(unexpected(self.peek(), context, expected)) }
    }

    /// From `start` to the end of the last token that was taken.
    pub fn span_from(&self, start: usize) -> Span {
        let last = self.next.checked_sub(1).and_then(|last| self.tokens.get(last));
        Span { start, end: last.map_or(start, Token::end) }
    }

    fn expression(&mut self) -> Result<Expr, Fault> {
        let (mut operands, mut waiting) = (Vec::new(), Vec::new());
        loop {
            while self.peek().is("+") || self.peek().is("-") {
                self.waits()?;
                let sign = self.take();
                waiting.push(Waiting::Sign { negates: sign.text == "-", at: span(sign) });
            }
            let operand = self.operand()?;
            operands.push((operand.kind(), operand));
            let Some(op) = self.operator() else { break };
            while waiting.last().is_some_and(|before| before.binds_before(op)) {
                complete(&mut operands, &mut waiting);
                self.waiting -= 1;
            }
            self.waits()?;
            waiting.push(self.modified(op)?);
        }
        self.waiting -= waiting.len();
        while !waiting.is_empty() {
            complete(&mut operands, &mut waiting);
        }
        let whole = operands.pop().expect("each operator takes as many operands as it was given");
        Ok(whole.1)
    }

    /// One more operator waits.
    fn waits(&mut self) -> Result<(), Fault> {
        self.waiting += 1;
        if self.waiting > DEPTH_MAX {
            return Err(Fault::new(format!("operators nest deeper than {DEPTH_MAX}"), self.peek().start));
        }
        Ok(())
    }

    fn operator(&mut self) -> Option<BinaryOp> {
        let token = self.peek();
        let op = match token.kind {
            Kind::Sign | Kind::Word => BinaryOp::written(token.text)?,
            _ => return None,
        };
        self.next += 1;
        Some(op)
    }

    /// The operator with what modifies it: `bool`, `on`, `ignoring`, `group_left`, `group_right`.
    fn modified(&mut self, op: BinaryOp) -> Result<Waiting, Fault> {
        let returns_bool = self.takes_word("bool");
        let mut matching = Matching::default();
        let is_on = self.takes_word("on");
        if is_on || self.takes_word("ignoring") {
            matching.is_on = is_on;
            matching.labels = self.labels()?;
            let is_left = self.takes_word("group_left");
            if is_left || self.takes_word("group_right") {
                matching.card = if is_left { Card::ManyToOne } else { Card::OneToMany };
                if self.peek().is("(") {
                    matching.include = self.labels()?;
                }
            }
        }
        let token = self.peek();
        if FILLS.iter().any(|fill| token.is_word(fill)) && self.peek_at(1).is("(") {
            return Err(Fault::new("binop fill modifiers are experimental and not enabled", token.start));
        }
        Ok(Waiting::Binary { op, returns_bool, matching })
    }

    /// `(a, "b.c",)`
    fn labels(&mut self) -> Result<Vec<String>, Fault> {
        let context = "grouping opts";
        self.expect("(", context, "\"(\"")?;
        let mut labels = Vec::new();
        while !self.takes(")") {
            let token = self.peek();
            let label = match token.kind {
                Kind::Word => token.text.to_owned(),
                Kind::Text => literal::string(token)?,
                _ => return Err(unexpected(token, context, "label")),
            };
            if label.is_empty() {
                return Err(Fault::new("invalid label name for grouping: \"\"", token.start));
            }
            self.next += 1;
            labels.push(label);
            if !self.peek().is(")") {
                self.expect(",", context, "\",\" or \")\"")?;
            }
        }
        Ok(labels)
    }

    fn operand(&mut self) -> Result<Expr, Fault> {
        let mut expr = self.primary()?;
        loop {
            let token = self.peek();
            if token.is("[") {
                expr = self.ranged(expr)?;
            } else if token.is("@") {
                self.at(&mut expr)?;
            } else if token.is_word("offset") {
                self.offset(&mut expr)?;
            } else if token.is_word("anchored") || token.is_word("smoothed") {
                let message = format!("{} modifier is experimental and not enabled", token.text.to_lowercase());
                return Err(Fault::new(message, token.start));
            } else {
                return Ok(expr);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        let token = self.peek();
        match token.kind {
            Kind::Number => self.number(),
            Kind::Word if token.is_number_word() => self.number(),
            Kind::Word => self.word(),
            Kind::Text => {
                let text = literal::string(self.take())?;
                Ok(Expr { node: Node::Text(text), span: span(token) })
            }
            Kind::Open if token.text == "(" => {
                self.next += 1;
                let inner = self.expression()?;
                self.expect(")", "", "")?;
                Ok(Expr { node: Node::Paren(Box::new(inner)), span: self.span_from(token.start) })
            }
            Kind::Open if token.text == "{" => self.selector(None),
            _ => Err(unexpected(token, "", "")),
        }
    }

    fn number(&mut self) -> Result<Expr, Fault> {
        let token = self.take();
        let number = literal::number(token)?;
        Ok(Expr { node: Node::Number(number.value, number.notation), span: span(token) })
    }

    /// An aggregation, a call, or a selector.
    fn word(&mut self) -> Result<Expr, Fault> {
        let (word, behind) = (self.peek(), self.peek_at(1));
        if NO_METRIC.iter().any(|keyword| word.is_word(keyword)) {
            return Err(unexpected(word, "", ""));
        }
        if AggregateOp::is_name(word.text) {
            if behind.is("(") || behind.is_word("by") || behind.is_word("without") {
                return self.aggregation();
            }
            let goes_on = BinaryOp::written(behind.text).is_some()
                || ["offset", "anchored", "smoothed"].iter().any(|keyword| behind.is_word(keyword));
            if matches!(behind.kind, Kind::Word | Kind::Number | Kind::Text) && !goes_on {
                return Err(unexpected(behind, "aggregation", ""));
            }
        }
        let is_function = behind.is("(") && !word.text.contains(':') && !is_keyword(word);
        if is_function { self.call() } else { self.selector(Some(word)) }
    }

    fn call(&mut self) -> Result<Expr, Fault> {
        let token = self.take();
        let name = token.text;
        let Some(signature) = Function::named(name) else {
            let message = if EXPERIMENTAL.contains(&name) {
                format!("function {name:?} is not enabled, since it is experimental")
            } else {
                format!("unknown function with name {name:?}")
            };
            return Err(Fault::new(message, token.start));
        };
        let args = self.arguments()?;
        Ok(Expr { node: Node::Call { function: signature.function, args }, span: self.span_from(token.start) })
    }

    /// `(a, b)`
    fn arguments(&mut self) -> Result<Vec<Expr>, Fault> {
        self.expect("(", "", "")?;
        let mut args = Vec::new();
        if self.takes(")") {
            return Ok(args);
        }
        loop {
            args.push(self.expression()?);
            if self.takes(")") {
                return Ok(args);
            }
            let comma = self.peek().start;
            self.expect(",", "", "")?;
            if self.peek().is(")") {
                return Err(Fault::new("trailing commas not allowed in function call args", comma));
            }
        }
    }

    fn aggregation(&mut self) -> Result<Expr, Fault> {
        let token = self.take();
        let before = self.grouping()?;
        if !self.peek().is("(") {
            return Err(unexpected(self.peek(), "aggregation", ""));
        }
        let mut args = self.arguments()?;
        let grouping = match before {
            Some(grouping) => grouping,
            None => self.grouping()?.unwrap_or_default(),
        };
        if args.is_empty() {
            return Err(Fault::new("no arguments for aggregate expression provided", token.start));
        }
        let Some(op) = AggregateOp::named(token.text) else {
            let name = EXPERIMENTAL_AGGREGATIONS.iter().find(|own| token.is_word(own)).unwrap_or(&token.text);
            return Err(Fault::new(format!("{name}() is experimental and not enabled"), token.start));
        };
        let (expected, got) = (1 + usize::from(op.param().is_some()), args.len());
        if got != expected {
            let message =
                format!("wrong number of arguments for aggregate expression provided, expected {expected}, got {got}");
            return Err(Fault::new(message, token.start));
        }
        let inner = args.pop().map(Box::new).expect("it has as many arguments as were counted");
        let param = args.pop().map(Box::new);
        Ok(Expr { node: Node::Aggregate { op, param, inner, grouping }, span: self.span_from(token.start) })
    }

    /// `by (…)` or `without (…)`, if either comes.
    fn grouping(&mut self) -> Result<Option<Grouping>, Fault> {
        let is_without = self.takes_word("without");
        if !is_without && !self.takes_word("by") {
            return Ok(None);
        }
        Ok(Some(Grouping { is_without, labels: self.labels()? }))
    }
}

// === impl Waiting ===

impl Waiting {
    /// Whether its right side is complete where `next` follows.
    fn binds_before(&self, next: BinaryOp) -> bool {
        let own = match self {
            Self::Sign { .. } => precedence(BinaryOp::Mul),
            Self::Binary { op, .. } => precedence(*op),
        };
        own > precedence(next) || (own == precedence(next) && next != BinaryOp::Pow)
    }
}

// === helpers ===

/// `unexpected X in CONTEXT, expected Y`
pub(super) fn unexpected(token: &Token<'_>, context: &str, expected: &str) -> Fault {
    let mut message = format!("unexpected {}", token.describe());
    for (joint, part) in [(" in ", context), (", expected ", expected)] {
        if !part.is_empty() {
            message.push_str(joint);
            message.push_str(part);
        }
    }
    Fault::new(message, token.start)
}

pub(super) fn span(token: &Token<'_>) -> Span {
    Span { start: token.start, end: token.end() }
}

fn precedence(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => 5,
        BinaryOp::Pow => 6,
        _ => 3,
    }
}

/// Gives the last waiting operator its operands. What an operand gives stands beside it: to ask a long chain for it again
/// and again would take its length each time.
fn complete(operands: &mut Vec<(Given, Expr)>, waiting: &mut Vec<Waiting>) {
    const PROOF: &str = "an operator waits only behind its left operand, and is completed behind its right one";
    let (right_kind, right) = operands.pop().expect(PROOF);
    let whole = match waiting.pop().expect(PROOF) {
        Waiting::Sign { negates, at } => (right_kind, signed(negates, at, right)),
        Waiting::Binary { op, returns_bool, matching } => {
            let (left_kind, left) = operands.pop().expect(PROOF);
            let span = left.span.to(right.span);
            let matching = completed(matching, op, left_kind, right_kind);
            let (left, right) = (Box::new(left), Box::new(right));
            let kind =
                if (left_kind, right_kind) == (Given::Scalar, Given::Scalar) { Given::Scalar } else { Given::Vector };
            (kind, Expr { node: Node::Binary { op, left, right, returns_bool, matching }, span })
        }
    };
    operands.push(whole);
}

/// Only vectors are matched, and by set operators many with many. What says too much stays, for `check` to refuse.
fn completed(mut matching: Matching, op: BinaryOp, left: Given, right: Given) -> Option<Matching> {
    if op.is_set() && matching.card == Card::OneToOne {
        matching.card = Card::ManyToMany;
    }
    let are_vectors = (left, right) == (Given::Vector, Given::Vector);
    (are_vectors || !matching.labels.is_empty()).then_some(matching)
}

/// A sign before a number is the number's.
fn signed(negates: bool, at: Span, inner: Expr) -> Expr {
    let span = at.to(inner.span);
    let node = match inner.node {
        Node::Number(value, notation) => Node::Number(if negates { -value } else { value }, notation),
        node => Node::Unary { negates, inner: Box::new(Expr { node, span: inner.span }) },
    };
    Expr { node, span }
}

/// Words that no function is named, so that a bracket behind them is a mistake of its own.
fn is_keyword(word: &Token<'_>) -> bool {
    ["and", "or", "unless", "offset", "by", "without", "anchored", "smoothed"].iter().any(|own| word.is_word(own))
}
