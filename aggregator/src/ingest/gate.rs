//! The gRPC service from the first moment of the program on: until there is something behind it, agents are told to come
//! back.

use super::{IngestService, send_away, unavailable};
use prometheus::IntCounterVec;
use proto::grpc::Ingest;
use proto::message::{FromAgent, ToAgent};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// See the module. Clones share what is behind it.
#[derive(Clone)]
pub struct Gate {
    service: Arc<OnceLock<IngestService>>,
    refused: IntCounterVec,
}

impl Gate {
    /// A closed one; counts in `refused`.
    pub fn new(refused: IntCounterVec) -> Self {
        Self { service: Arc::default(), refused }
    }

    /// From now on `service` answers. The first stays.
    pub fn open(&self, service: IngestService) {
        self.service.get_or_init(|| service);
    }
}

#[tonic::async_trait]
impl Ingest for Gate {
    type StreamStream = ReceiverStream<Result<ToAgent, Status>>;

    async fn stream(&self, request: Request<Streaming<FromAgent>>) -> Result<Response<Self::StreamStream>, Status> {
        if let Some(service) = self.service.get() {
            return service.stream(request).await;
        }
        self.refused.with_label_values(&["starting"]).inc();
        let (out, outbound) = mpsc::channel(1);
        send_away(&out, unavailable("this aggregator is starting"));
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}
