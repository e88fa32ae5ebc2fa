//! The gRPC service from the first moment of the program on: until there is something behind it, agents wait a little,
//! since most starts take a moment, and are then told to come back.

use super::IngestService;
use super::refusal::{Away, Porter, tell};
use proto::grpc::Ingest;
use proto::message::{FromAgent, ToAgent};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{SetOnce, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// How long an agent waits for a start: as long as most take.
const OPENS_SOON: Duration = Duration::from_secs(2);

/// See the module. Clones share what is behind it.
#[derive(Clone)]
pub struct Gate {
    service: Arc<SetOnce<IngestService>>,
    porter: Porter,
}

impl Gate {
    /// A closed one; while it is, `porter` sends away.
    pub fn new(porter: Porter) -> Self {
        Self { service: Arc::default(), porter }
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
        if let Ok(service) = timeout(OPENS_SOON, self.service.wait()).await {
            return service.stream(request).await;
        }
        let (out, outbound) = mpsc::channel(1);
        tell(&out, self.porter.send_away(Away::Starting));
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}
