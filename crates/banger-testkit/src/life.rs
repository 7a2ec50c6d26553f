//! One daemon's life, which ends at a step that the test chooses.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Counts the steps of a daemon: what is durable or touches the host is done
/// between two of them. Clones share one life.
#[derive(Debug, Clone, Default)]
pub struct Life(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    buried: Condvar,
    died: Notify,
}

#[derive(Debug, Default)]
struct State {
    steps: usize,
    /// The step that is not survived.
    last: Option<usize>,
    dead: bool,
    buried: bool,
}

impl Life {
    /// One that ends at its step number `last`, counted from 0.
    #[must_use]
    pub fn until(last: usize) -> Self {
        let life = Self::default();
        life.state().last = Some(last);
        life
    }

    /// Takes a step; false if it is dead. A thread that meets its death here
    /// does not go on before the life is [buried](Self::bury): nothing that a
    /// dead daemon would not do is done meanwhile.
    #[must_use]
    pub fn step(&self) -> bool {
        let mut state = self.state();
        if !state.dead && state.last == Some(state.steps) {
            state.dead = true;
            self.0.died.notify_one();
        }
        state.steps += 1;
        while state.dead && !state.buried {
            state = self.0.buried.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.dead
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Completes when it ends.
    pub async fn died(&self) {
        self.0.died.notified().await;
    }

    /// Ends it and lets its threads go, to find that it is over.
    pub fn bury(&self) {
        let mut state = self.state();
        (state.dead, state.buried) = (true, true);
        self.0.buried.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Plain values: whole whatever panicked.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
