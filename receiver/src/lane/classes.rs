//! Lanes that classes own. They are stored in lane 0 before a session uses them, because another session must not
//! give the same lanes to another class.

use wire::close::{Close, CloseCode};
use wire::control::LaneClosedReason;
use wire::lanes::{ClassRequest, ClassTable};

use super::open_lane::Lane;
use super::terms::{OpenError, Terms};
use crate::target::LaneTarget;
use crate::target::state::LaneState;

impl<T: LaneTarget> Lane<T> {
    /// Returns the lanes of every class, after it has appended and stored those that are new. Only lane 0 may be
    /// asked, with terms that have the default class only. It fences no one unless there is something to append.
    pub fn append_classes(&mut self, terms: &Terms, requests: &[ClassRequest]) -> Result<ClassTable, OpenError> {
        let (table, appended) = append(&self.read_checked(terms)?, terms, requests)?;
        if !appended {
            return Ok(table);
        }
        self.close(LaneClosedReason::TargetFailed, "lanes are appended to the link; opening again");
        self.parts.target.discard();
        let result = self.store_classes(terms, requests);
        self.parts.target.discard();
        result
    }

    fn store_classes(&mut self, terms: &Terms, requests: &[ClassRequest]) -> Result<ClassTable, OpenError> {
        self.parts.target.fence()?;
        let state = self.read_decisive(terms)?;
        let (classes, appended) = append(&state, terms, requests)?;
        if appended {
            let terms = Terms { classes: classes.clone(), ..terms.clone() };
            self.commit_lane_record(&terms.lane_record(state.lane.as_ref()))?;
            let added = classes.lanes() - terms.classes.default_class().count;
            tracing::info!(classes = classes.classes().len(), class_lanes = added, "stored the lanes of classes");
        }
        Ok(classes)
    }
}

