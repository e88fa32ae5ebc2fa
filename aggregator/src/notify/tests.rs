//! From the outbox in SQL to a real receiver of HTTP.

use super::*;
use crate::ingest::tests::fixture::{Database, Weather, until};
use crate::meters::Meters;
use crate::store::EvaluationRow;
use proto::sample::Timestamp;
use proto::telemetry::Telemetry;
use runtime::clock::ManualClock;
use runtime::secret::Secret;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use uuid::Uuid;
use wiremock::matchers::{body_partial_json, method};
use wiremock::{Mock, MockServer, ResponseTemplate};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

/// A notifier, its outbox and its receiver.
struct Post {
    database: Database,
    clock: ManualClock,
    receiver: MockServer,
    notifier: Notifier,
    memory: Memory,
    stop: CancellationToken,
    made: u128,
}

impl Post {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (database, clock, receiver) = (Database::new().await, ManualClock::at(START), MockServer::start().await);
        let notifier = notifier(&database, &clock, &receiver);
        Self { database, clock, receiver, notifier, memory: Memory::default(), stop: CancellationToken::new(), made: 0 }
    }

    /// The program ends and starts again.
    async fn restart(&mut self) {
        self.database.reopen().await;
        self.notifier = notifier(&self.database, &self.clock, &self.receiver);
        self.memory = Memory::default();
    }

    /// The receiver answers so, this many times; earlier answers first.
    async fn answers(&self, status: u16, times: u64) {
        self.answers_with(ResponseTemplate::new(status), times).await;
    }

    async fn answers_with(&self, response: ResponseTemplate, times: u64) {
        Mock::given(method("POST")).respond_with(response).up_to_n_times(times).mount(&self.receiver).await;
    }

    /// The receiver answers so to messages about `alert`.
    async fn answers_to(&self, alert: &str, status: u16, times: u64) {
        let about = body_partial_json(json!({"groupKey": alert}));
        let post = Mock::given(method("POST")).and(about).respond_with(ResponseTemplate::new(status));
        post.up_to_n_times(times).mount(&self.receiver).await;
    }

    /// The rules make a message about `alert` that says `text`.
    async fn make(&mut self, alert: &str, text: &str) -> Uuid {
        self.make_for("webhook", alert, text).await
    }

    async fn make_for(&mut self, channel: &str, alert: &str, text: &str) -> Uuid {
        self.made += 1;
        let now = self.clock.wall();
        let row = OutboxRow {
            id: Uuid::from_u128(self.made),
            channel: channel.into(),
            body: json!({"groupKey": alert, "text": text}),
            created_at: now,
            attempts: 0,
            next_attempt_at: now,
        };
        let id = row.id;
        let outbox = vec![row];
        let evaluation =
            EvaluationRow { rule_key: "g/A/0".into(), evaluated_at: now, outbox, ..EvaluationRow::default() };
        self.database.store.save_evaluation(&evaluation).await.expect("it is there");
        id
    }

    async fn round(&mut self) -> Duration {
        self.notifier.round(&mut self.memory, &self.stop).await.expect("it is there")
    }

    /// Lets so much time pass, looking each second.
    async fn after(&mut self, time: Duration) {
        for _ in 0..time.as_secs() {
            self.clock.advance(SECOND);
            self.round().await;
        }
    }

    /// What the receiver got, in order, whatever it answered.
    async fn got(&self) -> Vec<String> {
        let requests = self.receiver.received_requests().await.expect("they are recorded");
        let text = |body: serde_json::Value| body["text"].as_str().expect("a text").to_string();
        requests.iter().map(|request| text(request.body_json().expect("JSON"))).collect()
    }

    /// A header of each request.
    async fn headers(&self, name: &str) -> Vec<String> {
        let requests = self.receiver.received_requests().await.expect("they are recorded");
        requests.iter().map(|r| r.headers[name].to_str().expect("text").to_string()).collect()
    }

    async fn waiting(&self) -> u64 {
        self.database.store.outbox_depth().await.expect("it is there").0
    }

    fn failed(&self, channel: &str, reason: &str) -> u64 {
        self.notifier.meters.failed.with_label_values(&[channel, reason]).get()
    }

    /// Every message that was made has one outcome, or waits; so many have this one.
    async fn finished(&self, outcome: &str) -> u64 {
        let count = |outcome| self.notifier.meters.finished.with_label_values(&[outcome]).get();
        let done: u64 = ["sent", "refused", "given_up", "no_channel", "outbox_full"].map(count).iter().sum();
        assert_eq!(u128::from(done + self.waiting().await), self.made);
        count(outcome)
    }

    fn sent(&self) -> u64 {
        self.notifier.meters.sent.with_label_values(&["webhook"]).get()
    }
}

