//! The functions of a PC/SC library that was loaded at run time, made safe.
//!
//! All unsafe code of the backend is here and in `platform`. The functions check their handles, so that one
//! that is no longer valid is an error and no undefined behaviour.
#![allow(unsafe_code)]
#![allow(clippy::unnecessary_cast, reason = "C's DWORD has 32 bits on some platforms")]

use std::ffi::{c_char, c_void, CStr, CString};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::ptr;

use super::platform::{self, IoRequest, RawReaderState};
use crate::backend::bytes::AtrBytes;
use crate::backend::status_change::Watched;
use crate::backend::values::ConnectionStatus;
use crate::error::{Cause, Error, Failure, Outcome};
use crate::ffi::{DWORD, LONG, SCARDCONTEXT, SCARDHANDLE};
use pcsc_constants::SCARD_STATE_CHANGED;

/// A library, whose name is for messages. It is never unloaded, since it may have threads.
#[derive(Debug)]
pub struct Library {
    path: PathBuf,
    functions: Functions,
    _loaded: ManuallyDrop<libloading::Library>,
}

/// Declares the functions, with the types of winscard.h.
macro_rules! functions {
    ($($field:ident = $name:ident($($type:ty),*);)+) => {
        #[derive(Debug, Clone, Copy)]
        struct Functions {
            $($field: unsafe extern "system" fn($($type),*) -> LONG,)+
        }

        impl Functions {
            /// The functions, or the name of one that the library does not have.
            fn of(library: &libloading::Library) -> Result<Functions, &'static str> {
                Ok(Functions { $(
                    $field: {
                        let symbol = platform::symbol(stringify!($name));
                        // SAFETY: the function has this type in the winscard.h of the platform. The library
                        // is never unloaded.
                        *unsafe { library.get(symbol.as_bytes()) }.map_err(|_| symbol)?
                    },
                )+ })
            }
        }
    };
}

functions! {
    establish = SCardEstablishContext(DWORD, *const c_void, *const c_void, *mut SCARDCONTEXT);
    release = SCardReleaseContext(SCARDCONTEXT);
    is_valid = SCardIsValidContext(SCARDCONTEXT);
    cancel = SCardCancel(SCARDCONTEXT);
    list_readers = SCardListReaders(SCARDCONTEXT, *const c_char, *mut c_char, *mut DWORD);
    get_status_change = SCardGetStatusChange(SCARDCONTEXT, DWORD, *mut RawReaderState, DWORD);
    connect = SCardConnect(SCARDCONTEXT, *const c_char, DWORD, DWORD, *mut SCARDHANDLE, *mut DWORD);
    reconnect = SCardReconnect(SCARDHANDLE, DWORD, DWORD, DWORD, *mut DWORD);
    disconnect = SCardDisconnect(SCARDHANDLE, DWORD);
    begin_transaction = SCardBeginTransaction(SCARDHANDLE);
    end_transaction = SCardEndTransaction(SCARDHANDLE, DWORD);
    status = SCardStatus(
        SCARDHANDLE, *mut c_char, *mut DWORD, *mut DWORD, *mut DWORD, *mut u8, *mut DWORD
    );
    transmit = SCardTransmit(
        SCARDHANDLE, *const IoRequest, *const u8, DWORD, *mut IoRequest, *mut u8, *mut DWORD
    );
    control = SCardControl(SCARDHANDLE, DWORD, *const c_void, DWORD, *mut c_void, DWORD, *mut DWORD);
    get_attribute = SCardGetAttrib(SCARDHANDLE, DWORD, *mut u8, *mut DWORD);
    set_attribute = SCardSetAttrib(SCARDHANDLE, DWORD, *const u8, DWORD);
}

impl Library {
    /// Loads the library that the caller names, or the platform's.
    pub fn load(path: Option<&Path>) -> Outcome<Library> {
        let path = path.unwrap_or(Path::new(platform::LIBRARY));
        let failure = |reason| {
            let path = path.to_owned();
            Failure::because(Error::NoService, Cause::NoLibrary { path, reason })
        };
        let loaded = platform::load(path.as_os_str()).map_err(|error| failure(reason(&error)))?;
        let loaded = ManuallyDrop::new(loaded);
        let functions =
            Functions::of(&loaded).map_err(|name| failure(format!("it has no function {name}")))?;
        Ok(Library {
            path: path.to_owned(),
            functions,
            _loaded: loaded,
        })
    }

