//! An aggregator that stores nothing: it acks every batch at once and counts what came. So what is measured is the agent.
//! It looks at no more of a batch than where it stands.
//!
//! `cargo run --release --example sink -p monitoring-agent` prints its address; for each line on its standard input it
//! prints how many batches and bytes of batches came, and the seconds from the first batch to the last.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use proto::message::{ToAgent, Welcome};
use runtime::clock::{Clock, SystemClock};
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::io::stdin;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use wire::{Heard, Wire};

/// What has come.
#[derive(Debug, Default)]
struct Count {
    batches: u64,
    bytes: u64,
    first: Option<Duration>,
    last: Duration,
}

/// Serves `Ingest`.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Count>>);

type Answers = ReceiverStream<Result<ToAgent, Status>>;

impl Sink {
    async fn drink(self, mut heard: Streaming<Heard>, out: mpsc::Sender<Result<ToAgent, Status>>) {
        while let Ok(Some(heard)) = heard.message().await {
            let answer = match heard {
                Heard::Hello => ToAgent::Welcome(Welcome::default()),
                Heard::Other => continue,
                Heard::Batch { position, bytes } => {
                    let now = SystemClock.monotonic();
                    let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                    count.batches += 1;
                    count.bytes += bytes as u64;
                    count.first.get_or_insert(now);
                    count.last = now;
                    ToAgent::Ack(position)
                }
            };
            if out.send(Ok(answer)).await.is_err() {
                return;
            }
        }
    }
}

impl StreamingService<Heard> for Sink {
    type Response = ToAgent;
    type ResponseStream = Answers;
    type Future = Ready<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<Heard>>) -> Self::Future {
        let (out, answers) = mpsc::channel(256);
        tokio::spawn(self.clone().drink(request.into_inner(), out));
        ready(Ok(Response::new(ReceiverStream::new(answers))))
    }
}

impl NamedService for Sink {
    const NAME: &'static str = "atendeai.monitoring.v1.Ingest";
}

impl Service<http::Request<Body>> for Sink {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let sink = self.clone();
        Box::pin(async move { Ok(Grpc::new(Wire).streaming(sink, request).await) })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let sink = Sink::default();
    let count = sink.0.clone();
    std::thread::spawn(move || {
        for _ in stdin().lines().map_while(Result::ok) {
            let count = count.lock().unwrap_or_else(PoisonError::into_inner);
            let seconds = count.last.saturating_sub(count.first.unwrap_or(count.last)).as_secs_f64();
            println!("{} {} {seconds}", count.batches, count.bytes);
        }
    });
    // As an aggregator does: without it an ack waits for company.
    let incoming = TcpListenerStream::new(listener).map(|stream| {
        let stream = stream?;
        stream.set_nodelay(true).map(|()| stream)
    });
    Server::builder().add_service(sink).serve_with_incoming(incoming).await?;
    Ok(())
}

/// As much of the wire as a sink needs.
mod wire {
    use bytes::Buf;
    use proto::convert::encode_to_agent;
    use proto::message::{Position, ToAgent};
    use tonic::Status;
    use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

    /// What an agent said.
    pub enum Heard {
        Hello,
        Batch { position: Position, bytes: usize },
        Other,
    }

    #[derive(Clone, Copy)]
    pub struct Wire;

    impl Codec for Wire {
        type Encode = ToAgent;
        type Decode = Heard;
        type Encoder = Self;
        type Decoder = Self;

        fn encoder(&mut self) -> Self {
            Self
        }

        fn decoder(&mut self) -> Self {
            Self
        }
    }

    impl Encoder for Wire {
        type Item = ToAgent;
        type Error = Status;

        fn encode(&mut self, item: ToAgent, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
            encode_to_agent(item, buffer);
            Ok(())
        }
    }

    impl Decoder for Wire {
        type Item = Heard;
        type Error = Status;

        fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Heard>, Status> {
            let message = buffer.copy_to_bytes(buffer.remaining());
            Ok(Some(read(&message).unwrap_or(Heard::Other)))
        }
    }

    /// `AgentMessage`: field 1 is a hello, field 2 a batch, whose field 1 is the epoch and 2 the seq.
    fn read(message: &[u8]) -> Option<Heard> {
        match message.first()? {
            0x0a => return Some(Heard::Hello),
            0x12 => {}
            _ => return None,
        }
        let (_, batch) = varint(&message[1..])?;
        let (epoch, rest) = batch.strip_prefix(&[0x0a, 16])?.split_first_chunk()?;
        let (seq, _) = varint(rest.strip_prefix(&[0x10])?)?;
        Some(Heard::Batch { position: Position { epoch: u128::from_be_bytes(*epoch), seq }, bytes: message.len() })
    }

    fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
        let mut number = 0;
        for (index, byte) in bytes.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Some((number, &bytes[index + 1..]));
            }
        }
        None
    }
}
