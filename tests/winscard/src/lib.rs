//! A winscard.dll with one simulated reader and a card in it: what `pcsc-client` loads on Windows, without
//! Windows. Numbers and structures are those of Windows' winscard.h; `tests/c/winscard.c` compares them.
//!
//! Nothing is checked that only a faulty program would pass: it is a part of tests.

#[cfg(windows)]
mod entry;
#[cfg(windows)]
mod handles;
#[cfg(windows)]
mod numbers;
