//! Asks the admin port of a running process: plainly, or over TLS, with a token or without.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use service::private_file;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::args::AdminAccess;
use crate::exit::Failure;

/// How to ask.
pub(crate) struct AdminPort {
    agent: ureq::Agent,
    scheme: &'static str,
    authorization: Option<String>,
    timeout: Duration,
}

impl AdminPort {
    /// With what the command line names; nobody waits longer than `timeout` for an answer.
    pub(crate) fn new(access: &AdminAccess, timeout: Duration) -> Result<Self, Failure> {
        let named = |file: &Path, error: &dyn Display| Failure::Config(format!("{}: {error}", file.display()));
        // A refusal says why in its body.
        let mut config = ureq::Agent::config_builder().timeout_global(Some(timeout)).http_status_as_error(false);
        if let Some(ca) = &access.ca {
            let pem = std::fs::read(ca).map_err(|error| named(ca, &error))?;
            let certificates = parse_pem(&pem).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
                Ok(_) => None,
                Err(error) => Some(Err(named(ca, &error))),
            });
            let roots = certificates.collect::<Result<Vec<_>, _>>()?;
            let tls = TlsConfig::builder()
                .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .root_certs(RootCerts::new_with_certs(&roots));
            config = config.tls_config(tls.build());
        }
        let token = access.token.as_deref();
        let token = token.map(|file| private_file::read(file).map_err(|error| named(file, &error))).transpose()?;
        let authorization = token.map(|token| format!("Bearer {token}"));
        let scheme = if access.ca.is_some() { "https" } else { "http" };
        Ok(Self { agent: config.build().into(), scheme, authorization, timeout })
    }

    /// What `page` says, or why nothing is to be had.
    pub(crate) fn get(&self, address: &str, page: &str) -> Result<String, String> {
        let mut request = self.agent.get(self.uri(address, page));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        self.answered(request.call())
    }

    /// What becomes of a request to change something, in a sentence either way.
    pub(crate) fn post(&self, address: &str, page: &str, json: String) -> Result<String, String> {
        let mut request = self.agent.post(self.uri(address, page)).content_type("application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        self.answered(request.send(json))
    }

    fn uri(&self, address: &str, page: &str) -> String {
        format!("{}://{address}/{page}", self.scheme)
    }

    fn answered(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<String, String> {
        let mut answer = answer.map_err(|error| match error {
            ureq::Error::Timeout(_) => format!("no answer within {} s", self.timeout.as_secs()),
            ureq::Error::Io(error) => error.to_string(),
            other => other.to_string(),
        })?;
        let body = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        match answer.status().as_u16() {
            200 => Ok(body),
            401 => Err("wants the token of its `admin.token`: give its file with --token".to_owned()),
            409 => Err(body.trim_end().to_owned()),
            code => Err(format!("answers HTTP {code}: something else listens there")),
        }
    }
}
