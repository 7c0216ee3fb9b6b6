//! The doorkeeper: answers programs of the same user over `control.sock`, a Unix socket of mode 0600 in the home directory.
//!
//! A question is a length (u32, big endian) and a [`Request`] in deterministic CBOR; the answer is a length and a `Result<Response, ApiError>`. While it is worked out, a length of 0 is
//! sent now and then, so that whoever waits can tell a node that works from one that hangs.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::PathBuf,
    pin::Pin,
    time::Duration,
};

use chartmesh_identity::{from_canonical, to_canonical};
use chartmesh_records::MAX_IMPORT;
use chartmesh_sealing::wiped;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    api::{ApiError, Request, Response},
    home::Home,
    node::Node,
};

/// Longest message, in bytes: the largest resource that is ever imported, and its envelope.
const MAX_MESSAGE: usize = MAX_IMPORT + (1 << 20);
/// How often a node that is working on an answer says so.
const WORKING: Duration = Duration::from_secs(2);
/// A node that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(20);
/// Longest path that a Unix socket address takes, with room to spare.
const MAX_PATH: usize = 100;

/// Before the next program is waited for where one could not be taken.
const PAUSE: Duration = Duration::from_millis(200);

/// The path of the socket, short enough to be bound: a longer one goes through the directory's descriptor, which must outlive the use.
fn short_path(home: &Home) -> io::Result<(PathBuf, Option<File>)> {
    let path = home.socket();
    if path.as_os_str().len() <= MAX_PATH {
        return Ok((path, None));
    }
    let directory = File::open(home.path())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/control.sock", directory.as_raw_fd()));
    Ok((path, Some(directory)))
}

/// Opens the socket. The caller holds the vault, so a socket that is there already belongs to nobody.
pub(crate) fn listen(home: &Home) -> Result<UnixListener, ApiError> {
    let wrong = |error: io::Error| ApiError::failed(format_args!("{}: {error}", home.socket().display()));
    let (path, _directory) = short_path(home).map_err(wrong)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(wrong)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(wrong)?;
    Ok(listener)
}

/// Calls the node that runs on a home, if one does.
pub(crate) async fn connect(home: &Home) -> Option<UnixStream> {
    let (path, _directory) = short_path(home).ok()?;
    UnixStream::connect(&path).await.ok()
}

/// Answers until the node stops. Boxed, because an answer may start a network, and so this task.
pub(crate) fn answer(node: Node, listener: UnixListener) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(answer_all(node, listener))
}

async fn answer_all(node: Node, listener: UnixListener) {
    let _socket = SocketFile(node.0.home.clone());
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tasks.spawn(converse(node.clone(), stream));
                }
                Err(error) => {
                    // Too many files may be open just now.
                    tracing::warn!(%error, "a program could not be answered");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
}

/// Removes the socket when the doorkeeper goes.
struct SocketFile(Home);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0.socket());
    }
}

async fn converse(node: Node, mut stream: UnixStream) {
    while let Ok(request) = receive::<Request>(&mut stream).await {
        let mut asked = node.ask(request);
        let mut working = interval(WORKING);
        working.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut there = true;
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut asked => break answer,
                // What was begun is brought to its end, even if whoever asked has gone.
                _ = working.tick(), if there => there = stream.write_all(&[0; 4]).await.is_ok(),
            }
        };
        if !there || send_bytes(&mut stream, &wiped(|| pack(answer, MAX_MESSAGE))).await.is_err() {
            return;
        }
    }
}

/// An answer as it is sent; one that is too long becomes an error that says so.
fn pack(answer: Result<Response, ApiError>, limit: usize) -> Vec<u8> {
    let bytes = to_canonical(&answer);
    if bytes.len() <= limit {
        return bytes;
    }
    let error = ApiError::failed(format_args!("the answer has {} bytes, and a running node gives at most {limit}", bytes.len()));
    to_canonical(&Err::<Response, _>(error.advise("stop the running node, then run the command again")))
}

pub(crate) async fn send<T: Serialize>(stream: &mut UnixStream, message: &T) -> io::Result<()> {
    send_bytes(stream, &to_canonical(message)).await
}

async fn send_bytes(stream: &mut UnixStream, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= MAX_MESSAGE).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// The answer to what was asked.
pub(crate) async fn answered(stream: &mut UnixStream) -> io::Result<Result<Response, ApiError>> {
    loop {
        let mut length = [0; 4];
        timeout(SILENCE, stream.read_exact(&mut length)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if length != [0; 4] {
            return message(stream, u32::from_be_bytes(length)).await;
        }
    }
}

async fn receive<T: DeserializeOwned>(stream: &mut UnixStream) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    message(stream, u32::from_be_bytes(length)).await
}

async fn message<T: DeserializeOwned>(stream: &mut UnixStream, length: u32) -> io::Result<T> {
    if length as usize > MAX_MESSAGE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut bytes).await?;
    from_canonical(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_too_long_says_so() {
        let answer = |limit| from_canonical::<Result<Response, ApiError>>(&pack(Ok(Response::Bytes(vec![7; 1000])), limit)).expect("an answer");
        assert!(matches!(answer(1100), Ok(Response::Bytes(bytes)) if bytes.len() == 1000));
        assert!(answer(1000).is_err_and(|error| error.to_string().contains("1000")));
    }
}
