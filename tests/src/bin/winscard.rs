//! Drives a libpcsclite from a line protocol: `winscard LIBRARY` reads one command a line and prints one line
//! for each.
//!
//! An answer is the return code in eight hexadecimal digits, then the results. The library reads
//! PCSCLITE_CSOCK_NAME once in a process and keeps the daemon's state in globals, so a client is a process of
//! its own. It has one context and one card.
//!
//! | command | results |
//! |---|---|
//! | `establish`, `release` | |
//! | `list` | the readers' names, separated by `\|` |
//! | `sized-list`, `sized-attribute ID` | the bytes, for which there is room as a call without a buffer asks for |
//! | `watch MS STATE READER` | event state, ATR |
//! | `connect SHARE PROTOCOLS READER`, `reconnect SHARE PROTOCOLS INITIALIZATION` | active protocol |
//! | `disconnect DISPOSITION`, `begin`, `end DISPOSITION` | |
//! | `status` | state, protocol, ATR |
//! | `transmit APDU` | response |
//! | `control CODE INPUT` | output |
//! | `attribute ID`, `set ID VALUE` | value |
//!
//! Numbers and bytes are hexadecimal, but for MS; `-` stands for no bytes.

use libloading::{Library, Symbol};
use std::error::Error;
use std::ffi::{c_char, c_long, c_ulong, c_void, CString};
use std::io::{self, BufRead, Write};
use std::ptr::{null, null_mut};

type Code = c_long;
type Word = c_ulong;
type Handle = c_long;

/// `SCARD_IO_REQUEST`.
#[repr(C)]
struct IoRequest {
    protocol: Word,
    length: Word,
}

/// `SCARD_READERSTATE`.
#[repr(C)]
struct ReaderState {
    reader: *const c_char,
    user_data: *mut c_void,
    current: Word,
    event: Word,
    atr_length: Word,
    atr: [u8; 33],
}

struct Client {
    library: Library,
    context: Handle,
    card: Handle,
    protocol: Word,
}

type Answer = Result<(Code, String), Box<dyn Error>>;

