//! Lanes that classes own. They are stored in lane 0 before a session uses them, because another session must not
//! give the same lanes to another class.

use wire::close::{Close, CloseCode};
use wire::control::LaneClosedReason;
use wire::lanes::{ClassRequest, ClassTable};

use super::open_lane::Lane;
use super::rebuilt;
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
        let mut state = self.take(terms)?;
        let (classes, appended) = append(&state, terms, requests)?;
        if appended {
            let terms = Terms { classes: classes.clone(), ..terms.clone() };
            let accepted = rebuilt::accept(self.parts.id, &terms, &mut state);
            self.commit_lane_record(&terms.lane_record(state.lane.as_ref()), &state.custody, accepted)?;
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
