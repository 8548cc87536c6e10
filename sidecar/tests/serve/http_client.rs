//! A client of HTTP/1.1 that hides nothing: what goes over the wire is what the test wrote.

use std::fmt::Write as _;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn index(&self) -> u64 {
        self.header("X-Consul-Index").expect("an index header").parse().unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The modify index of the only entry.
    pub(crate) fn modify_index(&self) -> u64 {
        self.json()[0]["ModifyIndex"].as_u64().unwrap()
    }
}

/// One request on a connection of its own.
pub(crate) async fn send(
    port: u16,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let is_chunked = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding"));
    if !is_chunked {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    head.push_str("\r\n");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that refuses early may close before it has read the body.
    let _ = stream.write_all(body).await;
    read(&mut stream).await
}

pub(crate) async fn get(port: u16, target: &str) -> Answer {
    send(port, "GET", target, &[], b"").await
}

pub(crate) async fn put(port: u16, target: &str, body: &[u8]) -> Answer {
    send(port, "PUT", target, &[], body).await
}

pub(crate) async fn delete(port: u16, target: &str) -> Answer {
    send(port, "DELETE", target, &[], b"").await
}

/// A body as chunks.
pub(crate) fn chunked(body: &[u8]) -> Vec<u8> {
    let mut chunks = Vec::new();
    for chunk in body.chunks(65_536) {
        chunks.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunks.extend_from_slice(chunk);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    chunks
}

async fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // A reset after the answer was sent takes nothing of it away.
    let _ = stream.read_to_end(&mut bytes).await;
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_owned(), value.trim().to_owned())
        })
        .collect();
    let mut answer = Answer { status, headers, body: bytes[end + 4..].to_vec() };
    // Archives are streamed; every other answer has a length.
    let is_archive = matches!(answer.header("content-type"), Some("application/x-gzip" | "application/gzip"));
    assert_eq!(answer.header("transfer-encoding").is_some(), is_archive);
    if is_archive {
        answer.body = joined(&answer.body);
    }
    answer
}

/// What chunks hold, which must end as chunks do.
fn joined(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = chunks.windows(2).position(|window| window == b"\r\n").expect("a chunk's length");
        let length = usize::from_str_radix(std::str::from_utf8(&chunks[..line]).unwrap(), 16).unwrap();
        let data = &chunks[line + 2..];
        if length == 0 {
            assert_eq!(data, b"\r\n", "the end of the stream");
            return body;
        }
        body.extend_from_slice(&data[..length]);
        chunks = &data[length + 2..];
    }
}
