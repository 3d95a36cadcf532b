//! One look at all readers.

use std::collections::BinaryHeap;

use super::watched::Watched;
use crate::backend::hash::{hash, NOTHING};
use crate::error::{Error, Outcome};
use pcsc_wire::ReaderStateRecord;

/// The result of a look at the readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// All states are those that the caller knows.
    Unchanged,
    /// A state differs from the one that the caller knows.
    Changed,
    /// At the first look, a reader that the caller names does not exist.
    UnknownReader,
}

/// One call: the watched readers, and the results of earlier looks. The time of a look is linear in the
/// number of readers, and logarithmic in the number of watched ones.
#[derive(Debug)]
pub struct StatusChange<'c, 'a> {
    pub(super) watched: &'c mut [Watched<'a>],
    /// The names and indices of the watched readers, in order.
    by_name: Vec<(&'a [u8], usize)>,
    /// A hash of the readers' names and the count of reader events, as of the first look.
    list_at_start: Option<(u64, Option<u32>)>,
    pub(super) is_first: bool,
}

/// Calls a function with each reader. `dyn`, so that the comparison is compiled once and not for each
/// backend's iterator.
type ForEachReader<'f> = &'f dyn Fn(&mut dyn FnMut(ReaderStateRecord<'_>));

impl<'c, 'a> StatusChange<'c, 'a> {
    pub(in crate::backend) fn new(watched: &'c mut [Watched<'a>]) -> Outcome<StatusChange<'c, 'a>> {
        let mut by_name = Vec::new();
        by_name
            .try_reserve_exact(watched.len())
            .map_err(|_| Error::NoMemory)?;
        by_name.extend(watched.iter().map(|entry| entry.name).zip(0..));
        Ok(StatusChange {
            watched,
            // Sorted in place, with a fifth of the code of the standard library's sort.
            by_name: BinaryHeap::from(by_name).into_sorted_vec(),
            list_at_start: None,
            is_first: true,
        })
    }

    /// Whether [`StatusChange::compare`] uses the count of readers that came or went.
    pub fn wants_reader_events(&self) -> bool {
        self.watched.iter().any(Watched::is_pnp)
    }

    /// Compares the states that the caller knows with the current ones. `events` is the backend's count of
    /// readers that came or went, if it keeps one.
    pub fn compare<'r>(
        &mut self,
        readers: impl Iterator<Item = ReaderStateRecord<'r>> + Clone,
        events: Option<u32>,
    ) -> Comparison {
        self.compare_all(&|look| readers.clone().for_each(look), events)
    }

    fn compare_all(&mut self, readers: ForEachReader<'_>, events: Option<u32>) -> Comparison {
        if std::mem::take(&mut self.is_first) {
            readers(&mut |reader| self.for_each_of_name(reader.name, &mut |entry| entry.is_found = true));
            // At the first look only. A reader that goes later is a change that the caller waits for.
            if !self.watched.iter().all(|entry| entry.is_found || entry.is_pnp()) {
                return Comparison::UnknownReader;
            }
        }
        let came_or_went = self.wants_reader_events() && self.has_list_changed(readers, events);
        for entry in &mut *self.watched {
            (entry.is_evaluated, entry.is_found) = (true, false);
        }
        let mut changed = false;
        readers(&mut |reader| {
            self.for_each_of_name(reader.name, &mut |entry| {
                // Of several readers with one name the first counts.
                if !std::mem::replace(&mut entry.is_found, true) && !entry.is_ignored() {
                    changed |= entry.compare(Some(reader));
                }
            });
        });
        for entry in self.watched.iter_mut().filter(|entry| !entry.is_found) {
            if entry.is_pnp() {
                changed |= entry.compare_list(events, came_or_went);
            } else if !entry.is_ignored() {
                changed |= entry.compare(None);
            }
        }
        if changed {
            Comparison::Changed
        } else {
            Comparison::Unchanged
        }
    }

    fn for_each_of_name(&mut self, name: &[u8], act: &mut dyn FnMut(&mut Watched<'a>)) {
        let first = self.by_name.partition_point(|(other, _)| *other < name);
        for &(other, index) in &self.by_name[first..] {
            if other != name {
                break;
            }
            act(&mut self.watched[index]);
        }
    }

    /// Whether readers came or went since the first look.
    fn has_list_changed(&mut self, readers: ForEachReader<'_>, events: Option<u32>) -> bool {
        let mut names = NOTHING;
        // No name contains a NUL.
        readers(&mut |reader| names = hash(hash(names, reader.name), b"\0"));
        let now = (names, events);
        *self.list_at_start.get_or_insert(now) != now
    }
}
