//! Requests to the admin port of a running process: over HTTP or HTTPS, with or without a token.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use service::config::ProcessSettings;
use service::private_file;
use service::tls::PeerIdentity;
use ureq::RequestBuilder;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::args::AdminOptions;
use crate::exit::Failure;
use crate::role::Role;

/// The admin port of a sender unless configured otherwise.
pub(crate) const SENDER: &str = "127.0.0.1:7401";
/// The admin port of a receiver unless configured otherwise.
pub(crate) const RECEIVER: &str = "127.0.0.1:7402";
/// Longest answer: a statement of loss has some 220 bytes for each partition.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

pub(crate) struct AdminPort {
    agent: ureq::Agent,
    /// The port in messages: what the command line or the configuration file says.
    pub(crate) name: String,
    /// The URL of the port, without a path.
    url: String,
    authorization: Option<String>,
    timeout: Duration,
}

struct Target {
    name: String,
    url: String,
    /// The address to connect to; `None` to resolve the host of the URL.
    connect: Option<SocketAddr>,
    /// Authorities of the port's certificate; `None` for HTTP.
    ca: Option<PathBuf>,
    token: Option<PathBuf>,
}

impl AdminPort {
    /// A client of the port that `options` name, or of the one at `default`. Each request ends after `timeout`.
    pub(crate) fn new(options: &AdminOptions, default: &str, timeout: Duration) -> Result<Self, Failure> {
        let target = match &options.config {
            Some(file) => Target::of_file(file)?,
            None => Target::of_address(options.admin.as_deref().unwrap_or(default), options)?,
        };
        Self::connecting(target, timeout)
    }

    fn connecting(target: Target, timeout: Duration) -> Result<Self, Failure> {
        // Refusals say why in their body.
        let mut config = ureq::Agent::config_builder().timeout_global(Some(timeout)).http_status_as_error(false);
        if let Some(ca) = &target.ca {
            let tls = TlsConfig::builder()
                .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .root_certs(RootCerts::new_with_certs(&authorities(ca)?));
            config = config.tls_config(tls.build());
        }
        let token = target.token.as_deref();
        let token = token.map(|file| private_file::read(file).map_err(|error| unusable(file, &error))).transpose()?;
        let authorization = token.map(|token| format!("Bearer {token}"));
        let resolver = FixedAddress { address: target.connect, dns: DefaultResolver::default() };
        let agent = ureq::Agent::with_parts(config.build(), DefaultConnector::default(), resolver);
        Ok(Self { agent, name: target.name, url: target.url, authorization, timeout })
    }

    /// Fetches a page, such as `status`.
    pub(crate) fn get(&self, page: &str) -> Result<String, Failure> {
        self.answered(self.authorised(self.agent.get(format!("{}/{page}", self.url))).call())
    }

    /// Sends a request that changes something; the answer is a sentence.
    pub(crate) fn post(&self, page: &str, request: &impl Serialize) -> Result<String, Failure> {
        let json = serde_json::to_string(request).map_err(Failure::failed)?;
        let request = self.authorised(self.agent.post(format!("{}/{page}", self.url)));
        let answer = self.answered(request.content_type("application/json").send(json))?;
        Ok(answer.trim_end().to_owned())
    }

    fn authorised<Body>(&self, request: RequestBuilder<Body>) -> RequestBuilder<Body> {
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }

    pub(crate) fn failed(&self, reason: impl Display) -> Failure {
        Failure::Failed(format!("{}: {reason}", self.name))
    }

    fn answered(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<String, Failure> {
        let mut answer = answer.map_err(|error| match error {
            ureq::Error::Timeout(_) => self.failed(format!("no response within {} s", self.timeout.as_secs())),
            ureq::Error::Io(error) => self.failed(error),
            other => self.failed(other),
        })?;
        let body = answer
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_string()
            .map_err(|error| self.failed(error))?;
        match answer.status().as_u16() {
            200 => Ok(body),
            401 => Err(self.failed("requires the token of its `admin.token`: pass its file with --token")),
            403 | 409 => Err(self.failed(body.trim_end())),
            code => Err(self.failed(format!("answers HTTP {code}: something other than Causeway listens there"))),
        }
    }
}

impl Target {
    /// A port by its address, as `host:port` or as a URL.
    fn of_address(written: &str, options: &AdminOptions) -> Result<Self, Failure> {
        let (scheme, address) = match written.split_once("://") {
            Some((scheme @ ("http" | "https"), address)) => (scheme, address),
            Some(_) => return Err(Failure::Config(format!("{written}: an admin port speaks http:// or https://"))),
            None => (if options.ca.is_some() { "https" } else { "http" }, written),
        };
        let address = address.strip_suffix('/').unwrap_or(address);
        let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if address.contains('/') || !has_port {
            return Err(Failure::Config(format!("{written}: write an address like {SENDER} or http://{SENDER}")));
        }
        match (scheme, &options.ca) {
            ("https", None) => {
                let words = "HTTPS needs --ca FILE, the authority of the port's certificate";
                Err(Failure::Config(format!("{written}: {words}")))
            }
            ("http", Some(_)) => Err(Failure::Config(format!("{written}: --ca is for HTTPS; write https://{address}"))),
            _ => Ok(Self {
                name: written.to_owned(),
                url: format!("{scheme}://{address}"),
                connect: None,
                ca: options.ca.clone(),
                token: options.token.clone(),
            }),
        }
    }

