//! Gives the shared library the name that programs are linked against, and keeps it mapped after `dlclose`.
//!
//! Rust's standard library is not made to be unmapped: a thread that it starts takes a pthread key for the
//! whole process and never deletes it. A program that loads and unloads the library has no keys left after
//! 1,000 times, and a key's destructor that is called after `dlclose` is in memory that is unmapped. With
//! `-z nodelete` the next `dlopen` finds the same library.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libpcsclite.so.1");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
