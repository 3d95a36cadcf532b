//! A context, whichever backend serves it.

use std::ffi::CStr;
use std::fmt;
use std::time::{Duration, Instant};

use super::bytes::AttributeValue;
use super::calls::{for_each_forwarded_call, Calls};
use super::choice::BackendKind;
use super::size_query::{self, KeptAnswer, SizeQuery};
use super::status_change::Watched;
use super::values::{Connected, ConnectionStatus, Pci, Transmitted};
use crate::error::{Error, Outcome};
use crate::identity::ReaderIdentity;
use pcsc_wire::{Endian, ReaderStateRecord};

/// A context, whichever backend serves it. The daemon's backend does calls of several threads one after
/// another, except [`Session::cancel`].
///
/// Numbers are those of the C interface: share modes, protocols, dispositions, attributes (PC/SC part 5).
pub struct Session {
    backend: Box<dyn Calls>,
    size_query: SizeQuery,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.kind()).finish()
    }
}

/// Forwards calls to the backend. Each ends the validity of the answer to a size query.
macro_rules! forward {
    ($($(#[$doc:meta])* fn $name:ident($($parameter:ident: $type:ty),*) -> $result:ty;)+) => {
        impl Session { $(
            $(#[$doc])*
            #[allow(clippy::too_many_arguments)]
            pub fn $name(&self, $($parameter: $type),*) -> Outcome<$result> {
                // After the call and not before: another thread's size query may fall into it.
                let outcome = self.backend.$name($($parameter),*);
                self.size_query.take();
                outcome
            }
        )+ }
    };
}
for_each_forwarded_call!(forward);

impl Session {
    pub(super) fn of(backend: Box<dyn Calls>, reason: &str) -> Session {
        let session = Session {
            backend,
            size_query: SizeQuery::default(),
        };
        log::info!("the backend is {}: {reason}", session.kind());
        session
    }

    /// Cancels the waits in progress; see also [`Session::status_change`]. Safe in a signal handler: takes no
    /// lock and allocates nothing, also where it fails. Not so with the library of the system.
    pub fn cancel(&self) -> Outcome<()> {
        self.backend.cancel()
    }

    /// The readers' names, each with a NUL, and one more NUL. The answer to a size query also serves the call
    /// that follows it.
    pub fn list_readers(&self, is_size_query: bool) -> Outcome<Vec<u8>> {
        match self.size_query.take() {
            Some(KeptAnswer::Readers(names)) if !is_size_query => return Ok(names),
            _ => (),
        }
        // Room for a few readers, so that their names need one allocation.
        let mut names = Vec::new();
        // `try_reserve` throughout: C callers expect SCARD_E_NO_MEMORY, and not the end of the process.
        let mut room = names.try_reserve(512);
        self.each_reader(&mut |reader| {
            room = room
                .clone()
                .and_then(|()| names.try_reserve(reader.name.len() + 2));
            if room.is_ok() {
                names.extend_from_slice(reader.name);
                names.push(0);
            }
        })?;
        room.map_err(|_| Error::NoMemory)?;
        names.push(0);
        // An empty list is an error to the caller, who does not ask a second time.
        if is_size_query && names.len() > 1 {
            let mut kept = Vec::new();
            if kept.try_reserve_exact(names.len()).is_ok() {
                kept.extend_from_slice(&names);
                self.size_query.keep(KeptAnswer::Readers(kept));
            }
        }
        Ok(names)
    }

    /// An attribute's value. The answer to a size query also serves the call that follows it, unless the
    /// attribute describes the card.
    pub fn get_attribute(&self, card: i32, id: u32, is_size_query: bool) -> Outcome<AttributeValue> {
        match self.size_query.take() {
            Some(KeptAnswer::Attribute(of, value)) if !is_size_query && of == (card, id) => return Ok(value),
            _ => (),
        }
        let value = self.backend.get_attribute(card, id)?;
        if is_size_query && size_query::is_of_reader(id) {
            self.size_query.keep(KeptAnswer::Attribute((card, id), value));
        }
        Ok(value)
    }

    /// The identities of the readers of these names, as far as they are known. Each name comes with whether
    /// another connection uses the reader.
    // Not one of `Calls`, whose table of methods would bring the names of all models into a library that does
    // not ask for identities.
    pub(crate) fn identities(&self, readers: &[(&CStr, bool)]) -> Vec<ReaderIdentity> {
        #[cfg(feature = "standalone")]
        if let Some(manager) = self.backend.manager() {
            let identity = |(name, _): &(&CStr, bool)| super::standalone::identity(manager, name);
            return readers.iter().map(identity).collect();
        }
        #[cfg(all(feature = "daemon", unix))]
        if let BackendKind::Daemon { path, .. } = self.kind() {
            return super::daemon::identities(&path, readers);
        }
        #[cfg(feature = "system")]
        return readers
            .iter()
            .map(|(name, is_used)| super::driver_facts::ask_or_name(&*self.backend, name, *is_used))
            .collect();
        #[cfg(not(feature = "system"))]
        Vec::new()
    }

    /// The byte order of the machine that the drivers run on.
    pub fn endian(&self) -> Endian {
        self.backend.endian()
    }

    /// The backend of this context.
    pub fn kind(&self) -> BackendKind {
        self.backend.kind()
    }
}