    /// The port of the process that runs with `file`, as its `[admin]` and `[tls]` describe it.
    fn of_file(file: &Path) -> Result<Self, Failure> {
        let (role, text) = Role::of_file(file)?;
        let ProcessSettings { admin, tls, .. } = role.process(file, &text)?;
        let Some(listen) = admin.listen.0 else {
            let words = "`admin.listen` is \"off\", so this process has no admin port";
            return Err(Failure::Config(format!("{}: {words}", file.display())));
        };
        let connect = SocketAddr::new(local(listen.ip()), listen.port());
        let in_its_directory = |path: &Path| file.parent().unwrap_or_else(|| Path::new("")).join(path);
        let token = admin.token.as_deref().map(in_its_directory);
        let name = connect.to_string();
        if !admin.is_tls() {
            return Ok(Self { url: format!("http://{connect}"), name, connect: Some(connect), ca: None, token });
        }
        // The address to connect to need not be one of the certificate's names.
        let identity = PeerIdentity::of_file(&in_its_directory(&tls.certificate)).map_err(Failure::config)?;
        let host = identity.dns_names().into_iter().next();
        let url = match host {
            Some(host) => format!("https://{host}:{}", connect.port()),
            None => format!("https://{connect}"),
        };
        Ok(Self { url, name, connect: Some(connect), ca: Some(in_its_directory(&tls.ca)), token })
    }
}

/// An address at which this machine reaches a port that listens on `ip`.
fn local(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// A resolver that answers every name with one address, where there is one.
#[derive(Debug)]
struct FixedAddress {
    address: Option<SocketAddr>,
    dns: DefaultResolver,
}

impl Resolver for FixedAddress {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let Some(address) = self.address else { return self.dns.resolve(uri, config, timeout) };
        let mut addresses = self.empty();
        addresses.push(address);
        Ok(addresses)
    }
}

fn authorities(ca: &Path) -> Result<Vec<ureq::tls::Certificate<'static>>, Failure> {
    let pem = std::fs::read(ca).map_err(|error| unusable(ca, &error))?;
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
        Ok(_) => None,
        Err(error) => Some(Err(unusable(ca, &error))),
    });
    certificates.collect()
}

fn unusable(file: &Path, error: &dyn Display) -> Failure {
    Failure::Config(format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str, ca: Option<&str>) -> Result<String, String> {
        let options = AdminOptions { admin: None, config: None, ca: ca.map(PathBuf::from), token: None };
        Target::of_address(address, &options).map(|target| target.url).map_err(|failure| failure.to_string())
    }

    #[test]
    fn an_address_is_host_and_port_or_a_url() {
        assert_eq!(target("a:1", None).unwrap(), "http://a:1");
        assert_eq!(target("[::1]:7401", None).unwrap(), "http://[::1]:7401");
        assert_eq!(target("http://a:1/", None).unwrap(), "http://a:1");
        assert_eq!(target("a:1", Some("ca.pem")).unwrap(), "https://a:1");
        assert_eq!(target("https://a:1", Some("ca.pem")).unwrap(), "https://a:1");
    }

    #[test]
    fn an_address_that_cannot_be_asked_is_refused_with_a_remedy() {
        for (address, ca, words) in [
            ("https://a:1", None, "HTTPS needs --ca FILE"),
            ("http://a:1", Some("ca.pem"), "write https://a:1"),
            ("quic://a:1", None, "speaks http:// or https://"),
            ("http://a:1/status", None, "write an address like 127.0.0.1:7401 or http://127.0.0.1:7401"),
            ("http://a", None, "write an address like"),
            ("a", None, "write an address like"),
        ] {
            let error = target(address, ca).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
