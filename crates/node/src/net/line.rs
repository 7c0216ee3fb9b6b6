//! The line to the relay: a tunnel on the loopback, through which iroh dials its relay.
//!
//! Dialled directly, a relay that was away is tried again after ever longer pauses, half a minute in the end, and a line that broke without a word is noticed after a quarter of a minute. The tunnel
//! holds a dial until the relay answers, and ends as soon as what was sent has not arrived for [`UNHEARD`]. It speaks as much of an HTTP proxy (CONNECT: RFC 9110, section
//! 9.3.6) as iroh does, and leads nowhere but to the relay, so whoever else on this machine finds it gets nothing by it. What travels in it is iroh's, encrypted where the relay's URL says so.
//!
//! One task, owned by [`Net`](super::Net) with all that it starts.

use std::{io, net::Ipv4Addr, time::Duration};

use iroh::RelayUrl;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

/// How long what was sent may stay unacknowledged.
const UNHEARD: Duration = Duration::from_secs(4);
/// How long one attempt to reach the relay may take.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest request, in bytes.
const MAX_REQUEST: usize = 4 << 10;
/// Lines at a time: one is in use, others may be ending.
const MAX_LINES: usize = 8;

/// A tunnel that is not carrying yet.
pub(super) struct Line {
    listener: TcpListener,
    host: String,
    port: u16,
}

impl Line {
    pub(super) async fn open(relay: &RelayUrl) -> io::Result<Self> {
        let nowhere = || io::Error::new(io::ErrorKind::InvalidInput, "the URL of the relay names no host");
        // As in a URL, an IPv6 address is in brackets.
        let host = relay.host_str().ok_or_else(nowhere)?.trim_matches(['[', ']']).to_owned();
        let port = relay.port_or_known_default().ok_or_else(nowhere)?;
        Ok(Self { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?, host, port })
    }

    /// The URL of the proxy that it is.
    pub(super) fn url(&self) -> io::Result<String> {
        self.listener.local_addr().map(|address| format!("http://{address}"))
    }

    /// Carries, without end.
    pub(super) async fn carry(self) {
        let mut lines = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = lines.join_next(), if !lines.is_empty() => {}
                accepted = self.listener.accept(), if lines.len() < MAX_LINES => match accepted {
                    Ok((near, _)) => {
                        lines.spawn(tunnel(near, self.host.clone(), self.port));
                    }
                    // Out of file descriptors, say.
                    Err(_) => sleep(PAUSE).await,
                },
            }
        }
    }
}

async fn tunnel(mut near: TcpStream, host: String, port: u16) -> io::Result<()> {
    let request = read_request(&mut near).await?;
    let mut far = tokio::select! {
        far = reach(&host, port) => far,
        // Nothing more is said before the answer: the dial was given up.
        _ = near.read_u8() => return Ok(()),
    };
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    // Elsewhere it ends when iroh misses an answer.
    #[cfg(target_os = "linux")]
    rustix::net::sockopt::set_tcp_user_timeout(&far, u32::try_from(UNHEARD.as_millis()).unwrap_or(u32::MAX))?;
    if request.starts_with(b"CONNECT ") {
        near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    } else {
        // A probe in clear text, in the form that proxies and servers take alike (RFC 9112, section 3.2.2).
        far.write_all(&request).await?;
    }
    copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}

/// Reads to the empty line that ends a request's header.
async fn read_request(near: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if request.len() == MAX_REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        request.push(near.read_u8().await?);
    }
    Ok(request)
}

/// A connection to the relay, as soon as there is one to be had.
async fn reach(host: &str, port: u16) -> TcpStream {
    loop {
        if let Ok(Ok(far)) = timeout(ATTEMPT, TcpStream::connect((host, port))).await {
            return far;
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A relay's address that nobody listens at yet, and a line to it that carries.
    async fn line() -> (std::net::SocketAddr, String) {
        let place = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let relay = place.local_addr().unwrap();
        drop(place);
        let line = Line::open(&format!("http://{relay}").parse().unwrap()).await.unwrap();
        let url = line.url().unwrap();
        tokio::spawn(line.carry());
        (relay, url.strip_prefix("http://").unwrap().to_owned())
    }

    #[tokio::test]
    async fn a_dial_is_held_until_the_relay_is_there_and_ends_with_it() {
        let (relay, proxy) = line().await;
        let mut near = TcpStream::connect(&proxy).await.unwrap();
        near.write_all(format!("CONNECT {relay} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let listener = TcpListener::bind(relay).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let mut answer = [0; 19];
        near.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK\r\n\r\n");
        near.write_all(b"ping").await.unwrap();
        let mut said = [0; 4];
        far.read_exact(&mut said).await.unwrap();
        far.write_all(b"pong").await.unwrap();
        near.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"pong");
        drop(far);
        assert_eq!(near.read(&mut said).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_is_no_connect_goes_to_the_relay_as_it_is() {
        let (relay, proxy) = line().await;
        let listener = TcpListener::bind(relay).await.unwrap();
        let mut near = TcpStream::connect(&proxy).await.unwrap();
        let request = format!("GET http://{relay}/ping HTTP/1.1\r\nHost: {relay}\r\n\r\n");
        near.write_all(request.as_bytes()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let mut heard = vec![0; request.len()];
        far.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, request.as_bytes());
        far.write_all(b"HTTP/1.1 204 \r\n\r\n").await.unwrap();
        drop(far);
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 204 \r\n\r\n");
    }

    #[tokio::test]
    async fn it_leads_nowhere_but_to_the_relay() {
        let (relay, proxy) = line().await;
        let listener = TcpListener::bind(relay).await.unwrap();
        let elsewhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut near = TcpStream::connect(&proxy).await.unwrap();
        near.write_all(format!("CONNECT {} HTTP/1.1\r\n\r\n", elsewhere.local_addr().unwrap()).as_bytes()).await.unwrap();
        tokio::select! {
            accepted = listener.accept() => assert!(accepted.is_ok()),
            _ = elsewhere.accept() => panic!("a request chose where to"),
        }
    }

    #[tokio::test]
    async fn a_request_without_end_is_not_read_on() {
        let (_, proxy) = line().await;
        let mut near = TcpStream::connect(&proxy).await.unwrap();
        near.write_all(&[b'x'; MAX_REQUEST]).await.unwrap();
        let mut answer = Vec::new();
        // What it did not read makes the end a reset.
        let ended = near.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "{ended:?}");
    }
}