fn notifier(database: &Database, clock: &ManualClock, receiver: &MockServer) -> Notifier {
    let webhook = Webhook::new("webhook", Secret::new(receiver.uri())).expect("a client");
    Notifier {
        channels: vec![webhook],
        store: database.store(),
        clock: Arc::new(clock.clone()),
        meters: Meters::new(&Telemetry::default(), "sqlite").notify,
        bell: Arc::default(),
        progress: Box::new(|| {}),
    }
}

#[test]
fn waits_grow_to_a_minute_and_a_channels_wish_is_honoured_up_to_five() {
    for attempts in 0..40 {
        assert!(delay_after(attempts, None) <= Duration::from_secs(60));
    }
    assert!(delay_after(0, None) <= Duration::from_secs(1));
    let asked = delay_after(0, Some(Duration::from_secs(20)));
    assert!(asked >= Duration::from_secs(20) && asked <= Duration::from_secs(22));
    let longest = delay_after(0, Some(Duration::from_secs(3600)));
    assert!(longest <= RETRY_AFTER_MAX.mul_f64(1.1) && longest < WAIT_MAX);
}

#[tokio::test]
async fn a_message_is_sent_once_and_recorded() {
    let mut post = Post::new().await;
    post.answers(200, 9).await;
    let id = post.make("A", "fires").await;
    post.clock.advance(Duration::from_millis(250));
    post.round().await;
    post.after(10 * SECOND).await;
    assert_eq!(post.got().await, ["fires"]);
    assert_eq!(post.headers("X-AtendeAI-Delivery").await, [id.to_string()]);
    assert_eq!((post.waiting().await, post.sent()), (0, 1));
    assert_eq!(post.notifier.meters.latency_seconds.get_sample_sum(), 0.25);
    assert_eq!(post.notifier.meters.queue.get(), 0.0);
}

#[tokio::test]
async fn a_message_that_a_receiver_cannot_take_now_is_sent_again_with_the_same_id() {
    let mut post = Post::new().await;
    post.answers(503, 3).await;
    post.answers(200, 9).await;
    let id = post.make("A", "fires").await.to_string();
    post.round().await;
    post.after(60 * SECOND).await;
    assert_eq!(post.headers("X-AtendeAI-Delivery").await, [id.clone(), id.clone(), id.clone(), id]);
    assert_eq!(post.headers("X-AtendeAI-Attempt").await, ["1", "2", "3", "4"]);
    assert_eq!((post.failed("webhook", "server"), post.sent(), post.waiting().await), (3, 1, 0));
}

#[tokio::test]
async fn a_receivers_wish_is_honoured() {
    let mut post = Post::new().await;
    post.answers_with(ResponseTemplate::new(429).insert_header("Retry-After", "20"), 1).await;
    post.answers(200, 9).await;
    post.make("A", "fires").await;
    post.round().await;
    post.after(19 * SECOND).await;
    assert_eq!(post.got().await.len(), 1);
    post.after(4 * SECOND).await;
    assert_eq!(post.got().await.len(), 2);
    assert_eq!(post.failed("webhook", "rate_limited"), 1);
}

#[tokio::test]
async fn who_hears_of_an_alerts_end_has_heard_of_its_beginning() {
    let mut post = Post::new().await;
    post.answers_with(ResponseTemplate::new(503).insert_header("Retry-After", "20"), 1).await;
    post.answers(200, 9).await;
    post.make("A", "fires").await;
    post.round().await;
    post.clock.advance(SECOND);
    post.make("A", "is over").await;
    post.after(10 * SECOND).await;
    assert_eq!(post.got().await, ["fires"], "its end waits behind it");
    post.after(20 * SECOND).await;
    assert_eq!(post.got().await, ["fires", "fires", "is over"]);
    assert_eq!(post.headers("X-AtendeAI-Attempt").await, ["1", "2", "1"], "waiting is no attempt");
}

