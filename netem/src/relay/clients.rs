//! Clients of the relay, each with a socket of its own towards the target.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use super::socket::Socket;

/// Clients that a relay serves. One more client removes the one that has been silent longest.
pub(super) const CLIENTS_MAX: usize = 256;

/// A client's number, which is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClientId(pub(super) u64);

impl ClientId {
    /// Id of the socket that all clients share; no client has it.
    pub(super) const LISTENER: Self = Self(0);
}

#[derive(Debug)]
pub(super) struct Clients {
    target: SocketAddr,
    by_address: HashMap<SocketAddr, ClientId>,
    clients: BTreeMap<ClientId, Client>,
    added: u64,
    /// Packets that the system dropped in front of sockets that are closed.
    missed: u64,
}

#[derive(Debug)]
struct Client {
    address: SocketAddr,
    upstream: Socket,
    last_heard: Instant,
}

impl Clients {
    pub(super) fn new(target: SocketAddr) -> Self {
        Self { target, by_address: HashMap::new(), clients: BTreeMap::new(), added: 0, missed: 0 }
    }

    /// Returns the client at `address`, from which a packet has just come; none for an unknown address.
    pub(super) fn find(&mut self, address: SocketAddr, now: Instant) -> Option<ClientId> {
        let id = *self.by_address.get(&address)?;
        self.clients.get_mut(&id)?.last_heard = now;
        Some(id)
    }

    /// Adds a client. If there are too many, the one that has been silent longest is removed.
    pub(super) fn add(&mut self, address: SocketAddr, now: Instant) -> io::Result<(ClientId, &Socket)> {
        if self.clients.len() >= CLIENTS_MAX {
            self.remove_silent();
        }
        let upstream = Socket::towards(self.target)?;
        self.added += 1;
        let id = ClientId(self.added);
        self.by_address.insert(address, id);
        let client = self.clients.entry(id).or_insert(Client { address, upstream, last_heard: now });
        Ok((id, &client.upstream))
    }

    pub(super) fn upstream(&self, id: ClientId) -> Option<&Socket> {
        self.clients.get(&id).map(|client| &client.upstream)
    }

    pub(super) fn address(&self, id: ClientId) -> Option<SocketAddr> {
        self.clients.get(&id).map(|client| client.address)
    }

    pub(super) fn missed(&self) -> u64 {
        self.missed + self.clients.values().map(|client| client.upstream.missed()).sum::<u64>()
    }

    fn remove_silent(&mut self) {
        let silent = self.clients.iter().min_by_key(|(_, client)| client.last_heard).map(|(&id, _)| id);
        let Some(client) = silent.and_then(|id| self.clients.remove(&id)) else { return };
        self.missed += client.upstream.missed();
        self.by_address.remove(&client.address);
    }
}
