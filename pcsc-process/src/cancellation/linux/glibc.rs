//! Cancellation of one system call, with glibc.
//!
//! glibc unwinds a cancelled thread from the system call to the innermost cleanup handler. Its C macro
//! `pthread_cleanup_push` stores the stack pointer with `__sigsetjmp` and registers it. Here that is done
//! by a few lines of assembly, since Rust cannot call a function that returns twice. Unwinding stops there,
//! so that no Rust frame but [`perform`], which owns nothing, is unwound. The thread is ending from then
//! on: no further cancellation comes, and Rust code goes on as usual until the entry point is left.

use std::ffi::{c_int, c_long, c_void};
use std::ptr::{null_mut, NonNull};

const ENABLE: c_int = 0;
const DISABLE: c_int = 1;
const ASYNCHRONOUS: c_int = 1;

// What `pthread_cleanup_push` and `pthread_cleanup_pop` of <pthread.h> call.
unsafe extern "C-unwind" {
    fn __sigsetjmp(buffer: *mut c_void, save_mask: c_int) -> c_int;
    fn __pthread_register_cancel(buffer: *mut c_void);
    fn __pthread_unregister_cancel(buffer: *mut c_void);
}

// A cancellation unwinds the stack out of these.
unsafe extern "C-unwind" {
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
    fn pthread_setcanceltype(kind: c_int, old: *mut c_int) -> c_int;
    fn pthread_testcancel();
    fn syscall(number: c_long, ...) -> c_long;
}

/// The functions of glibc that the assembly calls: through pointers, which needs no relocation there.
#[repr(C)]
struct Functions {
    set_jump: unsafe extern "C-unwind" fn(*mut c_void, c_int) -> c_int,
    register: unsafe extern "C-unwind" fn(*mut c_void),
    unregister: unsafe extern "C-unwind" fn(*mut c_void),
}

static FUNCTIONS: Functions = Functions {
    set_jump: __sigsetjmp,
    register: __pthread_register_cancel,
    unregister: __pthread_unregister_cancel,
};

unsafe extern "C-unwind" {
    /// Calls `work(argument)`. Returns 0 when it has returned, 1 when the thread was cancelled in it.
    #[link_name = "pcsc_process_cancellable"]
    fn run_cancellable(
        work: unsafe extern "C-unwind" fn(*mut Call),
        argument: *mut Call,
        functions: &Functions,
    ) -> c_int;
}

// The buffer, glibc's __pthread_unwind_buf_t, has 104 bytes here. The stack is aligned to 16 bytes at calls.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .text.pcsc_process_cancellable,\"ax\",@progbits",
    ".globl pcsc_process_cancellable",
    ".hidden pcsc_process_cancellable",
    ".type pcsc_process_cancellable,@function",
    "pcsc_process_cancellable:",
    ".cfi_startproc",
    "push rbx",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset rbx, 0",
    "push r12",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset r12, 0",
    "push r13",
    ".cfi_adjust_cfa_offset 8",
    ".cfi_rel_offset r13, 0",
    "sub rsp, 112",
    ".cfi_adjust_cfa_offset 112",
    "mov rbx, rdi",
    "mov r12, rsi",
    "mov r13, rdx",
    "mov rdi, rsp",
    "xor esi, esi",
    "call [r13]",
    "test eax, eax",
    "jnz 2f",
    "mov rdi, rsp",
    "call [r13 + 8]",
    "mov rdi, r12",
    "call rbx",
    "xor ebx, ebx",
    "jmp 3f",
    "2:",
    "mov ebx, 1",
    "3:",
    "mov rdi, rsp",
    "call [r13 + 16]",
    "mov eax, ebx",
    "add rsp, 112",
    ".cfi_adjust_cfa_offset -112",
    "pop r13",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore r13",
    "pop r12",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore r12",
    "pop rbx",
    ".cfi_adjust_cfa_offset -8",
    ".cfi_restore rbx",
    "ret",
    ".cfi_endproc",
    ".size pcsc_process_cancellable, . - pcsc_process_cancellable",
    ".popsection",
);

// The buffer has 44 bytes here. glibc takes the argument of the two functions in eax.
#[cfg(target_arch = "x86")]
std::arch::global_asm!(
    ".pushsection .text.pcsc_process_cancellable,\"ax\",@progbits",
    ".globl pcsc_process_cancellable",
    ".hidden pcsc_process_cancellable",
    ".type pcsc_process_cancellable,@function",
    "pcsc_process_cancellable:",
    ".cfi_startproc",
    "push ebx",
    ".cfi_adjust_cfa_offset 4",
    ".cfi_rel_offset ebx, 0",
    "push esi",
    ".cfi_adjust_cfa_offset 4",
    ".cfi_rel_offset esi, 0",
    // Two arguments of calls, and the buffer 16 bytes above.
    "sub esp, 68",
    ".cfi_adjust_cfa_offset 68",
    "mov esi, [esp + 88]",
    "lea eax, [esp + 16]",
    "mov [esp], eax",
    "mov dword ptr [esp + 4], 0",
    "call [esi]",
    "test eax, eax",
    "jnz 2f",
    "lea eax, [esp + 16]",
    "call [esi + 4]",
    "mov eax, [esp + 84]",
    "mov [esp], eax",
    "call [esp + 80]",
    "xor ebx, ebx",
    "jmp 3f",
    "2:",
    "mov ebx, 1",
    "3:",
    "lea eax, [esp + 16]",
    "call [esi + 8]",
    "mov eax, ebx",
    "add esp, 68",
    ".cfi_adjust_cfa_offset -68",
    "pop esi",
    ".cfi_adjust_cfa_offset -4",
    ".cfi_restore esi",
    "pop ebx",
    ".cfi_adjust_cfa_offset -4",
    ".cfi_restore ebx",
    "ret",
    ".cfi_endproc",
    ".size pcsc_process_cancellable, . - pcsc_process_cancellable",
    ".popsection",
);

/// A system call and its result.
#[repr(C)]
struct Call {
    number: c_long,
    arguments: [usize; 6],
    result: c_long,
}

/// Makes a system call as a cancellation point. `None` if the thread was cancelled.
///
/// # Safety
/// The arguments are valid for the system call.
pub unsafe fn cancellable(number: c_long, arguments: [usize; 6]) -> Option<c_long> {
    let mut call = Call {
        number,
        arguments,
        result: -1,
    };
    let call = NonNull::from(&mut call);
    // SAFETY: `perform` gets a valid call, and owns nothing that a jump could skip.
    match unsafe { run_cancellable(perform, call.as_ptr(), &FUNCTIONS) } {
        // SAFETY: `call` points to the local above.
        0 => Some(unsafe { (*call.as_ptr()).result }),
        _ => None,
    }
}

/// # Safety
/// `call` points to a system call and its arguments. Cancellation is disabled.
unsafe extern "C-unwind" fn perform(call: *mut Call) {
    // SAFETY: as the caller promises. While the type is asynchronous nothing is called but the system, so
    // that the thread may be cancelled at any instruction.
    unsafe {
        let [a, b, c, d, e, f] = (*call).arguments;
        let mut before = 0;
        pthread_setcanceltype(ASYNCHRONOUS, &mut before);
        pthread_setcancelstate(ENABLE, null_mut());
        pthread_testcancel();
        (*call).result = syscall((*call).number, a, b, c, d, e, f);
        pthread_setcancelstate(DISABLE, null_mut());
        pthread_setcanceltype(before, null_mut());
    }
}
