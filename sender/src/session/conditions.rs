//! Conditions of this end that a session tells the receiver.

use tokio::sync::watch;
use wire::condition::Condition;
use wire::hello::FEATURE_CONDITION;

use crate::board::Board;

/// Changes of this end's condition; `None` if the receiver does not know the message.
pub(super) struct Conditions(Option<watch::Receiver<Condition>>);

impl Conditions {
    /// Follows the board's condition; its present one comes first, unless it is empty.
    pub(super) fn new(board: &Board, features: u64) -> Self {
        let agreed = features & FEATURE_CONDITION != 0;
        Self(agreed.then(|| {
            let mut conditions = board.condition().subscribe();
            if *conditions.borrow_and_update() != Condition::default() {
                conditions.mark_changed();
            }
            conditions
        }))
    }

    /// Waits for the next condition to be sent; without an agreed feature permanently. Cancel-safe.
    pub(super) async fn next(&mut self) -> Condition {
        if let Some(conditions) = &mut self.0
            && conditions.changed().await.is_ok()
        {
            return conditions.borrow_and_update().clone();
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wire::hello::FEATURES;

    use super::*;

    async fn next(conditions: &mut Conditions) -> Option<Condition> {
        tokio::time::timeout(Duration::from_millis(20), conditions.next()).await.ok()
    }

    fn waiting(waiting: u32) -> Condition {
        Condition { waiting, ..Condition::default() }
    }

    #[tokio::test]
    async fn a_receiver_of_an_older_version_gets_no_condition() {
        let board = Board::default();
        board.condition().send_replace(waiting(1));
        let mut older = Conditions::new(&board, FEATURES & !FEATURE_CONDITION);
        assert_eq!(next(&mut older).await, None);
        let mut newer = Conditions::new(&board, FEATURES);
        assert_eq!(next(&mut newer).await, Some(waiting(1)));
    }

    #[tokio::test]
    async fn a_session_tells_each_change_once() {
        let board = Board::default();
        let mut conditions = Conditions::new(&board, FEATURES);
        assert_eq!(next(&mut conditions).await, None, "nothing to tell");
        board.condition().send_replace(waiting(2));
        assert_eq!(next(&mut conditions).await, Some(waiting(2)));
        assert_eq!(next(&mut conditions).await, None);
        board.condition().send_replace(Condition::default());
        assert_eq!(next(&mut conditions).await, Some(Condition::default()), "the problem is over");
    }
}