/// Returns the stored classes with the requested ones, and whether any of them are new.
fn append(state: &LaneState, terms: &Terms, requests: &[ClassRequest]) -> Result<(ClassTable, bool), Close> {
    let stored = match &state.lane {
        Some(lane) => lane.table().map_err(|error| Close::new(CloseCode::StateRefused, error.to_string()))?,
        None => terms.classes.clone(),
    };
    let table = stored.append(requests).map_err(|error| Close::new(CloseCode::LanesChanged, error.to_string()))?;
    let appended = table != stored;
    Ok((table, appended))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use bytes::Bytes;
    use wire::control::Control;
    use wire::frame::RecordRef;
    use wire::ids::{Epoch, LaneId, Offset};

    use super::*;
    use crate::join::carried_topics::CarriedTopics;
    use crate::lane::memory::DecodeMemory;
    use crate::lane::size::TransactionSize;
    use crate::target::{Delivered, Extent, StateEntry, TargetError, TargetPartition};

    /// A state partition in memory, shared by receivers that write it in turn.
    #[derive(Clone, Default)]
    struct Memory {
        stored: Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>,
        fences: Arc<Mutex<u32>>,
        written: BTreeMap<Vec<u8>, Vec<u8>>,
    }

    impl LaneTarget for Memory {
        fn read_state(&mut self, _: Extent) -> Result<Vec<StateEntry>, TargetError> {
            let stored = self.stored.lock().unwrap();
            Ok(stored.iter().map(|(key, value)| StateEntry { key: key.clone(), value: Some(value.clone()) }).collect())
        }

        fn fence(&mut self) -> Result<(), TargetError> {
            *self.fences.lock().unwrap() += 1;
            Ok(())
        }

        fn begin(&mut self) -> Result<(), TargetError> {
            Ok(())
        }

        fn produce(&mut self, _: &TargetPartition, _: &RecordRef<'_>, _: &Bytes) -> Result<(), TargetError> {
            panic!("no records here")
        }

        fn write_state(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TargetError> {
            if let Some(value) = value {
                self.written.insert(key.to_vec(), value.to_vec());
            }
            Ok(())
        }

        fn drain(&mut self) -> Result<Delivered, TargetError> {
            Ok(Delivered { state_end: Some(Offset(0)), ..Delivered::default() })
        }

        fn commit(&mut self) -> Result<(), TargetError> {
            self.stored.lock().unwrap().append(&mut self.written);
            Ok(())
        }

        fn discard(&mut self) {
            self.written.clear();
        }
    }

    fn lane(target: &Memory) -> Lane<Memory> {
        Lane::new(LaneId(0), target.clone(), DecodeMemory::new(1), TransactionSize::new(Duration::from_secs(1)))
    }

    fn terms(classes: ClassTable) -> Terms {
        Terms {
            link: "l".into(),
            classes,
            lane_hash: "h".into(),
            source_cluster: "fra".into(),
            target_cluster: "sin".into(),
            filter_hash: 1,
            sender: "s".into(),
        }
    }

    fn requests(requests: &[(&str, u16)]) -> Vec<ClassRequest> {
        requests
            .iter()
            .map(|(name, lanes)| ClassRequest { name: (*name).into(), lanes: *lanes, strict: false })
            .collect()
    }

    #[test]
    fn classes_are_stored_first_and_fence_only_for_new_lanes() {
        let target = Memory::default();
        let plain = terms(ClassTable::new(4));
        let mut first = lane(&target);
        let table = first.append_classes(&plain, &requests(&[("bulk", 2)])).unwrap();
        assert_eq!((table.lanes(), *target.fences.lock().unwrap()), (6, 1));

        // Another receiver, at the same time: it appends after the stored lanes, although its sender does not know them.
        let mut second = lane(&target);
        let both = second.append_classes(&plain, &requests(&[("critical", 1)])).unwrap();
        assert_eq!((both.class("critical").unwrap().first, both.lanes()), (6, 7));
        assert_eq!(second.append_classes(&plain, &requests(&[("critical", 1)])), Ok(both.clone()));
        assert_eq!(second.append_classes(&plain, &[]), Ok(both.clone()), "a removed class keeps its lanes");
        assert_eq!(*target.fences.lock().unwrap(), 2, "there was nothing to append");

        let refused = second.append_classes(&plain, &requests(&[("bulk", 3)])).unwrap_err().to_string();
        assert!(refused.contains("\"bulk\" was made with 2 lanes, 3 are asked for"), "{refused}");
        let fewer = second.append_classes(&terms(ClassTable::new(3)), &[]).unwrap_err().to_string();
        assert!(fewer.contains("was made with 4 lanes, and the sender's `lanes.count` is 3"), "{fewer}");
        assert_eq!(*target.fences.lock().unwrap(), 2, "a refusal fences no one");

        // A session that began before the second class opens its lanes and removes nothing.
        first.open(Arc::new(terms(table)), Arc::new(CarriedTopics::new(6))).unwrap();
        let state =
            LaneState::fold(LaneId(0), "fra", &first.target_mut().read_state(Extent::LastStable).unwrap()).unwrap();
        assert_eq!(state.lane.unwrap().table(), Ok(both));
        let other = plain.classes.append(&requests(&[("other", 2)])).unwrap();
        let refused = first.open(Arc::new(terms(other)), Arc::new(CarriedTopics::new(6))).unwrap_err().to_string();
        assert!(refused.contains("changed by another session"), "{refused}");
    }

    #[test]
    fn an_open_lane_is_closed_when_lanes_are_appended() {
        let target = Memory::default();
        let plain = terms(ClassTable::new(4));
        let mut first = lane(&target);
        first.open(Arc::new(plain.clone()), Arc::new(CarriedTopics::new(4))).unwrap();
        while first.poll_reply().is_some() {}
        first.append_classes(&plain, &[]).unwrap();
        assert_eq!(first.epoch(), Some(Epoch(1)), "nothing to append");
        first.append_classes(&plain, &requests(&[("bulk", 2)])).unwrap();
        let Some(Control::LaneClosed { reason, .. }) = first.poll_reply() else { panic!("no reply") };
        assert_eq!(reason, LaneClosedReason::TargetFailed, "the sender opens it again");
    }
}
