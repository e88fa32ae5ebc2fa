//! Answers as JSON, written piece by piece: a large one is on its way before its end is written, and its text is never
//! whole in memory.
//!
//! Times are seconds with three decimals or none, values are texts (JSON has no NaN and no infinity), and nothing is
//! `null`: prometheus `web/api/v1/json_codec.go`.

use crate::http::latest::number;
use promql::{Answer, LabelSet, Line, Point, Value};
use proto::exposition::push_float;
use proto::sample::Timestamp;
use serde_json::json;
use std::fmt::Write;
use std::vec;

/// Bytes after which a piece is handed on.
const PIECE_BYTES: usize = 64 * 1024;

/// An answer on its way out; gives its envelope in pieces.
pub(in crate::http) struct Pieces {
    state: State,
    rest: Rest,
    /// What follows the data: the notes, and the end of the envelope.
    tail: String,
}

/// What of the answer is not written yet.
enum Rest {
    Points(vec::IntoIter<Point>),
    Lines(vec::IntoIter<Line>),
    /// Points of a line that has begun, and the lines after it.
    Line(vec::IntoIter<(Timestamp, f64)>, vec::IntoIter<Line>),
    Nothing,
}

enum State {
    /// What begins the envelope.
    Head(String),
    /// Whether an element was written: then a comma comes before the next.
    Body {
        is_first: bool,
    },
    Done,
}

// === impl Pieces ===

