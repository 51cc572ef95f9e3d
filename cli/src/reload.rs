//! Reload of a running process's configuration: on SIGHUP, and on a request to the admin port.
//!
//! A file that cannot be used changes nothing. From a good one, the settings that can change in a running process take
//! effect, and the others are named.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kafka::Properties;
use serde::Serialize;
use service::admin::Access;
use service::config::{Change, Configuration};
use service::credentials::expiry::Named;
use service::live::{self, Live, Publisher};
use service::lock::Lock;
use service::logging::Logging;
use service::metrics::PROCESS;
use service::tls::{Credentials, End, TlsError};

use crate::exit::Failure;
use crate::role;

#[derive(Debug, Default, Serialize)]
pub(crate) struct Reloaded {
    changed: Vec<Change>,
    /// Settings of the file that take effect after a restart.
    needs_restart: Vec<Change>,
}

/// The configuration of this process and the file that it came from.
pub(crate) struct Reloader<C> {
    file: PathBuf,
    logging: Logging,
    /// The access rules of the admin port, which a reload renews.
    pub(crate) access: Arc<Access>,
    state: Lock<State<C>>,
}

/// The configuration in use. One reload at a time changes it.
struct State<C> {
    publisher: Publisher<C>,
    /// Fingerprint of the certificates in use.
    certificates: String,
}

impl<C: Configuration> Reloader<C> {
    /// A reloader of `config`, which was read from `file`, and the live configuration for its users.
    pub(crate) fn new(file: &Path, config: C, logging: Logging) -> Result<(Self, Live<C>), Failure> {
        let credentials = usable(&config).map_err(|error| Failure::config(format!("tls: {error}")))?;
        let access = Access::new(&config.process().admin, &credentials).map_err(Failure::config)?;
        let (publisher, live) = live::channel(config);
        let state = Lock::new(State { publisher, certificates: credentials.fingerprint() });
        Ok((Self { file: file.to_owned(), logging, access: Arc::new(access), state }, live))
    }

    /// Reads the file again and logs the result. Blocks on the disk.
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
                let changed = reloaded.changed.len();
                let needs_restart = reloaded.needs_restart.len();
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

    /// Returns the configuration in use.
    pub(crate) fn now(&self) -> Arc<C> {
        self.state.lock().publisher.now()
    }

    /// Reads the certificates and the key again, for handshakes from now on. Returns them; `None` if they are in use already.
    /// Error: a sentence; nothing changed. Blocks on the disk.
    pub(crate) fn renew_certificates(&self) -> Result<Option<Named>, String> {
        let mut state = self.state.lock();
        let config = state.publisher.now();
        let credentials = usable(&*config).map_err(|error| error.to_string())?;
        self.access.renew_certificates(&credentials).map_err(|error| error.to_string())?;
        let certificates = credentials.fingerprint();
        if std::mem::replace(&mut state.certificates, certificates.clone()) == certificates {
            return Ok(None);
        }
        state.publisher.publish(C::clone(&config));
        Ok(Some(credentials.validities()))
    }

    /// Reads the token of the admin port again. Returns whether it is another. Error: a sentence; nothing changed.
    pub(crate) fn renew_token(&self) -> Result<bool, String> {
        let state = self.state.lock();
        self.access.renew_token(&state.publisher.now().process().admin).map_err(|error| error.to_string())
    }

    fn read(&self) -> Result<Reloaded, String> {
        let mut state = self.state.lock();
        let new: C = role::load(&self.file).map_err(|failure| failure.to_string())?;
        let credentials = usable(&new).map_err(|error| format!("tls: {error}"))?;
        self.access.renew(&new.process().admin, &credentials).map_err(|error| error.to_string())?;
        let certificates = credentials.fingerprint();
        let mut config = C::clone(&state.publisher.now());
        let changes = config.reload(new);
        let (mut changed, needs_restart): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| change.live);
        let before = std::mem::replace(&mut state.certificates, certificates.clone());
        if before != certificates {
            let setting = "tls: contents of the files".to_owned();
            changed.push(Change { setting, from: before, to: certificates, live: true });
        }
        if changed.iter().any(|change| change.setting == "log.level") && !self.logging.set_level(config.process().log) {
            tracing::warn!("RUST_LOG in the environment overrides `log.level`");
        }
        state.publisher.publish(config);
        Ok(Reloaded { changed, needs_restart })
    }
}

/// The brokers and the client properties of a process's Kafka cluster.
pub(crate) fn properties(config: &impl Configuration) -> Result<Properties, Failure> {
    Ok(Properties {
        bootstrap_servers: config.brokers().iter().map(ToString::to_string).collect(),
        extra: config.client().resolve().map_err(Failure::config)?,
    })
}

/// Reads the certificates and the key, and checks that they serve their end.
pub(crate) fn usable<C: Configuration>(config: &C) -> Result<Credentials, TlsError> {
    let credentials = Credentials::load(&config.process().tls, C::END, service::tls::now())?;
    match C::END {
        End::Client => credentials.client().map(drop)?,
        End::Server => credentials.server().map(drop)?,
    }
    Ok(credentials)
}
