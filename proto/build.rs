//! Turns `v1/*.proto` into Rust: the messages for `convert.rs`, and, with the feature `grpc`, stubs that speak our own
//! domain types through the codec in `src/grpc.rs`. protox compiles the definitions, so no protoc is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=v1");
    let files = protox::compile(["v1/ingest.proto", "v1/report.proto"], ["v1"])?;
    // Maps that have an order: the same content is the same bytes each time, and so has one digest.
    prost_build::Config::new().bytes(["."]).btree_map(["."]).compile_fds(files)?;

    if std::env::var_os("CARGO_FEATURE_GRPC").is_some() {
        let stream = tonic_build::manual::Method::builder()
            .name("stream")
            .route_name("Stream")
            .input_type("crate::message::FromAgent")
            .output_type("crate::message::ToAgent")
            .codec_path("crate::grpc::Codec")
            .client_streaming()
            .server_streaming()
            .build();
        let ingest = tonic_build::manual::Service::builder()
            .name("Ingest")
            .package("atendeai.monitoring.v1")
            .comment("The agent's stream, in domain types.")
            .method(stream)
            .build();
        tonic_build::manual::Builder::new().compile(&[ingest, report()]);
    }
    Ok(())
}

/// What services call. On the wire a call with one request is the same whether it may have more; that it is served as one
/// that may lets its reading be bounded, counted and given up.
fn report() -> tonic_build::manual::Service {
    let method = |name: &str, route: &str, input: &str, output: &str| {
        tonic_build::manual::Method::builder()
            .name(name)
            .route_name(route)
            .input_type(input)
            .output_type(output)
            .codec_path("crate::grpc::Codec")
            .client_streaming()
    };
    let (input, output) = ("crate::convert::RawEvents", "crate::report::EventsAnswer");
    let unread = "crate::report::Unread";
    tonic_build::manual::Service::builder()
        .name("Report")
        .package("atendeai.monitoring.v1")
        .comment("What services hand in, in domain types.")
        .method(method("report_events", "ReportEvents", input, output).build())
        .method(method("stream_events", "StreamEvents", input, output).server_streaming().build())
        .method(method("report_requests", "ReportRequests", unread, unread).build())
        .build()
}
