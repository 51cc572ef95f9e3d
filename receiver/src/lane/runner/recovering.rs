//! Recovery of a lane after a transaction whose outcome is unknown.

use wire::close::{Close, CloseCode};
use wire::control::LaneClosedReason;

use super::{LaneRunner, Reply, Retry};
use crate::lane::recover::RecoverError;
use crate::target::{Target, TargetError};

impl<T: Target> LaneRunner<T> {
    pub(super) fn recover(&mut self) {
        let retry = *self.retry.get_or_insert_with(Retry::now);
        let lane = self.lane.id();
        let asking = self.handle.ask();
        let recovered = self.lane.recover();
        drop(asking);
        let Err(error) = recovered else {
            // The trouble stays until a commit, or until there is nothing left to commit.
            if retry.wait.is_zero() {
                tracing::debug!(%lane, "lane recovered; replaying its frames");
            } else {
                tracing::debug!(%lane, "lane recovered again");
            }
            return;
        };
        let before = self.trouble.replace(format!("lane {lane}: {error}"));
        match error {
            RecoverError::Target(gone @ TargetError::StateGone(_)) => {
                tracing::error!(%lane, error = %gone, "state topic is gone");
                self.lane.close(LaneClosedReason::Refused, &gone.to_string());
                self.reply(Reply::Close(Close::new(CloseCode::StateRefused, gone.to_string())));
            }
            RecoverError::Target(error) => {
                self.spare_others(&error);
                let next = retry.next();
                if before == self.trouble {
                    tracing::debug!(%lane, %error, retry_in = ?next.wait, "target still fails");
                } else {
                    tracing::warn!(%lane, %error, retry_in = ?next.wait, "target still fails");
                }
                self.retry = Some(next);
            }
            RecoverError::Superseded { .. } | RecoverError::Taken { .. } => {
                tracing::error!(%lane, %error, "lane contested: another receiver opened it");
                self.trouble = Some(format!("lane {lane} is contested: {error}"));
                self.lane.close(LaneClosedReason::Superseded, &error.to_string());
            }
            RecoverError::Diverged { .. } => {
                tracing::error!(%lane, %error, "stored positions were written by another process; opening the lane again");
                self.lane.close(LaneClosedReason::TargetFailed, &error.to_string());
            }
        }
    }
}