#[tokio::test]
async fn the_order_survives_a_restart() {
    let mut post = Post::new().await;
    post.answers_with(ResponseTemplate::new(503).insert_header("Retry-After", "20"), 1).await;
    post.answers(200, 9).await;
    post.make("A", "fires").await;
    post.round().await;
    post.restart().await;
    post.clock.advance(SECOND);
    post.make("A", "is over").await;
    post.after(30 * SECOND).await;
    assert_eq!(post.got().await, ["fires", "fires", "is over"]);
}

#[tokio::test]
async fn one_alerts_trouble_does_not_hold_up_another() {
    let mut post = Post::new().await;
    post.answers_to("A", 503, 1_000).await;
    post.answers(200, 9).await;
    for _ in 0..=BATCH {
        post.make("A", "fires").await;
    }
    post.make("B", "fires too").await;
    post.round().await;
    assert!(post.got().await.contains(&"fires too".to_string()));
    assert_eq!(post.sent(), 1);
}

#[tokio::test]
async fn many_messages_are_sent_in_the_order_in_which_they_were_made() {
    let mut post = Post::new().await;
    post.answers(200, 1_000).await;
    let texts: Vec<String> = (0..3 * BATCH).map(|n| n.to_string()).collect();
    for text in &texts {
        post.make("A", text).await;
    }
    post.round().await;
    assert_eq!(post.got().await, texts);
}

#[tokio::test]
async fn a_message_that_is_refused_is_not_sent_again_and_holds_up_nothing() {
    let mut post = Post::new().await;
    post.answers(400, 1).await;
    post.answers(200, 9).await;
    post.make("A", "fires").await;
    post.make("A", "is over").await;
    post.round().await;
    post.after(60 * SECOND).await;
    assert_eq!(post.got().await, ["fires", "is over"]);
    assert_eq!((post.failed("webhook", "client"), post.sent(), post.waiting().await), (1, 1, 0));
    assert_eq!((post.finished("refused").await, post.finished("sent").await), (1, 1));
}

#[tokio::test]
async fn a_message_for_a_channel_that_is_gone_is_dropped_and_counted() {
    let mut post = Post::new().await;
    post.answers(200, 9).await;
    post.make_for("pager", "A", "fires").await;
    post.make("A", "fires").await;
    post.round().await;
    assert_eq!((post.failed("unknown", "no_channel"), post.sent(), post.waiting().await), (1, 1, 0));
    assert_eq!(post.finished("no_channel").await, 1);
}

#[tokio::test]
async fn after_a_day_and_many_attempts_a_message_is_given_up_and_the_next_one_is_tried() {
    let mut post = Post::new().await;
    post.answers(503, GIVE_UP_ATTEMPTS.into()).await;
    post.answers(200, 9).await;
    post.make("A", "old").await;
    for _ in 1..GIVE_UP_ATTEMPTS {
        post.round().await;
        assert_eq!(post.failed("webhook", "given_up"), 0, "it was not tried often enough");
        post.clock.advance(GIVE_UP / 2);
    }
    post.make("A", "new").await;
    post.round().await;
    assert_eq!(post.got().await[99..], ["old", "new"]);
    assert_eq!((post.sent(), post.waiting().await), (1, 0));
    assert_eq!((post.failed("webhook", "server"), post.failed("webhook", "given_up")), (100, 1));
    assert_eq!(post.finished("given_up").await, 1);
}

#[tokio::test]
async fn a_clock_that_is_set_forward_gives_no_message_up() {
    let mut post = Post::new().await;
    post.answers(503, 3).await;
    post.answers(200, 9).await;
    post.make("A", "fires").await;
    post.round().await;
    post.clock.jump_to(Timestamp::from_millis(4_102_444_800_000));
    post.after(3 * WAIT_MAX).await;
    assert_eq!((post.sent(), post.waiting().await, post.failed("webhook", "given_up")), (1, 0, 0));
}

