// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Sends requests byte by byte as a case says, so that nothing between tidies them up, and reads the answers.

use crate::case::{Ask, Version};
use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Time for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In the order of arrival; names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// HTTP/1 only: the connection ended after it.
    pub(crate) closed: bool,
}

/// The connections of one case to one proxy.
pub(crate) struct Client {
    address: SocketAddr,
    http1: Option<TcpStream>,
    http2: Option<http2::SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, http1: None, http2: None }
    }

    /// Sends a request with its mark; an error is what a client saw instead of an answer.
    pub(crate) async fn ask(&mut self, ask: &Ask, mark: &str) -> Result<Answer, String> {
        let answered = tokio::time::timeout(PATIENCE, async {
            if ask.version == Version::Http2 {
                return self.ask_http2(ask, mark).await;
            }
            // A connection that was used before may have been ended meanwhile, which tells nothing about this request.
            let used = self.http1.is_some();
            match self.ask_http1(ask, mark).await {
                Err(_) if used => self.ask_http1(ask, mark).await,
                answered => answered,
            }
        });
        match answered.await {
            Ok(Ok(answer)) => Ok(answer),
            // What exactly the system says of an ended connection is a matter of luck.
            Ok(Err(_)) => {
                (self.http1, self.http2) = (None, None);
                Err("no answer: connection or stream ended".to_owned())
            }
            Err(_) => {
                (self.http1, self.http2) = (None, None);
                Err("no answer in time".to_owned())
            }
        }
    }

    async fn ask_http1(&mut self, ask: &Ask, mark: &str) -> anyhow::Result<Answer> {
        let mut socket = match self.http1.take() {
            Some(socket) => socket,
            None => {
                let socket = TcpStream::connect(self.address).await?;
                socket.set_nodelay(true)?;
                socket
            }
        };
        socket.write_all(&http1_bytes(ask, mark)).await?;
        let mut answer = read_answer(&mut socket, &ask.method).await?;
        if ask.opens_tunnel(answer.status) {
            answer.body = through(&mut socket, ask.tunnel.as_deref().unwrap_or_default()).await?;
            return Ok(answer);
        }
        // One side may end the connection without saying so: the next request must not run into that.
        let asked_to =
            ask.version == Version::Http10 || ask.headers.iter().any(|line| line == "connection: close");
        if !answer.closed && !asked_to {
            self.http1 = Some(socket);
        }
        Ok(answer)
    }

    async fn ask_http2(&mut self, ask: &Ask, mark: &str) -> anyhow::Result<Answer> {
        let sender = match self.http2.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => {
                let socket = TcpStream::connect(self.address).await?;
                socket.set_nodelay(true)?;
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await?;
                tokio::spawn(connection);
                sender
            }
        };
        let sender = self.http2.insert(sender);
        let mut uri = Uri::builder().authority(&*ask.host);
        if ask.method != "CONNECT" || !ask.protocol.is_empty() {
            uri = uri.scheme("http").path_and_query(&*ask.path);
        }
        let uri = uri.build()?;
        let mut request = Request::builder().method(Method::from_bytes(ask.method.as_bytes())?).uri(uri);
        request = request.header("x-case", mark);
        for line in &ask.headers {
            let (name, value) = line.split_once(':').context("a header is name: value")?;
            request = request.header(name.to_ascii_lowercase(), value.trim());
        }
        let mut request = request.body(Full::new(Bytes::from(ask.body.clone())))?;
        if !ask.protocol.is_empty() {
            request.extensions_mut().insert(Protocol::from(&*ask.protocol));
        }
        sender.ready().await?;
        let mut response = sender.send_request(request).await?;
        let upgrade = hyper::upgrade::on(&mut response);
        let (head, body) = response.into_parts();
        let body = if ask.opens_tunnel(head.status.as_u16()) {
            let mut stream = TokioIo::new(upgrade.await?);
            through(&mut stream, ask.tunnel.as_deref().unwrap_or_default()).await?.into()
        } else {
            body.collect().await?.to_bytes()
        };
        let headers = head.headers.iter();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: headers
                .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
                .collect(),
            body: String::from_utf8_lossy(&body).into_owned(),
            closed: false,
        })
    }
}

fn http1_bytes(ask: &Ask, mark: &str) -> Vec<u8> {
    let version = if ask.version == Version::Http10 { "1.0" } else { "1.1" };
    let mut text = format!("{} {} HTTP/{version}\r\n", ask.method, ask.path);
    if !ask.host.is_empty() {
        text.push_str(&format!("Host: {}\r\n", ask.host));
    }
    text.push_str(&format!("X-Case: {mark}\r\n"));
    for line in &ask.headers {
        text.push_str(line);
        text.push_str("\r\n");
    }
    if !ask.body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", ask.body.len()));
    }
    text.push_str("\r\n");
    text.push_str(&ask.body);
    text.into_bytes()
}

/// Sends a line through a tunnel and reads to its end, without what depends on the time.
async fn through(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), line: &str) -> anyhow::Result<String> {
    stream.write_all(line.as_bytes()).await?;
    stream.write_all(b"\n").await?;
    let mut all = Vec::new();
    // A reset behind the last byte is an end as well.
    while stream.read_buf(&mut all).await.is_ok_and(|count| count > 0) {}
    let text = String::from_utf8_lossy(&all);
    Ok(text.lines().filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\n"))
}

async fn read_answer(socket: &mut TcpStream, method: &str) -> anyhow::Result<Answer> {
    let mut buffer = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 128];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&buffer)?;
        if let httparse::Status::Complete(length) = parsed {
            let status = response.code.context("a status")?;
            let headers: Vec<(String, String)> = response
                .headers
                .iter()
                .map(|h| (h.name.to_ascii_lowercase(), String::from_utf8_lossy(h.value).into_owned()))
                .collect();
            if (100..200).contains(&status) && status != 101 {
                buffer.drain(..length);
                continue;
            }
            let rest = buffer.split_off(length);
            return finish(socket, rest, status, headers, method).await;
        }
        more(socket, &mut buffer).await?;
    }
}

async fn finish(
    socket: &mut TcpStream,
    mut buffer: Vec<u8>,
    status: u16,
    headers: Vec<(String, String)>,
    method: &str,
) -> anyhow::Result<Answer> {
    let value = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let mut closed = value("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
    let tunnel = status == 101 || (method == "CONNECT" && (200..300).contains(&status));
    let bodiless = method == "HEAD" || status == 204 || status == 304 || tunnel;
    let body = if bodiless {
        Vec::new()
    } else if value("transfer-encoding").is_some() {
        chunked(socket, &mut buffer).await?
    } else if let Some(length) = value("content-length") {
        let length: usize = length.parse()?;
        while buffer.len() < length {
            more(socket, &mut buffer).await?;
        }
        buffer.truncate(length);
        buffer
    } else {
        while more(socket, &mut buffer).await.is_ok() {}
        closed = true;
        buffer
    };
    Ok(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned(), closed })
}

async fn chunked(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = loop {
            match buffer.windows(2).position(|pair| pair == b"\r\n") {
                Some(end) => break end,
                None => more(socket, buffer).await?,
            }
        };
        let size = std::str::from_utf8(&buffer[..line])?.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16)?;
        while buffer.len() < line + 2 + size + 2 {
            more(socket, buffer).await?;
        }
        body.extend_from_slice(&buffer[line + 2..line + 2 + size]);
        buffer.drain(..line + 2 + size + 2);
        if size == 0 {
            return Ok(body);
        }
    }
}

async fn more(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    if socket.read_buf(buffer).await? == 0 {
        bail!("the connection ended");
    }
    Ok(())
}
