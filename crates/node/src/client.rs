//! How programs ask a node: in process when none runs on the home, else over `control.sock`. One code path, two transports.

use tokio::{net::UnixStream, sync::Mutex};
use zeroize::Zeroizing;

use crate::{
    api::{ApiError, Request, Response},
    control, doctor,
    home::Home,
    node::{Doing, LOCK_PAUSE, Node},
};

/// A node to ask.
pub struct Client(Way);

enum Way {
    Here(Box<Node>),
    Socket(Mutex<UnixStream>),
    Closed(Home, Option<Zeroizing<String>>),
}

/// Whether a node runs on this home.
pub async fn is_running(home: &Home) -> bool {
    control::connect(home).await.is_some()
}

/// The running node's socket, once there is one: whoever has the home open may be about to serve.
async fn running(home: &Home) -> UnixStream {
    loop {
        if let Some(stream) = control::connect(home).await {
            return stream;
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
}

impl Client {
    /// Connects to the running node, or opens the home. The passphrase is only needed in the second case.
    pub fn open<'a>(home: &'a Home, passphrase: Option<&'a Zeroizing<String>>) -> Doing<'a, Self> {
        Box::pin(async move {
            tokio::select! {
                biased;
                stream = running(home) => Ok(Self(Way::Socket(Mutex::new(stream)))),
                node = Node::open(home, passphrase) => Ok(Self(Way::Here(Box::new(node?)))),
            }
        })
    }

    /// Connects to the running node, or leaves the home closed: for what a home is asked that may no longer open.
    pub async fn closed(home: &Home, passphrase: Option<&Zeroizing<String>>) -> Self {
        match control::connect(home).await {
            Some(stream) => Self(Way::Socket(Mutex::new(stream))),
            None => Self(Way::Closed(home.clone(), passphrase.cloned())),
        }
    }

    /// Asks.
    pub fn ask(&self, request: Request) -> Doing<'_, Response> {
        Box::pin(self.answer(request))
    }

    async fn answer(&self, request: Request) -> Result<Response, ApiError> {
        match &self.0 {
            Way::Here(node) => node.ask(request).await,
            Way::Closed(home, passphrase) => match request {
                Request::Doctor { repair } => Box::pin(doctor::at_rest(home, passphrase.as_ref(), repair)).await.map(Response::Doctor),
                _ => Err(ApiError::failed("the home is not open")),
            },
            Way::Socket(stream) => {
                let mut stream = stream.lock().await;
                let lost = |error: std::io::Error| match error.kind() {
                    std::io::ErrorKind::TimedOut => ApiError::unreachable("the node that runs on this home does not answer")
                        .advise("it seems to hang; end it (`chartmesh serve`) and start it again"),
                    _ => ApiError::failed(format_args!("the running node did not answer: {error}")).advise("is it being stopped? then try again"),
                };
                control::send(&mut stream, &request).await.map_err(lost)?;
                control::answered(&mut stream).await.map_err(lost)?
            }
        }
    }

    /// Closes the home if it was opened here.
    pub async fn close(self) -> Result<(), ApiError> {
        match self.0 {
            Way::Here(node) => node.stop().await,
            Way::Socket(_) | Way::Closed(..) => Ok(()),
        }
    }
}
