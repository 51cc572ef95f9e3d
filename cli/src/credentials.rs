//! Takes up the files of credentials when they change, and warns of certificates that expire. A thread looks at them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use kafka::LiveProperties;
use kafka::admin::KafkaCatalog;
use kafka::catalog::Catalog;
use service::config::Configuration;
use service::credentials::FileSet;
use service::credentials::board::{BOARD, unusable};
use service::credentials::contents::Contents;
use service::credentials::expiry::{self, Named};
use service::credentials::warnings::ExpiryWarnings;
use service::credentials::watch::{FileWatch, LOOK_EVERY, Look};

use crate::exit::Failure;
use crate::reload::{Reloader, properties};

/// Watch over the files of credentials that the configuration names.
pub(crate) struct CredentialFiles<C> {
    reloader: Arc<Reloader<C>>,
    watches: Vec<(FileSet, FileWatch)>,
    warnings: ExpiryWarnings,
}

impl<C: Configuration> CredentialFiles<C> {
    /// Begins with what the files have now. The Kafka clients must be made after this, or a change might be missed.
    pub(crate) fn new(reloader: Arc<Reloader<C>>) -> Self {
        let config = reloader.now();
        let used = |set| match set {
            FileSet::Kafka => Contents::read(files(&*config, set)),
            // They have been read before: the first look compares them with what is in use.
            FileSet::Tls | FileSet::Admin => Contents::default(),
        };
        let watch = |set| (set, FileWatch::new(used(set)));
        BOARD.show_kafka(expiry::of_kafka(config.client()));
        Self { watches: FileSet::ALL.into_iter().map(watch).collect(), reloader, warnings: ExpiryWarnings::default() }
    }

    /// Starts the thread, which looks at the files until the process ends.
    pub(crate) fn watch(mut self, kafka: LiveProperties) -> Result<(), Failure> {
        let look = move || {
            loop {
                self.warn();
                std::thread::sleep(LOOK_EVERY);
                self.look(&kafka);
            }
        };
        std::thread::Builder::new().name("credentials".to_owned()).spawn(look).map(drop).map_err(Failure::failed)
    }

    fn look(&mut self, kafka: &LiveProperties) {
        let config = self.reloader.now();
        for (set, watch) in &mut self.watches {
            let set = *set;
            match watch.look(Instant::now(), Contents::read(files(&*config, set))) {
                Look::Nothing => {}
                Look::Restored => tracing::info!(files = set.name(), "the files have the contents in use again"),
                Look::Try => match take_up(&self.reloader, kafka, set) {
                    Ok(None) => drop(watch.handle_used()),
                    Ok(Some(certificates)) => {
                        BOARD.count_renewed(set);
                        report(set, &watch.handle_used(), &certificates);
                    }
                    Err(reason) if watch.handle_refused(Instant::now(), reason.clone()) => {
                        tracing::warn!("{}", unusable(set, &reason));
                    }
                    Err(_) => {}
                },
            }
            BOARD.show_fault(set, watch.fault());
        }
    }

    fn warn(&mut self) {
        let now = jiff::Timestamp::now();
        for (certificate, validity) in self.warnings.due(now.as_second(), &BOARD.certificates()) {
            let serial = &validity.serial;
            let expires = validity.end();
            if validity.until <= now.as_second() {
                tracing::error!(certificate, serial, expires, "a certificate has expired");
            } else {
                tracing::warn!(certificate, serial, expires, "a certificate expires soon");
            }
        }
    }
}

/// Returns the paths of a set of files.
fn files(config: &impl Configuration, set: FileSet) -> Vec<PathBuf> {
    let process = config.process();
    match set {
        FileSet::Tls => [&process.tls.ca, &process.tls.certificate, &process.tls.key].map(Clone::clone).into(),
        FileSet::Admin => process.admin.token.clone().into_iter().collect(),
        FileSet::Kafka => config.client().files(),
    }
}

/// Uses what the files have now from the next handshake or request on. Returns the certificates among it; `None` if it is in
/// use already, because a reload was faster. Error: a sentence; nothing changed.
fn take_up<C: Configuration>(
    reloader: &Reloader<C>,
    kafka: &LiveProperties,
    set: FileSet,
) -> Result<Option<Named>, String> {
    match set {
        FileSet::Tls => reloader.renew_certificates(),
        FileSet::Admin => Ok(reloader.renew_token()?.then(Vec::new)),
        FileSet::Kafka => renew_kafka(&*reloader.now(), kafka).map(Some),
    }
}

/// Has the Kafka clients made again, if the cluster answers one that is made of what the files have now. Before that, those
/// in use may be good for longer: the cluster may not know a new password yet.
fn renew_kafka(config: &impl Configuration, kafka: &LiveProperties) -> Result<Named, String> {
    let properties = properties(config).map_err(|failure| failure.to_string())?;
    let trial = KafkaCatalog::start(&properties, "credentials").map_err(|error| error.to_string())?;
    trial.ping().map_err(|error| format!("the cluster does not answer a client that has them: {error}"))?;
    let certificates = expiry::of_kafka(config.client());
    BOARD.show_kafka(certificates.clone());
    kafka.replace(properties);
    Ok(certificates)
}

fn report(set: FileSet, changed: &[PathBuf], certificates: &Named) {
    let changed: Vec<_> = changed.iter().map(|path| path.display().to_string()).collect();
    let own = certificates.first().map(|(_, validity)| validity);
    let serial = own.map(|validity| &*validity.serial);
    let expires = own.map(|validity| validity.end());
    tracing::info!(files = set.name(), changed = changed.join(", "), serial, expires, "changed files taken up");
}
