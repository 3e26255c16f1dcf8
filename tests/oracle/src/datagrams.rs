// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Datagrams: origins that say by what session one came, and a client that tells sessions and origins by the order in which it met them.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

/// Time for one answer on one machine.
const PATIENCE: Duration = Duration::from_millis(400);
/// The largest datagram.
const LARGEST: usize = 65535;

/// Serves one origin: each datagram comes back behind the origin's name and the port that it came from. `large` comes back twice:
/// first longer than an Ethernet frame.
pub(crate) async fn serve(address: SocketAddr, name: &'static str) -> std::io::Result<()> {
    let socket = UdpSocket::bind(address).await?;
    tokio::spawn(async move {
        let mut buffer = vec![0; LARGEST];
        loop {
            // What an earlier client's socket said is not this one's matter.
            let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
            let text = String::from_utf8_lossy(&buffer[..length]);
            let text = if text == "large" { "l".repeat(2000) } else { text.into_owned() };
            let _ = socket.send_to(format!("{name} {} {text}", from.port()).as_bytes(), from).await;
        }
    });
    Ok(())
}

/// Sends one datagram after the other from one socket and tells what came back for each. `pause N` waits so many milliseconds, `fill N`
/// is a datagram of so many bytes.
pub(crate) async fn ask(address: SocketAddr, texts: &[String]) -> std::io::Result<String> {
    // Not the proxies' own address: one of them treats clients on it as its own.
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(address).await?;
    let (mut hosts, mut sessions) = (Vec::new(), Vec::new());
    let mut told = Vec::new();
    for text in texts {
        let number = text.split_once(' ').and_then(|(word, number)| Some((word, number.parse().ok()?)));
        let sent = match number {
            Some(("pause", millis)) => {
                sleep(Duration::from_millis(millis)).await;
                continue;
            }
            Some(("fill", length)) => "x".repeat(usize::try_from(length).unwrap_or(LARGEST)),
            _ => text.clone(),
        };
        let _ = socket.send(sent.as_bytes()).await;
        let mut buffer = vec![0; LARGEST];
        told.push(match timeout(PATIENCE, socket.recv(&mut buffer)).await {
            Ok(Ok(length)) => {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                let mut words = text.splitn(3, ' ');
                let host = met(&mut hosts, words.next());
                let session = met(&mut sessions, words.next());
                let rest = words.next().unwrap_or_default();
                let shown = if rest.len() > 40 { format!("{} bytes", rest.len()) } else { rest.to_owned() };
                format!("host {host} session {session}: {shown}")
            }
            Ok(Err(_)) | Err(_) => "nothing".to_owned(),
        });
    }
    Ok(told.join(" | "))
}

/// The number of something by the order in which it was first met.
fn met(all: &mut Vec<String>, word: Option<&str>) -> usize {
    let word = word.unwrap_or_default();
    all.iter().position(|known| known == word).unwrap_or_else(|| {
        all.push(word.to_owned());
        all.len() - 1
    })
}
