//! Who has sent something to the relay, each with a socket of its own towards the target.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use super::CLIENTS_MAX;
use super::socket::Socket;

/// A client's number, which no other gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClientId(pub(super) u64);

impl ClientId {
    /// Nobody's: the socket that all clients share.
    pub(super) const LISTENER: Self = Self(0);
}

#[derive(Debug)]
pub(super) struct Clients {
    target: SocketAddr,
    by_address: HashMap<SocketAddr, ClientId>,
    clients: BTreeMap<ClientId, Client>,
    welcomed: u64,
    /// What the system dropped in front of sockets that are gone.
    missed: u64,
}

#[derive(Debug)]
struct Client {
    address: SocketAddr,
    upstream: Socket,
    heard: Instant,
}

impl Clients {
    pub(super) fn new(target: SocketAddr) -> Self {
        Self { target, by_address: HashMap::new(), clients: BTreeMap::new(), welcomed: 0, missed: 0 }
    }

    /// The client at an address, which has just sent something; nothing for a stranger.
    pub(super) fn heard(&mut self, address: SocketAddr, now: Instant) -> Option<ClientId> {
        let id = *self.by_address.get(&address)?;
        self.clients.get_mut(&id)?.heard = now;
        Some(id)
    }

    /// A stranger becomes a client. Where there are too many, one is forgotten for it.
    pub(super) fn welcome(&mut self, address: SocketAddr, now: Instant) -> io::Result<(ClientId, &Socket)> {
        if self.clients.len() >= CLIENTS_MAX {
            self.forget_one();
        }
        let upstream = Socket::towards(self.target)?;
        self.welcomed += 1;
        let id = ClientId(self.welcomed);
        self.by_address.insert(address, id);
        let client = self.clients.entry(id).or_insert(Client { address, upstream, heard: now });
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

    fn forget_one(&mut self) {
        let silent = self.clients.iter().min_by_key(|(_, client)| client.heard).map(|(&id, _)| id);
        let Some(client) = silent.and_then(|id| self.clients.remove(&id)) else { return };
        self.missed += client.upstream.missed();
        self.by_address.remove(&client.address);
    }
}