    /// Its path or name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn establish(&self, scope: u32) -> Outcome<SCARDCONTEXT> {
        let mut context = 0;
        // SAFETY: the output is writable.
        check(unsafe { (self.functions.establish)(scope as DWORD, ptr::null(), ptr::null(), &mut context) })?;
        Ok(context)
    }

    pub fn release(&self, context: SCARDCONTEXT) -> Outcome<()> {
        // SAFETY: the call has no pointers.
        check(unsafe { (self.functions.release)(context) })
    }

    pub fn is_valid(&self, context: SCARDCONTEXT) -> Outcome<()> {
        // SAFETY: the call has no pointers.
        check(unsafe { (self.functions.is_valid)(context) })
    }

    pub fn cancel(&self, context: SCARDCONTEXT) -> Outcome<()> {
        // SAFETY: the call has no pointers.
        check(unsafe { (self.functions.cancel)(context) })
    }

    /// The readers' names, each with a NUL, and one more NUL. Nothing without readers.
    pub fn list_readers(&self, context: SCARDCONTEXT) -> Outcome<Vec<u8>> {
        loop {
            let mut length = 0;
            // SAFETY: without a buffer the call asks for the length, which is writable.
            let sized =
                unsafe { (self.functions.list_readers)(context, ptr::null(), ptr::null_mut(), &mut length) };
            let mut names = Vec::new();
            let listed = check(sized).and_then(|()| {
                names = zeros(length as usize)?;
                // SAFETY: the buffer has the stated length, which is writable.
                check(unsafe {
                    (self.functions.list_readers)(
                        context,
                        ptr::null(),
                        names.as_mut_ptr().cast(),
                        &mut length,
                    )
                })
            });
            match listed {
                Ok(()) => {
                    names.truncate(length as usize);
                    return Ok(names);
                }
                Err(failure) if failure.error() == Error::NoReadersAvailable => return Ok(Vec::new()),
                // A reader came between the two calls.
                Err(failure) if failure.error() == Error::InsufficientBuffer => (),
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Waits for a change, for a number of milliseconds or `INFINITE`. Stores what it has found also where
    /// the time is over.
    pub fn get_status_change(
        &self,
        context: SCARDCONTEXT,
        milliseconds: u32,
        watched: &mut [Watched<'_>],
    ) -> Outcome<()> {
        let names = watched.iter().map(|reader| c_string(reader.name));
        let names = names.collect::<Outcome<Vec<CString>>>()?;
        let raw = |(name, reader): (&CString, &Watched<'_>)| RawReaderState {
            reader: name.as_ptr(),
            user_data: ptr::null_mut(),
            current: reader.current as DWORD,
            // What the library leaves unset where the time is over has not changed.
            event: (reader.current & !SCARD_STATE_CHANGED) as DWORD,
            atr_length: 0,
            atr: [0; platform::ATR_ROOM],
        };
        let mut states: Vec<RawReaderState> = names.iter().zip(&*watched).map(raw).collect();
        // SAFETY: an array of the stated length, whose names are strings that live as long as `names`.
        let changed = check(unsafe {
            (self.functions.get_status_change)(
                context,
                milliseconds as DWORD,
                states.as_mut_ptr(),
                states.len() as DWORD,
            )
        });
        let is_over = |failure: &Failure| failure.error() == Error::Timeout;
        if changed.as_ref().err().is_none_or(is_over) {
            for (reader, state) in watched.iter_mut().zip(&states) {
                let (length, atr) = (state.atr_length as usize, state.atr);
                let atr = AtrBytes::from(&atr[..length.min(atr.len())]);
                reader.set_found(state.event as u32, atr);
            }
        }
        changed
    }

    /// Connects to a card, and returns the protocol in use.
    pub fn connect(
        &self,
        context: SCARDCONTEXT,
        reader: &CStr,
        share: u32,
        protocols: u32,
    ) -> Outcome<(SCARDHANDLE, u32)> {
        let (mut card, mut active) = (0, 0);
        // SAFETY: the name is a string, the outputs are writable.
        check(unsafe {
            (self.functions.connect)(
                context,
                reader.as_ptr(),
                share as DWORD,
                platform::protocols(protocols),
                &mut card,
                &mut active,
            )
        })?;
        Ok((card, platform::protocol(active)))
    }

    /// Connects again, and returns the protocol in use.
    pub fn reconnect(
        &self,
        card: SCARDHANDLE,
        share: u32,
        protocols: u32,
        initialization: u32,
    ) -> Outcome<u32> {
        let mut active = 0;
        // SAFETY: the output is writable.
        check(unsafe {
            (self.functions.reconnect)(
                card,
                share as DWORD,
                platform::protocols(protocols),
                initialization as DWORD,
                &mut active,
            )
        })?;
        Ok(platform::protocol(active))
    }

    pub fn disconnect(&self, card: SCARDHANDLE, disposition: u32) -> Outcome<()> {
        // SAFETY: the call has no pointers.
        check(unsafe { (self.functions.disconnect)(card, disposition as DWORD) })
    }

    pub fn begin_transaction(&self, card: SCARDHANDLE) -> Outcome<()> {
        // SAFETY: the call has no pointers.
        check(unsafe { (self.functions.begin_transaction)(card) })
    }

    pub fn end_transaction(&self, card: SCARDHANDLE, disposition: u32) -> Outcome<()> {
        // SAFETY: the call has no pointers.
        check(unsafe { (self.functions.end_transaction)(card, disposition as DWORD) })
    }

    pub fn status(&self, card: SCARDHANDLE) -> Outcome<ConnectionStatus> {
        // The name is not used, but not all libraries take NULL for it.
        let mut name = [0; 1024];
        let mut atr = [0; platform::ATR_ROOM];
        let (mut name_length, mut atr_length) = (name.len() as DWORD, atr.len() as DWORD);
        let (mut state, mut protocol) = (0, 0);
        // SAFETY: the buffers have the stated lengths, the outputs are writable.
        check(unsafe {
            (self.functions.status)(
                card,
                name.as_mut_ptr(),
                &mut name_length,
                &mut state,
                &mut protocol,
                atr.as_mut_ptr(),
                &mut atr_length,
            )
        })?;
        let state = platform::card_status(state);
        Ok(ConnectionStatus {
            // Where the library counts changes, the high word has the count.
            state: state & 0xFFFF,
            event_counter: state >> 16,
            protocol: platform::protocol(protocol),
            atr: AtrBytes::from(&atr[..atr.len().min(atr_length as usize)]),
        })
    }

    /// Sends a command. The response goes to the front of `response`, and its length is returned, also as the
    /// detail of a failure.
    pub fn transmit(
        &self,
        card: SCARDHANDLE,
        protocol: u32,
        command: &[u8],
        response: &mut [u8],
    ) -> Outcome<usize> {
        let send = IoRequest {
            protocol: platform::protocols(protocol),
            length: size_of::<IoRequest>() as DWORD,
        };
        let mut length = response.len() as DWORD;
        // SAFETY: the buffers have the stated lengths, which is writable for the response. The protocol
        // control information has no more than the two numbers; that of the response is left out.
        check(unsafe {
            (self.functions.transmit)(
                card,
                &send,
                command.as_ptr(),
                command.len() as DWORD,
                ptr::null_mut(),
                response.as_mut_ptr(),
                &mut length,
            )
        })
        .map_err(|failure| failure.with_detail(length as u32))?;
        Ok((length as usize).min(response.len()))
    }

    /// Calls a function of the reader. The answer goes to the front of `answer`, and its length is returned,
    /// also as the detail of a failure.
    pub fn control(&self, card: SCARDHANDLE, code: u32, data: &[u8], answer: &mut [u8]) -> Outcome<usize> {
        let mut length = 0;
        // SAFETY: the buffers have the stated lengths, the output is writable.
        check(unsafe {
            (self.functions.control)(
                card,
                code as DWORD,
                data.as_ptr().cast(),
                data.len() as DWORD,
                answer.as_mut_ptr().cast(),
                answer.len() as DWORD,
                &mut length,
            )
        })
        .map_err(|failure| failure.with_detail(length as u32))?;
        Ok((length as usize).min(answer.len()))
    }

    /// Gets an attribute's value, and returns its length.
    pub fn get_attribute(&self, card: SCARDHANDLE, id: u32, value: &mut [u8]) -> Outcome<usize> {
        let mut length = value.len() as DWORD;
        // SAFETY: the buffer has the stated length, which is writable.
        check(unsafe { (self.functions.get_attribute)(card, id as DWORD, value.as_mut_ptr(), &mut length) })?;
        Ok((length as usize).min(value.len()))
    }

    pub fn set_attribute(&self, card: SCARDHANDLE, id: u32, value: &[u8]) -> Outcome<()> {
        // SAFETY: the buffer has the stated length.
        check(unsafe {
            (self.functions.set_attribute)(card, id as DWORD, value.as_ptr(), value.len() as DWORD)
        })
    }
}

/// Why a library cannot be loaded. Windows' reason is below the name of the call, Unix's is in the error's
/// text.
fn reason(error: &libloading::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// A name with a NUL. A reader's name has none within it.
pub fn c_string(name: &[u8]) -> Outcome<CString> {
    Ok(CString::new(name).map_err(|_| Error::UnknownReader)?)
}

/// Converts a return code.
fn check(returned: LONG) -> Outcome<()> {
    match platform::code(returned) {
        0 => Ok(()),
        code => Err(Failure::plain(code)),
    }
}

/// A zeroed buffer of `length` bytes.
fn zeros(length: usize) -> Outcome<Vec<u8>> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(length).map_err(|_| Error::NoMemory)?;
    buffer.resize(length, 0);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_cannot_be_used_is_named() {
        let failure = |path: &str| Library::load(Some(path.as_ref())).unwrap_err();
        let missing = failure("/nonexistent/libpcsclite.so.1");
        assert_eq!(missing.error(), Error::NoService);
        assert!(
            missing.to_string().contains("/nonexistent/libpcsclite.so.1"),
            "{missing}"
        );
        #[cfg(target_os = "linux")]
        {
            let other = failure("libc.so.6").to_string();
            assert!(
                other.contains("libc.so.6") && other.contains("SCardEstablishContext"),
                "{other}"
            );
        }
    }
}
