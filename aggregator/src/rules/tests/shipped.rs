//! What the rules that we ship do with what agents say.

use super::desk::Desk;

const RULES: &str = include_str!("../../../../config/rules.yaml");

/// What is told when agent 1's clock is off by so much for two minutes: name, severity and summary.
async fn told_of_a_clock_off_by(millis: i64) -> Vec<[String; 3]> {
    let mut desk = Desk::new(RULES).await;
    desk.tell_clock(millis, true);
    for _ in 0..120 {
        desk.live.sweep();
        desk.see(10.0).await;
    }
    let outbox = desk.outbox().await;
    let text = |body: &serde_json::Value, path: &str| body.pointer(path).and_then(|v| v.as_str()).map(String::from);
    let paths = ["/alerts/0/labels/alertname", "/alerts/0/labels/severity", "/alerts/0/annotations/summary"];
    outbox.iter().map(|row| paths.map(|path| text(&row.body, path).expect("it is there"))).collect()
}

#[tokio::test]
async fn a_clock_that_is_off_by_more_than_five_seconds_is_told_of_and_one_that_is_not_is_not() {
    let skew = ["AgentClockSkew", "warning", "Relógio errado em agenda-1"].map(String::from);
    for (millis, told) in [(6_000, 1), (-6_000, 1), (-3_600_000, 1), (4_000, 0), (-4_000, 0), (1_000, 0)] {
        assert_eq!(told_of_a_clock_off_by(millis).await, vec![skew.clone(); told], "{millis} ms");
    }
}
