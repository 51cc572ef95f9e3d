//! Reading a running process's configuration again: on SIGHUP, and when the admin port is asked to.
//!
//! A file that cannot be used changes nothing. Of one that can, what may change in a running process does,
//! and the rest is named.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use service::admin::{Access, AdminSettings};
use service::config::Change;
use service::live::{self, Live, Publisher};
use service::logging::{LogSettings, Logging};
use service::metrics::PROCESS;
use service::tls::{Credentials, End, TlsError, TlsFiles};

use crate::exit::Failure;

/// A side's configuration.
pub(crate) trait Configuration: Clone + Send + Sync + 'static {
    /// Which end its certificate is for.
    const END: End;

    /// Reads a file, everything that it names included.
    fn load(file: &Path) -> Result<Self, Failure>;

    /// Takes over what can change in a running process; says all that `new` changes.
    fn adopt(&mut self, new: Self) -> Vec<Change>;

    /// Where the certificates lie.
    fn tls(&self) -> &TlsFiles;

    /// How it logs.
    fn log(&self) -> LogSettings;

    /// Who may ask it.
    fn admin(&self) -> &AdminSettings;
}

/// What reading a configuration again did.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Reloaded {
    /// What holds from now on.
    changed: Vec<Change>,
    /// What the file says and a restart would bring about.
    needs_restart: Vec<Change>,
}

/// The configuration of this process and the file that it came from.
pub(crate) struct Reload<C> {
    file: PathBuf,
    logging: Logging,
    access: Arc<Access>,
    /// One at a time; with the fingerprint of the certificates in use.
    publisher: Mutex<(Publisher<C>, String)>,
}

impl<C: Configuration> Reload<C> {
    /// For `config`, which was read from `file`; and what its users follow.
    pub(crate) fn new(file: &Path, config: C, logging: Logging) -> Result<(Self, Live<C>), Failure> {
        let credentials = usable(&config).map_err(|error| Failure::config(format!("tls: {error}")))?;
        let access = Access::new(config.admin(), &credentials).map_err(Failure::config)?;
        let (publisher, live) = live::channel(config);
        let publisher = Mutex::new((publisher, credentials.fingerprint()));
        Ok((Self { file: file.to_owned(), logging, access: Arc::new(access), publisher }, live))
    }

    /// Who may ask, renewed with the rest.
    pub(crate) fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access)
    }

    /// Reads the file and logs what became of it. Blocks on the disk.
    pub(crate) fn reload(&self) -> Result<Reloaded, String> {
        let file = self.file.display();
        match self.read() {
            Ok(reloaded) => {
                PROCESS.reloads.fetch_add(1, Ordering::Relaxed);
                for Change { setting, from, to, .. } in &reloaded.changed {
                    tracing::info!(setting, from, to, "setting changed");
                }
                for Change { setting, from, to, .. } in &reloaded.needs_restart {
                    tracing::warn!(setting, running = from, file = to, "setting changed in the file, needs a restart");
                }
                let (changed, needs_restart) = (reloaded.changed.len(), reloaded.needs_restart.len());
                tracing::info!(%file, changed, needs_restart, "configuration read again");
                Ok(reloaded)
            }
            Err(reason) => {
                PROCESS.reloads_refused.fetch_add(1, Ordering::Relaxed);
                let reason = reason.lines().map(str::trim).collect::<Vec<_>>().join("; ");
                tracing::error!(%file, reason, "configuration refused, nothing changed");
                Err(reason)
            }
        }
    }

    fn read(&self) -> Result<Reloaded, String> {
        let mut locked = self.publisher.lock().unwrap_or_else(PoisonError::into_inner);
        let (publisher, fingerprint) = &mut *locked;
        let new = C::load(&self.file).map_err(|failure| failure.to_string())?;
        let credentials = usable(&new).map_err(|error| format!("tls: {error}"))?;
        self.access.renew(new.admin(), &credentials).map_err(|error| error.to_string())?;
        let certificates = credentials.fingerprint();
        let mut config = C::clone(&publisher.now());
        let (mut changed, needs_restart): (Vec<_>, Vec<_>) =
            config.adopt(new).into_iter().partition(|change| change.live);
        let before = std::mem::replace(fingerprint, certificates.clone());
        if before != certificates {
            let setting = "tls: contents of the files".to_owned();
            changed.push(Change { setting, from: before, to: certificates, live: true });
        }
        if changed.iter().any(|change| change.setting == "log.level") && !self.logging.set_level(config.log()) {
            tracing::warn!("the environment's RUST_LOG decides what is logged, not `log.level`");
        }
        publisher.publish(config);
        Ok(Reloaded { changed, needs_restart })
    }
}

/// Certificates and key that serve their end.
fn usable<C: Configuration>(config: &C) -> Result<Credentials, TlsError> {
    let credentials = Credentials::load(config.tls(), C::END, service::tls::now())?;
    match C::END {
        End::Client => credentials.client().map(drop)?,
        End::Server => credentials.server().map(drop)?,
    }
    Ok(credentials)
}
