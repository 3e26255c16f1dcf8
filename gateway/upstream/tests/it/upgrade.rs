// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Upgrades pass through.

use crate::{Worker, cluster, endpoints, run, server, until};
use gateway_config::UpstreamProtocol::Http1;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn bytes_flow_both_ways_after_an_upgrade() {
    run(async {
        let server = server::start_raw(|mut stream| async move {
            server::read_head(&mut stream).await;
            let _ = stream
                .write_all(
                    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n",
                )
                .await;
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        })
        .await;
        let worker = Worker::new(cluster(Http1), endpoints(&[server.address]));
        let request =
            Request::get("/").header("host", "c").header("upgrade", "echo").header("connection", "upgrade");
        let mut response = worker.send(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
        let mut stream = TokioIo::new(upgraded);
        stream.write_all(b"hello").await.unwrap();
        let mut echoed = [0; 5];
        stream.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed, b"hello");
        assert_eq!((worker.metric("upstream_rq_active"), worker.metric("upstream_cx_active")), (1, 1));
        drop((stream, response));
        until("nothing is counted any more", || {
            worker.metric("upstream_rq_active") + worker.metric("upstream_cx_active") == 0
        })
        .await;
    });
}