#[tokio::test]
async fn what_waits_survives_a_restart() {
    let mut post = Post::new().await;
    post.answers(200, 9).await;
    let id = post.make("A", "fires").await;
    post.restart().await;
    post.round().await;
    assert_eq!(post.headers("X-AtendeAI-Delivery").await, [id.to_string()]);
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_hold_up_what_waits() {
    let mut post = Post::new().await;
    post.answers(503, 1).await;
    post.answers(200, 9).await;
    post.make("A", "put off").await;
    post.round().await;
    post.make("B", "new").await;
    post.clock.jump_to(START - 3600 * SECOND);
    post.after(3 * SECOND).await;
    assert_eq!((post.sent(), post.waiting().await), (2, 0));
}

/// The database goes away while the receiver, who answers `status`, reads the first message.
async fn unrecorded(status: u16) -> (Post, String) {
    let mut post = Post::new().await;
    post.answers_with(ResponseTemplate::new(status).set_delay(Duration::from_millis(20)), 1).await;
    post.answers(200, 9).await;
    let id = post.make("A", "fires").await.to_string();
    post.make("B", "fires too").await;
    let store = post.database.store.clone();
    let receiver = async {
        while post.receiver.received_requests().await.is_none_or(|requests| requests.is_empty()) {
            tokio::task::yield_now().await;
        }
        store.turn(Weather::Away);
    };
    let (round, ()) = tokio::join!(post.notifier.round(&mut post.memory, &post.stop), receiver);
    assert!(round.is_err());
    for _ in 0..3 {
        assert!(post.notifier.round(&mut post.memory, &post.stop).await.is_err(), "nothing before the record");
    }
    assert_eq!(post.got().await, ["fires"]);
    assert_eq!((post.finished("sent").await, post.finished("refused").await), (0, 0), "it waits until it is recorded");
    (post, id)
}

#[tokio::test]
async fn a_message_that_was_accepted_is_not_sent_again_because_that_could_not_be_recorded() {
    let (mut post, _) = unrecorded(200).await;
    post.database.store.turn(Weather::Fine);
    post.round().await;
    post.after(10 * SECOND).await;
    assert_eq!(post.got().await, ["fires", "fires too"]);
    assert_eq!((post.sent(), post.waiting().await), (2, 0));
}

#[tokio::test]
async fn nor_is_one_that_was_refused() {
    let (mut post, _) = unrecorded(400).await;
    post.database.store.turn(Weather::Fine);
    post.round().await;
    assert_eq!(post.got().await, ["fires", "fires too"]);
    assert_eq!((post.failed("webhook", "client"), post.waiting().await), (1, 0));
}

#[tokio::test]
async fn one_that_was_put_off_waits_although_that_could_not_be_recorded() {
    let (mut post, id) = unrecorded(503).await;
    post.database.store.turn(Weather::Fine);
    post.after(10 * SECOND).await;
    assert_eq!(post.sent(), 2);
    assert_eq!(post.headers("X-AtendeAI-Delivery").await.iter().filter(|sent| **sent == id).count(), 2);
}

#[tokio::test]
async fn a_kill_before_the_record_sends_it_again_as_the_same() {
    let (mut post, id) = unrecorded(200).await;
    post.restart().await;
    post.round().await;
    let sent = post.headers("X-AtendeAI-Delivery").await;
    assert_eq!((&sent[0], &sent[1]), (&id, &id));
    assert_eq!(post.waiting().await, 0);
}

#[tokio::test]
async fn the_end_waits_for_the_message_under_way_and_not_for_the_backlog() {
    let mut post = Post::new().await;
    post.answers(200, 1_000).await;
    for n in 0..3 * BATCH {
        post.make("A", &n.to_string()).await;
    }
    let stop = post.stop.clone();
    post.notifier.progress = Box::new(move || stop.cancel());
    post.round().await;
    assert_eq!(post.got().await, ["0"], "it was told to end while it sent this one");
    assert_eq!(post.waiting().await, u64::from(3 * BATCH - 1));
}

#[tokio::test]
async fn an_end_that_was_made_while_the_clock_was_set_back_does_not_overtake_its_beginning() {
    let mut post = Post::new().await;
    post.answers(200, 9).await;
    post.make("A", "fires").await;
    post.clock.jump_to(START - 3600 * SECOND);
    post.make("A", "is over").await;
    post.clock.jump_to(START + SECOND);
    post.round().await;
    assert_eq!(post.got().await, ["fires", "is over"]);
}

#[tokio::test]
async fn the_notifier_sends_when_the_bell_rings_and_outlives_a_database_that_is_away() {
    let mut post = Post::new().await;
    post.answers(200, 9).await;
    let (rounds, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let mut ours = notifier(&post.database, &post.clock, &post.receiver);
    ours.progress = Box::new({
        let rounds = rounds.clone();
        move || {
            rounds.fetch_add(1, Ordering::Relaxed);
        }
    });
    let bell = ours.bell.clone();
    post.make("A", "fires").await;
    post.database.store.turn(Weather::Away);
    let ended = tokio::spawn(ours.run(stop.clone()));
    until("it looked", || rounds.load(Ordering::Relaxed) == 1).await;
    post.database.store.turn(Weather::Fine);
    bell.notify_one();
    until("it looked again", || rounds.load(Ordering::Relaxed) >= 2).await;
    assert_eq!((post.got().await, post.waiting().await), (vec!["fires".to_string()], 0));
    stop.cancel();
    ended.await.expect("it ends");
}

impl Post {
    /// The rules make so many messages at once.
    async fn make_many(&mut self, count: u32) {
        let now = self.clock.wall();
        let made = |number: u128| OutboxRow {
            id: Uuid::from_u128(number),
            channel: "webhook".into(),
            body: json!({"groupKey": "many", "text": number.to_string()}),
            created_at: now,
            attempts: 0,
            next_attempt_at: now,
        };
        let outbox = (1..=u128::from(count)).map(|n| made(self.made + n)).collect();
        self.made += u128::from(count);
        let evaluation =
            EvaluationRow { rule_key: "g/many/0".into(), evaluated_at: now, outbox, ..EvaluationRow::default() };
        self.database.store.save_evaluation(&evaluation).await.expect("it is there");
    }

    /// What the outbox does to hold itself to its bound, and nothing else.
    async fn shed(&mut self) {
        self.notifier.shed(&mut self.memory).await;
    }
}

#[tokio::test]
async fn notifications_beyond_the_outboxs_bound_are_given_up_and_counted() {
    let mut post = Post::new().await;
    post.make_many(OUTBOX_MAX + 3).await;
    post.shed().await;
    assert_eq!(post.waiting().await, u64::from(OUTBOX_MAX));
    assert_eq!((post.failed("webhook", "outbox_full"), post.finished("outbox_full").await), (3, 3));
    post.make_many(2).await;
    post.shed().await;
    assert_eq!(post.finished("outbox_full").await, 3, "it is not time again");
    post.clock.advance(SHED);
    post.shed().await;
    assert_eq!(post.finished("outbox_full").await, 5);
}

#[tokio::test]
async fn what_was_given_up_is_counted_once_although_the_answer_to_that_was_lost() {
    let mut post = Post::new().await;
    post.make_many(OUTBOX_MAX + 3).await;
    post.database.store.turn(Weather::Deaf);
    post.shed().await;
    assert_eq!(post.failed("webhook", "outbox_full"), 0, "nobody knows yet");
    post.clock.advance(SECOND);
    post.make_many(1).await;
    post.shed().await;
    assert_eq!((post.failed("webhook", "outbox_full"), post.finished("outbox_full").await), (4, 4));
}

#[tokio::test]
async fn a_message_is_counted_once_although_the_answer_to_its_record_was_lost() {
    let mut post = Post::new().await;
    post.make("A", "fires").await;
    post.memory.unrecorded = Some((Uuid::from_u128(1), Answer::new("sent"), START));
    post.database.store.turn(Weather::Deaf);
    assert!(post.notifier.record(&mut post.memory).await.is_err());
    post.clock.advance(SECOND);
    post.notifier.record(&mut post.memory).await.expect("it answers");
    assert_eq!((post.finished("sent").await, post.waiting().await), (1, 0));
}

#[tokio::test]
async fn a_message_that_was_given_up_while_it_was_sent_has_one_outcome() {
    let mut post = Post::new().await;
    post.make("A", "fires").await;
    post.memory.unrecorded = Some((Uuid::from_u128(1), Answer::new("sent"), START));
    post.make_many(OUTBOX_MAX).await;
    post.shed().await;
    post.notifier.record(&mut post.memory).await.expect("it answers");
    assert_eq!((post.finished("sent").await, post.finished("outbox_full").await), (0, 1));
}

#[tokio::test]
async fn what_was_given_up_is_not_remembered_as_put_off() {
    let mut post = Post::new().await;
    post.answers(503, 50).await;
    post.answers(200, 1_000).await;
    for n in 0..50 {
        post.make(&format!("A-{n}"), "fires").await;
    }
    post.round().await;
    assert_eq!(post.memory.put_off.as_ref().map(HashMap::len), Some(50));
    // As where ten thousand newer ones wait.
    post.database.store.shed_outbox(0, post.clock.wall()).await.expect("it is there");
    post.clock.advance(WAIT_MAX);
    post.round().await;
    assert_eq!(post.memory.put_off.as_ref().map(HashMap::len), Some(0));
}
