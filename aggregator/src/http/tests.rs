//! The pages as a client sees them: a real server on a free port, a real SQLite, a clock that stands still.

mod api;
mod exposition;
mod federate;
pub(super) mod house;
mod ledger;
mod probes;
mod prometheus;
pub(super) mod reader;

use house::House;

#[tokio::test]
async fn every_path_of_the_index_answers_and_every_answer_carries_the_headers() {
    let house = House::open().await;
    let agent = house.agent("agenda", None);
    house.reports(agent, &[("cpu", &[], 1.0)]);
    let index = house.get("/").await.text;
    let paths: Vec<&str> =
        index.lines().filter_map(|line| line.split_whitespace().next()).filter(|word| word.starts_with('/')).collect();
    // The ledger is read from the database.
    house.save(agent).await;
    assert_eq!(paths.len(), 12, "{index}");
    for path in paths {
        let answer = house.get(&path.replace("{id}", &agent.to_string())).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        for (header, value) in [("x-content-type-options", "nosniff"), ("cache-control", "no-store")] {
            assert_eq!(answer.header(header), value, "{path}");
        }
    }
}

#[tokio::test]
async fn an_unknown_path_is_404_and_a_method_that_writes_is_405_both_as_json() {
    let house = House::open().await;
    for path in ["/nothing", "/api/nothing", "/agents/x", "/api/agents/"] {
        let answer = house.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.json()["error"].as_str().is_some_and(|text| text.contains(path)), "{}", answer.text);
    }
    for path in ["/metrics", "/api/agents", "/healthz"] {
        let answer = house.send(house.client.post(house.url(path))).await;
        assert_eq!(answer.status, 405, "{path}");
        assert_eq!(answer.header("allow"), "GET,HEAD", "{path}");
    }
    let answer = house.send(house.client.delete(house.url("/api/alerts"))).await;
    assert_eq!(answer.json()["what_to_do"], "use GET or HEAD");
}

#[tokio::test]
async fn head_answers_as_get_does_without_the_body() {
    let house = House::open().await;
    for path in ["/metrics", "/api/agents", "/healthz", "/sd"] {
        let answer = house.send(house.client.head(house.url(path))).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, ""), "{path}");
        assert_eq!(answer.header("content-type"), house.get(path).await.header("content-type"), "{path}");
    }
}

#[tokio::test]
async fn the_server_ends_when_it_is_told_to_although_a_client_says_nothing() {
    let house = House::open().await;
    let mut silent = tokio::net::TcpStream::connect(house.address).await.expect("the server listens");
    tokio::io::AsyncWriteExt::write_all(&mut silent, b"GET /metr").await.expect("half a request is sent");
    house.get("/healthz").await;
    tokio::time::timeout(super::DRAIN_MAX * 5, house.close()).await.expect("the server ends by itself");
    let mut rest = Vec::new();
    // Closed or reset: either way it does not hang.
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut rest).await;
}
