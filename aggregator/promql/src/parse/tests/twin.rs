//! The crate `promql-parser` as a twin: it accepts what we accept, and prints it alike.
//!
//! Where it departs it is not from us alone but from Prometheus 3:
//! - it knows escapes between backquotes;
//! - a plus before an expression is gone from its tree, and so is the check of what it stands before;
//! - a duration prints as its seconds, and infinity without its sign;
//! - `@` with a negative time is the time 0;
//! - it prints how to match where a side is a scalar, and `group_left` without the empty `ignoring` before it.

use super::queries::query;
use super::*;
use proptest::prelude::*;

/// Whether the twin is known to accept or refuse `text` wrongly.
fn departs(text: &str, ours: Result<&Expr, &ParseError>) -> bool {
    let is_plus = |error: &ParseError| error.message.starts_with("unary expression") && text.contains('+');
    text.contains("`\\c`") || ours.is_err_and(is_plus)
}

/// As the twin prints the tree.
fn as_the_twin(expr: &Expr) -> String {
    let mut expr = expr.clone();
    like_the_twin(&mut expr);
    without_groups(&expr.to_string().replace("+Inf", "Inf"))
}

/// Without the modifiers that the twin prints otherwise; how they print is in the table beside the printer.
fn without_groups(printed: &str) -> String {
    let modifiers = regex::Regex::new(r" (on|ignoring) \(\)| group_(left|right) \([^)]*\)").expect("a regex");
    modifiers.replace_all(printed, "").into_owned()
}

fn like_the_twin(expr: &mut Expr) {
    while let Node::Unary { negates: false, inner } = &mut expr.node {
        expr.node = std::mem::replace(&mut inner.node, Node::Text(String::new()));
    }
    let from_zero = |at: &mut Option<At>| {
        if let Some(At::Time(at)) = at {
            *at = (*at).max(Timestamp::ZERO);
        }
    };
    match &mut expr.node {
        Node::Text(_) => {}
        Node::Number(_, notation) => *notation = Notation::Plain,
        Node::Select(selector) | Node::Window { selector, .. } => from_zero(&mut selector.shift.at),
        Node::Subquery { inner, shift, .. } => {
            from_zero(&mut shift.at);
            like_the_twin(inner);
        }
        Node::Unary { inner, .. } | Node::Paren(inner) => like_the_twin(inner),
        Node::Call { args, .. } => args.iter_mut().for_each(like_the_twin),
        Node::Aggregate { param, inner, .. } => {
            if let Some(param) = param {
                like_the_twin(param);
            }
            like_the_twin(inner);
        }
        Node::Binary { left, right, .. } => {
            like_the_twin(left);
            like_the_twin(right);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_twin_accepts_alike_and_prints_alike(text in query()) {
        let (ours, theirs) = (parse_expr(&text), promql_parser::parser::parse(&text));
        match (&ours, theirs) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(as_the_twin(ours), without_groups(&theirs.to_string()), "{}", text),
            (Err(_), Err(_)) => {}
            (ours, _) if departs(&text, ours.as_ref()) => {}
            (Err(ours), Ok(_)) => prop_assert!(false, "only we refuse {}: {}", text, ours),
            (Ok(_), Err(theirs)) => prop_assert!(false, "only the twin refuses {}: {}", text, theirs),
        }
    }
}

#[test]
fn the_twin_departs_as_is_said_of_it() {
    let twin = |text: &str| promql_parser::parser::parse(text).map(|expr| expr.to_string());
    assert!(twin("`\\c`").is_err() && parse_expr("`\\c`").is_ok());
    assert!(twin("+x[5m]").is_ok() && parse_expr("+x[5m]").is_err());
    assert!(twin("1_000").is_err() && parse_expr("1_000").is_ok());
    assert!(twin("{a=\"1\" or b=\"2\"}").is_ok() && parse_expr("{a=\"1\" or b=\"2\"}").is_err());
    assert_eq!(twin("5m").as_deref(), Ok("300"));
    assert_eq!(twin("Inf").as_deref(), Ok("Inf"));
    assert_eq!(twin("x @ -1").as_deref(), Ok("x @ 0.000"));
    assert_eq!(twin("x + on () 1").as_deref(), Ok("x + on () 1"));
    assert_eq!(twin("x + ignoring () group_left (a) y").as_deref(), Ok("x + group_left (a) y"));
}
