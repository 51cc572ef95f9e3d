//! Places for peers that have proven nothing yet: bounded in number, and shared fairly among the peers' addresses.
//!
//! A newcomer from an address with few places takes one from the address with the most, so that one address cannot keep
//! others out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use tokio::sync::watch;

use crate::lock::Lock;

/// Rule for a newcomer whose address has as many places as any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The newcomer gets no place.
    Refuse,
    /// The oldest silent peer loses its place to the newcomer: the oldest peer of all if none is silent.
    OldestGoes,
}

/// Places of one port.
#[derive(Debug)]
pub struct Places {
    most: usize,
    most_per_address: usize,
    when_full: WhenFull,
    taken: Lock<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next_ticket: u64,
    /// In the order of their arrival.
    places: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    ticket: u64,
    address: IpAddr,
    is_silent: bool,
    lost: watch::Sender<bool>,
}

/// Place of one peer; dropping it makes room for another.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    ticket: u64,
    lost: watch::Receiver<bool>,
}

impl Places {
    /// Makes `most` places, of which one address may have `most_per_address`.
    pub fn new(most: usize, most_per_address: usize, when_full: WhenFull) -> Arc<Self> {
        Arc::new(Self { most, most_per_address, when_full, taken: Lock::default() })
    }

    /// Returns a place for a peer at `address`, which another peer may lose for it.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = owner(address);
        let mut taken = self.taken.lock();
        if let Some(loser) = self.loser(&taken.places, address)? {
            let lost = taken.places.remove(loser).lost;
            lost.send_replace(true);
        }
        let ticket = taken.next_ticket;
        taken.next_ticket += 1;
        let (sender, lost) = watch::channel(false);
        taken.places.push(Entry { ticket, address, is_silent: true, lost: sender });
        Some(Place { places: Arc::clone(self), ticket, lost })
    }

    /// Returns the index of the place that a newcomer takes: none while there is room. `None` refuses the newcomer.
    fn loser(&self, places: &[Entry], newcomer: IpAddr) -> Option<Option<usize>> {
        let own = places.iter().filter(|entry| entry.address == newcomer).count();
        if own < self.most_per_address && places.len() < self.most {
            return Some(None);
        }
        let oldest_of = |address: IpAddr| {
            let of_address = || places.iter().enumerate().filter(move |(_, entry)| entry.address == address);
            let silent = of_address().find(|(_, entry)| entry.is_silent);
            silent.or_else(|| of_address().next()).map(|(index, _)| index)
        };
        if own >= self.most_per_address {
            return (self.when_full == WhenFull::OldestGoes).then(|| oldest_of(newcomer));
        }
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        places.iter().for_each(|entry| *counts.entry(entry.address).or_default() += 1);
        let (greediest, count) = counts.into_iter().max_by_key(|&(address, count)| (count, address))?;
        if count > own + 1 {
            return Some(oldest_of(greediest));
        }
        let silent = || places.iter().position(|entry| entry.is_silent);
        (self.when_full == WhenFull::OldestGoes).then(|| silent().or(Some(0)))
    }
}

impl Place {
    /// Waits until a newcomer has taken the place.
    pub async fn lost(&mut self) {
        let _ = self.lost.wait_for(|lost| *lost).await;
    }

    /// Notes that the peer has said something: silent peers lose their places before it.
    pub fn heard(&self) {
        let mut taken = self.places.taken.lock();
        if let Some(entry) = taken.places.iter_mut().find(|entry| entry.ticket == self.ticket) {
            entry.is_silent = false;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.lock().places.retain(|entry| entry.ticket != self.ticket);
    }
}

/// Returns the part of an address that one owner has: all of an IPv4 address, the first 64 bits of an IPv6 address.
fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn is_lost(place: &Place) -> bool {
        *place.lost.borrow()
    }

    #[test]
    fn one_address_cannot_keep_another_out() {
        let places = Places::new(8, 6, WhenFull::Refuse);
        let greedy: Vec<_> = (0..6).map(|_| places.enter(at(1)).unwrap()).collect();
        assert!(places.enter(at(1)).is_none(), "an address has at most 6");
        let others: Vec<_> = (0..4).map(|_| places.enter(at(2)).unwrap()).collect();
        assert_eq!(greedy.iter().filter(|place| is_lost(place)).count(), 2, "8 places, 4 each");
        assert!(is_lost(&greedy[0]) && is_lost(&greedy[1]), "the oldest lose theirs");
        assert!(places.enter(at(2)).is_none() && places.enter(at(1)).is_none(), "equals do not displace each other");
        assert!(others.iter().all(|place| !is_lost(place)));
        drop(others);
        assert!(places.enter(at(1)).is_some(), "a place that is given up is free");
    }

    #[test]
    fn networks_of_one_owner_count_as_one_address() {
        let places = Places::new(8, 1, WhenFull::Refuse);
        let _first = places.enter("2001:db8::1".parse().unwrap()).unwrap();
        assert!(places.enter("2001:db8::2".parse().unwrap()).is_none());
        let _second = places.enter("2001:db8:0:1::1".parse().unwrap()).unwrap();
        let _third = places.enter("::ffff:10.0.0.1".parse().unwrap()).unwrap();
        assert!(places.enter(at(1)).is_none());
    }

    #[tokio::test]
    async fn the_oldest_silent_peer_goes_first() {
        let places = Places::new(3, 3, WhenFull::OldestGoes);
        let mut peers: Vec<_> = (0..3).map(|_| places.enter(at(1)).unwrap()).collect();
        peers[0].heard();
        let newcomer = places.enter(at(1)).unwrap();
        peers[1].lost().await;
        assert!(!is_lost(&peers[0]) && !is_lost(&peers[2]));
        peers[2].heard();
        newcomer.heard();
        let _last = places.enter(at(1)).unwrap();
        assert!(is_lost(&peers[0]) && !is_lost(&newcomer), "none is silent: the oldest goes");
    }
}
