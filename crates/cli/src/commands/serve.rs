//! `chartmesh serve`.

use std::{io, net::SocketAddr};

use chartmesh_node::{Node, api::ApiError, client};
use clap::Args;
use serde::Serialize;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
    plain::plain,
};

/// Run this node until it is told to stop (Ctrl-C)
///
/// While it runs, the other commands on this home ask it.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where to listen; port 0 takes any free port [default: any address, the port of last time or a free one]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
}

/// The node is up (schemas/cli/ready.schema.json).
#[derive(Debug, Serialize)]
struct ReadyInfo {
    ready: bool,
    endpoint: String,
    addresses: Vec<String>,
}

impl Serve {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let home = context.home()?;
        if client::is_running(&home).await {
            return Err(ApiError::failed(format_args!("a node is already running on {}", home.path().display())).advise("chartmesh status").into());
        }
        let passphrase = context.passphrase(&home)?;
        let mut told = Told::listen().map_err(|error| ApiError::failed(format_args!("cannot listen for signals: {error}")))?;
        let node = Node::open(&home, passphrase.as_ref()).await?;
        // Its keys are open now.
        drop(passphrase);
        let ended = match node.serve(self.listen).await {
            Ok(ready) => {
                let said = context.output.answer(&ReadyInfo { ready: true, endpoint: ready.endpoint, addresses: ready.addresses }, render);
                if said.is_ok() {
                    told.stop().await;
                }
                said.map_err(Failure::from)
            }
            Err(error) => Err(error.into()),
        };
        context.output.progress("stopping ...");
        let stopped = node.stop().await;
        ended?;
        stopped?;
        Ok(Outcome::Done)
    }
}

fn render(ready: &ReadyInfo) -> String {
    let addresses: Vec<_> = ready.addresses.iter().map(|address| plain(address)).collect();
    format!("Ready on {}.\n  endpoint {}\n  Ctrl-C stops it.\n", addresses.join(", "), ready.endpoint)
}

/// SIGINT and SIGTERM, or what the platform has for them.
struct Told {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Told {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
impl Told {
    fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn stop(&mut self) {
        // Without signals there is nothing to wait for but the end of the process.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_one_line_of_json() {
        let ready = ReadyInfo { ready: true, endpoint: "ab".into(), addresses: vec!["127.0.0.1:4433".into()] };
        assert_eq!(crate::output::json(&ready), r#"{"ready":true,"endpoint":"ab","addresses":["127.0.0.1:4433"]}"#);
        insta::assert_snapshot!(render(&ready), @r"
        Ready on 127.0.0.1:4433.
          endpoint ab
          Ctrl-C stops it.
        ");
    }
}
