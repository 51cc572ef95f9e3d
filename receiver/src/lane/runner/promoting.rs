//! Promotion of a lane, and the statement that lane 0 keeps.

use super::LaneRunner;
use crate::lane::handle::{PromoteLane, StoreStatement};
use crate::target::Target;

impl<T: Target> LaneRunner<T> {
    pub(super) fn promote(&mut self, request: PromoteLane) {
        let lane = self.lane.id();
        let PromoteLane { record, ends, answer } = request;
        let asking = self.handle.ask();
        let promoted = self.lane.promote_knowing(&self.link, record.as_ref(), ends.as_ref());
        drop(asking);
        match &promoted {
            Ok(_) => {
                tracing::info!(link = &*self.link, %lane, "lane promoted: it carries nothing any more");
                self.trouble = None;
                self.retry = None;
            }
            Err(error) => {
                tracing::warn!(link = &*self.link, %lane, %error, "could not promote lane");
                self.trouble = Some(format!("lane {lane}: {error}"));
            }
        }
        // The request may be over; it is repeated then.
        let _ = answer.send(promoted.map(Box::new));
    }

    pub(super) fn store_statement(&mut self, request: StoreStatement) {
        let StoreStatement { text, answer } = request;
        let _asking = self.handle.ask();
        // The request may be over; it is repeated then.
        let _ = answer.send(self.lane.store_statement(&self.link, &text));
    }
}
