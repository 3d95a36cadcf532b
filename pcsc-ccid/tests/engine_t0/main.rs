//! The engines of T=0 (ISO/IEC 7816-3, clauses 10 and 12.2): the mapping of APDUs to TPDUs, and a TPDU
//! character by character.

mod character;
mod mapping;
