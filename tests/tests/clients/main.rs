//! Third-party programs, unmodified, on our library with pcscd and without it, and on Debian's library with
//! our server in pcscd's place. Their output must be that on Debian's library with pcscd and the same cards.
//! Each process must have loaded the library under test and no other.

mod cards;
mod java;
mod javascript;
mod live;
mod opensc;
mod pcsc_tools;
mod python;
mod setups;