impl Client {
    /// A function of the library.
    ///
    /// # Safety
    /// `T` is the function's type in winscard.h.
    unsafe fn function<T>(&self, name: &str) -> Result<Symbol<'_, T>, libloading::Error> {
        // SAFETY: as the caller promises.
        unsafe { self.library.get(name.as_bytes()) }
    }

    fn execute(&mut self, line: &str) -> Answer {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        // A reader's name has spaces, and comes last.
        let words: Vec<&str> = rest.splitn(3, ' ').collect();
        match (command, words.as_slice()) {
            ("establish", _) => self.establish(),
            ("release", _) => self.on_handle("SCardReleaseContext", self.context),
            ("list", _) => self.list(),
            ("sized-list", _) => self.sized_list(),
            ("sized-attribute", [id]) => self.sized_attribute(number(id)?),
            ("watch", [ms, state, reader]) => self.watch(ms.parse()?, number(state)?, reader),
            ("connect", [share, protocols, reader]) => {
                self.connect(number(share)?, number(protocols)?, reader)
            }
            ("reconnect", [share, protocols, initialization]) => {
                self.reconnect(number(share)?, number(protocols)?, number(initialization)?)
            }
            ("disconnect", [disposition]) => self.dispose("SCardDisconnect", number(disposition)?),
            ("begin", _) => self.on_handle("SCardBeginTransaction", self.card),
            ("end", [disposition]) => self.dispose("SCardEndTransaction", number(disposition)?),
            ("status", _) => self.status(),
            ("transmit", [apdu]) => self.transmit(&bytes(apdu)?),
            ("control", [code, input]) => self.control(number(code)?, &bytes(input)?),
            ("attribute", [id]) => self.attribute(number(id)?),
            ("set", [id, value]) => self.set_attribute(number(id)?, &bytes(value)?),
            _ => Err(format!("unknown: {line}").into()),
        }
    }

    fn establish(&mut self) -> Answer {
        type Establish = unsafe extern "C" fn(Word, *const c_void, *const c_void, *mut Handle) -> Code;
        let mut context = 0;
        // SAFETY: the type is winscard.h's; the pointer is to a local.
        let code = unsafe {
            let establish = self.function::<Establish>("SCardEstablishContext")?;
            establish(2, null(), null(), &mut context)
        };
        self.context = context;
        Ok((code, String::new()))
    }

    fn on_handle(&self, name: &str, handle: Handle) -> Answer {
        // SAFETY: every function named here takes a handle alone.
        let code = unsafe { self.function::<unsafe extern "C" fn(Handle) -> Code>(name)?(handle) };
        Ok((code, String::new()))
    }

    fn dispose(&self, name: &str, disposition: Word) -> Answer {
        // SAFETY: every function named here takes a card and a disposition.
        let code = unsafe {
            self.function::<unsafe extern "C" fn(Handle, Word) -> Code>(name)?(self.card, disposition)
        };
        Ok((code, String::new()))
    }

    fn list(&self) -> Answer {
        type List = unsafe extern "C" fn(Handle, *const c_char, *mut c_char, *mut Word) -> Code;
        let mut names = vec![0_u8; 16 * 128 + 1];
        let mut length = names.len() as Word;
        // SAFETY: the type is winscard.h's; `length` is that of `names`.
        let code = unsafe {
            let list = self.function::<List>("SCardListReaders")?;
            list(self.context, null(), names.as_mut_ptr().cast(), &mut length)
        };
        let names = names.split(|byte| *byte == 0).take_while(|name| !name.is_empty());
        let names: Vec<_> = names.map(String::from_utf8_lossy).collect();
        Ok((code, names.join("|")))
    }

    fn sized_list(&self) -> Answer {
        type List = unsafe extern "C" fn(Handle, *const c_char, *mut c_char, *mut Word) -> Code;
        // SAFETY: the type is winscard.h's.
        let list = unsafe { self.function::<List>("SCardListReaders") }?;
        // SAFETY: the buffer goes with its length.
        in_two_calls(|buffer, length| unsafe { list(self.context, null(), buffer.cast(), length) })
    }

    fn sized_attribute(&self, id: Word) -> Answer {
        type Get = unsafe extern "C" fn(Handle, Word, *mut u8, *mut Word) -> Code;
        // SAFETY: the type is winscard.h's.
        let get = unsafe { self.function::<Get>("SCardGetAttrib") }?;
        // SAFETY: the buffer goes with its length.
        in_two_calls(|buffer, length| unsafe { get(self.card, id, buffer, length) })
    }

    fn watch(&self, timeout: Word, current: Word, reader: &str) -> Answer {
        type Watch = unsafe extern "C" fn(Handle, Word, *mut ReaderState, Word) -> Code;
        let reader = CString::new(reader)?;
        let mut state = ReaderState {
            reader: reader.as_ptr(),
            user_data: null_mut(),
            current,
            event: 0,
            atr_length: 0,
            atr: [0; 33],
        };
        // SAFETY: the type is winscard.h's; one state, whose name outlives the call.
        let code =
            unsafe { self.function::<Watch>("SCardGetStatusChange")?(self.context, timeout, &mut state, 1) };
        let atr = state.atr.get(..state.atr_length as usize).unwrap_or_default();
        Ok((code, format!("{:x} {}", state.event, hex(atr))))
    }

    fn connect(&mut self, share: Word, protocols: Word, reader: &str) -> Answer {
        type Connect =
            unsafe extern "C" fn(Handle, *const c_char, Word, Word, *mut Handle, *mut Word) -> Code;
        let reader = CString::new(reader)?;
        let (mut card, mut protocol) = (0, 0);
        // SAFETY: the type is winscard.h's; the pointers are to locals.
        let code = unsafe {
            let connect = self.function::<Connect>("SCardConnect")?;
            connect(
                self.context,
                reader.as_ptr(),
                share,
                protocols,
                &mut card,
                &mut protocol,
            )
        };
        (self.card, self.protocol) = (card, protocol);
        Ok((code, format!("{protocol:x}")))
    }

    fn reconnect(&mut self, share: Word, protocols: Word, initialization: Word) -> Answer {
        type Reconnect = unsafe extern "C" fn(Handle, Word, Word, Word, *mut Word) -> Code;
        let mut protocol = 0;
        // SAFETY: the type is winscard.h's; the pointer is to a local.
        let code = unsafe {
            let reconnect = self.function::<Reconnect>("SCardReconnect")?;
            reconnect(self.card, share, protocols, initialization, &mut protocol)
        };
        self.protocol = protocol;
        Ok((code, format!("{protocol:x}")))
    }

    fn status(&self) -> Answer {
        type Status = unsafe extern "C" fn(
            Handle,
            *mut c_char,
            *mut Word,
            *mut Word,
            *mut Word,
            *mut u8,
            *mut Word,
        ) -> Code;
        let (mut name_length, mut state, mut protocol) = (0, 0, 0);
        let (mut atr, mut atr_length) = ([0; 33], 33);
        // SAFETY: the type is winscard.h's; no room for a name, `atr_length` bytes for the ATR.
        let code = unsafe {
            let status = self.function::<Status>("SCardStatus")?;
            let (name, atr) = (null_mut(), atr.as_mut_ptr());
            status(
                self.card,
                name,
                &mut name_length,
                &mut state,
                &mut protocol,
                atr,
                &mut atr_length,
            )
        };
        let atr = atr.get(..atr_length as usize).unwrap_or_default();
        Ok((code, format!("{:x} {protocol:x} {}", state & 0xFFFF, hex(atr))))
    }

    fn transmit(&self, command: &[u8]) -> Answer {
        type Transmit = unsafe extern "C" fn(
            Handle,
            *const IoRequest,
            *const u8,
            Word,
            *mut IoRequest,
            *mut u8,
            *mut Word,
        ) -> Code;
        let send = IoRequest {
            protocol: self.protocol,
            length: size_of::<IoRequest>() as Word,
        };
        let mut response = vec![0; 65_548];
        let mut length = response.len() as Word;
        // SAFETY: the type is winscard.h's; both buffers go with their lengths.
        let code = unsafe {
            let transmit = self.function::<Transmit>("SCardTransmit")?;
            let (input, output) = (command.as_ptr(), response.as_mut_ptr());
            transmit(
                self.card,
                &send,
                input,
                command.len() as Word,
                null_mut(),
                output,
                &mut length,
            )
        };
        result(code, &response, length)
    }

    fn control(&self, control: Word, input: &[u8]) -> Answer {
        type Control = unsafe extern "C" fn(Handle, Word, *const u8, Word, *mut u8, Word, *mut Word) -> Code;
        let mut output = [0; 1024];
        let mut length = 0;
        // SAFETY: the type is winscard.h's; both buffers go with their lengths.
        let code = unsafe {
            let call = self.function::<Control>("SCardControl")?;
            let (room, buffer) = (output.len() as Word, output.as_mut_ptr());
            call(
                self.card,
                control,
                input.as_ptr(),
                input.len() as Word,
                buffer,
                room,
                &mut length,
            )
        };
        result(code, &output, length)
    }

    fn attribute(&self, id: Word) -> Answer {
        type Get = unsafe extern "C" fn(Handle, Word, *mut u8, *mut Word) -> Code;
        let mut value = [0; 264];
        let mut length = value.len() as Word;
        // SAFETY: the type is winscard.h's; the buffer goes with its length.
        let code = unsafe {
            self.function::<Get>("SCardGetAttrib")?(self.card, id, value.as_mut_ptr(), &mut length)
        };
        result(code, &value, length)
    }

    fn set_attribute(&self, id: Word, value: &[u8]) -> Answer {
        type Set = unsafe extern "C" fn(Handle, Word, *const u8, Word) -> Code;
        // SAFETY: the type is winscard.h's; the buffer goes with its length.
        let code = unsafe {
            self.function::<Set>("SCardSetAttrib")?(self.card, id, value.as_ptr(), value.len() as Word)
        };
        Ok((code, String::new()))
    }
}

