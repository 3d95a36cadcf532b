//! A reader that answers calls as another one did: what was recorded of a program's calls is played to the
//! next one.
//!
//! Exchanges, control requests, attributes that are set and warm resets must come in the recorded order.
//! Recorded attributes may be read at any time, and the card may be reset more often. Cards are inserted and
//! removed at the recorded places.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use pcsc_ccid::internals::wait_until;
use pcsc_ccid::secrets::{shown_of_command, shown_of_control};
use pcsc_sim::masked::{self, Masked};
use pcsc_sim::Mismatch;

use crate::ccid;
use crate::slot::{copy, FoundReader, Powered, Presence, Slot, SlotError, Watch, WatchEvent};
use crate::sync::lock;

/// The longest delay before a recorded insertion or removal.
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// What was recorded of a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallRecord {
    /// The reader's name, without the numbers of reader and slot.
    pub name: String,
    /// What happened, in this order.
    pub steps: Vec<RecordedStep>,
}

/// Something that happened to a recorded reader.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedStep {
    /// Its line in the record, from 1.
    pub line: usize,
    /// The time since the step before it.
    pub delay: Duration,
    /// What it was.
    pub kind: StepKind,
}

/// What can happen to a recorded reader.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepKind {
    /// From now on there is this card, or none.
    Card(RecordedCard),
    /// A command, and the response.
    Transmit(Masked, Result<Vec<u8>, SlotError>),
    /// A control code with its data, and the answer.
    Control(u32, Masked, Result<Vec<u8>, SlotError>),
    /// An attribute's value.
    GetAttribute(u32, Result<Vec<u8>, SlotError>),
    /// An attribute that was set.
    SetAttribute(u32, Masked, Result<(), SlotError>),
    /// A warm reset.
    Reset,
}

/// What is in the slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordedCard {
    /// Nothing.
    Absent,
    /// A card that does not answer to reset.
    Mute,
    /// A card with this ATR.
    Present(Vec<u8>),
}

impl CallRecord {
    /// What happened to the reader of this name, in this order.
    pub fn new(name: impl Into<String>, steps: Vec<RecordedStep>) -> CallRecord {
        let name = name.into();
        CallRecord { name, steps }
    }
}

impl RecordedStep {
    /// What happened, this long after the step before it, as the record's line has it.
    pub fn new(line: usize, delay: Duration, kind: StepKind) -> RecordedStep {
        RecordedStep { line, delay, kind }
    }
}

impl StepKind {
    /// Whether it need not come, or comes by itself.
    fn is_free(&self) -> bool {
        matches!(self, StepKind::Card(_) | StepKind::GetAttribute(..))
    }

    fn text(&self) -> String {
        match self {
            StepKind::Transmit(command, _) => masked::public(command, shown_of_command),
            StepKind::Control(code, data, _) => {
                let shown = |data: &[u8]| shown_of_control(*code, data).data;
                format!("control {code:08X} {}", masked::public(data, shown))
            }
            // It may be a key.
            StepKind::SetAttribute(id, value, _) => {
                format!("attribute {id:08X} {}", masked::public(value, |_| 0))
            }
            StepKind::GetAttribute(id, _) => format!("attribute {id:08X}"),
            StepKind::Reset => "a reset".to_owned(),
            StepKind::Card(_) => "a card".to_owned(),
        }
    }
}

/// A recorded reader that is played. Clones are the same reader.
#[derive(Clone)]
pub struct CallReplay(Arc<SharedReplay>);

struct SharedReplay {
    name: String,
    state: Mutex<ReplayState>,
    changed: Condvar,
    report: Box<dyn Fn(&Mismatch) + Send + Sync>,
}

struct ReplayState {
    steps: Vec<RecordedStep>,
    /// The first one that has not come yet.
    next: usize,
    /// When the last one came; `None` until the slot was looked at.
    last_at: Option<Instant>,
    card: RecordedCard,
    /// Changes of the card so far.
    card_changes: u64,
    /// The count at the last [`Slot::presence`].
    changes_polled: u64,
    /// The count at the last report of the watch.
    changes_reported: u64,
    mismatch: Option<Mismatch>,
    is_stopped: bool,
    is_woken: bool,
}

