//! Turns `v1/*.proto` into Rust: the messages for `convert.rs`, and, with the feature `grpc`, stubs that speak our own
//! domain types through the codec in `src/grpc.rs`. protox compiles the definitions, so no protoc is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=v1");
    let files = protox::compile(["v1/ingest.proto", "v1/report.proto"], ["v1"])?;
    prost_build::Config::new().bytes(["."]).compile_fds(files)?;

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
        tonic_build::manual::Builder::new().compile(&[ingest]);
    }
    Ok(())
}