/// Asks for the size first.
fn in_two_calls(call: impl Fn(*mut u8, *mut Word) -> Code) -> Answer {
    let mut length = 0;
    let code = call(null_mut(), &mut length);
    let mut buffer = vec![0; length as usize];
    let code = if code == 0 {
        call(buffer.as_mut_ptr(), &mut length)
    } else {
        code
    };
    result(code, &buffer, length)
}

fn result(code: Code, buffer: &[u8], length: Word) -> Answer {
    let bytes = if code == 0 {
        buffer
            .get(..length as usize)
            .ok_or("a length beyond the buffer")?
    } else {
        &[]
    };
    Ok((code, hex(bytes)))
}

fn number(text: &str) -> Result<Word, Box<dyn Error>> {
    Ok(Word::from_str_radix(text, 16)?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn bytes(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    if text == "-" {
        return Ok(Vec::new());
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: winscard LIBRARY")?;
    // SAFETY: the caller names a libpcsclite, whose initializers are harmless.
    let library = unsafe { Library::new(path)? };
    let mut client = Client {
        library,
        context: 0,
        card: 0,
        protocol: 0,
    };
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let (code, text) = client.execute(&line?)?;
        writeln!(output, "{:08X} {text}", code as u32)?;
        output.flush()?;
    }
    Ok(())
}
