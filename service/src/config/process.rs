//! The settings that every process has, sender or receiver.

use super::settings::Settings;
use crate::admin::AdminSettings;
use crate::logging::LogSettings;
use crate::tls::TlsFiles;

crate::settings! {
    /// Settings that every process has, sender or receiver.
    #[derive(Debug, Clone)]
    pub struct ProcessSettings: Table "" {}
    parts(table) {
        /// `[tls]`, the certificate files.
        tls: TlsFiles = table.document().read(), adopt_live;
        /// `[admin]`, the admin port.
        admin: AdminSettings = AdminSettings::read(table.document()), adopt_live;
        /// `[log]`, the settings of the log.
        log: LogSettings = table.document().read(), adopt_live;
        /// All settings by name, as the file states them.
        settings: Settings = Ok(table.document().settings()), adopt_live;
    }
}
