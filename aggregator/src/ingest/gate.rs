//! The gRPC service from the first moment of the program on: until there is something behind it, agents wait a little,
//! since most starts take a moment, and are then told to come back.

use super::refusal::RETRY_AFTER;
use super::{IngestService, send_away, unavailable};
use prometheus::IntCounterVec;
use proto::grpc::Ingest;
use proto::message::{FromAgent, ToAgent};
use std::sync::Arc;
use tokio::sync::{SetOnce, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// See the module. Clones share what is behind it.
#[derive(Clone)]
pub struct Gate {
    service: Arc<SetOnce<IngestService>>,
    refused: IntCounterVec,
}

impl Gate {
    /// A closed one; counts in `refused`.
    pub fn new(refused: IntCounterVec) -> Self {
        Self { service: Arc::default(), refused }
    }

    /// From now on `service` answers. The first stays.
    pub fn open(&self, service: IngestService) {
        // One that was set before stays.
        let _ = self.service.set(service);
    }
}

#[tonic::async_trait]
impl Ingest for Gate {
    type StreamStream = ReceiverStream<Result<ToAgent, Status>>;

    async fn stream(&self, request: Request<Streaming<FromAgent>>) -> Result<Response<Self::StreamStream>, Status> {
        if let Ok(service) = timeout(RETRY_AFTER, self.service.wait()).await {
            return service.stream(request).await;
        }
        self.refused.with_label_values(&["starting"]).inc();
        let (out, outbound) = mpsc::channel(1);
        send_away(&out, unavailable("this aggregator is starting"));
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}
