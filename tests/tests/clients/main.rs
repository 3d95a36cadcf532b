//! Programs that nobody here wrote, unmodified, on our library with a real pcscd and without any: what they print is what they
//! print on Debian's library with pcscd and the same cards, and each is seen to have loaded our file.

mod cards;
mod grounds;
mod java;
mod javascript;
mod live;
mod opensc;
mod pcsc_tools;
mod python;
