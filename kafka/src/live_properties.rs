//! Properties of a cluster's clients that change while clients use them: credentials that are renewed.
//!
//! librdkafka reads certificates, keys and passwords when a client is made. So clients are made again where they can be: see
//! [`Renewing`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use service::lock::Lock;

use super::error::KafkaError;
use super::properties::Properties;

/// Properties of a cluster's clients, the same for all clones.
#[derive(Debug, Clone, Default)]
pub struct LiveProperties(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    present: Lock<Arc<Properties>>,
    /// Number of changes.
    generation: AtomicU64,
    followers: Lock<Vec<Weak<dyn Follower>>>,
}

/// User of properties that must notice a change although it waits for something else.
pub trait Follower: Send + Sync + std::fmt::Debug {
    /// Notes that the properties have changed. It must not wait.
    fn handle_change(&self);
}

impl LiveProperties {
    /// Returns the present properties.
    pub fn now(&self) -> Arc<Properties> {
        Arc::clone(&self.0.present.lock())
    }

    /// Returns the number of changes. What was made of the properties after this call is at least as new.
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// Replaces the properties. Clients are made again from now on; what they were doing continues with the new ones.
    pub fn replace(&self, properties: Properties) {
        *self.0.present.lock() = Arc::new(properties);
        self.0.generation.fetch_add(1, Ordering::AcqRel);
        let followers: Vec<_> = self.0.followers.lock().iter().filter_map(Weak::upgrade).collect();
        followers.iter().for_each(|follower| follower.handle_change());
    }

    /// Tells `follower` of each change, while it lives.
    pub fn follow(&self, follower: Weak<dyn Follower>) {
        let mut followers = self.0.followers.lock();
        followers.retain(|known| known.strong_count() > 0);
        followers.push(follower);
    }
}

impl From<Properties> for LiveProperties {
    fn from(properties: Properties) -> Self {
        Self(Arc::new(Shared { present: Lock::new(Arc::new(properties)), ..Shared::default() }))
    }
}

/// Properties that never change.
impl From<&Properties> for LiveProperties {
    fn from(properties: &Properties) -> Self {
        properties.clone().into()
    }
}

impl From<&Self> for LiveProperties {
    fn from(properties: &Self) -> Self {
        properties.clone()
    }
}

type Make<T> = Box<dyn Fn(&Properties) -> Result<Arc<T>, KafkaError> + Send + Sync>;

/// Client that is made again when its properties have changed. Who uses the former one keeps it until then.
pub(crate) struct Renewing<T> {
    properties: LiveProperties,
    make: Make<T>,
    present: Lock<(u64, Arc<T>)>,
}

impl<T: Send + Sync + 'static> Renewing<T> {
    /// Makes the first client.
    pub(crate) fn start(
        properties: LiveProperties,
        make: impl Fn(&Properties) -> Result<Arc<T>, KafkaError> + Send + Sync + 'static,
    ) -> Result<Self, KafkaError> {
        let generation = properties.generation();
        let first = make(&properties.now())?;
        Ok(Self { properties, make: Box::new(make), present: Lock::new((generation, first)) })
    }

    /// Returns the client, of the present properties if one can be made.
    pub(crate) fn present(&self) -> Arc<T> {
        self.numbered().1
    }

    /// Returns the client with the generation of its properties.
    pub(crate) fn numbered(&self) -> (u64, Arc<T>) {
        let generation = self.properties.generation();
        let mut present = self.present.lock();
        if present.0 < generation {
            match (self.make)(&self.properties.now()) {
                Ok(made) => retire(std::mem::replace(&mut *present, (generation, made))),
                // The properties were tried before they became the present ones.
                Err(error) => {
                    tracing::warn!(%error, "no client with the changed credentials; continuing with the former")
                }
            }
        }
        present.clone()
    }

    pub(crate) fn properties(&self) -> &LiveProperties {
        &self.properties
    }
}

impl<T> std::fmt::Debug for Renewing<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewing").field("generation", &self.present.lock().0).finish_non_exhaustive()
    }
}

/// Drops clients on a thread of their own: their end may wait for a name server.
pub(crate) fn retire<T: Send + 'static>(former: T) {
    let thread = std::thread::Builder::new().name("kafka-retire".to_owned());
    // Without a thread they are dropped here.
    let _ = thread.spawn(move || drop(former));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(server: &str) -> Properties {
        Properties { bootstrap_servers: vec![server.to_owned()], ..Properties::default() }
    }

    #[derive(Debug, Default)]
    struct Heard(AtomicU64);

    impl Follower for Heard {
        fn handle_change(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_client_is_made_again_once_for_each_change() {
        let live = LiveProperties::from(properties("a:1"));
        let made = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&made);
        let client = Renewing::start(live.clone(), move |properties| {
            count.fetch_add(1, Ordering::Relaxed);
            match &*properties.bootstrap_servers[0] {
                "bad" => Err(KafkaError::misused("start", "told to")),
                server => Ok(Arc::new(server.to_owned())),
            }
        })
        .unwrap();
        let former = client.present();
        assert_eq!((&**former, &**client.present(), made.load(Ordering::Relaxed)), ("a:1", "a:1", 1));
        live.replace(properties("b:1"));
        assert_eq!((&**client.present(), &**client.present(), made.load(Ordering::Relaxed)), ("b:1", "b:1", 2));
        assert_eq!(&**former, "a:1", "who has it keeps it");
        live.replace(properties("bad"));
        assert_eq!(client.numbered(), (1, Arc::new("b:1".to_owned())));
        live.replace(properties("c:1"));
        assert_eq!(client.numbered(), (3, Arc::new("c:1".to_owned())));
    }

    #[test]
    fn followers_hear_of_changes_while_they_live() {
        let live = LiveProperties::default();
        let [one, other] = [(); 2].map(|()| Arc::new(Heard::default()));
        for heard in [&one, &other] {
            let heard: Weak<Heard> = Arc::downgrade(heard);
            live.follow(heard);
        }
        live.replace(Properties::default());
        drop(other);
        live.replace(Properties::default());
        live.follow(Weak::<Heard>::new());
        assert_eq!(one.0.load(Ordering::Relaxed), 2);
        assert_eq!(live.0.followers.lock().len(), 2, "the one that is gone is forgotten");
    }
}
