//! Where a query leaves the part of PromQL that is evaluated here.
//!
//! A walk over the tokens along the small grammar below; the first token that does not fit is the place of a refusal,
//! and what it would begin is the reason. As the language grows this grammar grows with it, and once it is the whole
//! language only its places remain of use.
//!
//! ```text
//! query    := operand [compare operand]        one operand a selector, the other a number
//! operand  := '(' query ')' | '+' operand | '-' number | number | selector
//! selector := name | [name] '{' [matcher {',' matcher}] [','] '}'
//! matcher  := label ('=' | '!=' | '=~' | '!~') string | string
//! ```

use crate::token::{Fault, Kind, Token, is_word_operator};

/// The first token that leaves the grammar, and what it begins. `None` when none does.
pub(crate) fn departure(tokens: &[Token<'_>]) -> Option<Fault> {
    let mut walk = Walk { tokens, next: 0 };
    let result = walk.query().and_then(|shape| match (walk.peek(), shape) {
        (Some(token), _) => Err(leaves(token)),
        (None, Shape::Number) => Err(fault("a number alone", tokens.first())),
        (None, _) => Ok(()),
    });
    result.err()
}

struct Walk<'a> {
    tokens: &'a [Token<'a>],
    next: usize,
}

/// What an expression was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Number,
    Selector,
    Comparison,
}

impl<'a> Walk<'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.next).copied()
    }

    fn take(&mut self) -> Option<Token<'a>> {
        let token = self.peek();
        self.next += usize::from(token.is_some());
        token
    }

    /// What is missing is missing at the last token.
    fn ended(&self) -> Fault {
        fault("an expression that ends here", self.tokens.last())
    }

    /// `operand [compare operand]`
    fn query(&mut self) -> Result<Shape, Fault> {
        let left = self.operand()?;
        let Some(operator) = self.peek().filter(|token| is_comparison(*token)) else {
            return Ok(left);
        };
        self.next += 1;
        if let Some(word) = self.peek().filter(|token| token.is_word("bool")) {
            return Err(fault("the modifier bool", Some(&word)));
        }
        let what = match (left, self.operand()?) {
            (Shape::Selector, Shape::Number) | (Shape::Number, Shape::Selector) => {
                return Ok(Shape::Comparison);
            }
            (Shape::Number, Shape::Number) => "a comparison of two numbers",
            (Shape::Selector, Shape::Selector) => "a comparison of two selectors",
            _ => "a comparison of a comparison",
        };
        Err(fault(what, Some(&operator)))
    }

    /// `'(' query ')' | '+' operand | '-' number | number | selector`
    fn operand(&mut self) -> Result<Shape, Fault> {
        let Some(token) = self.take() else { return Err(self.ended()) };
        match (token.kind, token.text) {
            (Kind::Open, "(") => {
                let shape = self.query()?;
                match self.take() {
                    Some(token) if token.kind == Kind::Close => Ok(shape),
                    Some(token) => Err(leaves(token)),
                    None => Err(self.ended()),
                }
            }
            (Kind::Sign, "+") => self.operand(), // means nothing, on a selector either
            (Kind::Sign, "-") => match self.operand()? {
                Shape::Number => Ok(Shape::Number),
                _ => Err(fault("a minus before a selector", Some(&token))),
            },
            (Kind::Number, _) => Ok(Shape::Number),
            (Kind::Word, _) if token.is_word("inf") || token.is_word("nan") => Ok(Shape::Number),
            (Kind::Word, _) => self.named(token),
            (Kind::Open, "{") => self.braces(),
            (Kind::Text, _) => Err(fault("a string", Some(&token))),
            _ => Err(leaves(token)),
        }
    }

    /// After a word: a name with or without braces, or a function, or an aggregation.
    fn named(&mut self, word: Token<'a>) -> Result<Shape, Fault> {
        let Some(next) = self.peek() else { return Ok(Shape::Selector) };
        if next.kind == Kind::Open && next.text == "(" {
            return Err(fault(&format!("{}()", word.text), Some(&word)));
        }
        if next.is_word("by") || next.is_word("without") {
            return Err(fault(&format!("{} {}", word.text, next.text), Some(&word)));
        }
        if next.kind == Kind::Open && next.text == "{" {
            self.next += 1;
            return self.braces();
        }
        Ok(Shape::Selector)
    }

    /// After `{`: matchers and `}`.
    fn braces(&mut self) -> Result<Shape, Fault> {
        loop {
            let Some(label) = self.take() else { return Err(self.ended()) };
            match label.kind {
                Kind::Close => return Ok(Shape::Selector),
                Kind::Word | Kind::Text => {}
                _ => return Err(leaves(label)),
            }
            let Some(after) = self.take() else { return Err(self.ended()) };
            let after = match after.text {
                "=" | "!=" | "=~" | "!~" if after.kind == Kind::Sign => {
                    match self.take() {
                        Some(value) if value.kind == Kind::Text => {}
                        Some(value) => return Err(leaves(value)),
                        None => return Err(self.ended()),
                    }
                    self.take()
                }
                _ if label.kind == Kind::Word => return Err(leaves(after)),
                _ => Some(after),
            };
            match after {
                Some(token) if token.kind == Kind::Close => return Ok(Shape::Selector),
                Some(token) if token.kind == Kind::Sign && token.text == "," => {}
                Some(token) if token.is_word("or") => {
                    return Err(fault("'or' between matchers", Some(&token)));
                }
                Some(token) => return Err(leaves(token)),
                None => return Err(self.ended()),
            }
        }
    }
}

/// Names what `token` would begin where nothing more is expected.
fn leaves(token: Token<'_>) -> Fault {
    let what = match (token.kind, token.text.to_ascii_lowercase().as_str()) {
        (Kind::Open, "[") => "a range selector".to_owned(),
        (Kind::Word, "offset") => "the modifier offset".to_owned(),
        (Kind::Sign, "@") => "the modifier @".to_owned(),
        _ if is_comparison(token) => "a second comparison".to_owned(),
        (Kind::Sign, "+" | "-" | "*" | "/" | "%" | "^") => format!("the operator {}", token.text),
        (Kind::Word, word) if is_word_operator(word) => format!("the operator {word}"),
        _ => format!("{} here", token.text),
    };
    fault(&what, Some(&token))
}

fn fault(what: &str, at: Option<&Token<'_>>) -> Fault {
    Fault { message: what.to_owned(), at: at.map_or(0, |token| token.start) }
}

fn is_comparison(token: Token<'_>) -> bool {
    token.kind == Kind::Sign && matches!(token.text, "==" | "!=" | ">" | ">=" | "<" | "<=")
}
