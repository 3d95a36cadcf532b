//! Third-party programs, unmodified, on our library with pcscd and without it. Each prints what it prints on
//! Debian's library with pcscd and the same cards. Each process is checked to have loaded the library under
//! test and no other.

mod cards;
mod grounds;
mod java;
mod javascript;
mod live;
mod opensc;
mod pcsc_tools;
mod python;