impl Pieces {
    /// The envelope of an answer.
    pub(in crate::http) fn of(answer: Answer) -> Self {
        let mut head = r#"{"status":"success","data":{"resultType":""#.to_owned();
        let (kind, rest) = match answer.value {
            Value::Scalar(at, value) => ("scalar", scalar(at, &number(value))),
            Value::Text(at, text) => ("string", scalar(at, &text)),
            Value::Vector(points) => ("vector", (String::from("["), Rest::Points(points.into_iter()), "]")),
            Value::Matrix(lines) => ("matrix", (String::from("["), Rest::Lines(lines.into_iter()), "]")),
        };
        let (begin, rest, end) = rest;
        let _ = write!(head, r#"{kind}","result":{begin}"#);
        let mut tail = format!("{end}}}");
        for (name, notes) in [("warnings", answer.notes.warnings), ("infos", answer.notes.infos)] {
            if !notes.is_empty() {
                let _ = write!(tail, r#","{name}":{}"#, json!(notes));
            }
        }
        tail.push('}');
        Self { state: State::Head(head), rest, tail }
    }
}

impl Iterator for Pieces {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let (mut piece, mut is_first) = match std::mem::replace(&mut self.state, State::Done) {
            State::Head(head) => (head, true),
            State::Body { is_first } => (String::with_capacity(PIECE_BYTES + PIECE_BYTES / 4), is_first),
            State::Done => return None,
        };
        while piece.len() < PIECE_BYTES {
            let comma = if is_first { "" } else { "," };
            self.rest = match std::mem::replace(&mut self.rest, Rest::Nothing) {
                Rest::Points(mut points) => match points.next() {
                    Some(point) => {
                        push_point(&mut piece, comma, &point);
                        Rest::Points(points)
                    }
                    None => Rest::Nothing,
                },
                Rest::Lines(mut lines) => match lines.next() {
                    Some(line) => {
                        let _ = write!(piece, r#"{comma}{{"metric":"#);
                        push_labels(&mut piece, &line.labels);
                        piece.push_str(r#","values":["#);
                        is_first = true;
                        self.rest = Rest::Line(line.points.into_iter(), lines);
                        continue;
                    }
                    None => Rest::Nothing,
                },
                Rest::Line(mut points, lines) => {
                    if let Some((at, value)) = points.next() {
                        piece.push_str(comma);
                        push_pair(&mut piece, at, value);
                        Rest::Line(points, lines)
                    } else {
                        piece.push_str("]}");
                        Rest::Lines(lines)
                    }
                }
                Rest::Nothing => {
                    piece.push_str(&self.tail);
                    return Some(piece);
                }
            };
            is_first = false;
        }
        self.state = State::Body { is_first };
        Some(piece)
    }
}

/// `[time, "text"]` where a vector would have its elements.
fn scalar(at: Timestamp, text: &str) -> (String, Rest, &'static str) {
    let mut pair = String::from("[");
    push_time(&mut pair, at);
    let _ = write!(pair, ",{}]", json!(text));
    (pair, Rest::Nothing, "")
}

fn push_point(piece: &mut String, comma: &str, point: &Point) {
    let _ = write!(piece, r#"{comma}{{"metric":"#);
    push_labels(piece, &point.labels);
    piece.push_str(r#","value":"#);
    push_pair(piece, point.at, point.value);
    piece.push('}');
}

/// `{"name":"value",…}`
pub(in crate::http) fn push_labels(piece: &mut String, labels: &LabelSet) {
    piece.push('{');
    for (index, (name, value)) in labels.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(piece, "{comma}{}:{}", json!(name), json!(value));
    }
    piece.push('}');
}

fn push_pair(piece: &mut String, at: Timestamp, value: f64) {
    piece.push('[');
    push_time(piece, at);
    piece.push_str(",\"");
    push_float(piece, value);
    piece.push_str("\"]");
}

/// Seconds, with the milliseconds as three decimals where there are any.
fn push_time(piece: &mut String, at: Timestamp) {
    let millis = at.as_millis();
    let sign = if millis < 0 { "-" } else { "" };
    let (seconds, rest) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
    let _ = write!(piece, "{sign}{seconds}");
    if rest > 0 {
        let _ = write!(piece, ".{rest:03}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promql::Notes;

    fn answer(value: Value) -> Answer {
        Answer { value, notes: Notes::default(), samples: 0 }
    }

    fn written(answer: Answer) -> String {
        Pieces::of(answer).collect()
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn each_type_is_written_as_prometheus_writes_it() {
        let labels = LabelSet::from_pairs([("__name__", "up"), ("instance", "m-\"1\"\n")]);
        let point = Point { labels: labels.clone(), at: at(1_795_442_590_123), value: 1.0 };
        let line =
            Line { labels, points: vec![(at(1_000), 0.5), (at(-1_500), f64::NAN), (at(2_001), f64::NEG_INFINITY)] };
        for (value, wanted) in [
            (Value::Scalar(at(4_000), 2.0), r#"{"resultType":"scalar","result":[4,"2"]}"#),
            (Value::Text(at(4_000), "é\"".into()), r#"{"resultType":"string","result":[4,"é\""]}"#),
            (Value::Vector(vec![]), r#"{"resultType":"vector","result":[]}"#),
            (
                Value::Vector(vec![point.clone(), point]),
                r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","instance":"m-\"1\"\n"},"value":[1795442590.123,"1"]},{"metric":{"__name__":"up","instance":"m-\"1\"\n"},"value":[1795442590.123,"1"]}]}"#,
            ),
            (
                Value::Matrix(vec![line]),
                r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up","instance":"m-\"1\"\n"},"values":[[1,"0.5"],[-1.500,"NaN"],[2.001,"-Inf"]]}]}"#,
            ),
        ] {
            assert_eq!(written(answer(value)), format!(r#"{{"status":"success","data":{wanted}}}"#));
        }
    }

    #[test]
    fn notes_follow_the_data() {
        let mut told = answer(Value::Matrix(vec![]));
        told.notes.warnings.insert("careful".into());
        told.notes.infos.insert("by the way".into());
        let wanted = r#"{"status":"success","data":{"resultType":"matrix","result":[]},"warnings":["careful"],"infos":["by the way"]}"#;
        assert_eq!(written(told), wanted);
    }

    #[test]
    fn a_large_answer_comes_in_pieces_that_are_one_json() {
        let labels = LabelSet::from_pairs([("a", "b")]);
        let points = (0..10_000).map(|index| (at(index * 15_000), 1.0 / index as f64)).collect();
        let line = Line { labels, points };
        let pieces: Vec<String> = Pieces::of(answer(Value::Matrix(vec![line; 3]))).collect();
        assert!(pieces.len() > 10 && pieces.iter().all(|piece| piece.len() < PIECE_BYTES + 100), "{}", pieces.len());
        let whole: serde_json::Value = serde_json::from_str(&pieces.concat()).expect("JSON");
        assert_eq!(whole["data"]["result"].as_array().map(Vec::len), Some(3));
        assert_eq!(whole["data"]["result"][2]["values"][9_999][0], 149_985.0);
    }
}
