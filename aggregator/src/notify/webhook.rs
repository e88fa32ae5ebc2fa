//! The webhook channel: Alertmanager's JSON, version 4, by POST.
//!
//! No redirects, no proxies from the environment, ten seconds to connect and thirty in all; of the answer only the
//! status counts. The URL is a secret: it may carry a token, so logs show its host only.

use super::Delivery;
use crate::store::OutboxRow;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use runtime::secret::Secret;
use std::time::Duration;

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time in all.
const TIMEOUT: Duration = Duration::from_secs(30);

/// See the module.
pub struct Webhook {
    name: String,
    url: Secret,
    client: Client,
}

impl Webhook {
    /// A channel called `name`.
    pub fn new(name: &str, url: Secret) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .user_agent(concat!("atendeai-monitoring/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { name: name.into(), url, client })
    }

    /// The channel's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Posts the message. Its id and the number of the attempt travel as headers, so that a receiver can tell a
    /// repetition from news.
    pub async fn send(&self, row: &OutboxRow) -> Delivery {
        let request = self
            .client
            .post(self.url.expose())
            .header("X-AtendeAI-Delivery", row.id.to_string())
            .header("X-AtendeAI-Attempt", (row.attempts + 1).to_string())
            .json(&row.body);
        match request.send().await {
            Ok(response) => judge(response.status(), response.headers()),
            Err(error) => {
                let error = error.without_url();
                let reason = if error.is_timeout() {
                    "timeout"
                } else if error.is_connect() {
                    "connect"
                } else {
                    "network"
                };
                tracing::debug!(
                    host = host_of(self.url.expose()),
                    error = runtime::log::chain(&error),
                    "webhook not reached"
                );
                Delivery::Retry { reason, after: None }
            }
        }
    }
}

/// What a status means.
fn judge(status: StatusCode, headers: &HeaderMap) -> Delivery {
    let refused = |reason| Delivery::Refused { reason, detail: format!("the receiver answered {status}") };
    match status.as_u16() {
        200..=299 => Delivery::Sent,
        300..=399 => refused("redirect"),
        401 | 403 => refused("auth"),
        408 | 425 => Delivery::Retry { reason: "timeout", after: retry_after(headers) },
        429 => Delivery::Retry { reason: "rate_limited", after: retry_after(headers) },
        500.. => Delivery::Retry { reason: "server", after: retry_after(headers) },
        _ => refused("client"),
    }
}

/// Scheme, host and port of a URL, which is as much of it as a log may say: the rest may carry a token. Read by the
/// parser that the request goes by, since others disagree on where a host ends.
fn host_of(url: &str) -> String {
    Url::parse(url).map_or_else(|_| "<no url>".into(), |url| url.origin().ascii_serialization())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::sample::Timestamp;
    use serde_json::json;
    use uuid::Uuid;
    use wiremock::matchers::{body_json, header, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    fn row() -> OutboxRow {
        OutboxRow {
            id: Uuid::from_u128(5),
            channel: "webhook".into(),
            body: json!({"version": "4"}),
            created_at: Timestamp::ZERO,
            attempts: 2,
            next_attempt_at: Timestamp::ZERO,
        }
    }

    async fn answered(response: ResponseTemplate) -> Delivery {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = MockServer::start().await;
        let post = Mock::given(method("POST"))
            .and(path("/hook"))
            .and(body_json(json!({"version": "4"})))
            .and(header("X-AtendeAI-Delivery", "00000000-0000-0000-0000-000000000005"))
            .and(header("X-AtendeAI-Attempt", "3"));
        post.respond_with(response).expect(1).mount(&server).await;
        let url = Secret::new(format!("{}/hook", server.uri()));
        Webhook::new("webhook", url).expect("a client").send(&row()).await
    }

    #[tokio::test]
    async fn a_status_decides_what_becomes_of_a_message() {
        assert_eq!(answered(ResponseTemplate::new(204)).await, Delivery::Sent);
        let asked = ResponseTemplate::new(429).insert_header("Retry-After", "7");
        let after = Some(Duration::from_secs(7));
        assert_eq!(answered(asked).await, Delivery::Retry { reason: "rate_limited", after });
        assert!(matches!(answered(ResponseTemplate::new(503)).await, Delivery::Retry { reason: "server", .. }));
        for (status, word) in [(400, "client"), (401, "auth"), (404, "client")] {
            let delivery = answered(ResponseTemplate::new(status)).await;
            assert!(matches!(delivery, Delivery::Refused { reason, .. } if reason == word), "{status}: {delivery:?}");
        }
    }

    #[test]
    fn every_status_is_taken_or_refused_or_tried_again_and_only_what_may_pass_is_tried_again() {
        let none = HeaderMap::new();
        for status in 200..1_000 {
            let delivery = judge(StatusCode::from_u16(status).expect("three digits"), &none);
            let passes = matches!(status, 408 | 425 | 429 | 500..);
            match delivery {
                Delivery::Sent => assert!(status < 300, "{status}"),
                Delivery::Retry { after, .. } => assert!(passes && after.is_none(), "{status}"),
                Delivery::Refused { .. } => assert!(status >= 300 && !passes, "{status}"),
            }
        }
    }

    #[test]
    fn a_wish_that_is_no_number_of_seconds_is_none() {
        let asked = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().expect("a header"))]);
            retry_after(&headers).map(|after| after.as_secs())
        };
        assert_eq!(["0", " 7 ", "86400"].map(asked), [Some(0), Some(7), Some(86_400)]);
        assert_eq!(
            ["-1", "1.5", "soon", "", "Wed, 21 Oct 2026 07:28:00 GMT", "99999999999999999999"].map(asked),
            [None; 6]
        );
    }

    #[tokio::test]
    async fn a_receiver_that_hangs_up_without_an_answer_is_tried_again() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
        let hangs_up = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream);
            }
        });
        let delivery = Webhook::new("webhook", Secret::new(url)).expect("a client").send(&row()).await;
        hangs_up.abort();
        assert_eq!(delivery, Delivery::Retry { reason: "network", after: None });
    }

    #[test]
    fn only_the_host_of_a_url_is_shown() {
        assert_eq!(host_of("https://user:pw@hooks.example:8443/T000/B000?x=y"), "https://hooks.example:8443");
        assert_eq!(host_of(r"https://hooks.example\S3CR3T"), "https://hooks.example");
        for hidden in ["S3CR3T", "https://user:S3/CR3T@hooks.example", "mailto:S3CR3T"] {
            assert!(!host_of(hidden).contains("S3"), "{}", host_of(hidden));
        }
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let away = ResponseTemplate::new(302).insert_header("Location", "http://169.254.169.254/");
        assert!(matches!(answered(away).await, Delivery::Refused { reason: "redirect", .. }));
    }

    #[tokio::test]
    async fn a_receiver_that_is_away_is_tried_again_and_its_url_is_not_told() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = Secret::new("http://127.0.0.1:1/S3CR3T".into());
        let delivery = Webhook::new("webhook", url).expect("a client").send(&row()).await;
        assert_eq!(delivery, Delivery::Retry { reason: "connect", after: None });
    }
}