impl CallReplay {
    /// Plays this record, from its beginning. `report` gets the first difference when it occurs.
    pub fn new(record: CallRecord, report: impl Fn(&Mismatch) + Send + Sync + 'static) -> CallReplay {
        let mut state = ReplayState {
            steps: record.steps,
            next: 0,
            last_at: None,
            card: RecordedCard::Absent,
            card_changes: 0,
            changes_polled: 0,
            changes_reported: 0,
            mismatch: None,
            is_stopped: false,
            is_woken: false,
        };
        // What is in the slot at the beginning.
        if let Some(StepKind::Card(card)) = state.steps.first().map(|step| step.kind.clone()) {
            (state.card, state.next) = (card, 1);
        }
        CallReplay(Arc::new(SharedReplay {
            name: record.name,
            state: Mutex::new(state),
            changed: Condvar::new(),
            report: Box::new(report),
        }))
    }

    /// The reader as a bus finds it.
    pub fn found(&self) -> FoundReader {
        let slot = (Box::new(self.clone()) as _, Arc::new(self.clone()) as _);
        FoundReader::new(&self.0.name, vec![slot])
    }

    /// Whether all recorded requests came in their order, and no others. Reads of recorded attributes and
    /// additional resets do not matter.
    ///
    /// # Errors
    /// The first difference.
    pub fn outcome(&self) -> Result<(), Mismatch> {
        let state = self.lock();
        match (&state.mismatch, state.next_request()) {
            (Some(mismatch), _) => Err(mismatch.clone()),
            (None, Some((left, _))) => Err(state.mismatch(Some(left), None)),
            (None, None) => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ReplayState> {
        lock(&self.0.state)
    }

    /// Does something with the state, reports the first difference, and wakes the watch.
    fn with<T>(&self, work: impl FnOnce(&mut ReplayState) -> T) -> T {
        let mut state = self.lock();
        let is_first = state.mismatch.is_none();
        let result = work(&mut state);
        let mismatch = state.mismatch.clone().filter(|_| is_first);
        drop(state);
        if let Some(mismatch) = mismatch {
            // Without the lock: it may write to a slow terminal.
            (self.0.report)(&mismatch);
        }
        self.0.changed.notify_all();
        result
    }
}

impl ReplayState {
    fn ahead(&self) -> impl Iterator<Item = (usize, &RecordedStep)> {
        self.steps.iter().enumerate().skip(self.next)
    }

    fn mismatch(&self, recorded: Option<usize>, found: Option<String>) -> Mismatch {
        let counted = |steps: &[RecordedStep]| steps.iter().filter(|step| !step.kind.is_free()).count();
        let step = recorded.and_then(|at| self.steps.get(at));
        let number = counted(&self.steps[..recorded.unwrap_or(self.steps.len())]) + 1;
        let mut mismatch = Mismatch::new(number);
        mismatch.line = step.map(|step| step.line);
        mismatch.expected = step.map(|step| step.kind.text());
        mismatch.found = found;
        mismatch
    }

    /// The next step that has to come in its order: not an attribute that is read.
    fn next_event(&self) -> Option<(usize, &StepKind)> {
        let mut events = self.ahead().map(|(at, step)| (at, &step.kind));
        events.find(|(_, kind)| !matches!(kind, StepKind::GetAttribute(..)))
    }

    /// The next step that the program has to take.
    fn next_request(&self) -> Option<(usize, &StepKind)> {
        let mut requests = self.ahead().map(|(at, step)| (at, &step.kind));
        requests.find(|(_, kind)| !kind.is_free())
    }

    /// Whether a card comes or goes before this step.
    fn has_move_before(&self, at: usize) -> bool {
        let steps = self.steps.get(self.next..at).unwrap_or_default();
        steps.iter().any(|step| matches!(step.kind, StepKind::Card(_)))
    }

    fn take(&mut self, at: usize) {
        self.next = at + 1;
        self.last_at = Some(Instant::now());
    }

    /// When the card comes or goes, if that is next.
    fn move_due(&self) -> Option<Instant> {
        let (at, kind) = self.next_event()?;
        // One move at a time: a card that is replaced before it was polled would leave out an event of the
        // record.
        let is_seen = self.changes_polled == self.card_changes;
        match (kind, self.last_at) {
            (StepKind::Card(_), Some(last)) if is_seen && self.mismatch.is_none() => {
                // A recorded pause is often a person's, which a test need not wait for.
                Some(last + self.steps[at].delay.min(LONGEST_DELAY))
            }
            _ => None,
        }
    }

    /// Moves the card that is next.
    fn move_card(&mut self) {
        let found = self.ahead().find_map(|(at, step)| match &step.kind {
            StepKind::Card(card) => Some((at, card.clone())),
            _ => None,
        });
        if let Some((at, card)) = found {
            self.card = card;
            self.card_changes += 1;
            self.take(at);
        }
    }

    /// The recorded answer, if the step that is next is the request: if `answer` returns one. `asked` is the
    /// request, for the mismatch.
    fn play(
        &mut self,
        answer: impl Fn(&StepKind) -> Option<Result<Vec<u8>, SlotError>>,
        asked: impl FnOnce() -> StepKind,
    ) -> Result<Vec<u8>, SlotError> {
        if self.mismatch.is_some() {
            return Err(SlotError::Communication);
        }
        let mut moved = false;
        while let Some((_, StepKind::Card(_))) = self.next_event() {
            // The program is faster than it was, or learns from this request that the card is gone.
            self.move_card();
            moved = true;
        }
        if moved {
            return Err(SlotError::NoCard);
        }
        let step = self.next_event().map(|(at, kind)| (at, answer(kind)));
        if let Some((at, Some(answer))) = step {
            self.take(at);
            return answer;
        }
        let other = self.next_event().map(|(at, _)| at);
        self.mismatch = Some(self.mismatch(other, Some(asked().text())));
        Err(SlotError::Communication)
    }

    /// An attribute: the value that is next; else the last one before, else the first one after.
    fn attribute(&mut self, id: u32) -> Result<Vec<u8>, SlotError> {
        // Attributes are read at other times by other libraries, so their place in the order means little.
        let value = |step: &RecordedStep| match &step.kind {
            StepKind::GetAttribute(other, value) if *other == id => Some(value.clone()),
            _ => None,
        };
        let next = self.steps.get(self.next).and_then(value);
        if let Some(value) = next {
            self.take(self.next);
            return value;
        }
        let (before, after) = self.steps.split_at(self.next);
        let known = before.iter().rev().chain(after).find_map(value);
        known.unwrap_or_else(|| {
            let found = StepKind::GetAttribute(id, Ok(Vec::new())).text();
            let next = self.next_request().map(|(at, _)| at);
            let mismatch = self.mismatch(next, Some(found));
            self.mismatch.get_or_insert(mismatch);
            Err(SlotError::Unsupported)
        })
    }
}

impl Slot for CallReplay {
    fn presence(&mut self) -> Result<Presence, SlotError> {
        self.with(|state| {
            let is_new = state.changes_polled != state.card_changes;
            if is_new || state.last_at.is_none() {
                state.last_at = Some(Instant::now());
            }
            state.changes_polled = state.card_changes;
            Ok(match &state.card {
                RecordedCard::Absent => Presence::Absent,
                _ if is_new => Presence::Replaced,
                _ => Presence::Present,
            })
        })
    }

    fn power_up(&mut self, warm: bool, _deadline: Option<Instant>) -> Result<Powered, SlotError> {
        let atr = self.with(|state| {
            if let Some((at, StepKind::Reset)) = state.next_request() {
                if warm && state.mismatch.is_none() && !state.has_move_before(at) {
                    state.take(at);
                }
            }
            match &state.card {
                RecordedCard::Absent => Err(SlotError::NoCard),
                RecordedCard::Mute => Err(SlotError::Mute),
                RecordedCard::Present(atr) => Ok(atr.clone()),
            }
        })?;
        Ok(ccid::powered(&atr))
    }

    fn power_down(&mut self) -> Result<(), SlotError> {
        match self.lock().card {
            RecordedCard::Absent => Err(SlotError::NoCard),
            _ => Ok(()),
        }
    }

    fn set_protocol(&mut self, protocol: u32, _deadline: Option<Instant>) -> Result<(), SlotError> {
        ccid::check_protocol(protocol)
    }

    fn transmit(
        &mut self,
        command: &[u8],
        response: &mut [u8],
        _deadline: Option<Instant>,
    ) -> Result<usize, SlotError> {
        let answer = |step: &StepKind| match step {
            StepKind::Transmit(recorded, answer) => {
                masked::matches(recorded, command).then(|| answer.clone())
            }
            _ => None,
        };
        let asked = || StepKind::Transmit(masked::shown(command), Ok(Vec::new()));
        copy(&self.with(|state| state.play(answer, asked))?, response)
    }

    fn control(
        &mut self,
        code: u32,
        data: &[u8],
        answer: &mut [u8],
        _deadline: Option<Instant>,
    ) -> Result<usize, SlotError> {
        let recorded_answer = |step: &StepKind| match step {
            StepKind::Control(other, recorded, answer) if *other == code => {
                masked::matches(recorded, data).then(|| answer.clone())
            }
            _ => None,
        };
        let asked = || StepKind::Control(code, masked::shown(data), Ok(Vec::new()));
        copy(&self.with(|state| state.play(recorded_answer, asked))?, answer)
    }

    fn get_attribute(&mut self, id: u32, value: &mut [u8]) -> Result<usize, SlotError> {
        copy(&self.with(|state| state.attribute(id))?, value)
    }

    fn set_attribute(&mut self, id: u32, value: &[u8]) -> Result<(), SlotError> {
        let answer = |step: &StepKind| match step {
            StepKind::SetAttribute(other, recorded, set) if *other == id => {
                masked::matches(recorded, value).then(|| set.map(|()| Vec::new()))
            }
            _ => None,
        };
        let asked = || StepKind::SetAttribute(id, masked::shown(value), Ok(()));
        self.with(|state| state.play(answer, asked)).map(drop)
    }
}

impl Watch for CallReplay {
    fn wait(&self) -> WatchEvent {
        let mut state = self.lock();
        loop {
            if state.is_stopped {
                return WatchEvent::Stopped;
            }
            let due = state.move_due();
            if due.is_some_and(|due| due <= Instant::now()) {
                state.move_card();
            }
            let card_changes = state.card_changes;
            if std::mem::take(&mut state.is_woken)
                || std::mem::replace(&mut state.changes_reported, card_changes) != card_changes
            {
                return WatchEvent::Card;
            }
            state = wait_until(&self.0.changed, state, due).unwrap_or_else(|state| state);
        }
    }

    fn wake(&self) {
        self.with(|state| state.is_woken = true);
    }

    fn stop(&self) {
        self.with(|state| state.is_stopped = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_hide_what_a_record_shows() {
        let answer = || Ok(Vec::new());
        let verify = masked::shown(&[0x00, 0x20, 0x00, 0x80, 0x02, 0x31, 0x32]);
        assert_eq!(StepKind::Transmit(verify, answer()).text(), "0020008002****");
        let select = masked::shown(&[0x00, 0xA4, 0x04, 0x00, 0x01, 0xA0]);
        assert_eq!(StepKind::Transmit(select, answer()).text(), "00A4040001A0");
        let key = StepKind::SetAttribute(0x7A009, masked::shown(&[0x11, 0x22]), Ok(()));
        assert_eq!(key.text(), "attribute 0007A009 ****");
    }
}
