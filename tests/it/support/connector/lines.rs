//! The lines that a program writes to a pipe, read as they come.
#![allow(dead_code)]

use super::super::lock;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// What was written so far. A thread reads on until the program closes the pipe.
#[derive(Clone, Default)]
pub struct Lines {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    is_closed: bool,
}

impl Lines {
    pub fn read(pipe: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let for_thread = lines.clone();
        std::thread::spawn(move || {
            let (state, changed) = &*for_thread.shared;
            // Lines are cut as bytes, so that one that is not UTF-8 is kept as well.
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                lock(state).lines.push(line);
                changed.notify_all();
            }
            lock(state).is_closed = true;
            changed.notify_all();
        });
        lines
    }

    pub fn all(&self) -> Vec<String> {
        lock(&self.shared.0).lines.clone()
    }

    /// Waits until `find` returns something; none when the pipe closes or the deadline passes
    /// before that.
    pub fn wait<T>(
        &self,
        deadline: Duration,
        mut find: impl FnMut(&[String]) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + deadline;
        let (state, changed) = &*self.shared;
        let mut state = lock(state);
        loop {
            if let Some(found) = find(&state.lines) {
                return Some(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if state.is_closed || left.is_zero() {
                return None;
            }
            state = match changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Waits until the program has closed the pipe; false when the deadline passes before.
    pub fn wait_closed(&self, deadline: Duration) -> bool {
        let _ = self.wait(deadline, |_| None::<()>);
        lock(&self.shared.0).is_closed
    }
}
