//! Every RPC asks before it does anything: checked against the descriptor, so that a new RPC without a rule fails here.

use std::collections::BTreeSet;

use http::uri::PathAndQuery;
use phalanx_proto::DESCRIPTORS;
use phalanx_proto::v1;
use phalanx_server::authorize::{DenyAll, RULES};
use phalanx_server::status::{self, Reason};
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::support::TestCluster;

struct Rpc {
    path: String,
    client_streaming: bool,
}

fn rpcs() -> Vec<Rpc> {
    let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let files = set.file.iter().filter(|file| file.package() == "phalanx.v1");
    let services = files.flat_map(|file| &file.service);
    let methods = services.flat_map(|service| {
        service.method.iter().map(|method| Rpc {
            path: format!("/phalanx.v1.{}/{}", service.name(), method.name()),
            client_streaming: method.client_streaming(),
        })
    });
    methods.collect()
}

#[test]
fn every_rpc_has_exactly_one_rule() {
    let rpcs: BTreeSet<String> = rpcs().into_iter().map(|rpc| rpc.path).collect();
    let rules: BTreeSet<String> = RULES.iter().map(|rule| rule.path.to_owned()).collect();
    assert_eq!(rpcs, rules);
    assert_eq!(RULES.len(), rules.len(), "a path has two rules");
}

/// Calls an RPC with one message and returns its refusal.
async fn call<Q: Message + 'static>(channel: Channel, rpc: &Rpc, message: Q) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::internal(error.to_string()))?;
    let path = PathAndQuery::try_from(rpc.path.as_str()).unwrap();
    let codec = ProstCodec::<Q, ()>::default();
    if !rpc.client_streaming {
        return grpc.unary(Request::new(message), path, codec).await.map(drop);
    }
    // The stream stays open: the refusal must not wait for its end.
    let frames = futures::StreamExt::chain(futures::stream::iter([message]), futures::stream::pending());
    let mut answers = grpc.streaming(Request::new(frames), path, codec).await?.into_inner();
    answers.message().await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rpc_refuses_a_caller_without_rights_before_anything_else() {
    let mut cluster = TestCluster::new(1).authorized_by(DenyAll);
    cluster.start_all().await;
    for rpc in rpcs() {
        let channel = cluster.channel(1);
        let refusal = match rpc.path.as_str() {
            "/phalanx.v1.Messages/SendStream" => {
                let open = Some(v1::ProducerOpen::default());
                call(channel, &rpc, v1::SendStreamRequest { open, batches: Vec::new() }).await
            }
            "/phalanx.v1.Messages/Consume" => {
                let attach = Some(v1::ConsumerAttach::default());
                call(channel, &rpc, v1::ConsumeRequest { attach, ..Default::default() }).await
            }
            _ => call(channel, &rpc, ()).await,
        };
        let refusal = refusal.expect_err(&rpc.path);
        assert_eq!(refusal.code(), Code::PermissionDenied, "{}: {refusal}", rpc.path);
        assert!(status::is(&refusal, Reason::PermissionDenied), "{}: {refusal}", rpc.path);
    }
    cluster.stop_all().await;
}
