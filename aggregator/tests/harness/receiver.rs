//! A receiver of webhooks, for tests of the real programs.

use tokio::runtime::Runtime;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

/// A receiver of webhooks that accepts everything.
pub struct Receiver {
    runtime: Runtime,
    server: MockServer,
}

impl Receiver {
    /// One that listens on a port of its own.
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let server = runtime.block_on(async {
            let server = MockServer::start().await;
            Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
            server
        });
        Self { runtime, server }
    }

    /// Its URL.
    pub fn hook(&self) -> String {
        format!("{}/hook", self.server.uri())
    }

    /// What came so far, in order.
    pub fn calls(&self) -> Vec<Request> {
        self.runtime.block_on(self.server.received_requests()).unwrap_or_default()
    }
}
