//! Bootstrap servers of a client, for when it has lost all its brokers.
//!
//! A broker that its controller takes for dead answers with topics and without brokers, as a single node does after a
//! pause of ten seconds. librdkafka 2.12 then drops every broker that it knows, and never connects again
//! (confluentinc/librdkafka#5301). Its bootstrap servers, added once more, end that.

use std::ffi::CString;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use service::lock::Lock;

use crate::text::c_string;

/// Pause between two additions: librdkafka keeps each.
const PAUSE: Duration = Duration::from_secs(10);
/// Time within which a server must accept a connection.
const ACCEPTS_WITHIN: Duration = Duration::from_secs(1);

/// Bootstrap servers of one client, and when they were last added.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    servers: String,
    added: Lock<Instant>,
}

impl Bootstrap {
    /// Takes the servers from a client's properties.
    pub(crate) fn of(settings: &[(String, String)]) -> Self {
        let servers = settings.iter().rev().find(|(name, _)| name == "bootstrap.servers");
        Self { servers: servers.map(|(_, value)| value.clone()).unwrap_or_default(), added: Lock::new(Instant::now()) }
    }

    /// Returns the servers to add: none within the pause, and none while no server accepts a connection, because the client
    /// then connects by itself. Blocks for a second per address at most.
    pub(crate) fn due(&self) -> Option<CString> {
        let is_due = {
            let mut added = self.added.lock();
            let is_due = added.elapsed() >= PAUSE;
            if is_due {
                *added = Instant::now();
            }
            is_due
        };
        if is_due && self.servers.split(',').any(accepts) { c_string(&self.servers).ok() } else { None }
    }
}

fn accepts(server: &str) -> bool {
    // librdkafka also takes a protocol before the address.
    let address = server.rsplit_once("://").map_or(server, |(_, address)| address);
    let mut found = address.to_socket_addrs().into_iter().flatten();
    found.any(|address| TcpStream::connect_timeout(&address, ACCEPTS_WITHIN).is_ok())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn servers_are_added_only_while_one_accepts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let servers = format!("127.0.0.1:1,{}", listener.local_addr().unwrap());
        let bootstrap = Bootstrap::of(&[("bootstrap.servers".to_owned(), servers.clone())]);
        assert_eq!(bootstrap.due(), None, "within the pause");
        let long_ago = || *bootstrap.added.lock() = Instant::now().checked_sub(PAUSE).unwrap();
        long_ago();
        assert_eq!(bootstrap.due().unwrap().to_str().unwrap(), servers);
        assert_eq!(bootstrap.due(), None, "within the pause");
        drop(listener);
        long_ago();
        assert_eq!(bootstrap.due(), None, "no server accepts");
    }
}
