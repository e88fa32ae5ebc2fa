//! `/api/agents/{id}/ledger`.

use super::house::{House, START};
use crate::store::{BatchRow, Store, ToldGap};
use proto::message::Position;
use proto::sample::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const CLINIC: Uuid = Uuid::from_u128(0xc1);

/// So many minutes after the start.
fn minute(minutes: u64) -> Timestamp {
    START + Duration::from_secs(60 * minutes)
}

fn clock(minutes: u64) -> String {
    format!("2026-11-24T00:{minutes:02}:00Z")
}

/// A batch of an agent: samples of one minute, or a gap.
fn batch(agent_id: Uuid, seq: u64, at: u64, gap: Option<(u64, &'static str)>) -> BatchRow {
    let gaps = gap.map(|(first_seq, reason)| ToldGap { first_seq, last_seq: seq, reason });
    BatchRow {
        agent_id,
        position: Position { epoch: 14, seq },
        received_at: minute(at),
        payload: Vec::new(),
        schemas: Vec::new(),
        digest: gap.is_none().then_some(seq),
        sampled: gap.is_none().then_some((minute(at), minute(at))),
        gaps: gaps.into_iter().collect(),
        events: Vec::new(),
        service: "agenda".into(),
    }
}

/// Complete from minute 0 to 1, 4 to 5, and from 9 to 10; three records missing in between, and nothing since.
async fn with_gaps() -> (House, Uuid) {
    let house = House::open().await;
    let agent = house.agent("agenda", Some(CLINIC));
    house.save(agent).await;
    let store: &Arc<dyn Store> = &house.pages.store;
    let rows = [
        batch(agent, 1, 0, None),
        batch(agent, 2, 1, None),
        batch(agent, 4, 3, Some((3, "spool_full"))),
        batch(agent, 5, 4, None),
        batch(agent, 6, 5, None),
        batch(agent, 8, 9, None),
        batch(agent, 9, 10, None),
    ];
    store.commit(&rows).await.expect("it is there");
    house.clock.advance(Duration::from_secs(20 * 60));
    (house, agent)
}

/// State, begin and end of each span.
fn spans(answer: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let spans = answer["spans"].as_array().expect("a list").iter();
    spans.map(|span| (text(&span["state"]), text(&span["from"]), text(&span["until"]))).collect()
}

fn span(state: &str, from: u64, until: Option<u64>) -> (String, String, String) {
    (state.into(), clock(from), until.map_or("-".into(), clock))
}

#[tokio::test]
async fn a_ledger_tells_what_is_complete_what_is_missing_and_why() {
    let (house, agent) = with_gaps().await;
    let answer = house.get(&format!("/api/agents/{agent}/ledger")).await.json();
    let expected = [
        span("complete", 0, Some(1)),
        span("missing", 1, Some(4)),
        span("complete", 4, Some(5)),
        span("missing", 5, Some(9)),
        span("complete", 9, Some(10)),
        span("nothing_since", 10, None),
    ];
    assert_eq!(spans(&answer), expected);
    let missing = json!({
        "state": "missing", "from": clock(1), "until": clock(4), "reason": "spool_full", "records": 2, "first_seq": 3,
        "last_seq": 4, "epoch": "0000000000000000000000000000000e", "noted_at": clock(3),
    });
    assert_eq!(answer["spans"][1], missing);
    assert_eq!(answer["missing_records"], json!({"spool_full": 2, "unexplained": 1}));
    assert_eq!(answer["agent"], json!({"id": agent, "service": "agenda", "instance": "agenda-1", "clinic_id": CLINIC}));
    assert_eq!((&answer["known_since"], &answer["to"]), (&json!(clock(0)), &json!(clock(20))));
    assert_eq!((&answer["complete"], &answer["truncated"]), (&json!(false), &json!(false)));
    assert_eq!(
        (&answer["epochs"][0]["last_seq"], &answer["epochs"][0]["newest_sample_at"]),
        (&json!(9), &json!(clock(10)))
    );
}

#[tokio::test]
async fn a_ledger_is_cut_to_the_time_that_is_asked_for_in_either_way_of_writing_it() {
    let (house, agent) = with_gaps().await;
    let unix = |minutes: u64| minute(minutes).as_seconds();
    for query in [format!("from={}&to={}", clock(2), clock(4)), format!("from={}&to={}", unix(2), unix(4))] {
        let answer = house.get(&format!("/api/agents/{agent}/ledger?{query}")).await.json();
        assert_eq!(spans(&answer), [span("missing", 2, Some(4))], "{query}");
        assert_eq!(answer["missing_records"], json!({"spool_full": 2}));
    }
    let fine = house.get(&format!("/api/agents/{agent}/ledger?from={}&to={}", unix(9) + 0.5, unix(10))).await.json();
    assert_eq!((&fine["complete"], fine["spans"].as_array().map(Vec::len)), (&json!(true), Some(1)));
    let later = house.get(&format!("/api/agents/{agent}/ledger?from={}", clock(15))).await.json();
    assert_eq!(spans(&later), [span("nothing_since", 15, None)]);
}

#[tokio::test]
async fn an_open_gap_has_no_end_and_an_agent_without_a_batch_has_nothing_since_it_is_known() {
    let (house, agent) = with_gaps().await;
    house.pages.store.commit(&[batch(agent, 10, 11, Some((10, "corrupt")))]).await.expect("it is there");
    let answer = house.get(&format!("/api/agents/{agent}/ledger?from={}", clock(10))).await.json();
    assert_eq!(spans(&answer), [span("missing", 10, None), span("nothing_since", 10, None)]);
    let silent = house.agent("fila", None);
    house.save(silent).await;
    let answer = house.get(&format!("/api/agents/{silent}/ledger")).await.json();
    assert_eq!((spans(&answer).len(), &answer["complete"]), (0, &json!(true)), "it is known since just now");
}

#[tokio::test]
async fn more_gaps_than_an_answer_holds_are_cut_and_it_says_so() {
    let (house, agent) = with_gaps().await;
    let rows: Vec<BatchRow> = (0..1_200).map(|n| batch(agent, 11 + 2 * n, 11 + n, None)).collect();
    house.pages.store.commit(&rows).await.expect("it is there");
    house.clock.advance(Duration::from_secs(3_600 * 24));
    let answer = house.get(&format!("/api/agents/{agent}/ledger")).await.json();
    let missing = spans(&answer).iter().filter(|(state, ..)| state == "missing").count();
    assert_eq!((missing, &answer["truncated"]), (1_000, &json!(true)));
    assert_eq!(answer["missing_records"]["unexplained"], 1_201, "all of them");
    assert!(answer["spans_from"].as_str() > Some(&clock(59)), "{}: no spans before it", answer["spans_from"]);
    assert_eq!(answer["from"], json!(clock(0)), "the totals are those of all the time");
}

#[tokio::test]
async fn what_was_cut_is_not_called_complete_where_its_gap_has_no_end() {
    let (house, agent) = with_gaps().await;
    let reason = |n: u64| if n.is_multiple_of(2) { "corrupt" } else { "refused" };
    let gap = |n| batch(agent, 10 + n, 11, Some((10 + n, reason(n))));
    let rows: Vec<BatchRow> = (0..1_100).map(gap).collect();
    house.pages.store.commit(&rows).await.expect("it is there");
    let answer = house.get(&format!("/api/agents/{agent}/ledger")).await.json();
    let complete: Vec<_> = spans(&answer).into_iter().filter(|(state, ..)| state == "complete").collect();
    assert_eq!((complete, &answer["spans_from"]), (vec![], &json!(clock(10))));
}

#[tokio::test]
async fn bad_questions_are_refused_by_name() {
    let (house, agent) = with_gaps().await;
    for (query, error) in [
        (
            "from=yesterday",
            r#"parameter "from" is "yesterday", but must be a time, as 2026-11-24T12:00:00Z or in seconds since 1970"#,
        ),
        (
            "to=1e300",
            r#"parameter "to" is "1e300", but must be a time, as 2026-11-24T12:00:00Z or in seconds since 1970"#,
        ),
        ("from=5&to=4", r#"parameter "from" is "5", but must be a time before `to`"#),
        ("since=5", r#"parameter "since" is not known"#),
        ("clinic_id=1", r#"parameter "clinic_id" is "1", but must be a UUID"#),
    ] {
        let answer = house.get(&format!("/api/agents/{agent}/ledger?{query}")).await;
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!(error)), "{query}");
    }
    let other = Uuid::from_u128(0xc2);
    for path in [
        "/api/agents/x/ledger".to_owned(),
        format!("/api/agents/{}/ledger", Uuid::from_u128(77)),
        format!("/api/agents/{agent}/ledger?clinic_id={other}"),
    ] {
        assert_eq!(house.get(&path).await.status, 404, "{path}");
    }
    assert_eq!(house.get(&format!("/api/agents/{agent}/ledger?clinic_id={CLINIC}")).await.status, 200);
    house.pages.store.close().await;
    assert_eq!(house.get(&format!("/api/agents/{agent}/ledger")).await.status, 503);
}
