//! What every command works with: the home, the way to its node, and the way out.

use std::{panic, path::PathBuf};

use chartmesh_node::{
    api::{ApiError, Request},
    client::{self, Client},
    home::Home,
    setup,
};
use zeroize::Zeroizing;

use crate::{
    answer::{self, Answer},
    arguments::Arguments,
    failure::Failure,
    files,
    output::Output,
    passphrase, platform,
};

/// What every command works with.
pub(crate) struct Context {
    home: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
    /// The way out.
    pub(crate) output: Output,
}

impl Context {
    pub(crate) fn new(arguments: &Arguments, output: Output) -> Result<Self, Failure> {
        let home = arguments
            .home
            .clone()
            .or_else(|| std::env::var_os("CHARTMESH_HOME").filter(|home| !home.is_empty()).map(PathBuf::from))
            .or_else(|| platform::home(|name| std::env::var_os(name)));
        let home = home.map(|home| files::full(&home)).transpose()?;
        Ok(Self { home, passphrase_file: arguments.passphrase_file.clone(), output })
    }

    /// The home directory of the node that is meant.
    pub(crate) fn home(&self) -> Result<Home, ApiError> {
        let home =
            self.home.clone().ok_or_else(|| ApiError::usage("there is no telling which home directory is meant").advise("--home DIR, or CHARTMESH_HOME"))?;
        Ok(Home::new(home))
    }

    /// The passphrase of this home, if it has one.
    pub(crate) fn passphrase(&self, home: &Home) -> Result<Option<Zeroizing<String>>, ApiError> {
        if setup::needs_passphrase(home)? { passphrase::existing(self.passphrase_file.as_deref()).map(Some) } else { Ok(None) }
    }

    /// The passphrase for the keys of a new home; none if `none` says so.
    pub(crate) fn new_passphrase(&self, none: bool) -> Result<Option<Zeroizing<String>>, ApiError> {
        passphrase::new(self.passphrase_file.as_deref(), none)
    }

    /// Asks the node: the running one if there is one, else one for this question only.
    pub(crate) async fn ask<T: Answer>(&self, request: Request) -> Result<T, ApiError> {
        let home = self.home()?;
        // A running node has its keys open, and who may reach its socket may ask.
        let passphrase = if client::is_running(&home).await { None } else { self.passphrase(&home)? };
        let client = Client::open(&home, passphrase.as_ref()).await?;
        Self::asked(client, request).await
    }

    /// As [`Self::ask`], of a home that may no longer open.
    pub(crate) async fn ask_closed<T: Answer>(&self, request: Request) -> Result<T, ApiError> {
        let home = self.home()?;
        let running = client::is_running(&home).await;
        // A damaged key file does not say whether it has a passphrase: that is for the answer.
        let asks = !running && setup::needs_passphrase(&home).unwrap_or(false);
        let passphrase = if asks { Some(passphrase::existing(self.passphrase_file.as_deref())?) } else { None };
        Self::asked(Client::closed(&home, passphrase.as_ref()).await, request).await
    }

    async fn asked<T: Answer>(client: Client, request: Request) -> Result<T, ApiError> {
        // By a worker: the thread that waits for the command's end is slow to be woken.
        let asking = tokio::spawn(async move { (client.ask(request).await, client.close().await) });
        let (response, closed) = asking.await.unwrap_or_else(|error| panic::resume_unwind(error.into_panic()));
        let answer = answer::expect(response?)?;
        closed.map(|()| answer)
    }
}
