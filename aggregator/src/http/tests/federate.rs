//! `/federate`: what another Prometheus takes from us.

use super::house::{House, START};
use proto::sample::STALE;
use std::time::Duration;

#[tokio::test]
async fn the_newest_samples_come_by_name_with_their_times_and_without_a_kind() {
    let house = House::open().await;
    let agent = house.agent("agenda", None);
    house.reports(agent, &[("b_total", &[("x", "é\"\n")], 1.0), ("a", &[], 2.5), ("gone", &[], STALE)]);
    house.clock.advance(Duration::from_secs(1));
    house.reports(agent, &[("b_total", &[("x", "é\"\n")], 2.0), ("a", &[], f64::INFINITY), ("gone", &[], STALE)]);
    let at = START.as_millis() + 1_000;
    let answer = house.get("/federate?match[]=a&match[]=%7B__name__%3D~%22b.*%7Cgone%22%7D").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    let wanted = format!(
        "# TYPE a untyped\na{{instance=\"agenda-1\",service=\"agenda\"}} +Inf {at}\n\
         # TYPE b_total untyped\nb_total{{instance=\"agenda-1\",service=\"agenda\",x=\"é\\\"\\n\"}} 2 {at}\n"
    );
    assert_eq!(answer.text, wanted);
}

#[tokio::test]
async fn no_selector_is_an_empty_page_and_a_bad_one_is_refused() {
    let house = House::open().await;
    let empty = house.get("/federate").await;
    assert_eq!((empty.status, empty.text.as_str()), (200, ""));
    for selector in ["%7B", "%7Ba%3D~%22.*%22%7D", "sum(a)"] {
        assert_eq!(house.get(&format!("/federate?match[]={selector}")).await.status, 400, "{selector}");
    }
}

#[tokio::test]
async fn what_is_older_than_the_lookback_is_left_out_and_a_series_without_an_instance_gets_an_empty_one() {
    let house = House::open().await;
    let agent = house.agent("agenda", None);
    house.reports(agent, &[("a", &[], 1.0)]);
    house.pages.live.record("rule", START, [("r".into(), 1.0)].into_iter().map(key).collect());
    let recorded = house.get("/federate?match[]=r").await.text;
    assert_eq!(recorded, format!("# TYPE r untyped\nr{{instance=\"\"}} 1 {}\n", START.as_millis()));
    house.clock.advance(Duration::from_secs(301));
    assert_eq!(house.get("/federate?match[]=%7B__name__%3D~%22a%7Cr%22%7D").await.text, "");
}

fn key((name, value): (String, f64)) -> (proto::name::SeriesKey, f64) {
    (proto::name::SeriesKey::try_new(&name, []).expect("a name"), value)
}
