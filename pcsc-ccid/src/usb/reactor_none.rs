//! Other systems: their library wakes those who wait.

use super::signal::Signal;
use std::sync::Arc;
use std::time::Duration;

/// There is none.
#[derive(Debug)]
pub(super) enum Reactor {}

/// Nobody leads.
#[derive(Debug)]
pub(super) struct Lead<'a>(&'a Reactor);

impl Reactor {
    pub(super) fn lead_or_follow(&self, _: &Arc<Signal>) -> Option<Lead<'_>> {
        match *self {}
    }

    pub(super) fn unfollow(&self, _: &Arc<Signal>) {
        match *self {}
    }

    pub(super) fn kick(&self) {
        match *self {}
    }

    pub(super) fn wait(&self, _: Option<Duration>) -> bool {
        match *self {}
    }

    pub(super) fn reap(&self) {
        match *self {}
    }
}
