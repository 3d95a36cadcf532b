// The C interface by Deno's FFI, with pcsc-deno's declarations: 32 bits for a DWORD in an argument, and calls that wait made on
// another thread.
const handle = "usize";
const { symbols: scard } = Deno.dlopen("libpcsclite.so.1", {
  SCardEstablishContext: { parameters: ["u32", "usize", "usize", "buffer"], result: "u32" },
  SCardIsValidContext: { parameters: [handle], result: "u32" },
  SCardListReaders: { parameters: [handle, "pointer", "buffer", "buffer"], result: "u32" },
  SCardGetStatusChange: { parameters: [handle, "u32", "buffer", "u32"], nonblocking: true, result: "u32" },
  SCardConnect: { parameters: [handle, "buffer", "u32", "u32", "buffer", "buffer"], result: "u32" },
  SCardTransmit: {
    parameters: [handle, "buffer", "buffer", "u32", "pointer", "buffer", "buffer"],
    nonblocking: true,
    result: "u32",
  },
  SCardDisconnect: { parameters: [handle, "u32"], result: "u32" },
  SCardCancel: { parameters: [handle], result: "u32" },
  SCardReleaseContext: { parameters: [handle], result: "u32" },
});

function dword(value = 0) {
  return BigUint64Array.of(BigInt(value));
}

function check(name, code) {
  if (code !== 0) {
    throw new Error(`${name}: ${code.toString(16)}`);
  }
}

function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// SCARD_READERSTATE as the library has it, with the name's address in front.
function readerState(name, state) {
  const bytes = new Uint8Array(8 + 8 + 8 + 8 + 8 + 40);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, Deno.UnsafePointer.value(Deno.UnsafePointer.of(name)), true);
  view.setBigUint64(16, BigInt(state), true);
  return { bytes, event: () => view.getBigUint64(24, true) };
}

const context = dword();
check("establish", scard.SCardEstablishContext(2, 0n, 0n, context));
check("valid", scard.SCardIsValidContext(context[0]));
const length = dword();
check("size", scard.SCardListReaders(context[0], null, null, length));
const names = new Uint8Array(Number(length[0]));
check("list", scard.SCardListReaders(context[0], null, names, length));
const first = names.slice(0, names.indexOf(0) + 1);
console.log(new TextDecoder().decode(names).split("\0").filter(Boolean));

const state = readerState(first, 0);
check("change", await scard.SCardGetStatusChange(context[0], 0, state.bytes, 1));
console.log((state.event() & 0xffffn).toString(16));

const [card, protocol] = [dword(), dword()];
check("connect", scard.SCardConnect(context[0], first, 2, 3, card, protocol));
const pci = BigUint64Array.of(protocol[0], 16n);
for (const command of ["00A404000AA00000006203010C0601", "000000000C", "80EC00000301020300", "00B0000000"]) {
  const bytes = Uint8Array.from(command.match(/../g), (digits) => parseInt(digits, 16));
  const response = new Uint8Array(258);
  const received = dword(response.length);
  check("transmit", await scard.SCardTransmit(card[0], pci, bytes, bytes.length, null, response, received));
  console.log(hex(response.subarray(0, Number(received[0]))));
}
check("disconnect", scard.SCardDisconnect(card[0], 0));

// A wait on the other thread ends by a cancel from this one: at the latest by one of several, since the first may come before it.
const waiting = scard.SCardGetStatusChange(context[0], 0xffffffff, readerState(first, Number(state.event() & 0x7fffn)).bytes, 1);
const repeated = setInterval(() => scard.SCardCancel(context[0]), 20);
console.log((await waiting).toString(16));
clearInterval(repeated);
check("release", scard.SCardReleaseContext(context[0]));
console.log(scard.SCardIsValidContext(context[0]).toString(16));
